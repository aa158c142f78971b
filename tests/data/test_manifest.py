import pandas as pd
import pytest
from conftest import make_manifest

from xraylib import data, sources
from xraylib.config import RunConfig
from xraylib.data import ManifestError
from xraylib.data.manifest import COLUMNS


@pytest.fixture
def folder(tmp_path):
    """A data set of three images, as `from_metadata` reads it."""
    made = make_manifest(tmp_path / "set" / "images", 3)
    table = made[["label", "patient_id", "view"]].assign(filename=["0.png", "1.png", "2.png"])
    (tmp_path / "set" / "masks").mkdir()
    (tmp_path / "set" / "masks" / "m.png").write_bytes(
        (tmp_path / "set" / "images" / "0.png").read_bytes()
    )
    table["mask"] = ["", "m.png", ""]
    table.to_csv(tmp_path / "set" / "metadata.csv", index=False)
    return tmp_path / "set"


def change(folder, **columns) -> None:
    table = pd.read_csv(folder / "metadata.csv", dtype=str, keep_default_na=False)
    table.assign(**columns).to_csv(folder / "metadata.csv", index=False)


def test_metadata_becomes_a_manifest(folder):
    manifest = data.from_metadata(folder)
    assert set(manifest) == set(COLUMNS)
    assert manifest.path.tolist() == [str(folder / "images" / f"{i}.png") for i in range(3)]
    assert manifest.label.tolist() == ["normal", "pneumonia", "COVID-19"]
    assert manifest.patient_id.tolist() == ["patient-0", "patient-1", "patient-2"]
    assert manifest.mask_path.tolist() == ["", str(folder / "masks" / "m.png"), ""]
    assert (manifest.source == "").all() and (manifest.split == "").all()
    assert data.label_ids(manifest).tolist() == [0, 1, 2]


def test_text_stays_text(folder):
    change(folder, patient_id=["007", "NA", "nan"], source=["", "1e5", "None"])
    manifest = data.from_metadata(folder)
    assert manifest.patient_id.tolist() == ["007", "NA", "nan"]
    assert manifest.source.tolist() == ["", "1e5", "None"]


def test_missing_columns_of_metadata(folder):
    table = pd.read_csv(folder / "metadata.csv").drop(columns=["label", "patient_id"])
    table.to_csv(folder / "metadata.csv", index=False)
    with pytest.raises(ManifestError, match="metadata.csv: no column label, patient_id"):
        data.from_metadata(folder)


def test_one_error_lists_every_fault(folder):
    change(
        folder,
        filename=["0.png", "0.png", "gone.png"],
        label=["normal", "covid", "COVID-19"],
        mask=["../images/1.png", "none.png", ""],
    )
    with pytest.raises(ManifestError) as caught:
        data.from_metadata(folder)
    images, masks = folder / "images", folder / "masks"
    assert str(caught.value).splitlines() == [
        "5 faults in the manifest:",
        f"{images / '0.png'}: unknown label 'covid'",
        f"{images / '0.png'}: listed twice",
        f"{images / 'gone.png'}: no such file",
        f"{masks / 'none.png'}: no such file",
        f"{masks / '../images/1.png'}: outside {folder}",
    ]


def test_a_full_path_leads_outside_too(folder, tmp_path):
    elsewhere = make_manifest(tmp_path / "elsewhere", 1).path[0]
    change(folder, filename=["0.png", "1.png", elsewhere])
    with pytest.raises(ManifestError, match=f"{elsewhere}: outside {folder}"):
        data.from_metadata(folder)


def test_no_images(folder):
    pd.read_csv(folder / "metadata.csv")[:0].to_csv(folder / "metadata.csv", index=False)
    with pytest.raises(ManifestError, match="no images"):
        data.from_metadata(folder)


@pytest.mark.parametrize("column", COLUMNS)
def test_a_manifest_without_a_column(folder, column):
    manifest = data.from_metadata(folder).drop(columns=column)
    with pytest.raises(ManifestError, match=f"needs the columns {column}"):
        data.check_manifest(manifest)


def test_a_data_folder_may_be_made_of_links(folder, tmp_path):
    (tmp_path / "linked").mkdir()
    for name in ("images", "masks", "metadata.csv"):
        (tmp_path / "linked" / name).symlink_to(folder / name)
    assert len(data.from_metadata(tmp_path / "linked")) == 3


def test_class_folders(tmp_path):
    for name, files in {"normal": 2, "COVID-19": 1}.items():
        make_manifest(tmp_path / name, files)
    (tmp_path / "normal" / "0.png").rename(tmp_path / "normal" / "0.PNG")
    (tmp_path / "normal" / "notes.txt").write_text("not an image")
    manifest = data.from_class_folders(tmp_path)
    assert set(COLUMNS) == set(manifest)
    assert sorted(manifest.path) == [
        str(tmp_path / name) for name in ("COVID-19/0.png", "normal/0.PNG", "normal/1.png")
    ]
    assert manifest.label.value_counts().to_dict() == {"normal": 2, "COVID-19": 1}
    assert manifest.patient_id.is_unique and (manifest.patient_id != "").all()


def test_a_misspelt_class_folder_is_named(tmp_path):
    make_manifest(tmp_path / "normal", 1)
    make_manifest(tmp_path / "covid19", 1)
    with pytest.raises(ManifestError, match="images in covid19; a folder of images is called"):
        data.from_class_folders(tmp_path)


def test_no_class_folders(tmp_path):
    (tmp_path / "covid").mkdir()
    with pytest.raises(ManifestError, match="no images in folders called normal, pneumonia, CO"):
        data.from_class_folders(tmp_path)


def test_reading_takes_metadata_before_class_folders(folder):
    pd.testing.assert_frame_equal(data.load_manifest(folder), data.from_metadata(folder))
    (folder / "metadata.csv").unlink()
    with pytest.raises(ManifestError, match="images in images"):
        data.load_manifest(folder)


def test_reading_checks(folder):
    (folder / "images" / "1.png").unlink()
    with pytest.raises(ManifestError, match="1.png: no such file"):
        data.load_manifest(folder)


def test_reading_makes_nothing(home):
    missing = home / "data" / "darkcovidnet"
    with pytest.raises(FileNotFoundError, match=f"no data set at {missing}: .*sources.provide"):
        data.load_manifest(missing)
    assert list(home.iterdir()) == []


def test_a_data_set_is_found_by_name_and_by_path(folder, home):
    (home / "data").mkdir()
    (home / "data" / "mine").symlink_to(folder)
    by_name = sources.provide(RunConfig(dataset="mine"))
    assert by_name.path[0] == str(home / "data" / "mine" / "images" / "0.png")
    by_path = sources.provide(RunConfig(dataset=str(folder)))
    assert by_path.path[0] == str(folder / "images" / "0.png")


def test_a_data_set_may_be_class_folders(home, tmp_path):
    make_manifest(tmp_path / "set" / "pneumonia", 2)
    manifest = sources.provide(RunConfig(dataset=str(tmp_path / "set")))
    assert manifest.label.tolist() == ["pneumonia"] * 2


def test_missing_data_say_where_they_belong(home):
    with pytest.raises(FileNotFoundError) as caught:
        sources.provide(RunConfig(dataset="darkcovidnet"))
    assert str(home / "data" / "darkcovidnet") in str(caught.value)
    assert "XRAYLIB_HOME" in str(caught.value)


def test_phantoms(home):
    config = RunConfig(dataset="phantom", phantom_counts=(4, 3, 2), seed=5)
    manifest = sources.provide(config)
    assert manifest.label.value_counts().to_dict() == {"normal": 4, "pneumonia": 3, "COVID-19": 2}
    assert set(COLUMNS) | {"lesion_path", "marker_path"} <= set(manifest)
    for column in ("patient_id", "source", "view", "mask_path"):
        assert (manifest[column] != "").all()
    assert manifest.path.str.startswith(str(home / "data")).all()
    pd.testing.assert_frame_equal(sources.provide(config), manifest)
    assert set(sources.provide(config.but(seed=6)).path).isdisjoint(manifest.path)
    assert set(sources.provide(config.but(confounding=0.0)).path).isdisjoint(manifest.path)
