"""What pages need before and after Jupyter Book: bookkeeping folded, a typeface, less to load."""

import ast
import re
from importlib.resources import files as resources
from pathlib import Path

import nbformat
from fontTools import subset
from IPython.core.inputtransformer2 import TransformerManager

MOST_OPEN_LINES = 12  # of a cell that nobody has to unfold
SHOWING = ("report", "plots")  # rooms that keep and show what others have computed
COMPUTING = ("np", "keras", "tf")
FOLDED = {"code_prompt_show": "Show the code", "code_prompt_hide": "Hide the code"}
MACHINERY = {  # cells by their ids or tags, with what is said before each
    "run-note": "",
    "parameters": "The profile that the notebook comes with:\n\n",
    "injected-parameters": "The one of this run:\n\n",
    "setup": "The set-up:\n\n",
    "functions": "Functions used in this chapter: ",
}
TYPEFACE = "font_source_sans_pro"  # SIL Open Font Licence 1.1, of the extra `book`
CUTS = {"Regular": (400, "normal"), "It": (400, "italic"), "Semibold": (600, "normal")}
LETTERS = "U+0020-017F,U+0391-03C9,U+2010-2026,U+2032,U+20AC,U+2190-2193,U+2212,U+2248,U+2260-2265"
FACE = """@font-face {{ font-family: "Book Sans"; font-weight: {weight}; font-style: {style};
  font-display: swap; src: url("fonts/{name}") format("woff"); }}
"""
FORMULA_SCRIPTS = re.compile(r"\s*<script[^>]*(?:>window\.MathJax =|mathjax/)[^<]*</script>")
FORMULA = re.compile(r'class="[^"]*\bmath\b|\\\(')
ICON_SCRIPT = re.compile(r'\s*<script defer src="[^"]*scripts/fontawesome\.js[^"]*"></script>')


def gather_machinery(notebook: nbformat.NotebookNode) -> None:
    """Move what runs a chapter and teaches nothing into one folded panel at its end.

    That is the profile, the imports, the functions that the chapter calls, and how long it took.
    """
    parts, kept = {}, []
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        place = next((name for name in MACHINERY if name == cell.id or name in tags), None)
        if place is None:
            kept.append(cell)
        elif place == "functions":
            parts[place] = "\n".join(cell.source.splitlines()[1:-1])  # without its own panel
        elif cell.cell_type == "code":
            parts[place] = f"```python\n{cell.source}\n```"
        else:
            parts[place] = cell.source
    texts = [MACHINERY[name] + parts[name] for name in MACHINERY if name in parts]
    text = "\n\n".join([":::{dropdown} How this page was computed", *texts, ":::"])
    notebook.cells = [*kept, nbformat.v4.new_markdown_cell(text, id="machinery")]


def fold_bookkeeping(notebook: nbformat.NotebookNode) -> None:
    """Fold the code of cells that teach no method; the tag `taught` keeps one open.

    A cell is folded that only shows or keeps results (it calls `report`, `plots` and pandas, and
    no room that computes), and one of more than twelve lines.
    """
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        decided = {"taught", "hide-input", "hide-cell", "remove-cell", "parameters"} & set(tags)
        if cell.cell_type == "code" and not decided and is_bookkeeping(cell.source):
            cell.metadata["tags"] = [*tags, "hide-input"]
            cell.metadata["mystnb"] = FOLDED | cell.metadata.get("mystnb", {})


def is_bookkeeping(source: str) -> bool:
    """Return whether a cell's code teaches no method.

    >>> is_bookkeeping("plots.plot_grid(report.load_table('real', 'grid'))")
    True
    >>> is_bookkeeping("print(metrics.recall(counts))")
    False
    """
    if len(source.splitlines()) > MOST_OPEN_LINES:
        return True
    tree = ast.parse(TransformerManager().transform_cell(source))
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    roots = {ast.unparse(call).split(".")[0] for call in calls if isinstance(call, ast.Attribute)}
    rooms = {path.name for path in resources("xraylib").iterdir() if path.is_dir()}
    return not roots & ((rooms | set(COMPUTING)) - set(SHOWING))


def finish(html: Path) -> None:
    """Lighten the rendered pages: their own typeface, and no script that they do not use.

    The theme's icons are letters of a font that its style sheet loads; the script would draw the
    same again.
    """
    for path in html.rglob("*.html"):
        text = ICON_SCRIPT.sub("", path.read_text("utf8"))
        path.write_text(text if FORMULA.search(text) else FORMULA_SCRIPTS.sub("", text), "utf8")
    static = html / "_static"
    for path in {*static.glob("scripts/fontawesome.*"), *static.rglob("*.js.map")}:
        path.unlink()
    add_typeface(static)


def add_typeface(static: Path) -> None:
    """Write the letters that the book uses into its own folder, and name them to its style sheet.

    The licence reserves the name of the whole typeface, so the part has another one.
    """
    folder = static / "fonts"
    folder.mkdir(exist_ok=True)
    source, rules = resources(TYPEFACE) / "files", []
    for cut, (weight, style) in CUTS.items():
        name = f"book-sans-{weight}-{style}.woff"
        target = ["--flavor=woff", f"--output-file={folder / name}", f"--unicodes={LETTERS}"]
        subset.main([str(source / f"SourceSansPro-{cut}.ttf"), *target, "--name-IDs=0,13,14"])
        rules.append(FACE.format(weight=weight, style=style, name=name))
    (folder / "LICENSE.txt").write_bytes((source / "LICENSE.txt").read_bytes())
    sheet = static / "custom.css"
    sheet.write_text("".join(rules) + sheet.read_text("utf8"), "utf8")
