"""What the builder does to pages, on made-up cells and pages."""

from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
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
    assert sheet.endswith("p {}") and sheet.count("@font-face") == 3
    for path in (tmp_path / "_static/fonts").glob("*.woff"):
        assert path.name in sheet and path.stat().st_size < 40_000


def test_only_pages_with_a_formula_load_the_script_for_them(tmp_path):
    (tmp_path / "_static").mkdir()
    (tmp_path / "_static/custom.css").write_text("")
    scripts = """<script>window.MathJax = {"a": 1}</script>
<script defer="defer" src="_static/mathjax/tex-chtml.js"></script><script src="page.js"></script>"""
    formula = '<span class="math notranslate">x</span>'
    (tmp_path / "with.html").write_text(f"{scripts}{formula}")
    (tmp_path / "without.html").write_text(f"{scripts}<p>no formula</p>")
    pages.finish(tmp_path)
    assert (tmp_path / "with.html").read_text() == f"{scripts}{formula}"
    without = (tmp_path / "without.html").read_text()
    assert "athJax" not in without and "mathjax" not in without and "page.js" in without
