"""Exercises are checked: right answers pass, and typical wrong ones hear what is wrong."""

import ast
import inspect
import json
import re

import numpy as np
import pytest
from chromium import chromium, needs_browser

from xraylib import check, network, phantoms

LABELS = [0] * 12 + [1] * 10 + [2] * 2
A = np.random.default_rng(0).normal(size=(3, 3, 8)).clip(0)
GRADIENTS = np.random.default_rng(1).normal(size=(3, 3, 8))
MAP = np.maximum((A * GRADIENTS.mean(axis=(0, 1))).sum(axis=-1), 0)
DRAWN = phantoms.make_phantom(1, seed=3, source="B", size=128)


def place(mask):
    """Return the first pixel of a mask."""
    return tuple(int(k) for k in np.argwhere(mask)[0])


def iou(one, other):
    return (one & other).sum() / (one | other).sum()


def dice(one, other):
    return 2 * (one & other).sum() / (one.sum() + other.sum())


BATCH = [*range(14), 22, 23, 22, 23, 22, 23]
# exercise, what it is given beside the answer, right answer, typical wrong ones and what is said
EXERCISES = [
    ("always_normal", (), 885 / 1515, {1 / 3: "one size", 26 / 1515: "share of", 58.4: "per"}),
    ("missed", (), 9, {17: "it found", 2: "called pneumonia", 7: "called normal"}),
    ("head_weights", (), 4_752_643, {4_751_552: "bias", 2_392_835: "two", 4_719_616: "dense"}),
    ("cells_read", (5,), 16, {25: "padding", 4: "behind the pool", 9: "last window"}),
    ("equalised", (), [0, 0, 128, 255], {(128, 128, 191, 255): "darkest", (0, 0, 0.5, 1): "255"}),
    ("equalised", (), (0, 0, 128, 255), {(0, 0, 127.5, 255, 9): "4 values", (0, 0, 9, 255): "2"}),
    ("largest_shift", (), 22, {10: "per cent", 0.1: "pixels"}),
    ("shifted_dice", (), 0.9, {0.8: "one side", 0.818: "IoU", 90: "per cent"}),
    ("recall_of_covid", (), 20 / 26, {20 / 660: "precision", 0.43: "accuracy", 6 / 26: "missed"}),
    ("rare", (), 0.016 / 0.065, {0.8: "recall", 0.941: "one in two", 0.016: "divide"}),
    ("half_rate", (), 10_000, {5_000: "one and a half", 50: "epochs", 20_000: "three"}),
    ("best_epoch", (), 4, {3: "from one", 6: "last epoch", 1: "largest"}),
    ("cam", (A, GRADIENTS), MAP, {}),
    ("energy", (), 5 / 8, {0.5: "area", 1.0: "pointing", 5: "divide"}),
    ("f2", (), 0.687, {0.751: "F1", 0.829: "precision", 0.77: "mean"}),
    ("calibration_error", (), 0.06, {0.05: "weight", 0.1: "second bin"}),
    ("blind_map", (), 0.12, {0.88: "misses", 0.5: "equally"}),
    ("mcnemar", (), 0.0352, {0.0176: "one-sided"}),
    ("main_effect", (), -0.045, {-0.06: "without", -0.03: "with eq", 0.045: "minus"}),
    ("macro_recall", (), 0.3966, {47 / 105: "accuracy", 0.5948: "zero"}),
    ("deletion_area", (), 0.4, {1.3 / 3: "mean", 0.8: "how fast"}),
    ("score_cam_passes", (), 1536, {512: "one layer", 2: "gradients"}),
    ("tcav", (), 0.6, {0.12: "signs", 0.4: "rises", 3: "share"}),
    ("holm", (), [0.03, 0.06, 0.06], {(0.03, 0.12, 0.09): "Bonf", (0.03, 0.04, 0.06): "smaller"}),
    ("tempered", (), 0.576, {0.787: "without", 0.3935: "logits", 0.9647: "multiply"}),
    ("cut", (), 0.7, {0.8: "too few", 0.2: "finds all", 0.75: "wanted"}),
    ("report_cell", (), ("segmented", "original"), {("original", "segmented"): "other way"}),
    ("report_cell", (), ["segmented", "original"], {("segmented", "segmented"): "differ"}),
    ("leaking_patients", (list("abc"), list("cd")), {"c"}, {("c", "d"): "d is on", (): "1 more"}),
    ("up_sampling", (LABELS,), BATCH, {tuple(range(20)): "0%", tuple(BATCH[:9]): "9 images"}),
    ("lesion", (DRAWN,), place(DRAWN.lesion_mask), {place(DRAWN.marker_mask): "marker"}),
    ("dice", (), dice, {iou: "IoU", 0.9: "function itself"}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "given", "right", "wrong"), EXERCISES)
def test_right_answers_pass_and_wrong_ones_hear_why(name, given, right, wrong):
    exercise = getattr(check, name)
    assert exercise(right, *given).right
    for answer, why in wrong.items():
        said = exercise(answer, *given)
        assert not said.right
        assert why in said.text, f"{answer}: {said.text}"


@pytest.mark.parametrize(("name", "given", "right", "wrong"), EXERCISES)
def test_no_answer_is_no_mistake(name, given, right, wrong):
    assert getattr(check, name)(None, *given) == check.NOT_YET


def test_every_exercise_is_tried_here():
    own = [f for f in vars(check).values() if getattr(f, "__module__", "") == check.__name__]
    functions = {f.__name__ for f in own if inspect.isfunction(f)}
    exercises = {name for name in functions if not name.startswith("_")} - {"ask", "quiz"}
    assert exercises == {name for name, *_ in EXERCISES}


def test_no_verdict_tells_the_answer():
    """What is said of a wrong number holds no digits of the right one."""
    for name, given, right, wrong in EXERCISES:
        if isinstance(right, float):
            for answer in [*wrong, right + 1, right - 1]:
                said = getattr(check, name)(answer, *given).text
                assert f"{right:.3g}".lstrip("-") not in said


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (A.mean(axis=-1)[:2], "shape"),
        ((A * GRADIENTS.mean(axis=(0, 1))).sum(axis=-1), "ReLU"),
        (np.maximum(A * GRADIENTS, 0).sum(axis=-1), "Layer-CAM"),
        (np.maximum(A * GRADIENTS.mean(axis=(0, 1)), 0).sum(axis=-1), "after the sum"),
        (A.sum(axis=-1), "weights"),
        (9 * MAP, "means, not sums"),
        (np.eye(3), "mean gradient"),
    ],
)
def test_a_map_hears_what_is_wrong_with_it(answer, said):
    verdict = check.cam(answer, A, GRADIENTS)
    assert not verdict.right
    assert said in verdict.text


def test_a_pixel_beside_the_lesion():
    lungs = DRAWN.lung_mask & ~DRAWN.lesion_mask & ~DRAWN.marker_mask
    body = ~DRAWN.lung_mask & ~DRAWN.lesion_mask & ~DRAWN.marker_mask
    said = [check.lesion(place(mask), DRAWN).text for mask in (lungs, body)]
    assert "beside the lesion" in said[0]
    assert "outside the lungs" in said[1]
    assert "128 rows" in check.lesion((500, 3), DRAWN).text


def test_a_batch_hears_what_is_wrong_with_it():
    repeated = [0, 0, *BATCH[2:]]
    assert "repeated" in check.up_sampling(repeated, LABELS).text
    assert "numbered" in check.up_sampling([*BATCH[:19], 24], LABELS).text
    assert "integers" in check.up_sampling([0.5] * 20, LABELS).text


def test_no_number_is_said_so():
    assert "'many'" in check.missed("many").text


def test_the_head_is_counted_as_keras_counts_it():
    model = network.build_head()
    trained = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    assert check.head_weights(trained).right


QUIZ = check.quiz(
    check.ask("How many <cells>?", ["4", "9"], right="4", why="The pool reads four."),
    check.ask("Above?", ["above", "not above"], right="not above"),
)


@pytest.mark.parametrize(("is_first", "right"), [(True, 0), (False, 1), (np.bool_(False), 1)])
def test_of_two_answers_a_comparison_chooses(is_first, right):
    assert check.ask("Above?", ["above", "not above"], is_first).right == right


def test_of_three_answers_it_cannot_choose():
    with pytest.raises(ValueError, match="not among"):
        check.ask("Which?", ["a", "b", "c"], True)


def test_a_question_needs_its_answer_among_different_options():
    with pytest.raises(ValueError, match="not among"):
        check.ask("?", ["a", "b"], right="c")
    with pytest.raises(ValueError, match="all different"):
        check.ask("?", ["a", "a"], right="a")


def test_a_quiz_is_html_that_needs_no_script_for_its_answers():
    page = QUIZ.html
    assert "How many &lt;cells&gt;?" in page
    assert "<li>4. The pool reads four.</li>" in page
    right = json.loads(re.search(r'data-right="(.+?)"', page)[1].replace("&quot;", '"'))
    assert list(right.values()) == [0, 1]
    assert "1. How many" in QUIZ.text


@needs_browser
def test_a_quiz_is_answered_by_key_and_remembered(tmp_path):
    from selenium.webdriver.support.ui import WebDriverWait

    page = tmp_path / "quiz.html"
    text = f'<!doctype html><meta charset="utf-8"><title>quiz</title>{QUIZ.html}'
    page.write_text(text, "utf8")
    status = "return [...document.querySelectorAll('[role=status]')].map(p => p.textContent)"
    with chromium(tmp_path / "browser") as driver:
        driver.get(page.as_uri())
        first = driver.find_element("css selector", "input")
        driver.execute_script("arguments[0].focus()", first)
        first.send_keys(" ")
        assert driver.execute_script(status) == ["Right. The pool reads four.", ""]
        first.send_keys("\ue015")  # arrow down
        assert driver.execute_script(status)[0].startswith("Not this one")

        def is_remembered(driver):  # Chromium writes down what a page keeps a moment later
            driver.get(page.as_uri())
            return driver.execute_script(status)[0].startswith("Not this one")

        WebDriverWait(driver, 10).until(is_remembered)
        checked = "return document.querySelectorAll('input:checked').length"
        assert driver.execute_script(checked) == 1


def test_docstrings_say_what_is_asked():
    tree = ast.parse(inspect.getsource(check))
    functions = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name[0] != "_"]
    assert all(ast.get_docstring(function) for function in functions)
