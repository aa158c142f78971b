"""Images of several hospitals, their features, and what these tell of the hospital."""

import shutil

import numpy as np
import pandas as pd
import pytest
from conftest import make_manifest
from tools import hospitals as several

from xraylib import images, studies
from xraylib.images import Preprocessing
from xraylib.studies import hospitals


def make_part(folder, name, rows):
    """Write a data set of noise images: rows of (file, label, patient, source, kind)."""
    made = make_manifest(folder / "made" / name, len(rows))
    columns = ["filename", "label", "patient_id", "source", "kind"]
    table = pd.DataFrame(rows, columns=columns)
    (folder / name / "images").mkdir(parents=True)
    for path, filename in zip(made.path, table.filename, strict=True):
        shutil.copy(path, folder / name / "images" / filename)
    table.assign(view="PA", mask="").to_csv(folder / name / "metadata.csv", index=False)


@pytest.fixture
def real_home(home, monkeypatch):
    """A home with two sets, an image or two a class and site."""
    rows = [("n0.png", "normal", "nih-0", "nih", ""), ("n1.png", "pneumonia", "nih-1", "nih", "")]
    rows += [(f"c{i}.png", "COVID-19", f"cohen-{i}", "cohen", "") for i in range(3)]
    make_part(home / "data", "darkcovidnet", rows)
    rows = [("m0.png", "other", "m-0", "montgomery", "tuberculosis")]
    rows += [("m1.png", "pneumonia", "m-1", "montgomery", "tuberculosis infiltrate")]
    make_part(home / "data", "montgomery", rows)
    published = ["sirm.org", "radiopaedia.org", "nejm.org"]
    table = pd.DataFrame({"filename": ["c0.png", "c1.png", "c2.png"], "publisher": published})
    table.to_csv(home / "publishers.csv", index=False)
    monkeypatch.setattr(several, "PATIENTS", home / "publishers.csv")
    return home


def test_the_manifest_joins_the_sets_and_names_the_sites(real_home):
    manifest = several.load_hospitals(("darkcovidnet", "montgomery"))
    sites = dict(zip(manifest.patient_id, manifest.site, strict=True))
    assert sites == {
        "nih-0": "nih",
        "nih-1": "nih",
        "cohen-0": "Cohen, Italian society",
        "cohen-1": "Cohen, teaching files",
        "cohen-2": "Cohen, journals",
        "m-0": "montgomery",
        "m-1": "montgomery",
    }
    kinds = dict(zip(manifest.patient_id, manifest.label, strict=True))
    assert kinds["m-0"] == kinds["m-1"] == hospitals.OTHER  # tuberculosis, whatever it looks like
    assert all(images.read_grey(path).size for path in manifest.path)


def test_a_missing_set_is_named_with_its_place(real_home):
    with pytest.raises(FileNotFoundError, match="data/kermany"):
        several.load_hospitals(("darkcovidnet", "kermany"))


def test_thinning_takes_new_patients_before_second_images():
    manifest = pd.DataFrame(
        {"site": "a", "label": ["normal"] * 6 + ["pneumonia"], "patient_id": list("xxxyyzw")}
    )
    kept = studies.thin_hospitals(manifest, 3)
    assert sorted(kept.patient_id[kept.label == "normal"]) == ["x", "y", "z"]
    assert len(kept) == 4 and len(studies.thin_hospitals(manifest, 5)) == 6


def test_features_are_those_of_the_view_and_are_kept(stand_in_vgg16, tmp_path, monkeypatch):
    manifest = make_manifest(tmp_path / "noise", 5, with_masks=True)
    view = Preprocessing(crop=True, size=64)
    features = studies.pooled_features(manifest, view)
    views = [images.read_grey(path) for path in manifest.path]
    masks = [images.read_mask(path) for path in manifest.mask_path]
    seen = np.stack([view.apply(*pair) for pair in zip(views, masks, strict=True)])
    assert features.shape == (5, sum(hospitals.POOLS.values())) and (features > 0).any()
    np.testing.assert_allclose(features, studies.describe(seen), rtol=2e-2, atol=2e-2)
    monkeypatch.setattr(hospitals, "describe", None)  # whoever computes again, fails
    np.testing.assert_array_equal(studies.pooled_features(manifest, view), features)


def test_the_hospital_is_told_by_what_it_adds_and_by_nothing_else():
    rng = np.random.default_rng(0)
    manifest = pd.DataFrame({"label": "normal", "site": np.repeat(["a", "b", "c"], 40)})
    manifest["patient_id"] = [str(i // 2) for i in range(120)]
    x = rng.standard_normal((120, 20)).astype(np.float32)
    blind = studies.which_hospital(x, manifest)
    assert blind["low"] < blind["chance"] + 0.1 and blind["n"] == 120 and blind["patients"] == 60
    for column, site in enumerate("abc"):
        x[:, column] += 9 * (manifest.site == site)
    assert studies.which_hospital(x, manifest)["recall"] > 0.9


def test_a_mask_that_cannot_be_lungs_gives_way_to_a_central_box():
    mask = np.zeros((50, 60), bool)
    box = hospitals.usable_mask(mask)
    assert 0.5 < box.mean() < 0.9 and not box[0].any() and not box[:, 0].any()
    mask[10:40, 10:50] = True
    assert hospitals.usable_mask(mask) is mask
