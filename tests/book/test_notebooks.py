"""Every notebook keeps to the one structure that readers learn in the first chapter."""

import ast
import re

import nbformat
import pytest
import yaml
from IPython.core.inputtransformer2 import TransformerManager
from tools import build, pages

from xraylib import config

NOTEBOOKS = sorted((build.ROOT / "notebooks").glob("*.ipynb"))
REPOSITORY = yaml.safe_load((build.ROOT / "_config.yml").read_text("utf8"))["repository"]
LAST_SECTIONS = ["Limits", "Recap", "Check yourself", "References"]
EXERCISE = re.compile(r"\d\. \w")  # a heading such as "2. Find the error: missed"
MOST_LINES = 15
MOST_LINES_OF = {"report-box": 20, "self-check": 25}  # prose and its numbers, folded


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


def parameters(notebook) -> dict:
    """Return the literals of the one cell that papermill sets."""
    (cell,) = [cell for cell in code_cells(notebook) if "parameters" in tags(cell)]
    return {line.targets[0].id: ast.literal_eval(line.value) for line in syntax(cell).body}


def test_parameters_are_the_profile_and_a_few_that_one_cell_below_uses(notebook):
    names = parameters(notebook)
    assert next(iter(names)) == "PROFILE"
    assert names["PROFILE"] in config.PROFILES
    (cell,) = [cell for cell in code_cells(notebook) if "change-this" in tags(cell)]
    used = {node.id for node in ast.walk(syntax(cell)) if isinstance(node, ast.Name)}
    changed = set(names) - {"PROFILE"}
    assert 1 <= len(changed) <= 3
    assert changed <= used


def test_colab_gets_the_package_from_the_repository(notebook):
    cell = notebook.cells[position(notebook, "colab")]
    assert tags(cell) == ["remove-cell"]
    assert f"git+{REPOSITORY['url']}\n" in cell.source + "\n"


def test_setup_is_hidden_and_holds_the_imports(notebook):
    setup = notebook.cells[position(notebook, "setup")]
    assert "hide-input" in tags(setup)
    for cell in code_cells(notebook):
        imports = [n for n in ast.walk(syntax(cell)) if isinstance(n, ast.Import | ast.ImportFrom)]
        assert not imports or cell.id in ("colab", "setup", "exercises-setup"), cell.id


def test_no_definitions_outside_solutions(notebook):
    definitions = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda
    for cell in code_cells(notebook):
        found = [node for node in ast.walk(syntax(cell)) if isinstance(node, definitions)]
        assert not found or "solution" in tags(cell), cell.id


def test_cells_are_short(notebook):
    for cell in code_cells(notebook):
        most = MOST_LINES_OF.get(cell.id, MOST_LINES)
        assert len(cell.source.splitlines()) <= most, cell.id


def test_prose_stands_before_every_cell(notebook):
    for before, cell in zip(notebook.cells, notebook.cells[1:], strict=False):
        of_exercise = {"exercise", "solution"} & set(tags(cell))  # its question is above
        if cell.cell_type == "code" and cell.id not in ("parameters", "setup") and not of_exercise:
            assert before.cell_type == "markdown", cell.id


def test_exercises_have_hints_answers_to_fill_in_and_folded_solutions(notebook):
    assert "Exercises" in headings(notebook, 2)
    exercises = [title for title in headings(notebook, 3) if EXERCISE.match(title)]
    assert [int(title[0]) for title in exercises] == list(range(1, len(exercises) + 1))
    assert 3 <= len(exercises) <= 5
    solutions = [cell for cell in code_cells(notebook) if "solution" in tags(cell)]
    assert len(solutions) == len(exercises)
    assert all("hide-cell" in tags(cell) for cell in solutions)
    for cell in code_cells(notebook):
        if "exercise" in tags(cell):
            number = cell.id.split("-")[1]
            question = notebook.cells[position(notebook, f"exercise-{number}")].source
            assert "{admonition} Hint" in question
            assert re.search(r"^answer = None", cell.source, re.MULTILINE)
            (asked,) = re.findall(r"check\.(\w+)\(answer", cell.source)
            solution = notebook.cells[position(notebook, f"exercise-{number}-solution")]
            assert f"check.{asked}(" in solution.source


def test_three_questions_whose_answers_are_computed(notebook):
    cell = notebook.cells[position(notebook, "self-check")]
    calls = [node for node in ast.walk(syntax(cell)) if isinstance(node, ast.Call)]
    asked = [call for call in calls if getattr(call.func, "attr", "") == "ask"]
    assert len(asked) == 3
    for call in asked:
        right = call.args[2]
        assert any(isinstance(node, ast.Name) for node in ast.walk(right)) or any(
            isinstance(node, ast.BinOp) for node in ast.walk(right)
        ), ast.unparse(call)


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


def test_what_is_folded_ends_at_a_heading_that_begins_a_cell(notebook):
    pages.fold_sections(notebook)
    is_open = False
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            is_open = is_open and cell.source != "</details>"
            before, mark, folded = cell.source.rpartition("<details class=")
            assert not is_open or not re.search("^#", cell.source, re.MULTILINE), cell.id
            assert not mark or not re.search("^#", folded, re.MULTILINE), cell.id
            is_open = is_open or bool(mark)
    assert not is_open


def test_colab_keeps_its_own_tensorflow(notebook):
    source = notebook.cells[position(notebook, "colab")].source
    assert not re.search(r"--upgrade|-U\b|pip install.*(tensorflow|keras)", source)


def test_closing_sections(notebook):
    assert headings(notebook, 2)[-4:] == LAST_SECTIONS
