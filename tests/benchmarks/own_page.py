"""The page "Your own radiograph": from the choice of an image to its answer and to all its maps."""

import sys
import tempfile
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # the browser of the tests

from chromium import CHROMIUM, HTML, chromium
from common import seconds
from tools import radiograph_page as page

from xraylib import config, images, maps, network, phantoms

TIMES = 3  # the first one brings the browser's compiler to speed
GOALS = {"probs": 2.5, "maps": 4.0}  # seconds on two cores without a GPU
CHOOSE = "document.querySelectorAll('#own [data-part=ready] button')[arguments[0]].click()"


def wait(browser, condition: str) -> None:
    while not browser.execute_script(f"return {condition}"):
        time.sleep(0.02)


def main() -> None:
    """Print both times of the built page, and the ratio to the package on the same image."""
    if not (CHROMIUM and (HTML / page.FOLDER / "facts.js").exists()):
        print("page: needs Chromium and a built book with its network")
        return
    with tempfile.TemporaryDirectory() as folder, chromium(folder) as browser:
        browser.get(f"{HTML.as_uri()}/own_radiograph.html")
        loading = time.perf_counter()
        browser.execute_script("document.querySelector('#own [data-part=start]').click()")
        wait(browser, "!!xray.page.network")
        print(f"page: the network is loaded in {time.perf_counter() - loading:.1f} s")
        taken = []
        for number in range(TIMES):
            before = browser.execute_script("return xray.page.version")
            browser.execute_script(CHOOSE, number)
            wait(browser, f"xray.page.version > {before} && xray.page.done === xray.page.version")
            taken.append(browser.execute_script("return xray.page.times"))
    explainer = maps.Explainer(network.build_classifier(weights="real"))
    view = images.resize(phantoms.make_phantom(*page.READY[0]).image, config.IMAGE_SIZE)
    ways = {"probs": lambda: explainer.probs(view), "maps": lambda: explainer.explain(view, [0])}
    for name, what in (("probs", "probabilities"), ("maps", "all 15 layers of one class")):
        ways[name]()  # compiles
        package = min(seconds(ways[name]) for _ in range(TIMES))
        best = min(times[name] for times in taken) / 1000
        met = "meets" if best <= GOALS[name] else "misses"
        print(
            f"page: {what} in {best:.2f} s (best of {TIMES}), {best / package:.1f} times the "
            f"package's {package:.2f} s; {met} the goal of {GOALS[name]} s"
        )


if __name__ == "__main__":
    main()
