"""A real Chromium for the tests: how it is started, told what to show, and asked what it did."""

import contextlib
import functools
import http.server
import json
import shutil
import threading

import pytest
from tools import build

HTML = build.ROOT / "book/_build/html"
CHROMIUM, CHROMEDRIVER = shutil.which("chromium"), shutil.which("chromedriver")
needs_book = pytest.mark.skipif(
    not (HTML / "index.html").exists(), reason="the book is not built: run `make book` first"
)
AXE = build.ROOT / "node_modules/axe-core/axe.min.js"
needs_axe = pytest.mark.skipif(
    not AXE.exists(), reason="axe-core is not there: `make test-browser` fetches it with npm"
)
CHROMIUM_OPTIONS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync"
)


def needs_browser(test):
    """Mark a test that opens Chromium; without one it skips and says so."""
    missing = not (CHROMIUM and CHROMEDRIVER)
    skip = pytest.mark.skipif(missing, reason="chromium and chromedriver are not installed")
    return pytest.mark.browser(skip(test))


@contextlib.contextmanager
def chromium(profile_folder):
    """Start a browser of its own, which logs what it asks for and what its console says."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for option in CHROMIUM_OPTIONS.split():
        options.add_argument(option)
    options.add_argument(f"--user-data-dir={profile_folder}")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(CHROMEDRIVER))
    try:
        driver.set_script_timeout(180)  # a long page on a busy machine
        driver.get("about:blank")  # leave the browser's own start page and what it asked for
        driver.get_log("performance")
        yield driver
    finally:
        driver.quit()


@contextlib.contextmanager
def served(folder, how: str):
    """Give the address of a folder: opened from disk (`file`), or from a server here (`http`)."""
    if how == "file":
        yield folder.as_uri()
        return
    handler = functools.partial(QuietHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serves files and writes no log."""

    def log_message(self, *arguments):
        """Say nothing."""


def show(browser, page: str, width: int, scheme: str) -> None:
    """Open a page at a width, light or dark."""
    size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    for log in ("performance", "browser"):
        browser.get_log(log)  # what earlier pages have left
    browser.get(page)


def requested(browser) -> set[str]:
    """Return the addresses that the browser has asked for since it was last asked."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [event for event in events if event["method"] == "Network.requestWillBeSent"]
    return {event["params"]["request"]["url"] for event in sent}


def check_quiet(browser, address: str, page: str) -> set[str]:
    """Check that a page was asked for, nothing elsewhere was, and its console has no error.

    Returns:
        the addresses that were asked for.
    """
    asked = requested(browser)
    assert f"{address}/{page}" in asked
    assert not [url for url in asked if not url.startswith((address, "data:", "blob:"))], page
    errors = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert not errors, page
    return asked


def pages() -> list[str]:
    """Return the addresses of the pages that readers read, relative to the book's folder."""
    found = [*HTML.glob("*.html"), *HTML.glob("notebooks/*.html"), *HTML.glob("api/*.html")]
    names = sorted(path.relative_to(HTML).as_posix() for path in found)
    return [name for name in names if name not in ("genindex.html", "search.html")]


FIND_VIOLATIONS = """
const done = arguments[arguments.length - 1];
axe.run({resultTypes: ["violations"]}).then(found => done(found.violations.filter(
  one => ["serious", "critical"].includes(one.impact)
).map(one => `${one.id}: ${one.nodes.slice(0, 3).map(node => node.html.slice(0, 160)).join(" | ")}`
)))
"""


# A button that is changing its colour has a contrast that nobody will see.
END_TRANSITIONS = "document.getAnimations().forEach(a => a.transitionProperty && a.finish())"


def violations(browser) -> list[str]:
    """Return the serious violations of accessibility on the page that is shown."""
    browser.execute_script(END_TRANSITIONS)
    browser.execute_script(AXE.read_text("utf8"))
    return browser.execute_async_script(FIND_VIOLATIONS)


# Blocks of text or pictures that lie one over the other, and blocks that end outside the page.
FIND_MISPLACED = """
const inScroller = block => {
  for (let box = block.parentElement; box; box = box.parentElement)
    if (["auto", "scroll"].includes(getComputedStyle(box).overflowX)) return true;
  return false;
};
const kinds = "p, pre, table, img, h1, h2, h3, li > a, dt, .admonition-title";
const blocks = [...document.querySelectorAll(".bd-article :is(" + kinds + ")")].filter(block =>
  block.checkVisibility({visibilityProperty: true, opacityProperty: true})
  && block.getClientRects().length && !block.closest("table table")
  && !block.closest(".xray-slider .stack"));  // pictures that are meant to cover each other
const says = block => block.tagName + " " + block.textContent.trim().slice(0, 40);
const width = document.documentElement.clientWidth, found = [];
blocks.forEach((block, k) => {
  const a = block.getBoundingClientRect();
  if (a.right > width + 1 && !inScroller(block)) found.push("outside: " + says(block));
  for (const other of blocks.slice(k + 1, k + 4)) {
    const b = other.getBoundingClientRect();
    const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    if (across > 2 && down > 2 && !block.contains(other) && !inScroller(block))
      found.push("overlap: " + says(block) + " / " + says(other));
  }
});
return found;
"""


def misplaced(browser) -> list[str]:
    """Return what overlaps on the page that is shown, and what sticks out of it."""
    return browser.execute_script(FIND_MISPLACED)


# Blocks whose content is wider than they are, without a bar that shows it.
FIND_CUT_OFF = """
const says = block => block.tagName + "." + block.className + " "
  + block.textContent.trim().slice(0, 40);
const found = [];
for (const block of document.querySelectorAll(".bd-article *")) {
  if (block.scrollWidth <= block.clientWidth + 1 || !block.clientWidth) continue;
  const style = getComputedStyle(block);
  if (style.overflowX === "visible" || style.position === "absolute") continue;
  if (!block.checkVisibility({visibilityProperty: true, opacityProperty: true})) continue;
  const edges = parseFloat(style.borderTopWidth) + parseFloat(style.borderBottomWidth);
  const bar = block.offsetHeight - block.clientHeight - edges;
  if (!["auto", "scroll"].includes(style.overflowX) || bar < 4) found.push(says(block));
}
return found;
"""


def cut_off(browser) -> list[str]:
    """Return the blocks of the page that is shown whose right part is cut off unseen."""
    return browser.execute_script(FIND_CUT_OFF)
