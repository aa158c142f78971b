import shutil

import numpy as np
import pandas as pd
import pytest
from conftest import make_manifest

from xraylib import data, lungs, studies
from xraylib.config import CLASS_NAMES, profile
from xraylib.studies import hospitals


def make_part(folder, name, rows):
    """Write a data set of noise images: rows of (file, label, patient, source)."""
    made = make_manifest(folder / "made" / name, len(rows))
    table = pd.DataFrame(rows, columns=["filename", "label", "patient_id", "source"])
    (folder / name / "images").mkdir(parents=True)
    for path, filename in zip(made.path, table.filename, strict=True):
        shutil.copy(path, folder / name / "images" / filename)
    table.assign(view="PA", mask="", height=100, width=120).to_csv(
        folder / name / "metadata.csv", index=False
    )


@pytest.fixture
def real_home(home, monkeypatch):
    """A home with both parts, an image or two a class and site."""
    data = home / "data"
    make_part(
        data,
        "darkcovidnet",
        [
            ("n0.png", "normal", "nih-0", "nih"),
            ("n1.png", "pneumonia", "nih-1", "nih"),
            ("c0.png", "COVID-19", "cohen-0", "cohen"),
            ("c1.png", "COVID-19", "cohen-1", "cohen"),
            ("c2.png", "COVID-19", "cohen-2", "cohen"),
        ],
    )
    make_part(data, "kermany", [("k0.png", "normal", "k-0", "kermany")])
    published = ["sirm.org", "radiopaedia.org", "nejm.org"]
    table = pd.DataFrame({"filename": ["c0.png", "c1.png", "c2.png"], "publisher": published})
    table.to_csv(home / "publishers.csv", index=False)
    monkeypatch.setattr(hospitals, "PATIENTS", home / "publishers.csv")
    return home


def test_the_manifest_joins_the_parts_and_names_the_sites(real_home):
    manifest = studies.load_hospitals(profile("real"))
    sites = dict(zip(manifest.patient_id, manifest.site, strict=True))
    assert sites == {
        "nih-0": "nih",
        "nih-1": "nih",
        "k-0": "kermany",
        "cohen-0": "cohen, Italian society",
        "cohen-1": "cohen, teaching files",
        "cohen-2": "cohen, journals",
    }
    assert set(manifest.height) == {100} and set(manifest.width) == {120}
    assert data.check_manifest(manifest) is manifest


def test_a_missing_part_is_named_with_its_place(real_home):
    shutil.rmtree(real_home / "data/kermany")
    with pytest.raises(FileNotFoundError, match="data/kermany"):
        studies.load_hospitals(profile("real"))


def test_an_unknown_site_gives_every_class_of_the_test(real_home):
    manifest = studies.load_hospitals(profile("real"))
    folds = dict(hospitals.leave_one_out(manifest))
    assert len(folds) == 6  # two sources without COVID-19 times three groups with it
    for name, fold in folds.items():
        test, train = fold[fold.split == "test"], fold[fold.split == "train"]
        assert set(test.site) == set(name.split(" and "))
        assert not set(test.site) & set(train.site)
        assert not set(test.patient_id) & set(train.patient_id)
        assert CLASS_NAMES[2] in set(test.label) and CLASS_NAMES[2] in set(train.label)


def test_where_sites_have_all_classes_each_is_left_out(tmp_path):
    manifest = make_manifest(tmp_path, 9)
    manifest["site"] = np.repeat(["A", "B", "C"], 3)
    manifest.loc[8, "patient_id"] = manifest.patient_id[0]  # one patient in A and C
    folds = dict(hospitals.leave_one_out(manifest))
    assert list(folds) == ["A", "B", "C"]
    assert folds["A"].split[8] == "" and folds["A"].split[0] == "test"


def test_weights_are_alike_for_classes_and_for_sources_within(tmp_path):
    manifest = make_manifest(tmp_path, 12)
    manifest["source"] = ["a", "a", "a", "b", "a", "a", "a", "a", "a", "a", "a", "a"]
    weight = pd.Series(hospitals.cell_weights(manifest))
    assert weight.mean() == pytest.approx(1)
    by_class = weight.groupby(manifest.label).sum()
    assert np.allclose(by_class, by_class.iloc[0])
    normal = manifest.label == "normal"
    by_source = weight[normal].groupby(manifest.source[normal]).sum()
    assert np.allclose(by_source, by_source.iloc[0])


def test_a_mask_that_cannot_be_lungs_gives_way_to_a_central_box():
    mask = np.zeros((50, 60), bool)
    box = hospitals.usable_mask(mask)
    assert 0.5 < box.mean() < 0.9 and not box[0].any() and not box[:, 0].any()
    mask[10:40, 10:50] = True
    assert hospitals.usable_mask(mask) is mask


def test_masks_are_found_for_all_and_boxes_are_kept_beside(real_home, monkeypatch):
    empty = real_home / "empty.png"
    lungs.write_mask(empty, np.zeros((64, 64), bool))
    monkeypatch.setattr(lungs, "train_profile_unet", lambda name: real_home)
    monkeypatch.setattr(
        lungs, "predict_masks", lambda manifest, _: manifest.assign(mask_path=str(empty))
    )
    manifest = hospitals.manifest_with_masks("real")
    assert set(manifest.mask_path) == {str(real_home / "empty-box.png")}
    assert set(manifest.source) == {"cohen", "kermany", "nih"}
