"""Numbers in the prose about results come from a run or from `report.py`: none is typed."""

import ast
import re

import nbformat
import pytest
from tools import build

NOTEBOOKS = build.sources(build.ROOT)
PAGES = sorted((build.ROOT / "book").glob("*.md"))
RESULTS = re.compile(r"-reading$|^recap$|^report-box")  # cells that say what came out
FROM_A_RUN = ("glue", "report_box")
ROLE = re.compile(r"\{glue:text\}`([^`]+)`")
# What holds a digit and is no result: names, places in the book and the report, shapes, levels.
NAMES = re.compile(
    r"""
      COVID-19 | VGG16 | F[12] | \bFigures?\ \d | [Tt]ables?\ \d | [Ee]xperiments?\ \d(\ and\ \d)?
    | block\d(_conv\d)? | [Cc]hapters?\ [\d.]+ | [Ss]ections?\ [\d.]+ | [Bb]lock\ \d
    | CC\ BY\ 4.0 | \d+\ x\ \d+ | \d+\ bits | 95\ % | bfloat16 | float(16|32) | \b(19|20)\d\d\b
    | `[^`]*` | \$[^$]*\$ | \]\([^)]*\) | https?://\S+ | \{[^}]*\}`[^`]*`
    """,
    re.VERBOSE,
)


def digits(prose: str) -> list[str]:
    """Return the numbers in a text that are no names."""
    unnumbered = re.sub(r"^\d+\. ", "", prose, flags=re.MULTILINE)  # lists
    return re.findall(r"\d[\d,.]*", NAMES.sub("", " ".join(unnumbered.split())))


def cells(path, kind: str) -> list:
    return [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == kind]


def calls(path) -> list[ast.Call]:
    """Return the calls of a notebook that glue numbers."""
    found = []
    for cell in cells(path, "code"):
        if "report." in cell.source:
            nodes = ast.walk(ast.parse(cell.source))
            found += [n for n in nodes if isinstance(n, ast.Call) and name_of(n) in FROM_A_RUN]
    return found


def name_of(call: ast.Call) -> str:
    return getattr(call.func, "attr", "")


def glued(path) -> set[str]:
    """Return the names that a notebook glues: written out, or as braces in the text of its box."""
    names = set()
    for call in calls(path):
        names |= {word.arg for word in call.keywords if word.arg}
        for text in call.args:
            names |= set(re.findall(r"\{(\w+)\}", ast.literal_eval(text)))
    return names


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_prose_on_results_holds_no_typed_number(path):
    for cell in cells(path, "markdown"):
        if RESULTS.search(cell.id):
            assert not digits(cell.source), f"{cell.id}: compute it, or say it without a number"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_boxes_take_their_numbers_from_the_run(path):
    for call in calls(path):
        for text in call.args:
            assert not digits(re.sub(r"\{\w+\}", "", ast.literal_eval(text)))
        for word in call.keywords:
            computed = [n for n in ast.walk(word.value) if isinstance(n, ast.Name)]
            assert computed, f"{word.arg} is typed by hand"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_pages_take_what_a_notebook_glues(path):
    for role in ROLE.findall(path.read_text("utf8")):
        notebook, _, name = role.removesuffix(":s").partition("::")
        assert name in glued(build.ROOT / notebook), f"{role}: no such number"


def test_the_model_card_holds_no_typed_number():
    assert not digits((build.ROOT / "book/model_card.md").read_text("utf8"))


@pytest.mark.parametrize(
    ("prose", "found"),
    [
        ("COVID-19 in experiments 2 and 3, `x[1]`, section 3.1, 3 x 3 cells, 95 %", []),
        ("right on 80.3 % of 26 images", ["80.3", "26"]),
    ],
)
def test_numbers_are_told_from_names(prose, found):
    assert digits(prose) == found
