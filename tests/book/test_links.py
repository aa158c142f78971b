"""Links from chapters to the documentation, and whether everything public is documented."""

import ast
import importlib
import inspect
import re

import nbformat
import pytest
from chromium import HTML, needs_book
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from tools import build, links

from xraylib import report

API = {path.stem: path.read_text("utf8") for path in (build.ROOT / "book/api").glob("*.md")}
FILES = (build.ROOT / "xraylib").rglob("*.py")
MODULES = sorted(
    ".".join(path.relative_to(build.ROOT).with_suffix("").parts)
    for path in FILES
    if path.stem != "__init__"
)
MODULES = sorted([*MODULES, "xraylib.pretrained"])  # a room in one file

SETUP = """import pandas as pd
from xraylib import images, plots as p
from xraylib.network import UpsampledBatches"""
CELLS = """%pip --version
pd.read_csv("x")
p.use_style()
images.resize(images.read_grey("a.png"), 224)
UpsampledBatches(images.names.pop(), [], rate=0)
plots.unknown()"""


@pytest.fixture
def notebook():
    cells = [new_code_cell(SETUP, id="setup"), new_markdown_cell("p.no()"), new_code_cell(CELLS)]
    return new_notebook(cells=cells)


def test_functions_used_are_found_under_any_name(notebook):
    assert links.functions_used(notebook) == [
        "xraylib.images.read_grey",
        "xraylib.images.resize",
        "xraylib.network.UpsampledBatches",
        "xraylib.plots.use_style",
    ]


def test_links_stand_below_the_set_up(notebook):
    links.add_function_links(notebook)
    assert notebook.cells[1].id == "functions"
    link = "{py:obj}`images.resize <xraylib.images.views.resize>`"
    assert link in notebook.cells[1].source


def test_a_notebook_without_the_package_gets_no_links():
    notebook = new_notebook(cells=[new_code_cell("print(1)", id="setup")])
    links.add_function_links(notebook)
    assert len(notebook.cells) == 1


def test_every_module_stands_on_one_page_of_the_documentation():
    listed = re.findall(r"automodule:: ([\w.]+)", "".join(API.values()))
    assert sorted(listed) == sorted(MODULES), "add the module to a page in book/api"


def test_the_page_of_a_room_begins_with_its_sentence():
    for face in (build.ROOT / "xraylib").glob("*/__init__.py"):
        sentence = ast.get_docstring(ast.parse(face.read_text("utf8"))).splitlines()[0]
        room = face.parent.name
        assert API[room].splitlines()[2] == sentence, room
        assert f"| [{room}]({room}.md) | {sentence} |" in API["index"]


@pytest.mark.parametrize("name", MODULES)
def test_everything_public_has_a_docstring(name):
    module = importlib.import_module(name)
    assert module.__doc__
    own = [
        (member, thing)
        for member, thing in vars(module).items()
        if not member.startswith("_") and getattr(thing, "__module__", "") == name
    ]
    called = [(m, t) for m, t in own if inspect.isroutine(t) or inspect.isclass(t)]
    assert not [member for member, thing in called if not thing.__doc__]


CHAPTERS = sorted((build.ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_chapters_call_functions_where_they_are_documented(path):
    """A name that a file has only imported has no entry on its page to link to."""
    for name in links.functions_used(nbformat.read(path, as_version=4)):
        documented = links.documented_name(name)
        module_name, _, function = documented.rpartition(".")
        module = importlib.import_module(module_name)
        assert getattr(module, function).__module__ == module_name, name


def test_each_cell_can_be_linked_to():
    cells = [new_markdown_cell("Look:"), new_code_cell("1", id="one"), new_code_cell("2", id="two")]
    notebook = new_notebook(cells=cells)
    links.add_cell_anchors(notebook)
    assert cells[0].source == 'Look:\n\n<a class="cell-anchor" id="cell-one"></a>'


def test_links_to_cells_lead_to_pages_in_what_a_cell_shows():
    text = '<a href="02_dataset.ipynb#cell-a">x</a> <a href="02_dataset.ipynb">y</a>'
    shown = new_output("display_data", data={"text/html": text})
    notebook = new_notebook(cells=[new_code_cell("1", outputs=[shown])])
    links.point_to_pages(notebook)
    page = notebook.cells[0].outputs[0].data["text/html"]
    assert page == text.replace("ipynb#", "html#")


@pytest.mark.built
@needs_book
def test_every_claim_links_to_a_place_in_the_built_book():
    for claim in report.load_claims().itertuples():
        page = (HTML / "notebooks" / f"{claim.page}.html").read_text("utf8")
        assert f'id="cell-{claim.cell}"' in page, claim.id
