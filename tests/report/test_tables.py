import pandas as pd
import pytest

from xraylib.report import pages


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "TRACKED", tmp_path / "book" / "results")
    monkeypatch.setenv("XRAYLIB_HOME", str(tmp_path / "home"))
    return tmp_path


def test_tables_lie_in_the_clone_where_there_is_one(folder):
    (folder / "book").mkdir()
    assert pages.tables_folder("quick") == folder / "book" / "results" / "quick"


def test_tables_lie_in_the_home_without_a_clone(folder):
    assert pages.tables_folder("quick") == folder / "home" / "results" / "quick"


def test_a_table_comes_back_with_its_day_and_machine(folder):
    table = pd.DataFrame({"accuracy": [0.5, 0.25], "n": [4, 8]})
    pages.save_table(table, "quick", "made_up")
    back = pages.load_table("quick", "made_up")
    pd.testing.assert_frame_equal(back[["accuracy", "n"]], table)
    assert back.date.str.fullmatch(r"\d{4}-\d\d-\d\d").all() and back.machine.str.len().min() > 0
    assert [path.name for path in pages.tables_folder("quick").iterdir()] == ["made_up.csv"]


def test_a_missing_table_says_how_to_make_it(folder):
    with pytest.raises(FileNotFoundError, match="run the book with the profile real"):
        pages.load_table("real", "never_written")


def test_an_installation_brings_the_tables_of_real_runs(folder, monkeypatch):
    monkeypatch.setattr(pages, "SHIPPED", folder / "measured")
    (folder / "measured").mkdir()
    (folder / "measured/kept.csv").write_text("n\n4\n")
    assert pages.load_table("real", "kept").n.tolist() == [4]
    with pytest.raises(FileNotFoundError):
        pages.load_table("quick", "kept")


def test_the_origin_of_a_table_names_day_machine_command_and_data(folder):
    pages.save_table(pd.DataFrame({"n": [1], "data": ["kermany"]}), "real", "table")
    line = pages.table_origin("real", "table")
    assert "kermany" in line
    assert "make book PROFILE=real" in line
    assert pd.Timestamp.today().strftime("%Y-") in line
    pages.save_table(pd.DataFrame({"n": [1]}), "real", "other", "python -m xraylib.segment")
    assert "darkcovidnet" in pages.table_origin("real", "other")
    assert "python -m xraylib.segment" in pages.table_origin("real", "other")
