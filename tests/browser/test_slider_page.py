"""The slider on a page in a real browser: by key and by mouse, light and dark, with no network."""

import itertools
import re
from dataclasses import astuple

import numpy as np
import pytest
from chromium import HTML, check_quiet, chromium, needs_book, needs_browser, served, show

from xraylib.maps.slider import HEAT_SIDE, data_uri, draw_frame, slider_page

BUILT = HTML / "notebooks/03_5_grad_cam.html"
SIDES = (56, 14, 3)  # cells of the made-up layers
NAMES = {
    "image": ["one", "other"],
    "method": ["Grad-CAM", "Layer-CAM"],
    "class": ["normal", "pneumonia"],
    "layer": [f"conv{k}, {side} x {side} cells" for k, side in enumerate(SIDES)],
}
PAGE = """<!doctype html><html lang="en"><head><title>Slider</title>
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">
</head><body>{}</body></html>"""
SHOWN = """
const part = (name) => arguments[0].querySelector(`[data-part="${name}"]`);
return {cells: part("cells").src, heat: part("heat").src, ground: part("ground").src,
        hatched: part("dead").innerHTML.split("M").length - 1, name: part("name").textContent,
        caption: part("caption").textContent, told: part("layer").getAttribute("aria-valuetext"),
        position: ["image", "method", "class", "layer"].map((n) => part(n).value).join("-")};
"""
LOADED = """
const done = arguments[1], images = [...arguments[0].querySelectorAll("img")];
Promise.all(images.map((image) => image.decode())).then(
  () => done(images.map((image) => image.naturalWidth)));
"""
DATA = "return JSON.parse(arguments[0].querySelector('script[type=\"application/json\"]').text)"


def made_up_frames() -> dict:
    rng = np.random.default_rng(0)
    frames = {}
    for position in itertools.product(*(range(len(options)) for options in NAMES.values())):
        side = SIDES[position[3]]
        caption = " ".join(n[k] for n, k in zip(NAMES.values(), position, strict=True))
        dead = np.arange(side * side).reshape(side, side) % 4 == 3 if side == 3 else None
        frames[position] = draw_frame(rng.random((side, side)), caption, dead)
    return frames


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with one page that holds two sliders."""
    folder = tmp_path_factory.mktemp("page")
    grounds = [data_uri(np.full((224, 224), grey, np.uint8)) for grey in (80, 160)]
    twins = [
        slider_page(grounds, made_up_frames(), NAMES, start)
        for start in ((0, 0, 0, 2), (1, 1, 1, 0))
    ]
    (folder / "slider.html").write_text(PAGE.format("\n".join(twins)), "utf8")
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("browser")) as driver:
        yield driver


@pytest.fixture(params=["file", "http"])
def address(request, folder):
    with served(folder, request.param) as address:
        yield address


@pytest.fixture(params=["file", "http"])
def book_address(request):
    with served(HTML, request.param) as address:
        yield address


def sliders(browser) -> list:
    return browser.find_elements("css selector", ".xray-slider:has(input)")


def ranges(slider):
    return slider.find_element("css selector", "input[type=range]")


def check_shown(browser, slider, position: str, data: dict) -> None:
    """Check that the slider shows one frame, and that its pictures can be seen."""
    cells, heat, caption, dead = data["frames"][position]
    shown = browser.execute_script(SHOWN, slider)
    assert shown["position"] == position
    assert (shown["cells"], shown["heat"], shown["caption"]) == (cells, heat or cells, caption)
    assert shown["hatched"] == 3 * dead.count("1")
    assert shown["name"] == shown["told"]
    assert shown["told"] == data["layers"][int(position.split("-")[3])]
    assert shown["ground"] == data["radiographs"][int(position[0])]
    side = int(re.search(r"(\d+) cells", shown["told"]).group(1))
    widths = [224, side, 224, max(side, HEAT_SIDE)]
    assert browser.execute_async_script(LOADED, slider) == widths


def check_keys_and_mouse(browser, slider) -> None:
    """Move through every layer by arrow key, back, and again by mouse."""
    from selenium.webdriver import ActionChains, Keys

    data = browser.execute_script(DATA, slider)
    before = browser.execute_script(SHOWN, slider)["position"].rsplit("-", 1)[0]
    last, layer = len(data["layers"]) - 1, ranges(slider)
    expected = {data["frames"][f"{before}-{k}"][0] for k in range(last + 1)}
    assert len(expected) == last + 1, "two layers look alike"

    layer.send_keys(Keys.HOME)
    for k in range(last + 1):
        check_shown(browser, slider, f"{before}-{k}", data)
        layer.send_keys(Keys.ARROW_RIGHT)
    layer.send_keys(Keys.ARROW_LEFT)
    check_shown(browser, slider, f"{before}-{last - 1}", data)

    thumb, width = 16, layer.size["width"]
    places = [round((width - thumb) * (k / last - 0.5)) for k in range(last + 1)]
    for k, place in enumerate(places):
        ActionChains(browser).move_to_element_with_offset(layer, place, 0).click().perform()
        check_shown(browser, slider, f"{before}-{k}", data)
    drag = ActionChains(browser).move_to_element_with_offset(layer, places[-1], 0).click_and_hold()
    drag.move_to_element_with_offset(layer, places[0], 0).release().perform()
    check_shown(browser, slider, f"{before}-0", data)


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_by_key_and_by_mouse(browser, address, scheme):
    show(browser, f"{address}/slider.html", 1280, scheme)
    first, second = sliders(browser)
    untouched = browser.execute_script(SHOWN, second)
    check_keys_and_mouse(browser, first)
    assert browser.execute_script(SHOWN, second) == untouched
    check_keys_and_mouse(browser, second)
    check_quiet(browser, address, "slider.html")


@needs_browser
def test_what_is_shown_is_what_was_drawn(browser, address):
    from selenium.webdriver.support.select import Select

    show(browser, f"{address}/slider.html", 1280, "light")
    slider = sliders(browser)[0]
    frames = made_up_frames()
    for image, method, asked in itertools.product(range(2), repeat=3):
        for name, k in (("image", image), ("method", method), ("class", asked)):
            element = slider.find_element("css selector", f"select[data-part={name}]")
            Select(element).select_by_index(k)
        shown = browser.execute_script(SHOWN, slider)
        frame = frames[image, method, asked, 2]
        assert shown["position"] == f"{image}-{method}-{asked}-2"
        assert (shown["cells"], shown["heat"], shown["caption"]) == astuple(frame)[:3]


@needs_browser
def test_every_control_has_a_name_for_screen_readers(browser, address):
    show(browser, f"{address}/slider.html", 1280, "light")
    for slider in sliders(browser):
        controls = slider.find_elements("css selector", "input, select")
        assert [c.accessible_name for c in controls] == ["Layer", "Class", "Method", "Image"]
        assert ranges(slider).aria_role == "slider"
        assert slider.find_elements("css selector", "[aria-live=polite]")


@needs_browser
@pytest.mark.parametrize(("width", "stacked"), [(400, True), (1280, False)])
def test_pictures_stand_below_each_other_where_it_is_narrow(browser, address, width, stacked):
    show(browser, f"{address}/slider.html", width, "light")
    panels = sliders(browser)[0].find_elements("css selector", ".panel")
    assert len({panel.rect["x"] for panel in panels}) == (1 if stacked else 3)
    assert len({panel.rect["y"] for panel in panels}) == (3 if stacked else 1)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


@needs_browser
def test_print_and_no_script_show_the_frame(browser, address):
    show(browser, f"{address}/slider.html", 1280, "light")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    slider = sliders(browser)[0]
    assert not ranges(slider).is_displayed()
    assert all(image.is_displayed() for image in slider.find_elements("css selector", "img"))
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})

    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(f"{address}/slider.html")
        slider = sliders(browser)[0]
        assert "needs JavaScript" in slider.text
        cells = slider.find_element("css selector", "[data-part=cells]").get_dom_attribute("src")
        assert cells == made_up_frames()[0, 0, 0, 2].cells
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


needs_chapter = pytest.mark.skipif(
    not BUILT.exists(), reason="the chapter on Grad-CAM is not built: run `make book` first"
)


@needs_book
@needs_chapter
def test_the_page_with_the_slider_stays_below_a_megabyte():
    assert BUILT.stat().st_size < 1_000_000


@needs_browser
@needs_book
@needs_chapter
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_built_chapter(browser, book_address, scheme):
    page = "notebooks/03_5_grad_cam.html"
    show(browser, f"{book_address}/{page}", 1280, scheme)
    found = sliders(browser)
    assert found
    for slider in found:
        check_keys_and_mouse(browser, slider)
        filters = (
            "return [...arguments[0].querySelectorAll('img')].map(i => getComputedStyle(i).filter)"
        )
        assert set(browser.execute_script(filters, slider)) == {"none"}, "pictures are darkened"
    check_quiet(browser, book_address, page)
