"""The page "Your own radiograph" in a real browser: what it computes, refuses, paints, remembers.

A thin network stands in for VGG16, so that a pass takes a moment. The built page is held
against the package at the end.
"""

import base64
import re
import time
from pathlib import Path

import dicom_files
import keras
import numpy as np
import pydicom.data
import pytest
from bad_files import CASES
from chromium import (
    HTML,
    check_quiet,
    chromium,
    misplaced,
    needs_axe,
    needs_browser,
    requested,
    served,
    show,
    violations,
)
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless
from scipy.stats import spearmanr
from tools import build
from tools import radiograph_page as page

from xraylib import config, images, maps, network, phantoms
from xraylib.maps.equations import activations_and_gradients

ASSETS = build.ROOT / "book/assets/own"
BUILT = "own_radiograph.html"
needs_built_network = pytest.mark.skipif(
    not (HTML / page.FOLDER / "facts.js").exists(),
    reason="the built book has no network in its page: run `make book` first, with npm",
)
WRAPPED = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Own</title>
<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">
<meta name="color-scheme" content="light dark"></head>
<body><main class="bd-article"><h1>Own</h1><h2>Part</h2>{}</main></body></html>"""
TOLD = {
    "classes": config.CLASS_NAMES,
    "methods": page.METHODS,
    "side": config.IMAGE_SIZE,
    "inferno": [k // 3 for k in range(3 * 256)],
    "record": page.record(np.array([[8, 2, 0], [1, 9, 0], [0, 1, 5]])),
    "check": {"mean": [0.0] * 512, "scale": [1.0] * 512, "limit": 0.0, "told": "A made-up check."},
    "judged": "26 made-up radiographs",
}
READ = """
const [content, done] = arguments;
const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
xray.pictures.read(new Blob([bytes])).then(
  (p) => done({shape: [p.height, p.width], grey: Array.from(p.grey)}),
  (error) => done({refused: error instanceof xray.pictures.Refused, reason: error.message}));
"""
EXPLAIN = """
const [image, done] = arguments;
(async () => {
  const net = xray.page.network;
  const passed = await xray.network.forward(net, Float32Array.from(image), 224);
  const probs = xray.network.softmax(passed.logits);
  const called = probs.indexOf(Math.max(...probs));
  const cells = await xray.network.explain(net, passed, called);
  xray.network.forget(passed);
  done({probs, called, cells: cells.map((layer) => Object.fromEntries(
    Object.entries(layer).map(([name, v]) => [name, name === "side" ? v : Array.from(v)])))});
})().catch((error) => done({error: String(error)}));
"""


@pytest.fixture(scope="module")
def scripts():
    try:
        return page.provide_scripts()
    except page.PageError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def model(module_home):
    keras.utils.set_random_seed(1)
    return network.build_classifier("report")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, scripts, model):
    """A page like the built one, with a thin network whose kernels have 15 bits."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "_static/own").mkdir(parents=True)
    for path in ASSETS.iterdir():
        (folder / "_static/own" / path.name).write_bytes(path.read_bytes())
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(page, "provide_scripts", lambda: dict(scripts))
        monkeypatch.setattr(page, "BITS", {f"block{k}": 15 for k in range(1, 7)})
        page.write_network(folder / page.FOLDER, model, TOLD)
    text = WRAPPED.format((ASSETS / "page.html").read_text("utf8"))
    (folder / BUILT).write_text(text, "utf8")
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("browser")) as driver:
        driver.set_script_timeout(100)
        yield driver


@pytest.fixture(params=["file", "http"])
def address(request, folder):
    with served(folder, request.param) as address:
        yield address


def wait(browser, condition: str, seconds: float = 100) -> None:
    """Wait until an expression of the page holds."""
    end = time.monotonic() + seconds
    while not browser.execute_script(f"return {condition}"):
        said = browser.execute_script("return document.querySelector('#own').innerText")
        assert time.monotonic() < end, f"{condition}: {said}"
        time.sleep(0.05)


def part(browser, name: str):
    return browser.find_element("css selector", f"#own [data-part={name}]")


def settled(browser) -> None:
    wait(browser, "xray.page.done === xray.page.version")


def load(browser, address: str, width: int = 1280, scheme: str = "light", tail: str = "") -> None:
    show(browser, "about:blank", width, scheme)
    show(browser, f"{address}/{BUILT}{tail}", width, scheme)
    part(browser, "start").click()
    wait(browser, "!!xray.page.network")


def take(browser, number: int) -> None:
    browser.find_elements("css selector", "#own [data-part=ready] button")[number].click()
    wait(browser, "xray.page.version > 0")
    settled(browser)


def ready_view(number: int) -> np.ndarray:
    return images.resize(phantoms.make_phantom(*page.READY[number]).image, config.IMAGE_SIZE)


def explained(browser, view: np.ndarray) -> dict:
    found = browser.execute_async_script(EXPLAIN, view.ravel().tolist())
    assert "error" not in found, found
    return found


@needs_browser
def test_nothing_is_loaded_before_the_click_and_nothing_from_elsewhere_after(browser, address):
    show(browser, f"{address}/{BUILT}", 1280, "light")
    assert not [url for url in requested(browser) if "/made/" in url]
    load(browser, address)
    take(browser, 0)
    check_quiet(browser, address, BUILT)
    assert "called" in part(browser, "called").text
    assert "made-up radiographs" in part(browser, "record").text
    assert "never for diagnosis" in part(browser, "answer").text.lower()
    assert "made-up check" in part(browser, "looks").text


@needs_browser
def test_it_computes_what_the_package_computes(browser, folder, model):
    load(browser, folder.as_uri())
    explainer = maps.Explainer(model)
    for number in range(2):
        view = ready_view(number)
        found = explained(browser, view)
        np.testing.assert_allclose(found["probs"], explainer.probs(view)[0], atol=0.002)
        called = int(np.argmax(found["probs"]))
        for method in ("grad_cam", "layer_cam"):
            meant = explainer.explain(view, [called], None, method)
            for layer, cells in zip(explainer.layers, found["cells"], strict=True):
                check_cells(meant[layer][0, 0], cells, method, layer)
        a, g = activations_and_gradients(model, view[None, ..., None], called, "block4_conv2")
        hires = np.maximum((a * g).sum(-1), 0)[0]
        check_cells(hires, found["cells"][8], "hires_cam", "block4_conv2")


def check_cells(meant: np.ndarray, cells: dict, method: str, layer: str) -> None:
    found = np.reshape(cells[method], (cells["side"], cells["side"]))
    assert found.shape == meant.shape
    if meant.any():
        assert np.abs(found - meant).max() < 0.1 * meant.max(), (method, layer)
        assert np.corrcoef(found.ravel(), meant.ravel())[0, 1] > 0.995, (method, layer)


@needs_browser
def test_formulas_are_those_of_the_package(browser, folder):
    show(browser, f"{folder.as_uri()}/{BUILT}", 1280, "light")
    rng = np.random.default_rng(0)
    a, g = rng.gamma(1, 1, (6, 6, 5)), rng.normal(0.3, 1, (6, 6, 5))
    g[0] = 0
    found = browser.execute_script(
        "const [a, g] = arguments;"
        "const cells = xray.network.maps({values: a, side: 6, channels: 5}, g);"
        "return Object.fromEntries(Object.entries(cells).map(([k, v]) => [k, Array.from(v)]))",
        a.ravel().tolist(),
        g.ravel().tolist(),
    )
    for name, formula in maps.FORMULAS.items():
        if name in found:
            meant = np.ravel(formula(a[None].astype("f4"), g[None].astype("f4")))
            np.testing.assert_allclose(found[name], meant, rtol=1e-3, atol=1e-4, err_msg=name)
    hires = np.maximum((a * g).sum(-1), 0).ravel()
    np.testing.assert_allclose(found["hires_cam"], hires, rtol=1e-4, atol=1e-5)


@needs_browser
def test_files_are_read_or_refused_with_a_reason(browser, folder):
    load(browser, folder.as_uri())
    n_refused, read = 0, []
    for case in CASES:
        found = browser.execute_async_script(READ, base64.b64encode(case.content).decode())
        if "reason" in found:
            assert found["refused"], (case.name, found["reason"])
            assert len(found["reason"]) > 15, case.name
            n_refused += 1
        elif case.grey is None:
            read.append(case.name)
        if case.grey is not None and "grey" in found:
            grey = np.reshape(found["grey"], found["shape"]).astype(int)
            assert grey.shape == case.grey.shape, case.name
            assert np.abs(grey - case.grey).max() <= 3, case.name
    assert n_refused >= 50
    assert read == SKIPPED_BY_BROWSERS


# the page takes the stored values, so neither is ever unpacked
SKIPPED_BY_BROWSERS = ["text that unpacks to 20 MB.png", "colour profile that unpacks to 20 MB.png"]


RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)
SIGNED = (RAMP.astype(np.int16) - 2048) // 2
VIEWS = [  # stored values, their bits, and what the file says of them
    (RAMP.astype(np.uint8), 8, {}),
    (RAMP, 12, {}),
    (RAMP, 16, {}),  # fewer bits than declared
    (RAMP * 16, 16, {"PhotometricInterpretation": "MONOCHROME1"}),
    (RAMP // 4, 10, {"PresentationLUTShape": "INVERSE"}),
    (SIGNED, 12, {}),
    (SIGNED, 16, {"PixelPaddingValue": -1024, "PixelPaddingRangeLimit": -900}),
    (RAMP, 12, {"PixelPaddingValue": 0, "PhotometricInterpretation": "MONOCHROME1"}),
    (RAMP, 12, {"WindowCenter": [1500.5, 10], "WindowWidth": [1001, 10]}),
    (RAMP, 12, {"WindowCenter": 900, "WindowWidth": 1, "RescaleSlope": 1, "RescaleIntercept": -9}),
    (RAMP, 12, {"WindowCenter": 900, "WindowWidth": 700, "VOILUTFunction": "LINEAR_EXACT"}),
    (SIGNED, 12, {"WindowCenter": 90, "WindowWidth": 700, "VOILUTFunction": "SIGMOID"}),
    (
        RAMP,
        12,
        {"WindowCenter": 2000, "WindowWidth": 3000, "RescaleSlope": 2, "RescaleIntercept": -99},
    ),
    (
        RAMP,
        12,
        {"WindowCenter": -2047, "WindowWidth": 4096, "RescaleSlope": -1, "RescaleIntercept": 0},
    ),
    (RAMP, 12, {"RescaleSlope": -0.5, "RescaleIntercept": 7}),
]


def read_by_page(browser, content: bytes) -> dict:
    return browser.execute_async_script(READ, base64.b64encode(content).decode())


@needs_browser
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_dicom_gives_the_grey_values_of_the_package(browser, folder, tmp_path, syntax):
    load(browser, folder.as_uri())
    for stored, bits, tags in VIEWS:
        path = dicom_files.write(tmp_path / "a.dcm", stored, bits, syntax, **tags)
        found = read_by_page(browser, path.read_bytes())
        assert "reason" not in found, (tags, found)
        meant = images.read_grey(path)
        np.testing.assert_array_equal(np.reshape(found["grey"], found["shape"]), meant, str(tags))


@needs_browser
@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom says what it finds strange
def test_dicom_files_of_every_kind_are_read_as_the_package_does_or_refused(browser, folder):
    load(browser, folder.as_uri())
    test_files = Path(pydicom.data.__file__).with_name("test_files")
    n_read, reasons = 0, []
    for path in sorted(path for path in test_files.rglob("*") if path.is_file()):
        found = read_by_page(browser, path.read_bytes())
        if "reason" in found:
            assert found["refused"] and re.search("[:;,] ", found["reason"]), (path.name, found)
            reasons.append(found["reason"])
            continue
        meant = images.read_grey(path)
        np.testing.assert_array_equal(np.reshape(found["grey"], found["shape"]), meant, path.name)
        n_read += 1
    assert n_read >= 30
    for reason in ("compressed", "colour", "frames", "without an image", "preamble"):
        assert any(reason in said for said in reasons), reason


@needs_browser
def test_dicom_that_is_no_grey_image_is_refused_with_a_way_out(browser, folder, tmp_path):
    load(browser, folder.as_uri())
    grey = RAMP.astype(np.uint8)
    table = pydicom.Dataset()
    table.LUTDescriptor, table.LUTData = [256, 0, 16], bytes(512)
    refused = {
        "colour or unknown (RGB)": {"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3},
        "12 frames": {"NumberOfFrames": 12},
        "without an image": {"Rows": 0},
        "60000 x 60000 pixels": {"Rows": 60_000, "Columns": 60_000},
        "1 bits a pixel": {"BitsStored": 1},
        "up to bit 15": {"HighBit": 15},
        "in a table": {"VOILUTSequence": [table]},
        "damaged DICOM file (rescale slope 0)": {"RescaleSlope": 0, "RescaleIntercept": 1},
        "damaged DICOM file (too few bytes": {"Rows": 65},
    }
    contents = {
        said: dicom_files.write(tmp_path / "a.dcm", grey, 8, **tags).read_bytes()
        for said, tags in refused.items()
    }
    packed = dicom_files.write(tmp_path / "a.dcm", grey, 8, RLELossless)
    contents["compressed or big endian (1.2.840.10008.1.2.5)"] = packed.read_bytes()
    plain = dicom_files.write(tmp_path / "a.dcm", grey, 8).read_bytes()
    contents["damaged DICOM file"] = plain[: len(plain) // 2]
    for said, content in contents.items():
        found = read_by_page(browser, content)
        assert found.get("refused") and said in found["reason"], (said, found)
        assert re.search("[:;] ", found["reason"]), found
        assert len(found["reason"]) < 250


@needs_browser
@pytest.mark.parametrize("shape", [(224, 224), (448, 448), (500, 301), (256, 1024), (100, 150)])
def test_an_image_is_shrunk_as_the_package_does(browser, folder, shape):
    show(browser, f"{folder.as_uri()}/{BUILT}", 1280, "light")
    image = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    found = browser.execute_script(
        "const [grey, height, width] = arguments;"
        "return Array.from(xray.pictures.resize({grey, height, width}, 224).grey)",
        image.ravel().tolist(),
        *shape,
    )
    meant = images.resize(image, config.IMAGE_SIZE).ravel().astype(int)
    assert np.abs(np.array(found) - meant).max() <= 1


@needs_browser
def test_a_file_that_is_chosen_is_answered_or_refused(browser, folder, tmp_path):
    from xraylib.images import read_grey

    load(browser, folder.as_uri())
    wrong = tmp_path / "notes.png"
    wrong.write_text("no image")
    part(browser, "file").send_keys(str(wrong))
    wait(browser, "document.querySelector('#own [data-part=refused]').textContent !== ''")
    assert "notes.png: not a PNG" in part(browser, "refused").text
    right = tmp_path / "chest.png"
    right.write_bytes(png(phantoms.make_phantom(1, 5).image))
    part(browser, "file").send_keys(str(right))
    wait(browser, "xray.page.version > 0")
    settled(browser)
    assert "chest.png" in part(browser, "called").text
    assert part(browser, "refused").text == ""
    view = images.resize(read_grey(right), config.IMAGE_SIZE)
    meant = explained(browser, view)["probs"]
    np.testing.assert_allclose(browser.execute_script("return xray.page.probs"), meant, atol=0.002)
    stored = phantoms.make_phantom(1, 5).image.astype(np.uint16) * 16
    before = browser.execute_script("return xray.page.version")
    part(browser, "file").send_keys(str(dicom_files.write(tmp_path / "chest.dcm", stored, 12)))
    wait(browser, f"xray.page.version > {before}")
    settled(browser)
    assert "chest.dcm" in part(browser, "called").text
    check_quiet(browser, folder.as_uri(), BUILT)


def png(image: np.ndarray) -> bytes:
    import cv2

    return cv2.imencode(".png", image)[1].tobytes()


@needs_browser
def test_what_is_painted_changes_the_probabilities_and_can_be_undone(browser, folder):
    from selenium.webdriver import ActionChains, Keys
    from selenium.webdriver.support.select import Select

    load(browser, folder.as_uri())
    take(browser, 2)
    before = browser.execute_script("return xray.page.probs")
    canvas = part(browser, "canvas")
    ActionChains(browser).move_to_element_with_offset(
        canvas, -60, 0
    ).click_and_hold().move_by_offset(90, 20).release().perform()
    settled(browser)
    painted = browser.execute_script("return xray.page.probs")
    assert painted != before
    part(browser, "undo").click()
    settled(browser)
    np.testing.assert_allclose(browser.execute_script("return xray.page.probs"), before, atol=1e-6)
    Select(part(browser, "fill")).select_by_value("3")
    canvas.send_keys(Keys.ARROW_LEFT, Keys.ARROW_LEFT, Keys.SPACE)
    settled(browser)
    assert browser.execute_script("return xray.page.probs") != before
    part(browser, "reset").click()
    settled(browser)
    np.testing.assert_allclose(browser.execute_script("return xray.page.probs"), before, atol=1e-6)
    for name in ("marker", "mirror", "lungs"):
        part(browser, name).click()
        settled(browser)
        assert browser.execute_script("return xray.page.probs") != before, name
        part(browser, "reset").click()
        settled(browser)


@needs_browser
def test_painting_covers_what_it_says(browser, folder):
    show(browser, f"{folder.as_uri()}/{BUILT}", 1280, "light")
    grey = ready_view(0)
    found = browser.execute_script(
        """
        const P = xray.painting, state = P.start({grey: Uint8Array.from(arguments[0]),
          width: 224, height: 224});
        P.box(state, [10, 20], [30, 40], P.BLACK);
        P.box(state, [50, 20], [70, 40], P.MEAN);
        P.box(state, [90, 20], [110, 40], P.BLURRED);
        state.mirror = true;
        return Array.from(P.compose(state).grey);""",
        grey.ravel().tolist(),
    )
    found = np.reshape(found, (224, 224))
    meant = grey[:, ::-1]
    assert (found[20:40, 10:30] == 0).all()
    assert (found[20:40, 50:70] == round(float(meant.mean()))).all()
    blurred = found[20:40, 90:110].astype(int)
    assert blurred.std() < meant[20:40, 90:110].std()
    assert abs(blurred.mean() - meant[20:40, 90:110].mean()) < 15
    untouched = np.ones_like(meant, bool)
    untouched[20:40, 10:110] = False
    assert (found[untouched] == meant[untouched]).all()


@needs_browser
def test_two_sliders_and_a_link_that_leads_back(browser, folder):
    from selenium.webdriver import Keys

    load(browser, folder.as_uri())
    take(browser, 1)
    layer = browser.find_element("css selector", "#own [data-part=slider] [data-part=layer]")
    layer.send_keys(Keys.HOME, Keys.ARROW_RIGHT)
    name = browser.find_element("css selector", "#own [data-part=slider] [data-part=name]")
    assert name.text.startswith("block1_conv2, 224 x 224")
    part(browser, "two").click()
    wait(browser, "document.querySelectorAll('#own .xray-slider').length === 2")
    part(browser, "link").click()
    tail = browser.execute_script("return location.hash")
    assert "image=1" in tail and "layer=1" in tail
    load(browser, folder.as_uri(), tail=tail)
    settled(browser)
    name = browser.find_element("css selector", "#own [data-part=slider] [data-part=name]")
    assert name.text.startswith("block1_conv2")


SEEN = """
const box = arguments[0].getBoundingClientRect();
return box.top >= 0 && box.bottom <= innerHeight && box.left >= 0 && box.right <= innerWidth
  && box.width > 120 && [box.top, box.left];
"""


@needs_browser
@pytest.mark.parametrize("width", [400, 1280])
def test_a_map_is_held_beside_other_layers_classes_and_images_by_keyboard(browser, folder, width):
    from selenium.webdriver import Keys

    def find(name: str, where: str = "slider"):
        return browser.find_element("css selector", f"#own [data-part={where}] [data-part={name}]")

    def check_beside() -> None:
        browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", find("layer"))
        held, moving = (
            browser.execute_script(SEEN, one)
            for one in (find("held").find_element("css selector", "img + img"), find("heat"))
        )
        assert held and moving and held[0] == moving[0] and held[1] > moving[1]

    load(browser, folder.as_uri(), width)
    take(browser, 1)
    kept, caption = find("heat").get_attribute("src"), find("caption").text
    find("hold").send_keys(Keys.SPACE)
    find("layer").send_keys(Keys.ARROW_LEFT)
    find("class").send_keys(Keys.ARROW_DOWN)
    wait(browser, f"!document.querySelector('#own [data-part=heat]').src.endsWith({kept[-99:]!r})")
    check_beside()
    part(browser, "marker").send_keys(Keys.SPACE)  # the image changes, and what is held stays
    settled(browser)
    held = find("held")
    assert held.text == f"held: {caption}"
    assert held.find_element("css selector", "img + img").get_attribute("src") == kept
    part(browser, "two").send_keys(Keys.SPACE)
    wait(browser, "document.querySelectorAll('#own .xray-slider').length === 2")
    check_beside()
    assert find("class", "other").get_attribute("value") != find("class").get_attribute("value")
    assert not find("held", "other").is_displayed()
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    find("hold").send_keys(Keys.SPACE)
    assert not find("held").is_displayed()


@needs_browser
def test_by_keyboard_alone(browser, folder):
    from selenium.webdriver import ActionChains, Keys

    def press(*keys):
        ActionChains(browser).send_keys(*keys).perform()

    def focused() -> str:
        return browser.execute_script(
            "const e = document.activeElement; return e.dataset.part || e.textContent"
        )

    show(browser, "about:blank", 1280, "light")
    show(browser, f"{folder.as_uri()}/{BUILT}", 1280, "light")
    press(Keys.TAB)
    assert focused() == "start"
    press(Keys.ENTER)
    wait(browser, "!!xray.page.network")
    assert focused() == "file"
    press(Keys.TAB, Keys.ENTER)
    wait(browser, "xray.page.version > 0")
    settled(browser)
    seen = []
    while "reset" not in seen and len(seen) < 40:
        press(Keys.TAB)
        seen.append(focused())
    wanted = ["layer", "class", "method", "two", "link", "canvas", "tool", "fill", "size", "undo"]
    assert [name for name in seen if name in wanted] == wanted


@needs_browser
@needs_axe
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
def test_it_fits_and_is_accessible(browser, folder, width, scheme):
    load(browser, folder.as_uri(), width, scheme)
    take(browser, 0)
    part(browser, "two").click()
    wait(browser, "document.querySelectorAll('#own .xray-slider').length === 2")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    overlay = "overlap: IMG  / IMG "  # a map over its radiograph, as it should be
    assert not [found for found in misplaced(browser) if found != overlay]
    assert not violations(browser)


@needs_browser
def test_without_its_network_the_page_says_what_to_do(browser, folder, tmp_path):
    (tmp_path / "_static/own").mkdir(parents=True)
    for path in ASSETS.iterdir():
        (tmp_path / "_static/own" / path.name).write_bytes(path.read_bytes())
    (tmp_path / BUILT).write_bytes((folder / BUILT).read_bytes())
    show(browser, f"{tmp_path.as_uri()}/{BUILT}", 1280, "light")
    part(browser, "start").click()
    wait(
        browser, "document.querySelector('#own [data-part=status]').textContent.includes('nodejs')"
    )
    assert part(browser, "start").is_enabled()


@pytest.mark.built
@needs_built_network
def test_the_built_network_stays_below_22_megabytes():
    made = HTML / page.FOLDER
    assert sum(path.stat().st_size for path in made.iterdir()) < 22_000_000


@pytest.mark.built
@needs_browser
@needs_built_network
def test_the_built_page_agrees_with_the_package(browser, pretrained_file):
    load(browser, HTML.as_uri())
    explainer = maps.Explainer(network.build_classifier(weights="real"))
    for number in range(len(page.READY)):
        view = ready_view(number)
        found, probs = explained(browser, view), explainer.probs(view)[0]
        assert np.abs(np.array(found["probs"]) - probs).max() < 0.02
        assert found["called"] == probs.argmax()
        for method, floor in (("layer_cam", 0.99), ("grad_cam", 0.8)) if number == 0 else ():
            meant = explainer.explain(view, [found["called"]], None, method)
            for layer, cells in zip(explainer.layers, found["cells"], strict=True):
                same = spearmanr(meant[layer].ravel(), cells[method]).statistic
                assert same > floor, (method, layer)
    take(browser, 0)
    check_quiet(browser, HTML.as_uri(), BUILT)
