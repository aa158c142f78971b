"""The labs on a page in a real browser: by key and by mouse, narrow and wide, on paper."""

import itertools
import re
from importlib import resources

import numpy as np
import pandas as pd
import pytest
from chromium import check_quiet, chromium, cut_off, needs_axe, needs_browser, show, violations
from scipy.stats import binomtest
from tools import cover

from xraylib import metrics, plots, report

PAGE = """<!doctype html><html lang="en"><head><title>Labs</title>
<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,"></head><body><main class="bd-article">{}</main></body></html>"""
CANVAS = "return arguments[0].querySelector('canvas').toDataURL()"


def made_up_labs() -> dict:
    rng = np.random.default_rng(0)
    image = rng.integers(90, 160, (224, 224)).astype(np.uint8)
    mask = np.zeros((224, 224), bool)
    mask[60:160, 40:100] = True
    labels = np.repeat([0, 2], 50)
    probs = np.r_[rng.beta(1, 5, 50), rng.beta(5, 2, 50)]
    # two images of a patient are equal, patients are noise: only a leak can be right
    patients = np.arange(60) // 2
    pictures = rng.integers(0, 255, (30, 6, 6)).astype(np.uint8)[patients]
    table = pd.DataFrame({"patient_id": patients, "label": rng.permutation(30)[patients] % 3})
    keys = list(itertools.product((0, 1), repeat=3))
    names = {"networks": ["one", "other"], "hospitals": ["B", "A"], "asked": "pneumonia"}
    answers = {key: np.eye(3)[[key[1], key[2]]] for key in keys}  # one sees marker, one lesion
    pictured = {key: np.full((224, 224), 40 * sum(key) + 20, np.uint8) for key in keys}
    at_places = [np.eye(3)[[0, 2]], np.eye(3)[[1, 1]], np.eye(3)[[2, 0]]]
    case = cover.cover_case("COVID-19", image, mask, at_places)
    return {
        "intervals": plots.intervals_lab(26, 17, 20, 15, "q"),
        "threshold": plots.threshold_lab({"run": (probs, labels)}, report.CONFUSION, "q"),
        "mask": plots.mask_lab(image, mask, "q"),
        "roulette": plots.roulette_lab(table, pictures, 0.2, "q"),
        "cells": plots.cells_lab(
            image, np.eye(3) > 0, "layer", {"start": 0, "stride": 32, "size": 160}, "q"
        ),
        "counterfactual": plots.counterfactual_lab(
            pictured, answers, dict.fromkeys(keys, np.ones((2, 7, 7))), names, "q"
        ),
        "cover": cover.cover_lab([case], [0, 112, 224], ["whole", "lungs"]),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labs")
    html = "".join(lab.html for lab in made_up_labs().values())
    (folder / "labs.html").write_text(PAGE.format(html), "utf8")
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("browser")) as driver:
        yield driver


@pytest.fixture
def lab(browser, folder):
    """Open the page and give a function that finds a lab by its kind."""
    show(browser, f"{folder.as_uri()}/labs.html", 1280, "light")
    return lambda kind: browser.find_element("css selector", f"[data-lab={kind}]")


def answer(element) -> str:
    return element.find_element("css selector", ".answer").text


def ranges(element) -> dict:
    rows = element.find_elements("css selector", ".control")
    controls = {r.text.splitlines()[0].strip(): r for r in rows if r.is_displayed()}
    return {
        re.sub(r" -?\d.*", "", name): row.find_element("css selector", "input")
        for name, row in controls.items()
    }


@needs_browser
def test_intervals_and_paired_test_are_those_of_the_book(lab):
    from selenium.webdriver import Keys

    element = lab("intervals")
    for right_by_a in (17, 16):
        low, high = metrics.wilson_interval(right_by_a, 26)
        p = binomtest(right_by_a - 15, right_by_a - 15 + 5).pvalue
        assert f"A: {right_by_a} of 26, {100 * low:.0f} % to {100 * high:.0f} %" in answer(element)
        assert f"p = {p:.3f}" in answer(element)
        ranges(element)["Right by A"].send_keys(Keys.ARROW_LEFT)


@needs_browser
def test_the_cut_counts_what_the_probabilities_say(lab):
    from selenium.webdriver import Keys

    element = lab("threshold")
    rng = np.random.default_rng(0)
    rng.integers(90, 160, (224, 224))
    probs = np.round(np.r_[rng.beta(1, 5, 50), rng.beta(5, 2, 50)], 3)
    for cut in (0.5, 0.51):
        assert f"({(probs[50:] >= cut).sum()} of 50," in answer(element)
        ranges(element)["Cut"].send_keys(Keys.ARROW_RIGHT)
    element.find_elements("css selector", "input[type=radio]")[1].click()
    counts = np.asarray(report.CONFUSION["experiment 1"])
    assert f"({counts[2, 2]} of {counts[2].sum()}," in answer(element)
    assert "Cut" not in ranges(element)


@needs_browser
def test_the_mask_moves_by_key_and_by_mouse(browser, lab):
    from selenium.webdriver import ActionChains, Keys

    element = lab("mask")
    assert answer(element).startswith("Dice 1.00, IoU 1.00. The mask cuts away 0 %")
    canvas = element.find_element("css selector", "canvas")
    canvas.send_keys(Keys.ARROW_RIGHT * 3)
    truth = np.zeros((112, 112), bool)
    truth[30:80, 20:50] = True
    moved = np.roll(truth, 3, axis=1)
    dice, iou = metrics.dice(truth, moved), metrics.iou(truth, moved)
    assert answer(element).startswith(f"Dice {dice:.2f}, IoU {iou:.2f}.")
    before = browser.execute_script(CANVAS, element)
    ActionChains(browser).drag_and_drop_by_offset(canvas, 40, 0).perform()
    assert browser.execute_script(CANVAS, element) != before
    assert not answer(element).startswith(f"Dice {dice:.2f}")


@needs_browser
def test_only_a_leak_makes_noise_predictable(lab):
    element = lab("roulette")
    by_image, by_patient = (
        button
        for button in element.find_elements("css selector", "button")
        if button.text.startswith("20 times")
    )
    by_image.click()
    by_patient.click()
    text = answer(element)
    means = [float(mean) for mean in re.findall(r"mean ([\d.]+) %", text)]
    assert means[0] > means[1] + 20, text
    assert "This draw by patient: 0 patients are on both sides" in text


@needs_browser
def test_the_books_own_scripts_fold_no_part_of_a_lab(browser, lab):
    pytest.importorskip("sphinx_togglebutton", reason="comes with the extra `book`")
    script = resources.files("sphinx_togglebutton") / "_static" / "togglebutton.js"
    start = (
        "var togglebuttonSelector = '.toggle, .admonition.dropdown', toggleOpenOnPrint = 'true',"
    )
    start += " toggleHintShow = 'Click to show', toggleHintHide = 'Click to hide';"
    browser.execute_script(start + script.read_text("utf8"))
    folded = "[class*=toggle]"  # what it folds, and the buttons that it adds
    assert not browser.find_elements("css selector", f".lab {folded}, {folded}:has(.lab)")
    switches = lab("counterfactual").find_elements("css selector", "input[type=checkbox]")
    assert [switch.is_displayed() for switch in switches] == [True, True]


@needs_browser
def test_switches_show_the_networks_answers(lab):
    element = lab("counterfactual")
    assert "The one network says pneumonia, 100 %. The other network says pneumonia" in answer(
        element
    )
    marker, lesion = element.find_elements("css selector", "input[type=checkbox]")
    marker.click()
    assert "one network says normal, 100 %. The other network says pneumonia" in answer(element)
    lesion.click()
    assert "The other network says normal" in answer(element)


@needs_browser
def test_cells_answer_to_key_and_mouse(browser, lab):
    from selenium.webdriver import ActionChains

    element = lab("cells")
    cells = element.find_elements("css selector", "button")
    assert answer(element).startswith("Row 1, column 1 of layer: live")
    ActionChains(browser).move_to_element(cells[5]).perform()
    assert answer(element).startswith("Row 2, column 3 of layer: dead")
    browser.execute_script("arguments[0].focus()", cells[8])
    assert answer(element).startswith("Row 3, column 3 of layer: live")


@needs_browser
def test_the_sheet_is_pulled_off_by_key_and_by_mouse(browser, lab):
    from selenium.webdriver import ActionChains, Keys

    element = lab("cover")
    assert "network whole says normal, the network lungs says COVID-19" in answer(element)
    covered = browser.execute_script(CANVAS, element)
    ranges(element)["Pull the mask off"].send_keys(Keys.END)
    assert "network whole says COVID-19, the network lungs says normal" in answer(element)
    assert browser.execute_script(CANVAS, element) != covered
    canvas = element.find_element("css selector", "canvas")
    ActionChains(browser).move_to_element(canvas).click().perform()
    assert "network whole says pneumonia, the network lungs says pneumonia" in answer(element)


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
def test_labs_fit_and_are_quiet(browser, folder, width, scheme):
    show(browser, f"{folder.as_uri()}/labs.html", width, scheme)
    check_quiet(browser, folder.as_uri(), "labs.html")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert not cut_off(browser)


@needs_browser
@needs_axe
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_labs_shut_nobody_out(browser, folder, scheme):
    show(browser, f"{folder.as_uri()}/labs.html", 400, scheme)
    assert not violations(browser)


@needs_browser
def test_paper_and_pages_without_script_show_the_twin(browser, folder):
    show(browser, f"{folder.as_uri()}/labs.html", 1280, "light")
    twins = browser.find_elements("css selector", ".lab .twin")
    assert not any(twin.is_displayed() for twin in twins)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert all(twin.is_displayed() and twin.text for twin in twins)
    live = browser.find_elements("css selector", "[data-part=live]")
    assert not any(part.is_displayed() for part in live)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
