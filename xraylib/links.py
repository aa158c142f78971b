"""Links from a chapter to the documentation of the functions that its cells call."""

import ast

import nbformat
from IPython.core.inputtransformer2 import TransformerManager

PACKAGE = "xraylib"


def functions_used(notebook: nbformat.NotebookNode) -> list[str]:
    """Return what a notebook's cells call of the package.

    Args:
        notebook: whose imports stand in any of its cells.

    Returns:
        full names such as `xraylib.images.resize`, sorted, each once.
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
    """Return the full name of `module.function`, or of a function imported by its own name."""
    if isinstance(called, ast.Name) and known.get(called.id, "").count(".") > 1:
        return known[called.id]
    if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name):
        module = known.get(called.value.id, "")
        return f"{module}.{called.attr}" if module.count(".") == 1 else None
    return None


def add_function_links(notebook: nbformat.NotebookNode) -> None:
    """Put a folded list of the functions used below the set-up, each a link to its page."""
    links = [
        f"{{py:obj}}`{name.removeprefix(f'{PACKAGE}.')} <{name}>`"
        for name in functions_used(notebook)
    ]
    places = [k for k, cell in enumerate(notebook.cells) if cell.id == "setup"]
    if not links or not places:
        return
    text = ":::{dropdown} Functions used in this chapter\n" + ",\n".join(links) + "\n:::"
    notebook.cells.insert(places[0] + 1, nbformat.v4.new_markdown_cell(text, id="functions"))
