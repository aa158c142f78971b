"""Every notebook keeps to the one structure that readers learn in the first chapter."""

import ast
import re

import nbformat
import pytest
import yaml
from IPython.core.inputtransformer2 import TransformerManager
from tools import build

from xraylib import config

NOTEBOOKS = sorted((build.ROOT / "notebooks").glob("*.ipynb"))
REPOSITORY = yaml.safe_load((build.ROOT / "_config.yml").read_text("utf8"))["repository"]
LAST_SECTIONS = ["Limits", "Recap", "References"]
MOST_LINES = 15
MOST_LINES_OF_BOX = 20  # prose and its numbers


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture
def notebook(path):
    return nbformat.read(path, as_version=nbformat.NO_CONVERT)


def tags(cell) -> list[str]:
    return cell.metadata.get("tags", [])


def code_cells(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def syntax(cell) -> ast.Module:
    """Parse a cell; magics such as %pip become calls first."""
    return ast.parse(TransformerManager().transform_cell(cell.source))


def headings(notebook, level: int) -> list[str]:
    text = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    return re.findall(rf"^{'#' * level} (.+)$", text, re.MULTILINE)


def position(notebook, name: str) -> int:
    """Return the position of the one cell with this id."""
    return [cell.id for cell in notebook.cells].index(name)


def test_the_table_of_contents_lists_every_notebook():
    assert sorted(build.sources(build.ROOT)) == NOTEBOOKS != []


def test_format_and_kernel(notebook):
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata.kernelspec.name == "python3"
    assert notebook.metadata.kernelspec.language == "python"
    assert "widgets" not in notebook.metadata


def test_cell_ids_are_unique_and_readable(notebook):
    names = [cell.id for cell in notebook.cells]
    assert len(set(names)) == len(names)
    random = [name for name in names if re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f-]+)?", name)]
    assert not random, "name these cells for what they hold"


def test_sources_carry_no_results(notebook):
    for cell in code_cells(notebook):
        assert cell.outputs == [], cell.id
        assert cell.execution_count is None, cell.id


def test_title_with_colab_link(notebook, path):
    assert len(headings(notebook, 1)) == 1
    first = notebook.cells[0].source
    owner = REPOSITORY["url"].removeprefix("https://github.com/")
    place = f"github/{owner}/blob/{REPOSITORY['branch']}/notebooks/{path.name}"
    assert first.startswith("# ")
    assert f"[Open in Colab](https://colab.research.google.com/{place})" in first


def test_opening_parts_stand_in_order(notebook):
    order = ["title", "aims", "colab", "parameters", "setup", "question"]
    places = [position(notebook, name) for name in order]
    assert places == sorted(places)
    aims = notebook.cells[position(notebook, "aims")].source
    assert all(f"**{part}.**" in aims for part in ("Aims", "Time", "Needs"))
    assert "?" in notebook.cells[position(notebook, "question")].source


def test_the_profile_is_the_only_parameter(notebook):
    (cell,) = [cell for cell in code_cells(notebook) if "parameters" in tags(cell)]
    (assignment,) = syntax(cell).body
    assert assignment.targets[0].id == "PROFILE"
    assert ast.literal_eval(assignment.value) in config.PROFILES


def test_colab_gets_the_package_from_the_repository(notebook):
    cell = notebook.cells[position(notebook, "colab")]
    assert tags(cell) == ["remove-cell"]
    assert f"git+{REPOSITORY['url']}\n" in cell.source + "\n"


def test_setup_is_hidden_and_holds_the_imports(notebook):
    setup = notebook.cells[position(notebook, "setup")]
    assert "hide-input" in tags(setup)
    for cell in code_cells(notebook):
        imports = [n for n in ast.walk(syntax(cell)) if isinstance(n, ast.Import | ast.ImportFrom)]
        assert not imports or cell.id in ("colab", "setup"), cell.id


def test_no_definitions_outside_solutions(notebook):
    definitions = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda
    for cell in code_cells(notebook):
        found = [node for node in ast.walk(syntax(cell)) if isinstance(node, definitions)]
        assert not found or "solution" in tags(cell), cell.id


def test_cells_are_short(notebook):
    for cell in code_cells(notebook):
        most = MOST_LINES_OF_BOX if cell.id == "report-box" else MOST_LINES
        assert len(cell.source.splitlines()) <= most, cell.id


def test_prose_stands_before_every_cell(notebook):
    for before, cell in zip(notebook.cells, notebook.cells[1:], strict=False):
        if cell.cell_type == "code" and cell.id not in ("parameters", "setup"):
            assert before.cell_type == "markdown", cell.id


def test_exercise_has_a_folded_solution(notebook):
    exercises = [title for title in headings(notebook, 2) if title.startswith("Exercise")]
    solutions = [cell for cell in code_cells(notebook) if "solution" in tags(cell)]
    assert len(exercises) == len(solutions) > 0
    assert all("hide-cell" in tags(cell) for cell in solutions)


def test_every_chapter_ends_with_the_box_of_computed_numbers(notebook):
    cell = notebook.cells[position(notebook, "report-box")]
    assert "report.report_box(" in cell.source
    assert "hide-input" in tags(cell)
    assert position(notebook, "limits") == position(notebook, "report-box") + 1


def test_figures_have_a_name_a_caption_and_a_text_for_who_cannot_see_them(notebook):
    drawing = [cell for cell in code_cells(notebook) if re.search(r"plot_\w+\(", cell.source)]
    for cell in drawing:
        shown = cell.metadata.get("mystnb", {})
        assert shown.get("figure", {}).get("name"), cell.id
        assert len(shown["figure"]["caption"]) > 20, cell.id
        assert len(shown.get("image", {}).get("alt", "")) > 20, cell.id


def test_colab_keeps_its_own_tensorflow(notebook):
    source = notebook.cells[position(notebook, "colab")].source
    assert not re.search(r"--upgrade|-U\b|pip install.*(tensorflow|keras)", source)


def test_closing_sections(notebook):
    assert headings(notebook, 2)[-3:] == LAST_SECTIONS
