import pandas as pd
import pytest

from xraylib import config, report, sources
from xraylib.sources import covidx


@pytest.fixture
def lists(tmp_path):
    (tmp_path / "train_split_v3.txt").write_text(
        "1 a.png normal PA\n2 b with space.png COVID-19 AP semi erect\n2 c.png COVID-19 cohen\n"
    )
    (tmp_path / "test_split_v3.txt").write_text("3 d.png pneumonia\n")
    return tmp_path


def test_fields_may_hold_spaces_and_views_may_be_missing(lists):
    table = covidx.read_lists(lists)
    assert table.path.tolist() == ["a.png", "b with space.png", "c.png", "d.png"]
    assert table.patient_id.tolist() == ["1", "2", "2", "3"]
    assert table.label.tolist() == ["normal", "COVID-19", "COVID-19", "pneumonia"]


def test_a_line_without_label_is_named(lists):
    (lists / "test_split_v3.txt").write_text("3 d.png pneumonia\n4 e.png\n")
    with pytest.raises(ValueError, match="test_split_v3.txt, line 2"):
        covidx.read_lists(lists)


def test_leaked_images_share_a_patient_with_training():
    table = pd.DataFrame(
        {
            "patient_id": ["a", "a", "b", "c", "c"],
            "label": ["COVID-19"] * 4 + ["normal"],
            "split": ["train", "test", "test", "val", "test"],
        }
    )
    assert covidx.leaked_images(table) == (1, 2)


def test_without_lists_the_earlier_count_is_given(tmp_path, monkeypatch):
    monkeypatch.setenv("XRAYLIB_HOME", str(tmp_path))
    leaked, n, source = sources.replay_leak()
    assert (leaked, n) == report.LEAKED_COVID_TEST_IMAGES and "not at hand" in source


def test_the_published_lists_give_the_published_totals_and_the_leak():
    if not (config.home("data") / "report" / covidx.LISTS[0]).exists():
        pytest.skip("needs the report's lists in XRAYLIB_HOME/data/report")
    counts = covidx.read_lists().label.value_counts()
    assert counts.to_dict() == {"normal": 8851, "pneumonia": 6045, "COVID-19": 267}
    leaked, n, source = sources.replay_leak()
    assert (leaked, n) == report.LEAKED_COVID_TEST_IMAGES and "replayed now" in source
