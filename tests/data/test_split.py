import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xraylib import data, report
from xraylib.config import CLASS_NAMES, RunConfig

FRACTIONS = {"train": 0.72, "val": 0.18, "test": 0.10}


def manifest_of(labels, patients) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "path": [f"{i}.png" for i in range(len(labels))],
            "label": list(labels),
            "patient_id": [str(p) for p in patients],
            "split": "",
        }
    )


def patients_with_images(sizes) -> pd.DataFrame:
    """One row an image; patient i has sizes[i] images, all of class i % 3."""
    patients = np.repeat(np.arange(len(sizes)), sizes)
    return manifest_of(np.array(CLASS_NAMES)[patients % 3], patients)


SEVERAL = patients_with_images([1, 2, 3, 4] * 30)


def sides_a_patient(manifest) -> pd.Series:
    return manifest.groupby("patient_id").split.nunique()


def test_table_1_from_the_published_totals():
    """Every cell but one: the table counts one normal training image more."""
    labels = np.repeat(CLASS_NAMES, [report.LISTED[name] for name in CLASS_NAMES])
    manifest = manifest_of(labels, range(len(labels)))
    split = data.split_images(manifest, seed=19910806)
    table = data.counts_table(split)
    expected = {name: dict(row) for name, row in report.TABLE_1.items()}
    expected["normal"] |= {"train": 6372, "total": 8850}
    for name in CLASS_NAMES:
        assert table.loc[name].to_dict() == expected[name]
    assert table.loc["total", "total"] == report.IMAGES_IN_TEXT
    assert (split.split == "").sum() == len(labels) - report.IMAGES_IN_TEXT == 3
    assert list(table.columns) == ["train", "val", "test", "total"]


@given(st.integers(0, 20_000))
def test_the_shares_are_rounded_down(n):
    counts = data.report_counts(n)
    assert n - 2 <= sum(counts.values()) <= n and min(counts.values()) >= 0
    assert all(0 <= share * n - counts[part] < 1 + 1e-9 for part, share in FRACTIONS.items())
    # as the authors compute it, with 80 % of 90 %
    floors = np.floor(n * np.array([0.8 * 0.9, 0.2 * 0.9, 0.1])).astype(int)
    assert list(counts.values()) == floors.tolist()


def test_every_class_is_shuffled_from_the_seed_anew():
    """Two classes of one size are dealt alike, and a class does not depend on the others."""
    labels = ["normal"] * 50 + ["pneumonia"] * 50 + ["COVID-19"] * 20
    split = data.split_images(manifest_of(labels, range(120)), seed=4)
    assert split.split[:50].tolist() == split.split[50:100].tolist()
    alone = data.split_images(manifest_of(["COVID-19"] * 20, range(20)), seed=4)
    assert split.split[100:].tolist() == alone.split.tolist()


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(1, 5), min_size=60, max_size=240),
    st.integers(0, 2**40),
    st.randoms(use_true_random=False),
)
def test_the_patient_split_keeps_patients_together_and_fractions(sizes, seed, shuffler):
    manifest = patients_with_images(sizes)
    rows = list(manifest.index)
    shuffler.shuffle(rows)
    split = data.split_patients(manifest.loc[rows], seed)
    assert (sides_a_patient(split) == 1).all()
    assert data.shared_patients(split).empty
    for _, images in split.groupby("label"):
        for part, share in FRACTIONS.items():
            # rounding, and at most one patient of five images that no longer fits
            assert abs((images.split == part).sum() - share * len(images)) <= 6


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(CLASS_NAMES), st.integers(0, 30)), min_size=1))
def test_a_patient_with_several_classes_stays_together(images):
    labels, patients = zip(*images, strict=True)
    split = data.split_patients(manifest_of(labels, patients), seed=0)
    assert (sides_a_patient(split) == 1).all()
    assert set(split.split) <= set(data.SPLITS)


def test_the_rarest_class_of_each_patient():
    labels = ["normal"] * 3 + ["pneumonia"] * 2 + ["COVID-19", "normal"]
    rarest = data.rarest_class(manifest_of(labels, "abcbdcd"))
    assert rarest.to_dict() == {"a": "normal", "b": "pneumonia", "c": "COVID-19", "d": "pneumonia"}


@pytest.mark.parametrize("seed", range(6))
def test_equally_common_classes_do_not_depend_on_the_order_of_rows(seed):
    """As many images of each class, and patients with two of them: which one is the rarest?"""
    labels = np.array(CLASS_NAMES)[[0, 1, 1, 2, 2, 0] * 20]  # every class 40 times
    manifest = manifest_of(labels, np.repeat(np.arange(60), 2))
    shuffled = manifest.sample(frac=1, random_state=seed)
    assert data.rarest_class(shuffled).equals(data.rarest_class(manifest))
    split = data.split_patients(shuffled, 7).sort_index()
    pd.testing.assert_frame_equal(split, data.split_patients(manifest, 7))


def test_the_image_split_shares_patients_and_the_list_names_them():
    split = data.split_images(SEVERAL, seed=1)
    shared = data.shared_patients(split)
    sides = sides_a_patient(split)
    assert set(shared.patient_id) == set(sides.index[sides > 1]) and len(shared) > 10
    for row in shared.itertuples():
        images = split[split.patient_id == row.patient_id]
        for part in data.SPLITS:
            assert getattr(row, part) == (images.split == part).sum()


def test_images_without_a_patient_are_no_shared_patient():
    manifest = manifest_of(["normal"] * 4, ["", "", "a", "a"])
    shared = data.shared_patients(manifest.assign(split=["train", "test"] * 2))
    assert shared.patient_id.tolist() == ["a"]


@pytest.mark.parametrize("way", [data.split_images, data.split_patients])
def test_the_seed_decides_and_the_original_stays(way):
    one = way(SEVERAL, 7)
    pd.testing.assert_frame_equal(one, way(SEVERAL, 7))
    assert not one.split.equals(way(SEVERAL, 8).split)
    assert (SEVERAL.split == "").all()


def test_an_unusual_index_does_no_harm():
    renumbered = SEVERAL.set_index(SEVERAL.index[::-1] + 1000)
    for way in (data.split_images, data.split_patients):
        assert data.counts_table(way(renumbered, 7)).equals(data.counts_table(way(SEVERAL, 7)))


def test_the_configuration_chooses_the_way():
    config = RunConfig(seed=3)
    by_patient = data.split_manifest(SEVERAL, config)
    pd.testing.assert_frame_equal(by_patient, data.split_patients(SEVERAL, 3))
    by_image = data.split_manifest(SEVERAL, config.but(split_by="image"))
    pd.testing.assert_frame_equal(by_image, data.split_images(SEVERAL, 3))
    with pytest.raises(ValueError, match="split_by is 'hospital': choose patient or image"):
        data.split_manifest(SEVERAL, config.but(split_by="hospital"))


@pytest.mark.parametrize("split_by", ["patient", "image"])
def test_folds_test_every_image_once(split_by):
    config = RunConfig(split_by=split_by, folds=5)
    folds = data.split_folds(SEVERAL, config)
    tested = np.array([(fold.split == "test").to_numpy() for fold in folds])
    assert len(folds) == 5 and (tested.sum(axis=0) == 1).all()
    assert all(set(fold.split) == {"train", "test"} for fold in folds)
    for name in CLASS_NAMES:
        of_class = (SEVERAL.label == name).to_numpy()
        shares = tested[:, of_class].mean(axis=1)
        np.testing.assert_allclose(shares, 0.2, atol=0.06)


def test_folds_by_patient_share_none_and_by_image_some():
    by_patient = data.split_folds(SEVERAL, RunConfig(folds=4))
    assert all(data.shared_patients(fold).empty for fold in by_patient)
    by_image = data.split_folds(SEVERAL, RunConfig(folds=4, split_by="image"))
    assert all(len(data.shared_patients(fold)) for fold in by_image)


def test_folds_are_seeded():
    one, two, other = (data.split_folds(SEVERAL, RunConfig(seed=s)) for s in (1, 1, 2))
    assert all(a.equals(b) for a, b in zip(one, two, strict=True))
    assert not all(a.equals(b) for a, b in zip(one, other, strict=True))


def test_images_without_a_patient_cannot_be_split_by_patient():
    manifest = manifest_of(["normal"] * 3, ["a", "", ""])
    for cut in (
        lambda: data.split_patients(manifest, 0),
        lambda: data.split_folds(manifest, RunConfig(folds=2)),
    ):
        with pytest.raises(ValueError, match=r"2 images have no patient_id \(first: 1.png\)"):
            cut()
    assert len(data.split_images(manifest, 0)) == 3


def test_a_class_without_images_has_its_row_of_zeros():
    manifest = manifest_of(["normal"] * 10, range(10))
    table = data.counts_table(data.split_images(manifest, 0))
    assert table.loc["COVID-19"].tolist() == [0, 0, 0, 0]
    assert table.loc["normal"].to_dict() == {"train": 7, "val": 1, "test": 1, "total": 9}


OWN = ("viral", "bacterial", "TB", "clear", "effusion")
WAYS = {
    "images": lambda manifest: data.split_images(manifest, 3),
    "patients": lambda manifest: data.split_patients(manifest, 3),
    "folds by patient": lambda manifest: data.split_folds(manifest, RunConfig(folds=3))[0],
    "folds by image": lambda m: data.split_folds(m, RunConfig(folds=3, split_by="image"))[0],
}
BY_PATIENT = ("patients", "folds by patient")


def own_manifest(n: int = 300) -> pd.DataFrame:
    return manifest_of([OWN[i % 5] for i in range(n)], [i // 2 for i in range(n)])


@pytest.mark.parametrize("way", WAYS)
def test_any_labels_are_split_and_none_is_lost(way):
    manifest = own_manifest()
    manifest.loc[::9, "label"] = "misspelt"
    split = WAYS[way](manifest)
    assert set(split.split) <= set(data.SPLITS) and len(split) == 300
    table = data.counts_table(split)
    assert list(table.index) == [*sorted({*OWN, "misspelt"}), "total"]
    assert (table.loc["total"] == table.iloc[:-1].sum()).all()
    assert table.loc["total", "total"] == 300 and (table.iloc[:, :-1] > 0).all(axis=None)


@pytest.mark.parametrize("way", ["images", "patients"])
def test_labels_of_ones_own_get_the_reports_shares(way):
    split = WAYS[way](own_manifest())
    for _, part in split.groupby("label"):
        counts = part.split.value_counts().to_dict()
        for name, n in data.report_counts(len(part)).items():
            assert abs(counts[name] - n) <= 2


@pytest.mark.parametrize("missing", ["", None, np.nan, pd.NA])
@pytest.mark.parametrize("way", WAYS)
def test_a_missing_label_or_patient_is_named_with_its_row(way, missing):
    for column in ("label", "patient_id")[: 1 + (way in BY_PATIENT)]:
        manifest = own_manifest()
        manifest[column] = manifest[column].astype(object)
        manifest.loc[[4, 9], column] = missing
        with pytest.raises(ValueError, match=rf"2 images have no {column} \(first: 4.png\); fill"):
            WAYS[way](manifest)


@pytest.mark.parametrize("way", BY_PATIENT)
def test_patients_of_numbers_and_text_are_not_mixed(way):
    manifest = own_manifest()
    manifest["patient_id"] = manifest.patient_id.astype(int)
    assert (sides_a_patient(WAYS[way](manifest)) == 1).all()
    manifest["patient_id"] = manifest.patient_id.astype(object)
    manifest.loc[7:, "patient_id"] = manifest.patient_id[7:].astype(str)
    with pytest.raises(data.ManifestError, match=r"patient_id mixes text and numbers.*0, 1, 2"):
        WAYS[way](manifest)


@pytest.mark.parametrize("way", WAYS)
def test_joined_tables_and_categories_are_split_as_plain_ones(way):
    plain = own_manifest()
    joined = pd.concat([plain[:150], plain[150:].reset_index(drop=True)])  # rows 0..149 twice
    assert joined.index.has_duplicates
    assert WAYS[way](joined).split.tolist() == WAYS[way](plain).split.tolist()
    labels = pd.Categorical(plain.label, categories=[*OWN, "never seen"])
    assert WAYS[way](plain.assign(label=labels)).split.tolist() == WAYS[way](plain).split.tolist()
    assert "never seen" not in data.counts_table(WAYS[way](plain.assign(label=labels))).index


@pytest.mark.parametrize("way", WAYS)
def test_a_missing_or_doubled_column_is_named(way):
    plain = own_manifest()
    with pytest.raises(data.ManifestError, match="no column label; found path, label_x, patient"):
        WAYS[way](plain.rename(columns={"label": "label_x"}))
    with pytest.raises(data.ManifestError, match="two columns called label"):
        WAYS[way](pd.concat([plain, plain[["label"]]], axis=1))


def test_rows_in_no_set_are_not_counted_and_are_no_leak():
    split = data.split_images(own_manifest(20), 0)
    split["split"] = split.split.astype(object)
    split.loc[:4, "split"] = np.nan
    assert data.counts_table(split).loc["total", "total"] == 15
    split["patient_id"] = [np.nan, np.nan, *split.patient_id[2:]]
    assert data.shared_patients(split).patient_id.notna().all()
