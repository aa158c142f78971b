"""The rendered book in a real browser: every page, light and dark, on a phone and on a screen."""

from urllib.parse import unquote, urlsplit

import nbformat
import pytest
from chromium import (
    HTML,
    check_quiet,
    chromium,
    cut_off,
    misplaced,
    needs_axe,
    needs_book,
    needs_browser,
    pages,
    served,
    show,
    violations,
)
from tools import build

SCHEMES, WIDTHS = ("light", "dark"), (400, 1280)
PAPER = 794  # pixels, the width of A4
SHOWN_FIGURES = """
return [...document.querySelectorAll(".bd-article img")].filter(
  image => !image.closest("[data-part=live]")  // a lab prints its twin in words
    && image.checkVisibility() && image.getBoundingClientRect().width > 20).length
"""
SCREEN, MOST_SCREENS = 800, 12.5  # twelve are promised; a run may print some lines more
HEAVIEST = 2_000_000  # bytes of a page with all that it asks for, as it is on disk
HEAVY = ("notebooks/03_5_grad_cam.html", "own_radiograph.html")  # the slider, and what computes


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("browser")) as driver:
        yield driver


@pytest.fixture(params=["file", "http"])
def address(request):
    with served(HTML, request.param) as address:
        yield address


def weight(asked: set[str], address: str) -> int:
    """Return the bytes on disk of what a browser asked for in the book."""
    inside = [url.removeprefix(f"{address}/") for url in asked if url.startswith(address)]
    return sum((HTML / unquote(urlsplit(url).path)).stat().st_size for url in inside)


@needs_browser
@needs_book
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_every_page_is_quiet_and_fits(browser, address, width, scheme):
    for page in pages():
        show(browser, f"{address}/{page}", width, scheme)
        asked = check_quiet(browser, address, page)
        if page not in HEAVY:
            assert weight(asked, address) <= HEAVIEST, page
        assert browser.execute_script("return document.documentElement.dataset.theme") == scheme
        wide = browser.execute_script("return document.documentElement.scrollWidth")
        assert wide <= width, f"{page} scrolls sideways"


@needs_browser
@needs_book
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_overlaps_sticks_out_or_is_cut_off(browser, width):
    for page in pages():
        show(browser, f"{HTML.as_uri()}/{page}", width, "light")
        assert not misplaced(browser), page
        assert not cut_off(browser), page


@needs_browser
@needs_book
def test_a_chapter_is_read_in_twelve_screens(browser):
    screens = {}
    for page in pages():
        if page.startswith("notebooks/"):
            show(browser, f"{HTML.as_uri()}/{page}", 1280, "light")
            tall = browser.execute_script("return document.documentElement.scrollHeight")
            screens[page] = tall / SCREEN
    assert {page: tall for page, tall in screens.items() if tall > MOST_SCREENS} == {}


MADE_UP = """<!doctype html><html lang="en"><head><title>Made up</title>
<meta name="viewport" content="width=device-width"><style>{}</style></head>
<body><article class="bd-article"><div class="pst-scrollable-table-container" style="width: 200px">
<table><tr><td style="min-width: 300px">wide</td></tr></table></div>
<div class="cell"><details class="hide above-input"><summary>Show</summary>code</details></div>
<h1>Title</h1></article><script>{}</script></body></html>"""


@needs_browser
def test_a_wide_table_is_found_where_its_bar_cannot_be_seen(browser, tmp_path):
    sheet = (build.ROOT / "book/assets/custom.css").read_text("utf8")
    hidden = ".bd-article div { overflow: hidden }"
    for name, style, n_found in (("with", sheet, 0), ("without", hidden, 1)):
        (tmp_path / f"{name}.html").write_text(MADE_UP.format(style, ""), "utf8")
        show(browser, f"{tmp_path.as_uri()}/{name}.html", 400, "light")
        assert len(cut_off(browser)) == n_found, name


@needs_browser
def test_one_switch_opens_all_folded_code_and_closes_it(browser, tmp_path):
    script = (build.ROOT / "book/assets/page.js").read_text("utf8")
    (tmp_path / "page.html").write_text(MADE_UP.format("", script), "utf8")
    show(browser, f"{tmp_path.as_uri()}/page.html", 1280, "light")
    is_open = "return document.querySelector('details').open"
    button = browser.find_element("css selector", "button.code-switch")
    for text, opened in (("Show all code", True), ("Hide the code", False)):
        assert button.text == text
        button.click()
        assert browser.execute_script(is_open) is opened


@needs_browser
@needs_book
def test_a_printed_page_keeps_its_figures_and_its_width(browser):
    for page in pages():
        show(browser, f"{HTML.as_uri()}/{page}", PAPER, "light")
        on_screen = browser.execute_script(SHOWN_FIGURES)
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
        assert browser.execute_script(SHOWN_FIGURES) == on_screen, page
        assert browser.execute_script("return document.documentElement.scrollWidth") <= PAPER, page
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


@needs_browser
@needs_book
@needs_axe
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_no_page_shuts_anybody_out(browser, width, scheme):
    for page in pages():
        show(browser, f"{HTML.as_uri()}/{page}", width, scheme)
        assert not violations(browser), page


@pytest.mark.built
@needs_book
def test_formulas_are_set_without_a_script():
    formulas = 0
    for page in pages():
        text = (HTML / page).read_text("utf8")
        boxes, drawn = text.count('class="math '), text.count("<math ")
        assert drawn >= boxes and "athJax" not in text, page
        formulas += boxes
    assert formulas


@pytest.mark.built
@needs_book
def test_every_solution_has_run():
    """A solution is a cell of its chapter: the build has run it, or there would be no book."""
    for source in build.sources(build.ROOT):
        executed = nbformat.read(build.ROOT / "book/notebooks" / source.name, as_version=4)
        solutions = [c for c in executed.cells if "solution" in c.metadata.get("tags", [])]
        assert solutions, source.name
        for cell in solutions:
            assert cell.execution_count, f"{source.name}: {cell.id} has not run"
            assert cell.outputs, f"{source.name}: {cell.id} shows nothing"
            assert all(output.output_type != "error" for output in cell.outputs)
            if "check." in cell.source:
                said = "".join(o.get("data", {}).get("text/plain", "") for o in cell.outputs)
                assert said == "Right.", f"{source.name}: {cell.id}"
