import hashlib
import random

import pandas as pd
import pytest

from xraylib import config, report, sources
from xraylib.sources import covidx


@pytest.fixture
def lists(home):
    folder = home / "data" / "report"
    folder.mkdir(parents=True)
    (folder / "train_split_v3.txt").write_text(
        "1 a.png normal PA\n2 b with space.png COVID-19 AP semi erect\n2 c.png COVID-19 cohen\n"
    )
    (folder / "test_split_v3.txt").write_text("3 d.png pneumonia\n")
    return folder


def test_fields_may_hold_spaces_and_views_may_be_missing(lists):
    table = covidx.read_lists()
    assert table.path.tolist() == ["a.png", "b with space.png", "c.png", "d.png"]
    assert table.patient_id.tolist() == ["1", "2", "2", "3"]
    assert table.label.tolist() == ["normal", "COVID-19", "COVID-19", "pneumonia"]


def test_a_line_without_label_is_named(lists):
    (lists / "test_split_v3.txt").write_text("3 d.png pneumonia\n4 e.png\n")
    with pytest.raises(ValueError, match="test_split_v3.txt, line 2"):
        covidx.read_lists()


def test_leaked_images_share_a_patient_with_training():
    table = pd.DataFrame(
        {
            "patient_id": ["a", "a", "b", "c", "c"],
            "label": ["COVID-19"] * 4 + ["normal"],
            "split": ["train", "test", "test", "val", "test"],
        }
    )
    assert covidx.leaked_images(table) == (1, 2)


@pytest.mark.parametrize("name", config.CLASS_NAMES)
def test_without_lists_the_earlier_count_is_given(tmp_path, monkeypatch, name):
    monkeypatch.setenv("XRAYLIB_HOME", str(tmp_path))
    leaked, n, source = sources.replay_leak(name)
    assert (leaked, n) == report.LEAKED_TEST_IMAGES[name] and "not at hand" in source


def need_lists():
    if not (config.home("data") / "report" / covidx.LISTS[0]).exists():
        pytest.skip("needs the report's lists in XRAYLIB_HOME/data/report")


@pytest.mark.parametrize("name", config.CLASS_NAMES)
def test_the_published_lists_give_the_published_totals_and_the_leak(name):
    need_lists()
    counts = covidx.read_lists().label.value_counts()
    assert counts.to_dict() == report.LISTED
    leaked, n, source = sources.replay_leak(name)
    assert (leaked, n) == report.LEAKED_TEST_IMAGES[name] and "replayed now" in source


# SHA-256 of the names of the files of each set, sorted, a line each. The authors' notebook
# create_more_dataset_magnis.ipynb prints the names as it copies the files.
PRINTED_SETS = {
    ("normal", "train"): "4ceea5650455701009858d6887907e4919f7c995e6aec1e79de98799d732ad38",
    ("normal", "val"): "0c81113ff23105e28fc2c328722904b954f11a27a9e82c92a3c62ba410b856b7",
    ("normal", "test"): "447849bd072dab86d4c409d71e5e19d2fa32284e5a14c2ed674cb6716d3b799d",
    ("pneumonia", "train"): "4da3f479f4c41436b5b80de6e8c30cc862bfd1ae6854c791beb4d7c625edde9e",
    ("pneumonia", "val"): "6c30f5016ecb43f5244169273259683f7de8b36fe9bc8358c1a4a344eb06451a",
    ("pneumonia", "test"): "5a32aa3c5b71d7f5a1617ea8858ab27210b8a60eeda09aaf5e08b9402b8560fe",
    ("COVID-19", "train"): "604efc9c3979b0b1b0326e004452b56a938c58c067054b35184d22bc6937f7c1",
    ("COVID-19", "val"): "cbf5b05dd060d0887a06e575dfd422f7531b1239b00f16aca218c9ba5e293c6d",
    ("COVID-19", "test"): "9754bc7a6e749434a203638f3c9387eac2d5aa659af98563fbffe78d57e7c871",
}


@pytest.mark.parametrize(("name", "part"), PRINTED_SETS)
def test_the_replayed_split_is_the_authors_own(name, part):
    need_lists()
    split = sources.replay_split()
    files = split.path[(split.label == name) & (split.split == part)]
    lines = "".join(f"{file}\n" for file in sorted(files))
    assert hashlib.sha256(lines.encode()).hexdigest() == PRINTED_SETS[name, part]


def test_the_covid_test_images_are_those_that_the_authors_notebook_prints():
    """All 26 names, in its order, copied from the end of its output."""
    need_lists()
    images = covidx.read_lists()
    covid = images[images.label == "COVID-19"].path.tolist()
    order = list(range(len(covid)))
    random.Random(config.RunConfig().seed).shuffle(order)
    assert [covid[i] for i in order[192 + 48 :]][:26] == PRINTED_COVID_TEST.split()


PRINTED_COVID_TEST = """
7EF28E12-F628-4BEC-A8C5-E6277C2E4F60.png
auntminnie-d-2020_01_28_23_51_6665_2020_01_28_Vietnam_coronavirus.jpeg
AR-2.jpg
COVID-00024.jpg
1-s2.0-S1684118220300608-main.pdf-002.jpg
COVID-00022.jpg
16654_2_1.jpg
1-s2.0-S0929664620300449-gr2_lrg-c.jpg
covid-19-pneumonia-evolution-over-a-week-1-day6.jpg
88de9d8c39e946abd495b37cd07d89e5-6531-0.jpg
ryct.2020200034.fig5-day4.jpeg
covid-19-pneumonia-49-day8.jpg
16674_1_1.jpg
23E99E2E-447C-46E5-8EB2-D35D12473C39.png
radiol.2020201160.fig3c.jpeg
COVID-00039c.jpg
covid-19-pneumonia-41-day-2.jpg
9fdd3c3032296fd04d2cad5d9070d4_jumbo.jpeg
COVID-00032.jpg
COVID-00017.jpg
E1724330-1866-4581-8CD8-CEC9B8AFEDDE.jpeg
figure1-5e7c1b8d98c29ab001275405-98-later.jpeg
COVID-00030.jpg
1.CXRCTThoraximagesofCOVID-19fromSingapore.pdf-003-fig4a.png
ae6c954c0039de4b5edee53865ffee43-e6c8-0.jpg
COVID-00021.jpg
"""


def test_figure_7_shows_test_images_of_patients_in_training():
    need_lists()
    split = sources.replay_split()
    for file, split_of_it, others in report.FIGURE_7.values():
        (shown,) = split[split.path == file].itertuples()
        assert (shown.label, shown.split) == ("COVID-19", "test")
        assert split_of_it == shown.split
        same = split[(split.patient_id == shown.patient_id) & (split.split == "train")]
        assert len(same) == others > 0
