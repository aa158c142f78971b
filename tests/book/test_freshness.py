import os

import pytest
from tools import freshness


@pytest.fixture
def book(tmp_path, monkeypatch):
    monkeypatch.setenv("XRAYLIB_HOME", str(tmp_path / "home"))
    package = tmp_path / "package"
    (package / "room").mkdir(parents=True)
    for name in ("package/code.py", "package/room/code.py", "package/room/style.mplstyle"):
        (tmp_path / name).write_text("x = 1")
    (tmp_path / "builder.py").write_text("x = 1")
    monkeypatch.setattr(freshness, "PACKAGE", package)
    monkeypatch.setattr(freshness, "TOOLS", [tmp_path / "builder.py"])
    for profile in ("quick", "real"):
        (tmp_path / "book/results" / profile).mkdir(parents=True)
        (tmp_path / "book/results" / profile / "grid.csv").write_text("n\n1\n")
    data = tmp_path / "home/data/hospital/images/normal"
    data.mkdir(parents=True)
    (data / "a.png").write_bytes(b"1")
    (tmp_path / "chapter.ipynb").write_text("{}")
    return tmp_path


def stamp(root, profile="quick") -> str:
    return freshness.stamp(root / "chapter.ipynb", profile, root)


def test_nothing_changed_nothing_stale(book):
    assert stamp(book) == stamp(book)


def test_profiles_differ(book):
    assert stamp(book) != stamp(book, "real")


@pytest.mark.parametrize(
    "changed",
    [
        "chapter.ipynb",
        "package/code.py",
        "package/room/code.py",
        "package/room/style.mplstyle",
        "builder.py",
        "book/results/real/grid.csv",
    ],
)
def test_what_a_chapter_is_made_from(book, changed):
    before = stamp(book)
    (book / changed).write_text("changed")
    assert stamp(book) != before


def test_a_chapters_own_tables_do_not_make_it_stale(book):
    before = stamp(book)
    (book / "book/results/quick/grid.csv").write_text("n\n2\n")
    assert stamp(book) == before


def test_a_new_image_shows_and_a_phantom_does_not(book):
    before = stamp(book)
    (book / "home/data/phantom-1/images").mkdir(parents=True)
    assert stamp(book) == before
    folder = book / "home/data/hospital/images/normal"
    (folder / "b.png").write_bytes(b"2")
    os.utime(folder, ns=(1, 1))
    assert stamp(book) != before


def test_no_copy_no_stamp(book):
    assert freshness.stamp_of(book / "none.ipynb") is None
