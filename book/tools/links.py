"""Links of a chapter: to the documentation of what its cells call, and to single cells."""

import ast
import importlib
import inspect
import re

import nbformat
from IPython.core.inputtransformer2 import TransformerManager

PACKAGE = "xraylib"
CELL_LINK = re.compile(r'(href="\w+)\.ipynb#cell-')  # in a notebook; a page ends in .html


def functions_used(notebook: nbformat.NotebookNode) -> list[str]:
    """Return what a notebook's cells call of the package.

    Args:
        notebook: whose imports stand in any of its cells.

    Returns:
        full names such as `xraylib.metrics.recall`, sorted, each once.
    """
    transform = TransformerManager().transform_cell  # magics such as %pip become calls
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    nodes = [node for cell in cells for node in ast.walk(ast.parse(transform(cell)))]
    known = {}  # name in the notebook -> full name
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE:
            known |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    calls = {_full_name(node.func, known) for node in nodes if isinstance(node, ast.Call)}
    return sorted(calls - {None})


def _full_name(called: ast.expr, known: dict[str, str]) -> str | None:
    """Return the name by which the package knows a function called as `room.function(...)`."""
    if isinstance(called, ast.Name) and known.get(called.id, "").count(".") > 1:
        return known[called.id]
    if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name):
        room = known.get(called.value.id, "")
        return f"{room}.{called.attr}" if room.count(".") == 1 else None
    return None


def documented_name(name: str) -> str:
    """Return where a name of a room is documented: in the file that its face lists it under.

    The face is read and not asked, for asking would load TensorFlow.

    >>> documented_name("xraylib.metrics.recall")
    'xraylib.metrics.counts.recall'
    """
    room, _, function = name.rpartition(".")
    face = ast.parse(inspect.getsource(importlib.import_module(room)))
    for node in ast.walk(face):
        if isinstance(node, ast.keyword) and node.arg == "submod_attrs":
            for file, listed in zip(node.value.keys, node.value.values, strict=True):
                texts = [c.value for c in ast.walk(listed) if isinstance(c, ast.Constant)]
                if function in " ".join(texts).split():
                    return f"{room}.{file.value}.{function}"
    return name


def add_function_links(notebook: nbformat.NotebookNode) -> None:
    """Put a folded list of the functions used below the set-up, each a link to its page."""
    links = [
        f"{{py:obj}}`{name.removeprefix(f'{PACKAGE}.')} <{documented_name(name)}>`"
        for name in functions_used(notebook)
    ]
    places = [k for k, cell in enumerate(notebook.cells) if cell.id == "setup"]
    if not links or not places:
        return
    text = ":::{dropdown} Functions used in this chapter\n" + ",\n".join(links) + "\n:::"
    notebook.cells.insert(places[0] + 1, nbformat.v4.new_markdown_cell(text, id="functions"))


def add_cell_anchors(notebook: nbformat.NotebookNode) -> None:
    """Give each code cell a place to link to, `cell-` and its id, in the prose before it."""
    for before, cell in zip(notebook.cells, notebook.cells[1:], strict=False):
        if cell.cell_type == "code" and before.cell_type == "markdown":
            before.source += f'\n\n<a class="cell-anchor" id="cell-{cell.id}"></a>'


def point_to_pages(notebook: nbformat.NotebookNode) -> None:
    """Let links to cells in what a cell shows lead to pages, not to notebooks."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            shown = output.get("data", {})
            if "text/html" in shown:
                shown["text/html"] = CELL_LINK.sub(r"\1.html#cell-", shown["text/html"])
