"""What the builder does to pages, on made-up cells and pages."""

import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from PIL import Image
from tools import pages

PAGE = """<head><script defer src="../_static/scripts/fontawesome.js?digest=1"></script>
<script src="../_static/page.js"></script></head><body><i class="fa-solid fa-sun"></i></body>"""


def folded(source: str, **metadata) -> bool:
    notebook = new_notebook(cells=[new_code_cell(source, metadata=metadata)])
    pages.fold_bookkeeping(notebook)
    return "hide-input" in notebook.cells[0].metadata.get("tags", [])


def test_bookkeeping_is_folded_and_method_is_not():
    assert folded("plots.plot_grid(grid);")
    assert folded("report.save_table(table.assign(seed=1), PROFILE, 'x')\ntable.round(3)")
    assert folded("%matplotlib inline")
    assert not folded("metrics.recall(counts)")
    assert not folded("alpha = np.mean(gradients)")
    assert not folded("metrics.recall(counts)\nplots.plot_grid(grid);")


def test_long_cells_are_folded_but_for_what_is_taught():
    long = "metrics.recall(counts)\n" * 13
    assert folded(long)
    assert not folded(long, tags=["taught"])
    assert not folded("plots.plot_grid(grid);", tags=["taught"])


def test_prose_is_never_folded():
    notebook = new_notebook(cells=[new_markdown_cell("plots.plot_grid(grid)")])
    pages.fold_bookkeeping(notebook)
    assert "tags" not in notebook.cells[0].metadata


def test_the_rest_of_a_section_is_folded_up_to_the_next_heading():
    cells = [
        new_markdown_cell("## One\n\nShort.\n\n<!-- more: for\nthe curious -->\n\nLong.", id="a"),
        new_code_cell("f()", id="b"),
        new_markdown_cell("## Two\n\n<!-- more: again -->", id="c"),
        new_markdown_cell("Text.", id="d"),
        new_markdown_cell("### Three", id="e"),
    ]
    notebook = new_notebook(cells=cells)
    pages.fold_sections(notebook)
    assert [cell.id for cell in notebook.cells] == ["a", "b", "before-c", "c", "d", "before-e", "e"]
    first, text = notebook.cells[0].source, "".join(cell.source for cell in notebook.cells)
    assert first.startswith("## One\n\nShort.\n\n<details")
    assert "<summary>More: for the curious</summary>" in first and "-->" not in text
    assert text.count("<details") == text.count("</details>") == 2


def test_the_panel_holds_what_runs_the_chapter():
    cells = [
        new_markdown_cell("# Title", id="title"),
        new_code_cell("import numpy", id="setup"),
        new_markdown_cell(":::{dropdown} Functions\n{py:obj}`f`\n:::", id="functions"),
        new_code_cell("f()", id="lesson"),
        new_markdown_cell("Run in 3 s", id="run-note"),
    ]
    notebook = new_notebook(cells=cells)
    pages.gather_machinery(notebook)
    assert [cell.id for cell in notebook.cells] == ["title", "lesson", "machinery"]
    panel = notebook.cells[-1].source
    order = [panel.index(text) for text in ("Run in 3 s", "import numpy", "{py:obj}`f`")]
    assert order == sorted(order) and panel.count(":::") == 2


@pytest.mark.slow
def test_pages_load_a_typeface_and_no_icon_script(tmp_path):
    scripts = tmp_path / "_static/scripts"
    scripts.mkdir(parents=True)
    for name in ("fontawesome.js", "fontawesome.js.map", "bootstrap.js", "bootstrap.js.map"):
        (scripts / name).write_text("")
    (tmp_path / "_static/custom.css").write_text("p {}")
    (tmp_path / "index.html").write_text(PAGE)
    pages.finish(tmp_path)
    page = (tmp_path / "index.html").read_text()
    assert "fontawesome" not in page and "page.js" in page and "fa-sun" in page
    assert [path.name for path in scripts.iterdir()] == ["bootstrap.js"]
    sheet = (tmp_path / "_static/custom.css").read_text()
    assert sheet.endswith("p {}") and sheet.count("@font-face") == 4
    for path in (tmp_path / "_static/fonts").glob("*.woff"):
        assert path.name in sheet and path.stat().st_size < 150_000


SCRIPTS = """<script>window.MathJax = {"a": 1}</script>
<script async="async" src="https://somewhere/mathjax@3/es5/tex-mml-chtml.js"></script>
<script src="page.js"></script>"""


def test_formulas_are_set_and_their_script_is_gone(tmp_path):
    (tmp_path / "_static").mkdir()
    (tmp_path / "_static/custom.css").write_text("")
    line = r'<p><span class="math notranslate">\(a &lt; b\)</span>. And <span>\(code\)</span></p>'
    number = '<span class="eqno">(1)<a href="#e">#</a></span>'
    box = rf'<div class="math notranslate" id="e">{number}\[\frac{{1}}{{2}} \qquad Z\]</div>'
    (tmp_path / "page.html").write_text(f"{SCRIPTS}{line}{box}")
    pages.finish(tmp_path)
    page = (tmp_path / "page.html").read_text()
    assert "athjax" not in page.lower() and "page.js" in page
    assert "<mo>&#x0003C;</mo>" in page and r"<span>\(code\)</span>" in page
    assert f'id="e">{number}<math' in page and "<mfrac>" in page
    assert "</math>.</span> And" in page, "a line could begin with the full stop"
    assert page.count("<math ") == 3 and page.count('display="block"') == 2
    assert r"\(a" not in page and r"\[" not in page and r"\qquad" not in page


def test_pictures_are_compressed_and_only_the_search_loads_its_index(tmp_path):
    for folder in ("_static", "_images", "notebooks"):
        (tmp_path / folder).mkdir()
    (tmp_path / "_static/custom.css").write_text("")
    Image.fromarray(np.full((40, 60, 4), 255, np.uint8)).save(tmp_path / "_images/a.png")
    index = '<script src="../searchindex.js"></script><script src="../page.js"></script>'
    shown = f'{index}<img src="../_images/a.png"><img src="../_static/logo.png">'
    for name in ("notebooks/page.html", "search.html"):
        (tmp_path / name).write_text(shown)
    pages.finish(tmp_path)
    page = (tmp_path / "notebooks/page.html").read_text()
    assert "searchindex" not in page and "page.js" in page
    assert "_images/a.webp" in page and "_static/logo.png" in page
    assert "searchindex" in (tmp_path / "search.html").read_text()
    assert [path.name for path in (tmp_path / "_images").iterdir()] == ["a.webp"]
    assert Image.open(tmp_path / "_images/a.webp").size == (60, 40)


def test_a_formula_that_cannot_be_set_is_named(tmp_path):
    (tmp_path / "page.html").write_text(r'<span class="math x">\(\nosuch x\)</span>')
    with pytest.raises(ValueError, match=r"page.html: no way to set \\nosuch"):
        pages.finish(tmp_path)
