"""The rendered book in a real browser: every page, light and dark, on a phone and on a screen."""

import nbformat
import pytest
from chromium import (
    HTML,
    check_quiet,
    chromium,
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
  image => image.checkVisibility() && image.getBoundingClientRect().width > 20).length
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("browser")) as driver:
        yield driver


@pytest.fixture(params=["file", "http"])
def address(request):
    with served(HTML, request.param) as address:
        yield address


@needs_browser
@needs_book
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_every_page_is_quiet_and_fits(browser, address, width, scheme):
    for page in pages():
        show(browser, f"{address}/{page}", width, scheme)
        check_quiet(browser, address, page)
        assert browser.execute_script("return document.documentElement.dataset.theme") == scheme
        wide = browser.execute_script("return document.documentElement.scrollWidth")
        assert wide <= width, f"{page} scrolls sideways"


@needs_browser
@needs_book
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_overlaps_or_sticks_out(browser, width):
    for page in pages():
        show(browser, f"{HTML.as_uri()}/{page}", width, "light")
        assert not misplaced(browser), page


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


@needs_browser
@needs_book
def test_formulas_are_set_without_a_network(browser, address):
    show(browser, f"{address}/notation.html", 1280, "light")
    formulas = browser.execute_script("return document.querySelectorAll('.math').length")
    drawn = browser.execute_script("return document.querySelectorAll('mjx-container').length")
    assert drawn >= formulas > 0
    assert not browser.execute_script("return document.querySelectorAll('mjx-merror').length")


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
