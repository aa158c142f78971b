import json
import shlex
import subprocess
import sys

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from xraylib import audit, data, phantoms
from xraylib.config import CLASS_NAMES, home

HASH_BYTES = audit.HASH_SIDE**2 // 8


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Phantoms of six patients, as arrays."""
    return [phantoms.make_phantom(1, seed, "A", 200).image for seed in range(6)]


@pytest.fixture
def folder(tmp_path, drawn):
    """Class folders with five different images."""
    for number, image in enumerate(drawn[:5]):
        path = tmp_path / "set" / CLASS_NAMES[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return tmp_path / "set"


def copies(image: np.ndarray) -> dict[str, np.ndarray]:
    """The same radiograph as it comes back from other hands."""
    _, small = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 50])
    return {
        "half": cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
        "jpeg": cv2.imdecode(small, cv2.IMREAD_GRAYSCALE),
        "brighter": np.clip(image * 1.1 + 8, 0, 255).astype(np.uint8),
        "square": cv2.resize(image, (224, 224), interpolation=cv2.INTER_AREA),
    }


def bits_apart(one: dict, other: dict) -> int:
    pair = [np.frombuffer(found["phash"], np.uint8) for found in (one, other)]
    return int(np.bitwise_count(pair[0] ^ pair[1]).sum())


def test_copies_are_near_and_strangers_are_not(drawn):
    described = [audit.describe_image(image) for image in drawn]
    for image, own in zip(drawn, described, strict=True):
        for name, copy in copies(image).items():
            assert bits_apart(own, audit.describe_image(copy)) <= audit.NEAR, name
    apart = [bits_apart(a, b) for i, a in enumerate(described) for b in described[:i]]
    assert min(apart) > audit.NEAR


def test_frame_and_margin():
    image = np.zeros((100, 200), np.uint8)
    image[10:90, 30:] = np.random.default_rng(0).integers(1, 255, (80, 170))
    found = audit.describe_image(image)
    assert (found["height"], found["width"]) == (100, 200)
    assert found["margin"] == pytest.approx((10 + 10 + 30) / 300)
    flat = audit.describe_image(np.full((50, 40), 9, np.uint8))
    assert (flat["frame_level"], flat["frame_spread"], flat["margin"]) == (9, 0, 1)


def test_the_frame_does_not_look_inside():
    image = np.random.default_rng(0).integers(0, 256, (100, 100), dtype=np.uint8)
    changed = image.copy()
    changed[3:-3, 3:-3] = 0
    one, other = map(audit.describe_image, (image, changed))
    assert all(one[name] == other[name] for name in ("frame_level", "frame_spread"))
    assert one["pixels"] != other["pixels"]


def test_the_shape_belongs_to_the_pixels():
    image = np.arange(12, dtype=np.uint8)
    digests = {audit.describe_image(image.reshape(s))["pixels"] for s in [(3, 4), (4, 3)]}
    assert len(digests) == 2


def test_exact_pairs():
    pairs = audit.exact_pairs(["a", "b", np.nan, "a", np.nan, "a", "b"])
    assert pairs.to_numpy().tolist() == [[0, 3], [0, 5], [1, 6]]
    assert audit.exact_pairs(["a", "b"]).empty


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 40), st.integers(1, 9), st.integers(0, 140))
def test_near_pairs_are_those_of_a_plain_loop(seed, n, block, distance):
    rng = np.random.default_rng(seed)
    hashes = [rng.bytes(HASH_BYTES) if rng.random() < 0.9 else np.nan for _ in range(n)]
    expected = [
        (i, j, bits_apart({"phash": hashes[i]}, {"phash": hashes[j]}))
        for i in range(n)
        for j in range(i + 1, n)
        if isinstance(hashes[i], bytes) and isinstance(hashes[j], bytes)
    ]
    expected = {row for row in expected if row[2] <= distance}
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(audit, "BLOCK", block)
        found = audit.near_pairs(hashes, distance)
    assert set(found.itertuples(index=False, name=None)) == expected
    assert found.distance.is_monotonic_increasing and len(found) == len(expected)


def table_of(n: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "label": rng.choice(CLASS_NAMES, n),
            "patient_id": [f"p{i // 2}" for i in range(n)],
            "view": rng.choice(["AP", "PA"], n),
            "source": "one",
        }
    )


def test_a_view_that_tells_the_class_is_found():
    images = table_of(600)
    images["view"] = np.where(images.label == "pneumonia", "AP", "PA")
    found = audit.score_clues(images).set_index("clue")
    share = (images.label == "pneumonia").mean()
    rest = images.label[images.label != "pneumonia"].value_counts().max() / len(images)
    assert set(found.index) == {"view"}  # the source is the same for all
    assert found.accuracy["view"] == pytest.approx(share + rest, abs=0.03)
    assert found.low["view"] > found.majority["view"]
    assert found.cramers_v["view"] == pytest.approx(1)


def test_a_view_that_tells_nothing_is_no_clue():
    images = table_of(600)
    found = audit.score_clues(images).set_index("clue")
    assert found.low["view"] <= found.majority["view"] and found.cramers_v["view"] < 0.15


def test_a_patient_is_not_told_by_another_image_of_the_same(monkeypatch):
    images = table_of(400)
    images["label"] = images.groupby("patient_id").label.transform("first")
    number = pd.factorize(images.patient_id)[0]
    images["height"], images["width"] = number, number % 7
    monkeypatch.setattr(audit, "SMALLEST_LEAF", 1)
    size = audit.score_clues(images).set_index("clue").loc["size"]
    assert size.accuracy < 0.45  # by image, the twin would tell nearly all of them


def test_too_few_patients_for_folds():
    images = table_of(40).assign(patient_id="same")
    assert audit.score_clues(images).empty
    assert audit.score_clues(table_of(40).assign(label="normal")).empty
    unknown = table_of(300).assign(patient_id="")
    assert len(audit.score_clues(unknown)) == 1


def test_classes_by_a_number_are_cut_at_its_quartiles():
    images = table_of(80).assign(height=range(80))
    table = audit.by_class(images, "height")
    assert table.shape[1] == 4 and (table.sum() == 20).all()
    edges = [float(name.split(" to ")[1]) for name in table]
    assert edges == sorted(edges)
    assert audit.by_class(images.assign(view=""), "view").columns.tolist() == ["unknown"]


def manifest_of(folder) -> pd.DataFrame:
    manifest, _ = data.read_folder(folder)
    return manifest.assign(
        patient_id=[f"p{i}" for i in range(len(manifest))], source="one", split="train"
    )


def found_by(table) -> dict:
    return dict(zip(table.check, table.found, strict=True))


def audited(manifest: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The table of an audit, and its faults in a sentence."""
    table = audit.checks_table(audit.inspect_images(manifest))
    return table, audit.verdict(table)


def test_a_clean_set(folder):
    table, verdict = audited(manifest_of(folder))
    counts = table[table.expected == 0]
    assert (counts.found == 0).all() and not counts.fault.any()
    assert verdict == "No fault found."


def test_every_fault_is_counted_where_it_lies(folder, drawn):
    (folder / "pneumonia" / "again.png").write_bytes((folder / "normal" / "0.png").read_bytes())
    Image.fromarray(copies(drawn[1])["half"]).save(folder / "pneumonia" / "small.jpg")
    (folder / "normal" / "broken.png").write_text("not an image")
    manifest = manifest_of(folder)
    name = manifest.path.str.split("/").str[-1]
    manifest.loc[name == "again.png", ["source", "split"]] = "other", "test"
    manifest.loc[name.isin(["small.jpg", "1.png"]), "patient_id"] = "twice"
    manifest.loc[name == "small.jpg", "split"] = "test"
    table, verdict = audited(manifest)
    found = found_by(table)
    assert found["unreadable files"] == 1
    assert found["patients on more than one side of the split"] == 1
    sides = ("across sources", "across the split", "of two patients", "in two classes")
    assert [found[f"exact duplicates {side}"] for side in sides] == [1, 1, 1, 1]
    assert [found[f"near duplicates {side}"] for side in sides] == [0, 1, 0, 0]
    assert "unreadable files: 1" in verdict and "exact duplicates: 1" in verdict
    findings = audit.inspect_images(manifest)
    assert findings.unreadable.path.tolist() == [str(folder / "normal" / "broken.png")]
    pairs = [
        (row.kind, row.first.split("/")[-1], row.second.split("/")[-1])
        for row in findings.pairs.itertuples()
    ]
    assert pairs == [("exact", "0.png", "again.png"), ("near", "1.png", "small.jpg")]


def test_what_the_manifest_does_not_know_is_not_checked(folder):
    manifest, _ = data.read_folder(folder)
    table, _ = audited(manifest[["path"]])
    assert table.check.tolist() == ["unreadable files", "exact duplicates", "near duplicates"]


def test_a_set_of_unreadable_files_only(tmp_path):
    (tmp_path / "a.png").write_text("no")
    manifest, _ = data.read_folder(tmp_path)
    findings = audit.inspect_images(manifest)
    assert len(findings.unreadable) == 1 and findings.pairs.empty and findings.clues.empty


def test_blank_images_show_nothing_and_are_nobodys_copies(tmp_path):
    for number in range(30):
        Image.fromarray(np.zeros((20, 20), np.uint8)).save(tmp_path / f"{number}.png")
    manifest, _ = data.read_folder(tmp_path)
    found = found_by(audited(manifest)[0])
    assert (found["unreadable files"], found["exact duplicates"]) == (30, 0)
    assert audit.inspect_images(manifest).unreadable.error[0].startswith("all pixels are alike")


def test_doubtful_images_are_named(folder, capsys):
    path = folder / "normal" / "0.png"
    Image.fromarray(np.asarray(Image.open(path)) // 16).save(path)
    assert audit.main([str(folder)]) == 0
    said = capsys.readouterr().out
    assert f"doubtful: {path}: nearly black, " in said and "doubtful files: 1" in said


LEAK = ", a leak between two sets"


@pytest.mark.parametrize("place, leak", [("test/normal", LEAK), ("train/pneumonia", "")])
def test_a_copy_in_another_set_is_called_a_leak(folder, capsys, place, leak):
    folder.rename(folder.with_name("train"))
    train = folder.with_name("train")
    target = folder / place / "again.png"
    folder.mkdir()
    train.rename(folder / "train")
    target.parent.mkdir(parents=True, exist_ok=True)
    first = folder / "train" / "normal" / "0.png"
    target.write_bytes(first.read_bytes())
    assert audit.main([str(folder)]) == 1
    said = capsys.readouterr().out
    assert "layout: class folders (normal, pneumonia), in sets" in said
    assert f"exact duplicates{leak}: " in said and ("a leak" in said) == bool(leak)


def test_masks_and_files_of_the_system_are_counted_and_left_out(folder, capsys):
    (folder / "normal" / "masks").mkdir()
    for name in ("normal/masks/0.png", "normal/._0.png", ".DS_Store"):
        (folder / name).write_bytes((folder / "normal" / "0.png").read_bytes())
    assert audit.main([str(folder)]) == 0
    said = capsys.readouterr().out
    assert "5 images" in said
    assert "left out: 3 files (2 of the system, 1 that are masks)\n" in said


def run_quietly(module: str, *arguments, pipe: str = "") -> subprocess.CompletedProcess:
    line = " ".join(shlex.quote(str(part)) for part in (sys.executable, "-m", module, *arguments))
    return subprocess.run(["bash", "-c", line + pipe], capture_output=True, text=True)


@pytest.mark.slow
def test_a_reader_who_stops_reading_gets_no_traceback(folder):
    done = run_quietly("xraylib.audit", folder, pipe=" | head -1")
    assert done.stdout.startswith("layout: ") and "Traceback" not in done.stderr


WRONG_FOLDERS = {
    "missing": "missing: no such folder",
    "x.png": "x.png: is a file; name the folder that it is in",
    "empty": "empty: no image here or in folders below",
}


@pytest.mark.slow
@pytest.mark.parametrize("module", ["audit", "segment", "predict"])
def test_a_wrong_folder_gets_the_same_words_from_every_command_and_no_tensorflow(tmp_path, module):
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.png").touch()
    code = f"import json, sys, importlib\nc = importlib.import_module('xraylib.{module}')\n"
    code += "codes = [c.main([name, *sys.argv[4:]]) for name in sys.argv[1:4]]\n"
    code += "print(json.dumps([codes, sorted(sys.modules)]))"
    folders = [tmp_path / name for name in WRONG_FOLDERS]
    out = [tmp_path / "out"] if module == "segment" else []
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, [*folders, *out])], capture_output=True, text=True
    )
    codes, loaded = json.loads(done.stdout)
    assert all(codes) and not {"tensorflow", "keras"} & set(loaded)
    for said in WRONG_FOLDERS.values():
        assert f"error: {tmp_path}/{said}" in done.stderr


def test_metadata_tells_patients_and_sizes_of_the_originals(folder):
    (folder / "images").mkdir()
    for kind in ("normal", "pneumonia"):
        (folder / kind).rename(folder / "images" / kind)
    (folder / "metadata.csv").write_text(
        "filename,label,patient_id,height,width\n"
        "normal/0.png,normal,007,3000,2000\npneumonia/1.png,viral,NA,,\n"
    )
    manifest, left_out = data.read_folder(folder)
    assert manifest.path.tolist() == [
        str(folder / "images" / name) for name in ("normal/0.png", "pneumonia/1.png")
    ]
    assert manifest.patient_id.tolist() == ["007", "NA"] and not left_out
    images = audit.inspect_images(manifest).images
    assert images.height[0] == 3000 and np.isnan(images.height[1])


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "a/../../b.png"])
def test_metadata_that_leads_outside_is_refused(folder, name, capsys):
    (folder / "metadata.csv").write_text(f"filename\n{name}\n")
    assert audit.main([str(folder)]) == 2
    assert f"outside the folder: {name}" in capsys.readouterr().err


def test_the_command_on_a_clean_folder(folder, capsys):
    (folder / "notes.txt").write_text("left out")
    assert audit.main([str(folder)]) == 0
    said = capsys.readouterr().out
    assert "5 images" in said and "No fault found." in said
    assert "left out: 1 file (1 with .txt)\n" in said


def test_the_command_names_every_bad_file_and_every_pair(folder, capsys):
    (folder / "normal" / "again.png").write_bytes((folder / "normal" / "0.png").read_bytes())
    (folder / "normal" / "empty.png").touch()
    (folder / "normal" / "old.bmp").write_bytes(b"BM" + bytes(50))
    (folder / "normal" / "gone.png").symlink_to("nowhere.png")
    (folder / "normal" / "line\nbreak \udcff.png").write_text("no")
    assert audit.main([str(folder)]) == 1
    lines = capsys.readouterr().out.splitlines()
    bad = sorted(line for line in lines if line.startswith("unreadable: "))
    normal = folder / "normal"
    assert bad == sorted(
        [
            f"unreadable: {normal / 'empty.png'}: the file is empty: copy or download it again",
            f"unreadable: {normal / 'gone.png'}: a link to a missing file",
            f"unreadable: {str(normal / 'line') + 'break'!r}".replace(
                "linebreak'", "line\\nbreak \\udcff.png'"
            )
            + ": not a PNG or JPEG image: export it as PNG, or download it again",
            f"unreadable: {normal / 'old.bmp'}: a BMP image; only PNG, JPEG and DICOM are read: "
            "convert it to PNG",
        ]
    )
    assert f"exact duplicates: {normal / '0.png'} and {normal / 'again.png'}" in lines


@pytest.mark.parametrize("kind", ["missing", "empty", "file"])
def test_wrong_usage_ends_with_2(tmp_path, kind, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    assert audit.main([str(tmp_path / kind)]) == 2
    assert str(tmp_path / kind) in capsys.readouterr().err


def test_the_command_line_without_a_folder(capsys):
    with pytest.raises(SystemExit) as ended:
        audit.main([])
    assert ended.value.code == 2
    assert "usage: python -m xraylib.audit" in capsys.readouterr().err


def test_no_two_drawn_patients_are_taken_for_copies(tmp_path):
    path = phantoms.write_phantoms(tmp_path / "phantoms", (10, 10, 10), 0, 0.5)
    manifest, _ = data.read_folder(path)
    split = data.split_patients(manifest, 0)
    findings = audit.inspect_images(split)
    assert findings.patients.empty and findings.unreadable.empty
    assert (findings.pairs.kind == "near").all()  # a patient's next visit may look the same
    assert not findings.pairs["of two patients"].any()
    assert not findings.pairs["across the split"].any()


@pytest.mark.slow
@pytest.mark.parametrize("name, exact, near", [("darkcovidnet", 1, 1), ("kermany", 1, 0)])
def test_copies_among_the_real_radiographs(name, exact, near):
    folder = home("data") / name
    if not (folder / "metadata.csv").is_file():
        pytest.skip(f"needs the radiographs of {name} in XRAYLIB_HOME/data")
    pairs = audit.inspect_images(data.read_folder(folder)[0]).pairs
    assert pairs.kind.value_counts().to_dict() == {
        kind: count for kind, count in (("exact", exact), ("near", near)) if count
    }
    assert not pairs["of two patients"].any()
