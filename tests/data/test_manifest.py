from pathlib import Path

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


def test_a_split_of_ones_own_is_kept_and_checked(folder):
    change(folder, split=["Training", "val", ""])
    assert data.from_metadata(folder).split.tolist() == ["train", "val", ""]
    change(folder, split=["train", "holdout", "test"])
    with pytest.raises(ManifestError, match="metadata.csv: split holdout; write train"):
        data.from_metadata(folder)


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
    with pytest.raises(ManifestError, match=f"no column {column}"):
        data.check_manifest(manifest, folder)


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


SHEETS = {
    "semicolons": (";", "utf-8", ""),
    "tabs": ("\t", "utf-8", ""),
    "spaces after commas": (", ", "utf-8", ""),
    "UTF-8 with a mark": (",", "utf-8-sig", ""),
    "UTF-16": ("\t", "utf-16", ""),
    "Windows": (";", "cp1252", ""),
    "empty rows at the end": (",", "utf-8", ",,\r\n,,\r\n"),
}


@pytest.mark.parametrize("separator, encoding, end", SHEETS.values(), ids=SHEETS)
def test_tables_as_spreadsheets_write_them(tmp_path, separator, encoding, end):
    rows = [["filename", "label", "patient_id"], ["0.png", "T\xfcr", "007"], ["1.png", "", "NA"]]
    text = "\r\n".join(separator.join(row) for row in rows) + "\r\n" + end
    (tmp_path / "metadata.csv").write_bytes(text.encode(encoding))
    table = data.read_table(tmp_path / "metadata.csv", rows[0])
    assert [table.columns.tolist(), *table.to_numpy().tolist()] == rows


UNCLEAR = {
    "empty": (b"", "metadata.csv: empty"),
    "blank": (b"\n \n", "metadata.csv: empty"),
    "a workbook": (b"PK\x03\x04\0\0\0\0xl", "metadata.csv: no text; save it as CSV"),
    "unequal rows": (b"filename,label\na.png,x,y\n", "row 2 has 3 fields and the header 2"),
    "separators": (b",,;\n\x1c\n", "metadata.csv: "),
    "two of a name": (b"label,label\nx,y\n", "two columns called 'label'"),
    "a quote without end": (b'a,"' + b"x" * 200_000, "metadata.csv: no table"),
    "no header": (b"a.png,normal\nb.png,normal\n", "no column filename, .*; found a.png, normal"),
}


@pytest.mark.parametrize("content, message", UNCLEAR.values(), ids=UNCLEAR)
def test_an_unclear_table_says_what_was_found(folder, content, message):
    (folder / "metadata.csv").write_bytes(content)
    with pytest.raises(ManifestError, match=message):
        data.from_metadata(folder)


def test_missing_labels_and_nan_in_a_manifest_are_missing_text(folder):
    manifest = data.from_metadata(folder)
    manifest["source"] = [None, float("nan"), pd.NA]
    assert data.check_manifest(manifest, folder).source.tolist() == ["", "", ""]
    manifest.loc[1, "label"] = None
    with pytest.raises(ManifestError, match=r"1 images have no label \(first: .*1.png\)"):
        data.check_manifest(manifest, folder)


def test_label_ids_name_the_label_that_is_none(folder):
    manifest = data.from_metadata(folder).assign(label=["TB", "clear", "TB"])
    assert data.label_ids(manifest, data.class_names_of(manifest)).tolist() == [0, 1, 0]
    with pytest.raises(ManifestError, match=r"unknown label 'TB' \(2 rows\), 'clear' \(1 rows\)"):
        data.label_ids(manifest)


LAYOUTS = {  # folder of an image -> its split, its label
    "CLASS": ("", "TB"),
    "train/CLASS": ("train", "TB"),
    "Test/CLASS": ("test", "TB"),
    "validation/CLASS": ("val", "TB"),
    "set/train/CLASS": ("train", "TB"),
    "CLASS/test": ("test", "TB"),
    "CLASS/images": ("", "TB"),
    "train/CLASS/images": ("train", "TB"),
    "CLASS/patient 7": ("", "TB"),
    "": ("", ""),
}


@pytest.mark.parametrize("place, expected", LAYOUTS.items(), ids=repr)
def test_the_folders_tell_class_and_set(tmp_path, place, expected):
    place = place.replace("CLASS", "TB")
    made = make_manifest(tmp_path / "made", 2)
    for name, path in zip(("a.png", "b.png"), made.path, strict=True):
        target = tmp_path / "set" / place / name
        target.parent.mkdir(parents=True, exist_ok=True)
        Path(path).rename(target)
    (tmp_path / "set" / "notes.txt").write_text("left out")
    (tmp_path / "set" / ".DS_Store").touch()
    manifest, left_out = data.read_folder(tmp_path / "set")
    assert len(manifest) == 2
    assert set(zip(manifest.split, manifest.label, strict=True)) == {expected}
    assert left_out == {"with .txt": 1, "of the system": 1}
    said = manifest.attrs["layout"]
    assert ("TB" in said) == bool(expected[1]) and ("in sets" in said) == bool(expected[0])


def test_masks_beside_images_are_masks_and_no_radiographs(tmp_path):
    for kind in ("images", "masks"):
        make_manifest(tmp_path / "TB" / kind, 3)
    manifest = data.load_manifest(tmp_path, class_names=None)
    assert manifest.label.tolist() == ["TB"] * 3
    assert [Path(p).parent.name for p in manifest.path] == ["images"] * 3
    assert manifest.mask_path.tolist() == [
        str(tmp_path / "TB" / "masks" / Path(path).name) for path in manifest.path
    ]


def test_two_files_of_one_stem_are_two_patients(tmp_path):
    make_manifest(tmp_path / "normal", 2)
    (tmp_path / "normal" / "0.jpg").write_bytes((tmp_path / "normal" / "0.png").read_bytes())
    manifest = data.from_class_folders(tmp_path)
    assert manifest.patient_id.tolist() == ["normal/0.jpg", "normal/0.png", "normal/1"]


def test_a_file_in_place_of_a_folder_is_said(tmp_path):
    (tmp_path / "x.png").touch()
    with pytest.raises(NotADirectoryError, match="x.png: is a file; name the folder"):
        data.load_manifest(tmp_path / "x.png")
