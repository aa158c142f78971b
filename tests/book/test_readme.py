"""What the first page says is so: its snippet, its numbers, its picture."""

import contextlib
import io
import re

import matplotlib
import matplotlib.image
import numpy as np
import pytest
from tools import build, cover

from xraylib import config, metrics, report

CONSTRAINTS = build.ROOT / "constraints.txt"
README = (build.ROOT / "README.md").read_text("utf8")
# a number in bold, and behind it, unseen by readers, the expression that it comes from
TRACED = re.findall(r"\*\*([\d.,]+)\*\*\s*<!-- = (.+?) -->", README, re.DOTALL)


def real(name: str, **where):
    """Return the one row of a real run's table in which columns have these values."""
    table = report.load_table("real", name)
    for column, value in where.items():
        table = table[table[column] == value]
    (row,) = table.itertuples()
    return row


def gains():
    """Return the comparisons of maps with the strongest floor, on real radiographs."""
    table = report.load_table("real", "maps_against_marks")
    return table[table.gain.notna()]


def test_the_snippet_prints_what_stands_below_it():
    (code,) = re.findall(r"```python\n(.+?)```", README, re.DOTALL)
    (output,) = re.findall(r"```text\n(.+?)```", README, re.DOTALL)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "README.md", "exec"), {})
    assert printed.getvalue() == output


@pytest.mark.parametrize(("shown", "expression"), TRACED)
def test_every_number_follows_from_a_table_or_the_report(shown, expression):
    value = eval(expression, {"real": real, "gains": gains, "report": report, "metrics": metrics})
    decimals = len(shown.partition(".")[2])
    assert f"{value:.{decimals}f}" == shown


def test_findings_hold_no_other_number():
    findings = README.split("## What the book found")[1].split("The numbers come")[0]
    assert len(TRACED) == len(re.findall(r"\*\*[\d.,]+\*\*", findings)) > 5
    prose = re.sub(r"\*\*[\d.,]+\*\*<!--.+?-->", "", findings, flags=re.DOTALL)
    assert not re.findall(r"\d+", prose.replace("COVID-19", ""))


def test_the_picture_is_the_one_that_the_package_draws(tmp_path):
    if f"matplotlib=={matplotlib.__version__}\n" not in CONSTRAINTS.read_text("utf8"):
        pytest.skip("another Matplotlib than that of constraints.txt draws text differently")
    cover.write_picture(tmp_path / "cover.png")
    drawn, kept = (
        matplotlib.image.imread(path)[..., :3] for path in (tmp_path / "cover.png", cover.TARGET)
    )
    assert drawn.shape == kept.shape, "draw it again: make cover"
    assert np.abs(drawn - kept).mean() < 0.02, "draw it again: make cover"


def test_the_picture_is_described_with_its_own_numbers():
    (text,) = re.findall(r"!\[(.+?)\]\(book/assets/cover.png\)", README)
    shares = [real("grid", train_view=name, test_view=name).accuracy * 100 for name in cover.SHOWN]
    assert re.findall(r"\d+", text) == [f"{share:.0f}" for share in shares]


def test_the_table_lists_every_chapter_and_profile():
    chapters = re.findall(r"\]\(notebooks/(\w+)\.ipynb\)", README)
    assert chapters == [path.stem for path in build.sources(build.ROOT)]
    profiles = README.split("## Profiles")[1].split("## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", profiles, re.MULTILINE) == list(config.PROFILES)


def test_the_table_of_the_house_lists_every_room():
    house = README.split("## The house")[1].split("## ")[0]
    rooms = {path.parent.name for path in (build.ROOT / "xraylib").glob("*/__init__.py")}
    assert set(re.findall(r"^\| `(\w+)` \|", house, re.MULTILINE)) == rooms


def test_the_number_of_phantoms_is_that_of_the_profile():
    (n,) = re.findall(r"\| (\d+) phantoms", README)
    assert int(n) == sum(config.profile("quick").phantom_counts)
