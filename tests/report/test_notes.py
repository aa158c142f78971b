"""Numbers for the prose, and the box at the end of a chapter."""

import ast
import inspect
import textwrap

import pytest

from xraylib import data, metrics, report
from xraylib.report import pages


@pytest.fixture
def outputs(monkeypatch) -> list:
    """What is shown while a test runs: pairs of data and metadata."""
    seen = []
    monkeypatch.setattr(
        pages, "display", lambda data, raw, metadata=None: seen.append((data, metadata))
    )
    return seen


def test_a_glued_number_is_kept_and_not_shown(outputs):
    pages.glue(accuracy="80.3 %")
    ((data, metadata),) = outputs
    assert data == {pages.GLUED + "text/plain": "80.3 %"}
    assert metadata["scrapbook"]["name"] == "accuracy"


def test_a_box_shows_its_numbers_and_glues_them(outputs):
    pages.report_box("One, {a}.", "Two < {b}.", a="1 %", b="2 %")
    glued = {metadata["scrapbook"]["name"] for _, metadata in outputs[:-1]}
    box, _ = outputs[-1]
    assert glued == {"a", "b"}
    assert "One, 1 %." in box["text/html"]
    assert "Two &lt; 2 %." in box["text/html"]
    assert "Two < 2 %." in box["text/plain"]


@pytest.mark.parametrize("texts", [{}, {"a": "1", "b": "2"}, {"b": "2"}])
def test_names_and_numbers_must_agree(texts):
    with pytest.raises(ValueError, match="every name"):
        pages.report_box("One, {a}.", "Nothing.", **texts)


def test_a_figure_is_written_with_its_interval():
    row = {"accuracy": 0.8, "accuracy low": 0.75, "accuracy high": 0.85}
    assert pages.figure_text(row, "accuracy") == "80.0 % [75.0, 85.0]"


@pytest.fixture
def shown(monkeypatch) -> list[str]:
    """The Markdown that is shown while a test runs."""
    seen = []
    monkeypatch.setattr(pages, "display", lambda markdown: seen.append(markdown.data))
    return seen


@pytest.mark.parametrize(
    "function", [data.split_patients, metrics.f_beta, metrics.dice, pages.figure_text]
)
def test_a_functions_source_is_shown_below_one_line_of_its_docstring(shown, function):
    report.show_source(function)
    (text,) = shown
    first, place, *code, last = text.splitlines()
    assert (first, last) == ("```python", "```")
    assert place == f"# defined in {function.__module__.replace('.', '/')}.py"
    (node,) = ast.parse("\n".join(code)).body
    docstring = inspect.getdoc(function)
    assert len(docstring.splitlines()) > 1 and ast.get_docstring(node) == docstring.splitlines()[0]
    whole = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    assert node.name == function.__name__
    assert list(map(ast.dump, node.body[1:])) == list(map(ast.dump, whole.body[1:]))


def test_the_place_of_a_function_is_its_file(shown):
    report.show_source(data.split_patients)
    assert shown[0].splitlines()[1] == "# defined in xraylib/data/split.py"


def test_a_method_and_a_function_without_docstring_are_shown_too(shown):
    class Shelf:
        def place(self, book):
            """Place a book.

            Args:
                book: what to place.
            """
            return [book]

    def bare(x):
        return x + 1

    report.show_source(Shelf.place)
    report.show_source(bare)
    codes = ["\n".join(text.splitlines()[2:-1]) for text in shown]
    assert codes[0] == 'def place(self, book):\n    """Place a book."""\n    return [book]'
    assert codes[1] == "def bare(x):\n    return x + 1"


def test_a_conclusion_is_shown_as_markdown(monkeypatch):
    seen = []
    monkeypatch.setattr(pages, "display", seen.append)
    pages.say("**Above** the floor.")
    assert seen[0].data == "**Above** the floor."


def test_a_change_has_no_direction_where_its_interval_holds_none():
    assert pages.change_text("recall", 0.02, 0.01, 0.03) == "recall rises by 2.0 points [1.0, 3.0]"
    assert "falls by 2.0 points [1.0, 3.0]" in pages.change_text("x", -0.02, -0.03, -0.01)
    assert pages.change_text("recall", 0.02, 0.0, 0.04).startswith("no change of recall can be")
