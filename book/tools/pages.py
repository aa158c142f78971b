"""What pages need before and after Jupyter Book: bookkeeping folded, a typeface, less to load."""

import ast
import html as entities
import re
from importlib.resources import files as resources
from importlib.util import find_spec
from pathlib import Path

import nbformat
from fontTools import subset
from IPython.core.inputtransformer2 import TransformerManager
from latex2mathml import converter
from PIL import Image

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
MATHS = ("ziamath", "STIXTwoMath-Regular.ttf")  # same licence; has what stretches brackets
SYMBOLS = "U+0020-007E,U+00A0-03F5,U+2010-2044,U+2061-2064,U+210E,U+2190-22FF,U+1D434-1D71B"
FACE = """@font-face {{ font-family: "{family}"; font-weight: {weight}; font-style: {style};
  font-display: swap; src: url("fonts/{name}") format("woff"); }}
"""
MORE = re.compile(r"<!-- more: (.+?) -->", re.DOTALL)  # the rest of a section is for specialists
PICTURE = re.compile(r"(_images/[^\"' ]+)\.png")
QUALITY = 85  # of lossy WebP: letters stay sharp
SEARCH_SCRIPTS = re.compile(
    r'\s*<script src="[^"]*(?:searchtools|language_data|searchindex)\.js[^"]*"></script>'
)
# Sphinx leaves formulas as LaTeX and asks a script to set them; here that is done beforehand.
FORMULA_SCRIPTS = re.compile(r"\s*<script[^>]*(?:>window\.MathJax =|[Mm]ath[Jj]ax)[^<]*</script>")
NUMBER = r'(?:\s*<span class="eqno">.*?</span>)?'
FORMULA = re.compile(
    rf'(<(?:span|div) class="math [^>]*>{NUMBER})\s*\\([(\[])(.+?)\\[)\]]\s*(?=</)', re.S
)
STOP = re.compile(r"</math></span>([.,;:?)]+)")
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


def fold_sections(notebook: nbformat.NotebookNode) -> None:
    """Fold what follows a mark `<!-- more: what it is -->`, up to the next heading.

    What only specialists ask for unfolds at the words of the mark. A notebook shows all of it.
    """
    kept, is_open = [], False
    for cell in notebook.cells:
        is_text = cell.cell_type == "markdown"
        if is_open and is_text and cell.source.startswith("#"):
            kept.append(nbformat.v4.new_markdown_cell("</details>", id=f"before-{cell.id}"))
            is_open = False
        if is_text and (found := MORE.search(cell.source)):
            words = " ".join(found.group(1).split())
            opened = f'<details class="more"><summary>More: {words}</summary>\n'
            cell.source = cell.source.replace(found.group(0), opened)
            is_open = True
        kept.append(cell)
    notebook.cells = kept


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
    """Lighten the rendered pages: their own typeface, formulas set, smaller pictures and scripts.

    The theme's icons are letters of a font that its style sheet loads; the script would draw the
    same again. Browsers set MathML by themselves, where MathJax would load more than a megabyte.
    The index of all words is for the page that searches it.

    Raises:
        ValueError: a formula with a command that cannot be set; names the page.
    """
    compress_pictures(html / "_images")
    for path in html.rglob("*.html"):
        text = FORMULA_SCRIPTS.sub("", ICON_SCRIPT.sub("", path.read_text("utf8")))
        try:
            text = FORMULA.sub(lambda found: found[1] + set_formula(found[3], found[2]), text)
        except ValueError as error:
            raise ValueError(f"{path.relative_to(html)}: {error}") from error
        if path.name != "search.html":
            text = SEARCH_SCRIPTS.sub("", text)
        text = STOP.sub(r"</math>\1</span>", text)  # no line begins with a full stop
        path.write_text(PICTURE.sub(r"\1.webp", text), "utf8")
    static = html / "_static"
    for path in {*static.glob("scripts/fontawesome.*"), *static.rglob("*.js.map")}:
        path.unlink()
    add_typeface(static)


def compress_pictures(folder: Path) -> None:
    """Write the pictures of a folder as WebP, which is a fifth of the size of PNG."""
    for path in folder.glob("*.png"):
        with Image.open(path) as image:
            target = path.with_suffix(".webp")
            image.convert("RGB").save(target, "WEBP", quality=QUALITY, use_sharp_yuv=True)
        path.unlink()


def set_formula(latex: str, opening: str = "(") -> str:
    """Return a formula as MathML, which needs no script; what `\\qquad` parts may take a line each.

    Args:
        latex: as it is in a page, where `<` is `&lt;`.
        opening: `(` in a line, `[` for a line of its own.

    >>> set_formula("x").endswith("<mi>x</mi></mrow></math>")
    True
    """
    display = "inline" if opening == "(" else "block"
    parts = re.split(r"\\qquad", entities.unescape(latex))
    formulas = [converter.convert(part.strip(), display=display) for part in parts]
    unknown = re.search(r"\\\w+", "".join(formulas))
    if unknown:
        raise ValueError(f"no way to set {unknown[0]} of the formula {latex.strip()}")
    return " ".join(formulas)


def add_typeface(static: Path) -> None:
    """Write the letters that the book uses into its own folder, and name them to its style sheet.

    The licence reserves the name of a whole typeface, so the part has another one.
    """
    folder = static / "fonts"
    folder.mkdir(exist_ok=True)
    source, rules = resources(TYPEFACE) / "files", []
    for cut, (weight, style) in CUTS.items():
        name = f"book-sans-{weight}-{style}.woff"
        cut_letters(source / f"SourceSansPro-{cut}.ttf", folder / name, LETTERS)
        rules.append(FACE.format(family="Book Sans", weight=weight, style=style, name=name))
    maths = Path(find_spec(MATHS[0]).origin).with_name("fonts") / MATHS[1]
    cut_letters(maths, folder / "book-maths.woff", SYMBOLS, "--layout-features=", "--no-hinting")
    upright = {"weight": 400, "style": "normal"}
    rules.append(FACE.format(family="Book Maths", name="book-maths.woff", **upright))
    (folder / "LICENSE.txt").write_bytes((source / "LICENSE.txt").read_bytes())
    sheet = static / "custom.css"
    sheet.write_text("".join(rules) + sheet.read_text("utf8"), "utf8")


def cut_letters(source: Path, target: Path, letters: str, *smaller: str) -> None:
    """Write some letters of a typeface, with its licence and without its name."""
    options = ["--flavor=woff", f"--output-file={target}", f"--unicodes={letters}", *smaller]
    subset.main([str(source), *options, "--name-IDs=0,13,14"])
