"""The command that predicts a folder."""

import csv
import io
import os

import cv2
import numpy as np
import pytest

from xraylib import config, lungs, maps, network, phantoms, predict, studies
from xraylib.config import CLASS_NAMES, RunConfig
from xraylib.images import Preprocessing
from xraylib.lungs import UNetConfig
from xraylib.studies import external, hospitals

USERS_HOME = os.environ.get("XRAYLIB_HOME")  # before any fixture changes it
FEW = RunConfig(dataset="phantom", phantom_counts=(6, 6, 6), confounding=0.0)
TINY = UNetConfig(
    dataset="phantom", size=32, filters=4, levels=2, encoder="scratch", epochs=1, steps=2
)


@pytest.fixture(scope="module")
def fitted(module_home):
    """A home with a classifier that a few phantoms have taught."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setitem(config.PROFILES, "quick", FEW)
        monkeypatch.setitem(lungs.UNET_PROFILES, "quick", TINY)
        studies.find_model("quick")
        yield module_home


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
    code = predict.main([*map(str, arguments), "--profile", "quick"])
    captured = capsys.readouterr()
    return code, list(csv.DictReader(io.StringIO(captured.out))), captured


def test_every_file_is_a_row_with_probabilities_or_a_reason(fitted, folder, capsys):
    code, rows, captured = run(capsys, folder)
    assert code == 0
    assert captured.out.splitlines()[0] == "file,normal,pneumonia,COVID-19,flag,error"
    assert "never for diagnosis" in captured.err
    found = {row["file"]: row for row in rows}
    assert sorted(found) == ["a.png", "empty.png", "night.png", "notes.txt", "ward 3/a.jpg"]
    for name in ("a.png", "ward 3/a.jpg"):
        assert found[name]["error"] == ""
        assert sum(float(found[name][c]) for c in CLASS_NAMES) == pytest.approx(1, abs=2e-4)
    assert "the file is empty" in found["empty.png"]["error"]
    assert "all pixels are alike" in found["night.png"]["error"]
    assert found["a.png"]["flag"] == ""
    assert found["notes.txt"]["error"] and found["notes.txt"]["normal"] == ""


def test_a_name_that_is_no_text_loses_no_row_and_a_dark_image_is_flagged(fitted, folder, capfd):
    image = cv2.imread(str(folder / "a.png"), cv2.IMREAD_UNCHANGED)
    cv2.imwrite(str(folder / "dark.png"), image // 16)
    try:
        (folder / os.fsdecode(b"not \xff.png")).write_bytes((folder / "a.png").read_bytes())
    except OSError:
        pytest.skip("this file system takes names in UTF-8 only")
    assert predict.main([str(folder), "--profile", "quick"]) == 0
    found = {row["file"]: row for row in csv.DictReader(io.StringIO(capfd.readouterr().out))}
    assert float(found["not \\udcff.png"]["normal"]) == float(found["a.png"]["normal"])
    assert "nearly black" in found["dark.png"]["flag"] and found["a.png"]["flag"] == ""


def test_maps_lie_over_the_image_in_its_own_size(fitted, folder, tmp_path):
    out = tmp_path / "maps"
    predict.predict_folder(folder, "quick", maps=out)
    written = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.*"))
    assert written == ["a.png.png", "ward 3/a.jpg.png"]
    overlay = cv2.imread(str(out / "a.png.png"))
    image = cv2.imread(str(folder / "a.png"), cv2.IMREAD_GRAYSCALE)
    assert overlay.shape == (*image.shape, 3)
    assert (overlay[0, 0] == image[0, 0]).all()  # a corner is no lung, so no map reaches it


def test_maps_among_the_images_are_refused(fitted, folder, capsys):
    code, rows, captured = run(capsys, folder, "--maps", folder / "maps")
    assert (code, rows) == (1, [])
    assert "outside" in captured.err and not (folder / "maps").exists()


def test_a_folder_without_any_image_ends_in_1_and_names_every_file(fitted, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("no image")
    code, rows, _ = run(capsys, tmp_path)
    assert code == 1 and [row["file"] for row in rows] == ["notes.txt"]
    assert run(capsys, tmp_path / "missing")[0] == 1


def test_without_model_and_data_it_says_what_is_missing(home, folder, capsys, monkeypatch):
    monkeypatch.setattr(hospitals, "PARTS", ("kermany",))
    assert predict.main([str(folder), "--profile", "real"]) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and "kermany" in captured.err


def test_the_flat_model_gives_what_the_head_gives_for_kept_features(fitted):
    folder = studies.find_model("quick")
    recipe, head = studies.load_recipe(folder), studies.load_head(folder)
    manifest = hospitals.manifest_with_masks("quick").head(5)
    plain = studies.HospitalRecipe(view=recipe.view, varied_views=0)
    views = [network.load_view(row, recipe.view)[..., None] for row in manifest.itertuples()]
    model = studies.build_external_model(head, recipe.taps)
    logits = model.predict_on_batch(np.stack(views).astype(np.float32))
    kept = head.logits(external.pooled_views(manifest, plain)[0])
    assert np.allclose(logits, kept, atol=0.05 * np.abs(kept).max())
    assert maps.conv_layers(model)[-1] == "block4_conv3"


def test_fitting_again_gives_the_same_head(fitted):
    manifest = hospitals.manifest_with_masks("quick")
    again = external.fit_external(manifest, studies.HospitalRecipe())
    kept = studies.load_head(studies.find_model("quick"))
    assert np.array_equal(again.weights, kept.weights) and again.temperature == kept.temperature


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


@pytest.mark.skipif(not USERS_HOME, reason="needs XRAYLIB_HOME with the real radiographs")
def test_on_real_radiographs_the_kept_classifier_knows_most_of_its_own(monkeypatch, tmp_path):
    monkeypatch.setenv("XRAYLIB_HOME", USERS_HOME)
    if not list(config.home("models").glob(f"external-real-*/{external.HEAD_FILE}")):
        pytest.skip("needs a classifier that `python -m xraylib.predict` has fitted before")
    folder = studies.find_model("real")
    manifest = hospitals.manifest_with_masks("real").groupby("label").head(6)
    for number, row in enumerate(manifest.itertuples()):
        image = cv2.imread(row.path, cv2.IMREAD_GRAYSCALE)
        cv2.imwrite(str(tmp_path / f"{number:02}.png"), image)
    table = predict.predict_folder(tmp_path, "real")
    right = table[list(CLASS_NAMES)].idxmax(axis=1).to_numpy() == manifest.label.to_numpy()
    assert right.mean() > 0.5 and folder.is_dir()
