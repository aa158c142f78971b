"""The slider on a page in a real browser: by key and by mouse, light and dark, with no network."""

import itertools
import re

import numpy as np
import pytest
from chromium import HTML, check_quiet, chromium, needs_book, needs_browser, served, show

from xraylib.images import data_uri
from xraylib.maps.slider import HEAT_SIDE, draw_frame, slider_page

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
OUTLINE = "Outline lesion (line) and marker (dashes)"
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


def made_up_regions() -> list[dict]:
    """A lesion and a marker in the first image, a marker in the other."""
    lesion, marker = np.zeros((2, 224, 224), bool)
    lesion[100:150, 60:90] = marker[10:30, 180:200] = True
    return [{"lesion": lesion, "marker": marker}, {"marker": marker}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with one page that holds two sliders."""
    folder = tmp_path_factory.mktemp("page")
    grounds = [data_uri(np.full((224, 224), grey, np.uint8)) for grey in (80, 160)]
    twins = [
        slider_page(grounds, made_up_frames(), NAMES, start, made_up_regions())
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
        assert (shown["cells"], shown["heat"], shown["caption"]) == frame[:3]


@needs_browser
def test_every_control_has_a_name_for_screen_readers(browser, address):
    show(browser, f"{address}/slider.html", 1280, "light")
    for slider in sliders(browser):
        controls = slider.find_elements("css selector", "input, select, button")
        names = ["Layer", "Class", "Method", "Image", "Play", "Hold this map", OUTLINE]
        assert [c.accessible_name for c in controls] == names
        assert ranges(slider).aria_role == "slider"
        assert slider.find_elements("css selector", "[aria-live=polite]")


def part(slider, name: str):
    return slider.find_element("css selector", f"[data-part={name}]")


def layer_of(browser, slider) -> int:
    return int(browser.execute_script(SHOWN, slider)["position"].rsplit("-", 1)[1])


def until(browser, slider, layer: int) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 10, 0.05).until(lambda _: layer_of(browser, slider) == layer)


@needs_browser
def test_it_plays_from_layer_to_layer_and_stops_at_the_last_or_at_a_key(browser, address):
    from selenium.webdriver import Keys
    from selenium.webdriver.support.ui import WebDriverWait

    show(browser, f"{address}/slider.html", 1280, "light")
    slider = sliders(browser)[0]
    play, data = part(slider, "play"), browser.execute_script(DATA, slider)
    play.click()  # at the last layer: from the first on
    assert play.text == "Stop"
    for layer in range(3):
        until(browser, slider, layer)
        check_shown(browser, slider, f"0-0-0-{layer}", data)
    WebDriverWait(browser, 10).until(lambda _: play.text == "Play")
    assert layer_of(browser, slider) == 2

    play.send_keys(Keys.SPACE)
    until(browser, slider, 0)
    ranges(slider).send_keys(Keys.ARROW_RIGHT)  # a reader who moves it takes over
    assert play.text == "Play"
    browser.execute_async_script("setTimeout(arguments[0], 1200)")
    assert layer_of(browser, slider) == 1


@needs_browser
def test_a_map_is_held_beside_those_of_other_layers_and_classes(browser, address):
    from selenium.webdriver import Keys
    from selenium.webdriver.support.select import Select

    show(browser, f"{address}/slider.html", 1280, "light")
    slider, frames = sliders(browser)[0], made_up_frames()
    held, button = part(slider, "held"), part(slider, "hold")
    assert not held.is_displayed()
    button.click()
    ranges(slider).send_keys(Keys.HOME)
    Select(part(slider, "class")).select_by_index(1)
    assert button.get_attribute("aria-pressed") == "true"
    sources = [image.get_attribute("src") for image in held.find_elements("css selector", "img")]
    kept, now = frames[0, 0, 0, 2], frames[0, 0, 1, 0]
    assert sources[1] == kept.heat != now.heat
    assert held.text == f"held: {kept.caption}"
    assert browser.execute_script(SHOWN, slider)["heat"] == now.heat
    button.send_keys(Keys.SPACE)
    assert not held.is_displayed() and button.get_attribute("aria-pressed") == "false"


@needs_browser
def test_lesion_and_marker_are_outlined_at_a_click(browser, address):
    from selenium.webdriver.support.select import Select

    drawn = "return [...arguments[0].querySelectorAll('.outline')].map(" + (
        "svg => [...svg.querySelectorAll('path')].map(path => {"
        "const box = path.getBBox(); return [path.getAttribute('class'),"
        "...[box.x, box.y, box.width, box.height].map(x => Math.round(224 * x))]}))"
    )
    show(browser, f"{address}/slider.html", 1280, "light")
    slider = sliders(browser)[0]
    assert browser.execute_script(drawn, slider) == [[], []]
    part(slider, "outline").click()
    lesion, marker = ["lesion", 60, 100, 29, 49], ["marker", 180, 10, 19, 19]
    found = browser.execute_script(drawn, slider)
    assert np.abs(np.array(found)[:, :, 1:].astype(int) - [lesion[1:], marker[1:]]).max() <= 1
    assert found[0] == found[1] and [path[0] for path in found[0]] == ["lesion", "marker"]
    Select(part(slider, "image")).select_by_index(1)
    assert [path[0] for path in browser.execute_script(drawn, slider)[0]] == ["marker"]
    part(slider, "outline").click()
    assert browser.execute_script(drawn, slider) == [[], []]


@needs_browser
def test_a_link_leads_back_to_a_map(browser, address):
    from selenium.webdriver import Keys

    show(browser, f"{address}/slider.html", 1280, "light")
    second = sliders(browser)[1]
    ranges(second).send_keys(Keys.ARROW_RIGHT)
    link = part(second, "here").get_attribute("href")
    wanted = "#slider=2&image=other&method=Layer-CAM&class=pneumonia&layer=conv1"
    assert link.endswith(wanted)
    show(browser, "about:blank", 1280, "light")
    show(browser, link, 1280, "light")
    first, second = sliders(browser)
    assert browser.execute_script(SHOWN, first)["position"] == "0-0-0-2"
    check_shown(browser, second, "1-1-1-1", browser.execute_script(DATA, second))


@needs_browser
def test_on_a_screen_the_pictures_stand_in_a_row(browser, address):
    show(browser, f"{address}/slider.html", 1280, "light")
    panels = [p for p in sliders(browser)[0].find_elements("css selector", ".panel")]
    shown = [panel.rect for panel in panels if panel.is_displayed()]
    assert len({rect["x"] for rect in shown}) == 3 and len({rect["y"] for rect in shown}) == 1


IN_SIGHT = """
const [control, place, ...pictures] = arguments;
control.scrollIntoView({block: place});
const box = control.getBoundingClientRect();
const on = document.elementFromPoint((box.left + box.right) / 2, (box.top + box.bottom) / 2);
return [on === control, pictures.map(one => one.getBoundingClientRect()).every(
  one => one.top >= 0 && one.bottom <= innerHeight && one.width > 150)];
"""


def check_in_sight(browser, slider) -> None:
    """Check that the pictures are in sight wherever the slider is, and do not cover it."""
    pictures = part(slider, "cells"), part(slider, "heat")
    for place in ("center", "end"):
        found = browser.execute_script(IN_SIGHT, ranges(slider), place, *pictures)
        assert found == [True, True], place


@needs_browser
def test_on_a_phone_the_pictures_stay_in_sight_while_the_slider_moves(browser, address):
    show(browser, f"{address}/slider.html", 400, "light")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 400
    check_in_sight(browser, sliders(browser)[1])


@needs_browser
def test_print_and_no_script_show_the_frame(browser, address):
    show(browser, f"{address}/slider.html", 1280, "light")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    slider = sliders(browser)[0]
    assert not ranges(slider).is_displayed()
    assert all(image.is_displayed() for image in slider.find_elements("css selector", "img"))
    assert not part(slider, "held").is_displayed()
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
def test_the_page_with_the_slider_stays_below_two_megabytes():
    assert BUILT.stat().st_size < 2_000_000


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


@needs_browser
@needs_book
@needs_chapter
def test_on_a_phone_the_built_chapter_keeps_its_pictures_in_sight(browser, book_address):
    show(browser, f"{book_address}/notebooks/03_5_grad_cam.html", 400, "light")
    check_in_sight(browser, sliders(browser)[0])
