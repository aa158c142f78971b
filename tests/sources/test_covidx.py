"""The rules of COVIDx on a row each, its assembly from drawn images, counts of real metadata."""

import zipfile

import cv2
import numpy as np
import pandas as pd
import pytest
from dicom_files import write as write_dicom

from xraylib import config, data, images, report, sources
from xraylib.data.manifest import COLUMNS
from xraylib.sources import covidx
from xraylib.sources.covidx import AssemblyError

UUIDS = [f"0004cfab-14fd-4e49-80ba-63a80b6bdd{i:02d}" for i in range(5)]


def put(path, text: str, encoding: str = "utf8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding)
    return path.parent


def cohen(tmp_path, *rows: str, header: str = "patientid,finding,view,filename") -> pd.DataFrame:
    folder = put(tmp_path / "c" / "metadata.csv", "\n".join([header, *rows]) + "\n")
    return covidx.cohen_rows(folder)


@pytest.mark.parametrize("view", ["PA", "AP", "AP Supine", "AP semi erect", "AP erect"])
def test_frontal_views_of_cohens_collection_are_kept(tmp_path, view):
    (row,) = cohen(tmp_path, f"2,COVID-19,{view},a.png").itertuples()
    assert (row.label, row.view, row.reason) == ("COVID-19", view, "")
    assert (row.source, row.patient_id, row.filename) == ("cohen", "cohen-2", "a.png")


@pytest.mark.parametrize("view, said", [("L", "L"), ("Axial", "Axial"), ("", "not given")])
def test_other_views_are_left_out(tmp_path, view, said):
    (row,) = cohen(tmp_path, f"2,COVID-19,{view},a.png").itertuples()
    assert (row.label, row.reason) == ("", f"view {said}")


@pytest.mark.parametrize(
    "finding, label",
    [
        ("COVID-19", "COVID-19"),
        ('"COVID-19, ARDS"', "COVID-19"),
        ("Pneumonia/Viral/COVID-19", "COVID-19"),
        ("SARS", "pneumonia"),
        ("Pneumonia/Viral/MERS", "pneumonia"),
        ("Streptococcus", "pneumonia"),
        ("Klebsiella", "pneumonia"),
        ("Chlamydophila", "pneumonia"),
        ("Legionella", "pneumonia"),
    ],
)
def test_findings_that_are_a_class(tmp_path, finding, label):
    (row,) = cohen(tmp_path, f"2,{finding},PA,a.png").itertuples()
    assert (row.label, row.reason) == (label, "")


@pytest.mark.parametrize("finding", ["No Finding", "ARDS", "Pneumonia", "E.Coli", "Varicella"])
def test_other_findings_are_left_out(tmp_path, finding):
    (row,) = cohen(tmp_path, f"2,{finding},PA,a.png").itertuples()
    assert (row.label, row.reason) == ("", f"finding {finding}")


def test_headers_of_old_snapshots(tmp_path):
    rows = cohen(tmp_path, "2,SARS,PA,a.png,x", header="Patientid,finding, view,filename, url")
    assert rows.label.tolist() == ["pneumonia"]


def test_a_missing_column_is_named(tmp_path):
    with pytest.raises(ValueError, match="metadata.csv: no column finding, view"):
        cohen(tmp_path, "2,a.png", header="patientid,filename")


def test_figure_1(tmp_path):
    text = (
        "patientid,finding,view,notes\n"
        "COVID-00001,COVID-19,AP erect,38° C\n"
        "COVID-00002,,PA,\n"
        "COVID-00039a,COVID-19,,\n"
        "COVID-00039b,No finding,,\n"
    )
    rows = covidx.figure1_rows(put(tmp_path / "f" / "metadata.csv", text, "latin-1"))
    assert rows.label.tolist() == ["COVID-19", "", "COVID-19", ""]
    assert rows.reason.tolist() == ["", "finding not given", "", "finding No finding"]
    assert rows.filename.tolist()[:2] == ["COVID-00001.jpg", "COVID-00002.jpg"]
    assert rows.patient_id.tolist()[2:] == ["figure1-COVID-00039"] * 2, "two images, one patient"


def test_actualmed(tmp_path):
    text = "patientid,finding,view,imagename\nCR.1,COVID-19,PA,a.jpg\nCR.2,No finding,PA,b.jpg\n"
    rows = covidx.actualmed_rows(put(tmp_path / "a" / "metadata.csv", text))
    assert rows.label.tolist() == ["COVID-19", ""]
    assert rows.filename.tolist() == ["a.jpg", "b.jpg"]


RSNA_LABELS = (
    "patientId,x,y,width,height,Target\n"
    f"{UUIDS[0]},,,,,0\n"
    f"{UUIDS[1]},,,,,0\n"
    f"{UUIDS[2]},1.0,2.0,3.0,4.0,1\n"
    f"{UUIDS[2]},5.0,6.0,7.0,8.0,1\n"
)
RSNA_CLASSES = (
    "patientId,class\n"
    f"{UUIDS[0]},Normal\n"
    f"{UUIDS[1]},No Lung Opacity / Not Normal\n"
    f"{UUIDS[2]},Lung Opacity\n"
)


def test_rsna(home):
    put(home / "data" / "rsna" / covidx.RSNA_LABELS, RSNA_LABELS)
    put(home / "data" / "rsna" / covidx.RSNA_CLASSES, RSNA_CLASSES)
    rows = covidx.by_rules()
    assert rows.label.tolist() == ["normal", "", "pneumonia", ""]
    assert rows.reason.tolist() == [
        "",
        "class No Lung Opacity / Not Normal",
        "",
        "the same patient and file again",
    ]
    assert rows.filename[0] == f"{UUIDS[0]}.dcm"


def test_rsna_without_the_table_that_says_who_is_normal(home):
    folder = home / "data" / "rsna"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / f"{covidx.RSNA_LABELS}.zip", "w") as archive:
        archive.writestr(covidx.RSNA_LABELS, RSNA_LABELS)
    rows = covidx.by_rules()
    assert rows.label.tolist() == ["", "", "pneumonia", ""]
    assert rows.reason.tolist()[:2] == [covidx.CLASSES_MISSING] * 2


def test_a_file_counts_once(tmp_path):
    rows = covidx.leave_out_repeats(
        cohen(
            tmp_path,
            "1,SARS,PA,a.png",
            "1,SARS,PA,a.png",
            "2,SARS,PA,a.png",
            "3,SARS,L,b.png",
            "3,SARS,PA,b.png",
        )
    )
    assert rows.reason.tolist() == [
        "",
        "the same patient and file again",
        "the same file under another patient",
        "view L",
        "",
    ]
    assert rows.label.tolist() == ["pneumonia", "", "", "", "pneumonia"]


def test_sources_do_not_share_patients(home):
    put(covidx.folder_of("cohen") / "metadata.csv", COHEN)
    text = "patientid,finding,view,imagename\n1,COVID-19,PA,a.png\n"
    put(covidx.folder_of("actualmed") / "metadata.csv", text)
    rows = covidx.by_rules()
    both = rows[(rows.filename == "a.png") & (rows.reason == "")]
    assert both.patient_id.tolist() == ["cohen-1", "actualmed-1"]


def test_published_lists(home):
    put(
        home / "data" / "report" / "train_split_v3.txt",
        f"2 a.png COVID-19 AP semi erect\n{UUIDS[0]} {UUIDS[0]}.png normal\n",
    )
    put(
        home / "data" / "report" / "test_split_v3.txt",
        "COVID-00015b COVID-00015b.png COVID-19 \nCR.1 c.png COVID-19 actmed\n",
    )
    rows = covidx.by_lists()
    assert rows.columns.tolist() == list(covidx.COLUMNS)
    assert rows.source.tolist() == ["cohen", "rsna", "figure1", "actualmed"]
    assert rows.view.tolist() == ["AP semi erect", "", "", ""]
    assert rows.patient_id.tolist() == [
        "cohen-2",
        f"rsna-{UUIDS[0]}",
        "figure1-COVID-00015",
        "actualmed-CR.1",
    ]
    assert (rows.reason == "").all()


def test_a_patient_of_no_source_is_named():
    with pytest.raises(ValueError, match="patient 'CR.1': a number of no source known"):
        covidx.source_of("CR.1")


def test_no_metadata_at_all(home):
    with pytest.raises(FileNotFoundError, match="no metadata in covid-chestxray-dataset, figure1"):
        covidx.by_rules()


# a small COVIDx with pixels

COHEN = (
    "patientid,finding,view,filename\n1,COVID-19,PA,a.png\n1,COVID-19,L,b.png\n2,SARS,AP,c.jpg\n"
)
FIGURE1 = "patientid,finding,view\nCOVID-00001,COVID-19,\nCOVID-00002,COVID-19,\nCOVID-00003,,\n"


def draw(path, height: int, width: int):
    path.parent.mkdir(parents=True, exist_ok=True)
    small = np.random.default_rng(height).integers(0, 256, (8, 8), dtype=np.uint8)
    cv2.imwrite(str(path), cv2.resize(small, (width, height)))


@pytest.fixture
def parts(home):
    data = home / "data"
    put(data / "covid-chestxray-dataset" / "metadata.csv", COHEN)
    put(data / "figure1" / "metadata.csv", FIGURE1, "latin-1")
    put(data / "rsna" / covidx.RSNA_LABELS, RSNA_LABELS)
    put(data / "rsna" / covidx.RSNA_CLASSES, RSNA_CLASSES)
    draw(data / "covid-chestxray-dataset" / "images" / "a.png", 300, 400)
    draw(data / "covid-chestxray-dataset" / "images" / "c.jpg", 310, 290)
    draw(data / "figure1" / "images" / "COVID-00001.jpg", 320, 320)
    draw(data / "figure1" / "images" / "COVID-00002.png", 330, 330)
    dicoms = data / "rsna" / "stage_2_train_images"
    dicoms.mkdir()
    for name in (UUIDS[0], UUIDS[2]):
        stored = np.tile(np.arange(4096, dtype=np.uint16)[:512], (280, 1)) * 8
        write_dicom(dicoms / f"{name}.dcm", stored, 12, PhotometricInterpretation="MONOCHROME1")
    return data


def load() -> pd.DataFrame:
    return sources.provide(config.profile("report"))


def test_assembly_by_the_rules(parts):
    manifest = load()
    assert set(COLUMNS) == set(manifest)
    expected = {
        "cohen/a.png": ("COVID-19", "cohen-1", "PA"),
        "cohen/c.png": ("pneumonia", "cohen-2", "AP"),
        "figure1/COVID-00001.png": ("COVID-19", "figure1-COVID-00001", ""),
        "figure1/COVID-00002.png": ("COVID-19", "figure1-COVID-00002", ""),
        f"rsna/{UUIDS[0]}.png": ("normal", f"rsna-{UUIDS[0]}", ""),
        f"rsna/{UUIDS[2]}.png": ("pneumonia", f"rsna-{UUIDS[2]}", ""),
    }
    below = parts / "covidx" / "images"
    found = {row.path: (row.label, row.patient_id, row.view) for row in manifest.itertuples()}
    assert found == {str(below / name): row for name, row in expected.items()}
    assert all(min(images.read_grey(path).shape) == 256 for path in manifest.path)
    table = pd.read_csv(parts / "covidx" / "metadata.csv")
    assert list(zip(table.height, table.width, strict=True))[:2] == [(300, 400), (310, 290)]


def test_dicom_arrives_as_it_is_seen(parts):
    load()
    grey = images.read_grey(parts / "covidx" / "images" / "rsna" / f"{UUIDS[0]}.png")
    assert grey.shape == (256, round(512 * 256 / 280))
    row = grey[100].astype(int)
    assert row[0] > 250 and row[-1] < 5 and (np.diff(row) <= 0).all(), "MONOCHROME1, inverted"


def test_counts_and_reasons_stand_beside_the_images(parts):
    load()
    counts = pd.read_csv(parts / "covidx" / "counts.csv", index_col="source")
    assert counts.loc["cohen"].to_dict() == {
        "normal": 0,
        "pneumonia": 1,
        "COVID-19": 1,
        "total": 2,
    }
    assert counts.loc["total"].tolist() == [1, 2, 3, 6]
    reasons = pd.read_csv(parts / "covidx" / "reasons.csv")
    assert set(reasons.reason) == {
        "view L",
        "finding not given",
        "class No Lung Opacity / Not Normal",
        "the same patient and file again",
    }


def test_published_lists_decide_where_they_are_at_hand(parts):
    put(
        parts / "report" / "train_split_v3.txt",
        f"1 a.png COVID-19 PA\n{UUIDS[0]} {UUIDS[0]}.png normal\n",
    )
    put(parts / "report" / "test_split_v3.txt", "COVID-00002 COVID-00002.jpg COVID-19\n")
    assert load().patient_id.tolist() == ["cohen-1", f"rsna-{UUIDS[0]}", "figure1-COVID-00002"]


def test_loading_again_assembles_nothing(parts, monkeypatch):
    first = load()
    monkeypatch.setattr(covidx, "locate", lambda *arguments: pytest.fail("again"))
    pd.testing.assert_frame_equal(load(), first)


def test_an_assembly_that_was_cut_off_goes_on(parts, monkeypatch):
    load()
    folder = parts / "covidx"
    (folder / "metadata.csv").unlink()
    (folder / "images" / "cohen" / "a.png").unlink()
    shrunk = []
    keep_small = covidx.keep_small
    monkeypatch.setattr(
        covidx,
        "keep_small",
        lambda original, target: shrunk.append(original) or keep_small(original, target),
    )
    assert len(load()) == 6
    assert shrunk == [str(parts / "covid-chestxray-dataset" / "images" / "a.png")]


def test_one_error_names_every_unreadable_image(parts):
    bad = parts / "covid-chestxray-dataset" / "images" / "a.png"
    bad.write_text("no image")
    worse = parts / "rsna" / "stage_2_train_images" / f"{UUIDS[0]}.dcm"
    worse.write_bytes(worse.read_bytes()[:500])
    with pytest.raises(AssemblyError, match="2 of 6 images cannot be read") as caught:
        load()
    assert str(bad) in str(caught.value) and str(worse) in str(caught.value)
    assert not (parts / "covidx" / "metadata.csv").exists()


def test_missing_files_are_named(parts):
    (parts / "figure1" / "images" / "COVID-00002.png").unlink()
    with pytest.raises(AssemblyError, match="1 of the files wanted are not there: COVID-00002.jpg"):
        load()


def test_a_few_missing_files_are_left_out_with_a_reason(parts, monkeypatch):
    (parts / "figure1" / "images" / "COVID-00002.png").unlink()
    monkeypatch.setattr(covidx, "MOST_MISSING", 0.5)
    assert len(load()) == 5
    reasons = pd.read_csv(parts / "covidx" / "reasons.csv").set_index("reason").images
    assert reasons[covidx.NOT_FOUND] == 1


@pytest.mark.parametrize("name", ["../metadata.csv", "/etc/passwd", "sub/a.png"])
def test_no_name_leads_out_of_a_source(parts, name):
    put(parts / "covid-chestxray-dataset" / "metadata.csv", COHEN.replace("a.png", name))
    with pytest.raises(AssemblyError, match="is not the name of a file"):
        load()


def test_missing_sources_say_what_belongs_where(home):
    put(home / "data" / "figure1" / "metadata.csv", FIGURE1)
    with pytest.raises(FileNotFoundError) as caught:
        load()
    message = str(caught.value)
    data = home / "data"
    assert f"{data / 'covid-chestxray-dataset'}: metadata.csv, images/, from github.com" in message
    assert f"{data / 'figure1'}: images/, from" in message
    assert f"{data / 'rsna'}: {covidx.RSNA_LABELS}, {covidx.RSNA_CLASSES}, stage_2" in message
    assert str(data / "report") in message and "XRAYLIB_HOME" in message


# the real metadata, where they are at hand


def need(*parts: str):
    path = config.home("data").joinpath(*parts)
    if not path.is_file():
        pytest.skip(f"needs {'/'.join(parts)} in XRAYLIB_HOME/data")


def test_the_published_lists_count_as_published():
    need("report", covidx.LISTS[0])
    counts, reasons = covidx.count_images(covidx.by_lists())
    assert counts.loc["total"].to_dict() == {
        "normal": 8851,
        "pneumonia": 6045,
        "COVID-19": 267,
        "total": 15_163,
    }
    assert counts.loc["figure1"].tolist() == [0, 0, 35, 35]
    assert counts.loc["rsna"].tolist() == [8851, 6012, 0, 14_863]
    assert reasons.empty


def test_the_leak_of_the_published_lists():
    need("report", covidx.LISTS[0])
    rows = covidx.by_lists().assign(path=lambda table: table.filename)
    split = data.split_images(rows, config.RunConfig().seed)
    for name, (leaked, n) in report.LEAKED_TEST_IMAGES.items():
        # `by_lists` joins the patients whom Figure 1 numbers 39a, 39b and 39c
        joined = report.LEAKED_OF_JOINED_PATIENTS if name == "COVID-19" else leaked
        assert covidx.leaked_images(split, name) == (joined, n)


def test_the_rules_take_the_listed_images_from_figure_1():
    need("report", covidx.LISTS[0])
    need("figure1", "metadata.csv")
    rows = covidx.figure1_rows(config.home("data") / "figure1")
    lists = covidx.by_lists()
    stems = lists.filename[lists.source == "figure1"].str.rsplit(".", n=1).str[0]
    chosen = rows[rows.reason == ""].filename.str.removesuffix(".jpg")
    assert sorted(chosen) == sorted(stems)


def test_the_rules_take_the_listed_pneumonia_from_the_challenge():
    need("report", covidx.LISTS[0])
    need("rsna", f"{covidx.RSNA_LABELS}.zip")
    rows = covidx.leave_out_repeats(covidx.rsna_rows(config.home("data") / "rsna"))
    lists = covidx.by_lists()
    listed = lists[(lists.source == "rsna") & (lists.label == "pneumonia")]
    assert set(rows.patient_id[rows.label == "pneumonia"]) == set(listed.patient_id)
    assert (rows.label == "pneumonia").sum() == 6012


def test_the_rules_keep_what_the_lists_took_from_cohen():
    need("report", covidx.LISTS[0])
    need("covid-chestxray-dataset", "metadata.csv")
    rows = covidx.cohen_rows(config.home("data") / "covid-chestxray-dataset").set_index("filename")
    lists = covidx.by_lists().set_index("filename")
    known = lists.index[(lists.source == "cohen") & lists.index.isin(rows.index)]
    assert len(known) > 250, "the collection renames a file now and then"
    assert (rows.reason[known] == "").all() and (rows.label[known] == lists.label[known]).all()


def test_the_kept_counts_are_those_of_the_metadata():
    need("report", covidx.LISTS[0])
    for folder in ("covid-chestxray-dataset", "figure1"):
        need(folder, "metadata.csv")
    need("rsna", f"{covidx.RSNA_LABELS}.zip")
    columns = ["chosen_by", "source", *config.CLASS_NAMES, "total"]
    counts, reasons = covidx.count_covidx()
    kept = report.load_table("real", covidx.COUNTS)
    pd.testing.assert_frame_equal(counts[columns], kept[columns], check_names=False)
    kept = report.load_table("real", covidx.REASONS)[["source", "reason", "images"]]
    pd.testing.assert_frame_equal(reasons, kept)


def test_without_metadata_the_kept_counts_are_shown_with_their_day(home):
    counts, reasons, said = covidx.covidx_tables()
    by_lists = counts[(counts.chosen_by == "lists") & (counts.source == "total")]
    assert by_lists.iloc[0][list(config.CLASS_NAMES)].tolist() == [8851, 6045, 267]
    assert reasons.images.min() > 0 and "measured on 20" in said


def test_with_metadata_they_are_counted_now(parts):
    with pytest.raises(FileNotFoundError):
        covidx.count_covidx()
    put(parts / "report" / "train_split_v3.txt", "1 a.png COVID-19 PA\n")
    put(parts / "report" / "test_split_v3.txt", "COVID-00002 COVID-00002.jpg COVID-19\n")
    counts, reasons, said = covidx.covidx_tables()
    assert counts[counts.source == "total"]["total"].tolist() == [2, 6]
    assert reasons.images.sum() == 4 and said.startswith("counted now")
