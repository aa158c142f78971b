"""The list of the report's claims: whole, without verdicts, each with a cell that shows it."""

from collections import Counter

import nbformat
import pytest
from tools import build

from xraylib import report

CLAIMS = report.load_claims()
SECTIONS = """
    Abstract 1 2 3.1 3.2 3.2.1 3.2.2 3.2.3 3.3 3.4 3.5 4 5 6 7.1
"""
KINDS = "statement table figure equation parameter result explanation wish"
# Every number that the report prints in a section, as it prints it: its tables row by row, then its
# text. Left out are the numbers of sections, figures, tables, experiments, layers and references.
DIGITS = {
    "2": """
        15160 6373 4352 192 10917 72 1593 1088 48 2729 18 885 604 26 1515 10
        8851 6044 266 15161 100 58.4 39.9 1.7 100 1.7
    """,
    "3.1": "15 16",
    "3.2.1": "0 10 0 10 0 10 85 115",
    "3.2.3": "0.95 0.99 3 3 2 2 2 2 2 3 3 1 1",
    "3.4": "9 4 0.001 0.001 10 50 100 30",
    "3.5": "1 2",
    "4": """
        833 51 1 77 526 1 2 7 17 334 139 412 80 296 228 1 5 20 595 25 265 110 128 366 2 1 23
        91 43 49 65 9 89 77 3 95
        0.91 0.94 0.93 0.93 0.8 0.38 0.51 0.42 0.84 0.67 0.75 0.7
        0.9 0.87 0.89 0.88 0.67 0.49 0.57 0.51 0.83 0.21 0.34 0.25
        0.89 0.65 0.76 0.69 0.03 0.77 0.06 0.13 0.04 0.88 0.07 0.15
        0.91 0.43 0.49 40 98.7 50
    """,
    "7.1": "2 1 2 2 2 2 5 4",
}


@pytest.mark.parametrize("section", DIGITS)
def test_every_printed_number_is_on_the_ledger(section):
    of_section = CLAIMS[CLAIMS.section == section]
    on_ledger = Counter(" ".join(of_section.printed).split())
    printed = Counter(DIGITS[section].split())
    assert not printed - on_ledger, "the report prints these, and no claim of the section has them"


def test_no_claim_has_a_number_that_the_report_does_not_print():
    for section, part in CLAIMS.groupby("section"):
        assert set(" ".join(part.printed).split()) <= set(DIGITS.get(section, "").split()), section


def test_the_printed_tables_are_those_of_the_package():
    by_id = CLAIMS.set_index("id").printed
    for number, name in enumerate(report.TABLE_4, 1):
        values = [value for row in report.TABLE_4[name].values() for value in row]
        values.append(report.ACCURACY[name])
        assert [float(digit) for digit in by_id[f"table-4-{number}"].split()] == values
    for name, key in (("normal", "normal"), ("pneumonia", "pneumonia"), ("COVID-19", "covid")):
        digits = [int(digit) for digit in by_id[f"table-1-{key}"].split()]
        assert digits == list(report.TABLE_1[name].values())
    counts = [n for matrix in report.CONFUSION.values() for row in matrix for n in row]
    assert [int(digit) for digit in by_id["figure-5"].split()] == counts


def test_the_list_is_whole():
    assert len(CLAIMS) >= 60 and CLAIMS.id.is_unique
    assert list(CLAIMS.section.unique()) == SECTIONS.split()
    assert set(CLAIMS.kind) == set(KINDS.split())
    assert (CLAIMS.says.str.endswith(".")).all()


def test_what_decides_is_named_or_why_nothing_does():
    assert ((CLAIMS.decided_by != "") | (CLAIMS.of.str.len() > 20)).all()


def test_no_verdict_is_written_down():
    text = report.CLAIMS.read_text("utf8").lower()
    assert "hold" not in text.replace("threshold", "") and "cannot be told" not in text


@pytest.mark.parametrize("page", sorted(set(CLAIMS.page)))
def test_every_link_leads_to_a_cell_that_computes(page):
    notebook = nbformat.read(build.ROOT / "notebooks" / f"{page}.ipynb", as_version=4)
    cells = {cell.id for cell in notebook.cells if cell.cell_type == "code"}
    assert set(CLAIMS.cell[CLAIMS.page == page]) <= cells
