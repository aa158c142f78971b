"""The command that predicts a folder."""

import csv
import io
import os

import cv2
import numpy as np
import pytest
from tools.hospitals import load_hospitals

from xraylib import config, images, maps, phantoms, predict, studies
from xraylib.config import CLASS_NAMES
from xraylib.images import Preprocessing
from xraylib.pretrained import PretrainedError

USERS_HOME = os.environ.get("XRAYLIB_HOME")  # before any fixture changes it


@pytest.fixture
def folder(tmp_path):
    """Two radiographs, one in a folder below, and files that are none."""
    folder = tmp_path / "radiographs"
    (folder / "ward 3").mkdir(parents=True)
    phantom = phantoms.write_phantoms(tmp_path / "drawn", (1, 1, 0), 3, 0.0)
    drawn = sorted((phantom / "images").rglob("*.png"))
    for source, target in zip(drawn, ("a.png", "ward 3/a.jpg"), strict=True):
        cv2.imwrite(str(folder / target), cv2.imread(str(source), cv2.IMREAD_GRAYSCALE))
    (folder / "notes.txt").write_text("no image")
    (folder / "empty.png").write_bytes(b"")
    cv2.imwrite(str(folder / "night.png"), np.zeros((30, 30), np.uint8))
    return folder


def run(capsys, *arguments):
    code = predict.main([*map(str, arguments)])
    captured = capsys.readouterr()
    return code, list(csv.DictReader(io.StringIO(captured.out))), captured


def test_every_file_is_a_row_with_probabilities_or_a_reason(stand_in_vgg16, folder, capsys):
    code, rows, captured = run(capsys, folder)
    assert code == 0
    assert captured.out.splitlines()[0] == "file,normal,pneumonia,COVID-19,answer,flag,error"
    assert "never for diagnosis" in captured.err
    found = {row["file"]: row for row in rows}
    assert sorted(found) == ["a.png", "empty.png", "night.png", "notes.txt", "ward 3/a.jpg"]
    for name in ("a.png", "ward 3/a.jpg"):
        assert found[name]["error"] == ""
        assert sum(float(found[name][c]) for c in CLASS_NAMES) == pytest.approx(1, abs=2e-4)
        likeliest = max(CLASS_NAMES, key=lambda c: float(found[name][c]))
        assert found[name]["answer"] in (likeliest, studies.NONE)
    assert "the file is empty" in found["empty.png"]["error"]
    assert "all pixels are alike" in found["night.png"]["error"]
    assert found["a.png"]["flag"] == ""
    assert found["notes.txt"]["error"] and found["notes.txt"]["normal"] == ""
    assert found["notes.txt"]["answer"] == ""


def test_what_gets_no_row_is_counted(stand_in_vgg16, folder, capsys):
    (folder / "masks").mkdir()
    for name in ("masks/a.png", "._a.png", ".DS_Store"):
        (folder / name).write_bytes((folder / "a.png").read_bytes())
    _, rows, captured = run(capsys, folder)
    assert "left out: 3 files (2 of the system, 1 that are masks)" in captured.err.splitlines()
    assert len(rows) == 5


def test_a_name_that_is_no_text_loses_no_row_and_a_dark_image_is_flagged(
    stand_in_vgg16, folder, capfd
):
    image = cv2.imread(str(folder / "a.png"), cv2.IMREAD_UNCHANGED)
    cv2.imwrite(str(folder / "dark.png"), image // 16)
    try:
        (folder / os.fsdecode(b"not \xff.png")).write_bytes((folder / "a.png").read_bytes())
    except OSError:
        pytest.skip("this file system takes names in UTF-8 only")
    assert predict.main([str(folder)]) == 0
    found = {row["file"]: row for row in csv.DictReader(io.StringIO(capfd.readouterr().out))}
    assert float(found["not \\udcff.png"]["normal"]) == float(found["a.png"]["normal"])
    assert "nearly black" in found["dark.png"]["flag"] and found["a.png"]["flag"] == ""


@pytest.mark.slow
def test_maps_lie_over_the_image_in_its_own_size(stand_in_vgg16, folder, tmp_path):
    out = tmp_path / "maps"
    predict.predict_folder(folder, maps=out)
    written = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.*"))
    assert written == ["a.png.png", "ward 3/a.jpg.png"]
    overlay = cv2.imread(str(out / "a.png.png"))
    image = cv2.imread(str(folder / "a.png"), cv2.IMREAD_GRAYSCALE)
    assert overlay.shape == (*image.shape, 3)
    assert (overlay[0, 0] == image[0, 0]).all()  # a corner is no lung, so no map reaches it


def test_maps_among_the_images_are_refused(stand_in_vgg16, folder, capsys):
    code, rows, captured = run(capsys, folder, "--maps", folder / "maps")
    assert (code, rows) == (1, [])
    assert "outside" in captured.err and not (folder / "maps").exists()


def test_a_folder_without_any_image_ends_in_1_and_names_every_file(
    stand_in_vgg16, tmp_path, capsys
):
    (tmp_path / "notes.txt").write_text("no image")
    code, rows, _ = run(capsys, tmp_path)
    assert code == 1 and [row["file"] for row in rows] == ["notes.txt"]
    assert run(capsys, tmp_path / "missing")[0] == 1


def test_what_is_far_from_all_training_images_is_none_of_these(stand_in_vgg16, folder, monkeypatch):
    monkeypatch.setattr(studies.Head, "distance", lambda head, x: np.full(len(x), np.inf))
    table = predict.predict_folder(folder)
    assert set(table.answer[table.error == ""]) == {studies.NONE}


def test_without_its_weights_it_says_so(stand_in_vgg16, folder, capsys, monkeypatch):
    def damaged(name):
        raise PretrainedError("hospitals.npz: install the package again")

    monkeypatch.setattr(studies.unseen.pretrained, "load", damaged)
    assert predict.main([str(folder)]) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and "install the package again" in captured.err


def test_the_models_of_the_views_add_up_to_what_the_head_gives(stand_in_vgg16):
    head, rng = studies.load_shipped(), np.random.default_rng(0)
    scores, features = 0, []
    for name, model in studies.build_models(head).items():
        size = studies.VIEWS[name].size
        views = rng.integers(0, 256, (3, size, size), dtype=np.uint8)
        scores = scores + np.asarray(model(views[..., None].astype(np.float32)))
        features.append(studies.describe(views))
        assert maps.conv_layers(model)[-1] == "block5_conv3"
    sick, covid = (np.concatenate(features, axis=1) @ head.weights + head.bias).T
    expected = np.stack([-sick, sick - covid, sick + covid], axis=1)
    np.testing.assert_allclose(scores, expected, rtol=1e-3, atol=1e-2)


def test_a_view_of_bands_forgets_exposure_and_contrast():
    rng = np.random.default_rng(0)
    image = cv2.GaussianBlur(rng.uniform(0, 255, (224, 224)).astype(np.float32), (0, 0), 3)
    mask = np.zeros((224, 224), bool)
    mask[40:180, 40:180] = True
    view = Preprocessing(region="lungs", equalise="bands", crop=True)
    seen = view.apply(image.astype(np.uint8), mask)
    darker = view.apply((0.6 * image + 20).astype(np.uint8), mask)
    assert np.abs(seen.astype(int) - darker).mean() < 6
    outside = view.apply(np.where(mask, image, 255).astype(np.uint8), mask) == 0
    assert np.array_equal(outside, seen == 0)


@pytest.mark.slow
def test_on_real_radiographs_the_shipped_classifier_knows_most_of_its_own(
    pretrained_file, monkeypatch, tmp_path
):
    monkeypatch.setenv("XRAYLIB_HOME", USERS_HOME or "")
    if not USERS_HOME or not (config.home("data") / "darkcovidnet").is_dir():
        pytest.skip("needs darkcovidnet in XRAYLIB_HOME")
    manifest = load_hospitals(("darkcovidnet",)).groupby("label").head(4)
    for number, row in enumerate(manifest.itertuples()):
        cv2.imwrite(str(tmp_path / f"{number:02}.png"), images.read_grey(row.path))
    table = predict.predict_folder(tmp_path)
    right = table[list(CLASS_NAMES)].idxmax(axis=1).to_numpy() == manifest.label.to_numpy()
    assert right.mean() > 0.5
