"""What readers answer: exercises that are checked without giving the answer away, and quizzes.

Every exercise of the book has a function here, `check.<exercise>(answer)`. It says whether the
answer is right, and of a typical mistake what is wrong with it.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import wraps
from html import escape
from pathlib import Path

import numpy as np

from xraylib import images, maps, metrics, report
from xraylib.config import COVID

SCRIPT = Path(__file__).with_name("quiz.js").read_text("utf8")
STYLE = """.xray-quiz fieldset { border: 0; border-left: 4px solid #0072B2; padding: 0 .9rem;
  margin: .9rem 0; min-width: 0; break-inside: avoid; }
.xray-quiz legend { float: none; width: auto; font-size: 1em; padding: 0; margin: 0; }
.xray-quiz label { display: inline-block; margin: .25rem 1.5rem .25rem 0; min-height: 1.5rem; }
.xray-quiz [role=status] { margin: .2rem 0 0; font-weight: 600; }
.xray-quiz [role=status]:empty { margin: 0; }
.text_html:has(.xray-quiz) { background: none !important; color: inherit !important; }"""


@dataclass(frozen=True)
class Verdict:
    """What is said of an answer."""

    right: bool
    text: str

    def __repr__(self):
        return self.text


NOT_YET = Verdict(False, "No answer yet: write yours in place of None.")


def _exercise(judge):
    """Make an exercise of a function of the answer that says what is wrong with it, "" if nothing.

    What the function takes beside the answer is what the chapter gives.
    """

    def check(answer, *given, **settings) -> Verdict:
        if answer is None:
            return NOT_YET
        wrong = judge(answer, *given, **settings)
        return Verdict(not wrong, wrong or "Right.")

    check.__name__, check.__qualname__ = judge.__name__, judge.__qualname__
    check.__doc__ = judge.__doc__
    return check


def _number(tolerance: float = 0.005):
    """Make an exercise of a function that returns the number asked for, and a table of mistakes.

    The table: wrong number -> what has gone wrong if somebody finds it. An answer may lie off by
    the tolerance.
    """

    def make(asked):
        @wraps(asked)
        def judge(answer, *given, **settings) -> str:
            return _judge_number(answer, *asked(*given, **settings), tolerance)

        return _exercise(judge)

    return make


def _judge_number(answer, right: float, mistakes: dict, tolerance: float) -> str:
    try:
        value = float(answer)
    except (TypeError, ValueError):
        return f"Found {answer!r}: give one number."
    if abs(value - right) <= tolerance:
        return ""
    if 0 < right < 1 and abs(value / 100 - right) <= tolerance:
        return "Nearly: give a share between 0 and 1, and not per cent."
    for wrong, why in mistakes.items():
        if abs(value - wrong) <= tolerance:
            return f"Not yet: {why}."
    return f"Not yet: {value:g} is too {'high' if value > right else 'low'}."


def _judge_array(found, guesses: dict, otherwise: str, tolerance: float) -> str:
    """Return what is said of the first guess that an array equals, to a tolerance."""
    for said, guess in guesses.items():
        if np.abs(found - guess).max() <= tolerance:
            return said
    return otherwise


# Chapter 1


@_number()
def always_normal():
    """Check the accuracy of a program that calls every test image of the report normal."""
    counts = {name: row["test"] for name, row in report.TABLE_1.items()}
    n = sum(counts.values())
    return counts["normal"] / n, {
        1 / 3: "that is one class in three, but the classes are not of one size",
        counts["COVID-19"] / n: "that is the share of COVID-19; which images are called right",
        1 - counts["COVID-19"] / n: "pneumonia is called normal too, and that is wrong",
    }


@_number()
def missed():
    """Check how many of the COVID-19 test images experiment 1 of the report missed."""
    row = report.CONFUSION["experiment 1"][COVID]
    return sum(row) - row[COVID], {
        row[COVID]: "these are the ones that it found",
        row[0]: "an image that is called pneumonia is missed as well",
        row[1]: "an image that is called normal is missed as well",
    }


# Chapter 2


@_exercise
def up_sampling(answer, labels) -> str:
    """Check a batch of 20 in which COVID-19 images are repeated until they fill 30 % of it.

    The answer is the rows that make the batch, int (20,); given are the class ids of all rows (N,).
    """
    rows, labels = np.asarray(answer), np.asarray(labels)
    if rows.ndim != 1 or not np.issubdtype(rows.dtype, np.integer):
        return "Give the numbers of rows, a list of integers."
    if len(rows) != 20:
        return f"Not yet: the batch holds {len(rows)} images, not 20."
    if rows.min() < 0 or rows.max() >= len(labels):
        return f"Not yet: rows are numbered from 0 to {len(labels) - 1}."
    is_covid = labels[rows] == COVID
    if is_covid.sum() != 6:
        return f"Not yet: {is_covid.mean():.0%} of the batch are COVID-19."
    others = rows[~is_covid]
    if len(np.unique(others)) < len(others):
        return "Not yet: only COVID-19 images may be repeated."
    return ""


@_exercise
def leaking_patients(answer, train, test) -> str:
    """Check which patients, as a list of names, are on both sides of a split.

    Given are the patient of each training image, and of each test image.
    """
    if isinstance(answer, str | int):
        return "Give the names of the patients, as a list or a set."
    both, found = set(train) & set(test), set(answer)
    if found - both:
        return f"Not yet: {min(found - both)} is on one side only."
    return f"Not yet: {len(both - found)} more to be found." if found != both else ""


# Chapter 3.1


@_number(tolerance=0.5)
def head_weights():
    """Check how many weights the head has: two convolutions, two dense layers, with biases."""
    convolution, dense, last = 3 * 3 * 512 * 512, 512 * 64, 64 * 3
    biases = 2 * 512 + 64 + 3
    right = 2 * convolution + dense + last + biases
    return right, {
        right - biases: "every filter and every unit has a bias, too",
        right - convolution - 512: "there are two convolutions",
        2 * convolution + 2 * 512: "the dense layers have weights, too",
        right - 2 * 8 * 512 * 512: "a filter of 3 x 3 has nine weights for each channel",
    }


@_number(tolerance=0.5)
def cells_read(side: int = 5):
    """Check how many of side x side cells a 2 x 2 pool of stride 2 without padding reads."""
    return (2 * (side // 2)) ** 2, {
        side**2: "a window that sticks out is left out, and there is no padding",
        (side // 2) ** 2: "these are the cells behind the pool; how many does it read",
        ((side + 1) // 2) ** 2: "without padding the last window does not fit",
    }


# Chapter 3.2


@_exercise
def equalised(answer) -> str:
    """Check the new grey value of each of the pixels 10, 10, 20, 30 after equalisation."""
    row = np.array([[10, 10, 20, 30]], np.uint8)
    found = np.ravel(np.asarray(answer, float))
    if found.shape != row[0].shape:
        return f"Give {row.size} values, one for each pixel."
    right = images.equalise(row)[0].astype(float)
    shares = np.array([np.mean(row <= value) for value in row[0]])
    stretched = 255 * (row[0] - row.min()) / np.ptp(row)
    if np.abs(255 * found - right).max() <= 2:
        return "Nearly: the new values go from 0 to 255."
    guesses = {
        "": right,
        "Nearly: the darkest value becomes 0; take its pixels away first.": 255 * shares,
        "Not yet: that is stretching. Equalising goes by ranks.": stretched,
    }
    wrong = np.argmax(np.abs(found - right) > 1)
    otherwise = f"Not yet: look at pixel {wrong} again, counted from 0."
    return _judge_array(found, guesses, otherwise, tolerance=1)


@_number(tolerance=0.5)
def largest_shift():
    """Check the largest shift of Table 2 in pixels, of an image 224 pixels wide."""
    share = report.TABLE_2["horizontal shift (%)"][1]
    mistakes = {share: "that is in per cent; how many pixels are that", share / 100: "in pixels"}
    return share * 224 / 100, mistakes


# Chapter 3.2.3


@_exercise
def dice(answer) -> str:
    """Check a function that takes two masks, bool (H, W), and returns their Dice score."""
    if not callable(answer):
        return "Give the function itself, without calling it."
    left = np.zeros((4, 4), bool)
    left[:, :2] = True
    middle = np.roll(left, 1, axis=1)
    cases = {"the same mask twice": (left, left), "masks apart": (left, ~left)}
    cases |= {"masks that share half": (left, middle), "a small one in a large": (left, left | 1)}
    for name, (one, other) in cases.items():
        found, right = float(answer(one, other)), metrics.dice(one, other)
        if abs(found - right) > 1e-6:
            is_iou = abs(found - metrics.iou(one, other)) < 1e-6
            return f"Not yet: {'that is IoU' if is_iou else f'it gives {found:g} for {name}'}."
    return ""


@_number()
def shifted_dice():
    """Check the Dice of a rectangle and its copy, moved by a tenth of its width."""
    return 0.9, {
        0.9 / 1.1: "that is IoU",
        0.8: "what is lost on one side is not lost again on the other",
    }


# Chapter 3.3


@_number()
def recall_of_covid():
    """Check the recall of COVID-19 in experiment 2 of the report."""
    matrix = np.array(report.CONFUSION["experiment 2"])
    right, precision = metrics.recall(matrix)[COVID], metrics.precision(matrix)[COVID]
    return right, {
        precision: "that is precision: the share of those called COVID-19 that have it",
        metrics.accuracy(matrix): "that is the accuracy over all classes",
        1 - right: "that is the share that is missed",
    }


@_number()
def rare():
    """Check the precision of a test where few have the disease, by Bayes' rule."""
    recall, specificity, prevalence = 0.8, 0.95, 0.02
    found, wrong = recall * prevalence, (1 - specificity) * (1 - prevalence)
    return found / (found + wrong), {
        recall: "that is the recall, and it does not depend on how many are ill",
        specificity: "that is the specificity",
        recall / (recall + 1 - specificity): "that would hold if one in two had the disease",
        found: "divide by all who are called ill",
    }


# Chapter 3.4


@_number(tolerance=1)
def half_rate():
    """Check after how many steps the decay of Table 3 has halved the learning rate."""
    decay = report.TABLE_3["decay"]
    return 1 / decay, {
        0.5 / decay: "then the rate is divided by one and a half",
        report.TABLE_3["epochs"]: "these are epochs; the decay counts steps",
        2 / decay: "then the rate is divided by three",
    }


@_number(tolerance=0.1)
def best_epoch():
    """Check at which epoch to stop, where the losses are 1.1, 0.8, 0.6, 0.55, 0.58, 0.66."""
    return 4, {
        3: "count epochs from one",
        6: "that is the last epoch, and the loss has risen before it",
        1: "there the loss is largest",
    }


# Chapter 3.5


@_exercise
def cam(answer, activations, gradients) -> str:
    """Check a Grad-CAM map, float (h, w), that was computed by hand.

    Given are A of one image and dY/dA of it, both float (h, w, K).
    """
    found, (A, g) = np.asarray(answer, float), (np.asarray(activations), np.asarray(gradients))
    if found.shape != A.shape[:2]:
        return f"Not yet: the map has shape {found.shape}, not {A.shape[:2]}."
    linear = (A * g.mean(axis=(0, 1))).sum(axis=-1)
    right = np.maximum(linear, 0)
    summed = linear * g[..., 0].size  # as if the weights were sums
    guesses = {
        "": right,
        "Not yet: negative values are left; equation (1) ends with a ReLU.": linear,
        "Not yet: that is Layer-CAM: each cell has its own weight.": np.maximum(A * g, 0).sum(-1),
        "Not yet: the ReLU comes after the sum.": np.maximum(A * g.mean(axis=(0, 1)), 0).sum(-1),
        "Not yet: the weights of equation (2) are missing.": A.sum(axis=-1),
        "Nearly: right but for a factor. The weights are means, not sums.": np.maximum(summed, 0),
    }
    otherwise = "Not yet: take the mean gradient of each channel as its weight."
    return _judge_array(found, guesses, otherwise, tolerance=2e-3 * np.abs(linear).max())


@_number()
def energy():
    """Check the share of the energy of the map 0 1 / 3 4 inside the mask 0 1 / 0 1."""
    heatmap, mask = np.array([[0.0, 1.0], [3.0, 4.0]]), np.array([[False, True], [False, True]])
    return float(maps.energy_inside(heatmap, mask)), {
        mask.mean(): "that is the share of the area; weight each cell by its value",
        float(maps.points_inside(heatmap, mask)): "that is the pointing game",
        heatmap[mask].sum(): "divide by the sum of the whole map",
    }


@_exercise
def lesion(answer, phantom) -> str:
    """Check a pixel, (row, column), that should lie in the lesion of a drawn radiograph.

    Given is what `phantoms.make_phantom` returns, with a lesion.
    """
    if np.shape(answer) != (2,):
        return "Give two numbers: row, column."
    row, column = (int(number) for number in answer)
    shape = phantom.lesion_mask.shape
    if not (0 <= row < shape[0] and 0 <= column < shape[1]):
        return f"Not yet: the image has {shape[0]} rows and {shape[1]} columns."
    if phantom.lesion_mask[row, column]:
        return ""
    if phantom.marker_mask[row, column]:
        return "Not yet: that is the marker of the hospital."
    if not phantom.lung_mask[row, column]:
        return "Not yet: that pixel lies outside the lungs."
    return "Not yet: in the lungs, but beside the lesion."


# Chapter 4


@_number()
def f2():
    """Check the F2 of COVID-19 in experiment 1, from the report's own precision and recall."""
    precision, recall = 0.89, 0.65
    return 5 * precision * recall / (4 * precision + recall), {
        2 * precision * recall / (precision + recall): "that is F1",
        5 * precision * recall / (4 * recall + precision): "recall counts more, not precision",
        (precision + recall) / 2: "that is the mean of the two",
    }


@_number(tolerance=0.002)
def calibration_error():
    """Check the calibration error of two bins.

    60 images of mean probability 0.9, of which 80 % are right, and 40 of 0.6, 60 % right.
    """
    return 0.06, {
        0.05: "the bins are not of one size: weight each by its images",
        0.1: "the second bin counts, too",
    }


@_number()
def blind_map():
    """Check how often a point hits that is drawn anywhere, in a mark of 12 % of the image."""
    return 0.12, {0.88: "that is how often it misses", 0.5: "hit or miss are not equally likely"}


# Chapter 5


@_exercise
def report_cell(answer) -> str:
    """Check which pair of views, (training, test), the report's experiment 2 took."""
    if np.shape(answer) != (2,):
        return "Give two names of views: training, test."
    train, test = answer
    if (train, test) == ("segmented", "original"):
        return ""
    if (train, test) == ("original", "segmented"):
        return "Not yet: the other way round."
    if train == test:
        return "Not yet: in experiment 2 training and test images differ."
    return "Not yet: read section 3.4 of the report again."


@_number(tolerance=0.001)
def mcnemar():
    """Check the exact two-sided p of McNemar's test.

    12 images only the first network calls right, and 3 only the second.
    """
    right = metrics.mcnemar(12, 3)
    one_sided = "that is one-sided: the difference could have gone the other way, too"
    return right, {right / 2: one_sided}


@_number(tolerance=0.002)
def main_effect():
    """Check the mean effect of the mask in a small factorial of mask and equalisation.

    The accuracy is 0.80 without both, 0.74 with the mask, 0.78 equalised, 0.75 with both.
    """
    none, mask, equal, both = 0.80, 0.74, 0.78, 0.75
    right = ((mask - none) + (both - equal)) / 2
    return right, {
        mask - none: "that is its effect without equalisation; average both",
        both - equal: "that is its effect with equalisation; average both",
        both - none: "that is the effect of both together",
        -right: "with the mask minus without it",
    }


@_number()
def macro_recall():
    """Check the macro recall where 0 of 22, 13 of 20 and 34 of 63 images are called right."""
    found, of = (0, 13, 34), (22, 20, 63)
    recalls = np.divide(found, of)
    return recalls.mean(), {
        sum(found) / sum(of): "that is the accuracy: large classes count more",
        recalls[1:].mean(): "a class with nothing found counts as zero",
    }


# Chapter 6


@_number()
def deletion_area():
    """Check the area under a deletion curve: 0.9, 0.3, 0.1 with 0, 1/2 and 1 of the pixels gone."""
    return (0.9 / 2 + 0.3 + 0.1 / 2) / 2, {
        (0.9 + 0.3 + 0.1) / 3: "that is the mean of the points; the ends count half",
        0.9 - 0.1: "that is how far it falls; the area asks how fast",
    }


@_number(tolerance=3)
def score_cam_passes():
    """Check the passes of Score-CAM for an image: one for each of 512 channels of 3 layers."""
    return 3 * 512, {
        512: "that is one layer; its passes serve no other",
        2: "that holds for methods with gradients",
        3: "every channel is tried by itself",
    }


@_number()
def tcav():
    """Check a TCAV score: along a concept the class score of five images changes by these slopes.

    0.2, -0.1, 0.3, 0.4, -0.2.
    """
    slopes = np.array([0.2, -0.1, 0.3, 0.4, -0.2])
    rising = slopes > 0
    return rising.mean(), {
        slopes.mean(): "that is the mean slope; TCAV counts signs",
        1 - rising.mean(): "count the images whose score rises",
        rising.sum(): "give a share of the images",
    }


@_exercise
def holm(answer) -> str:
    """Check the p-values 0.01, 0.04, 0.03, corrected by Holm, in this order."""
    found = np.ravel(np.asarray(answer, float))
    if found.shape != (3,):
        return "Give 3 values."
    guesses = {
        "": [0.03, 0.06, 0.06],
        "Not yet: that is Bonferroni's; Holm's factor falls step by step.": [0.03, 0.12, 0.09],
        "Nearly: no value may be smaller than that of a smaller p.": [0.03, 0.04, 0.06],
    }
    otherwise = "Not yet: the smallest p is multiplied by the number of tests."
    return _judge_array(found, guesses, otherwise, tolerance=1e-3)


@_number()
def tempered():
    """Check the probability of the first of the logits 2, 0, 0 at a temperature of 2."""
    plain, right, sharp = (
        float(metrics.softmax(np.array([[2.0, 0.0, 0.0]]) / temperature)[0, 0])
        for temperature in (1, 2, 0.5)
    )
    return right, {
        plain: "that is without the temperature",
        plain / 2: "divide the logits, not the probability",
        sharp: "divide the logits, do not multiply",
    }


@_number(tolerance=0.001)
def cut():
    """Check the highest cut at which 75 % of the COVID-19 images are found.

    Their scores are 0.9, 0.8, 0.7 and 0.2; those are found whose score is at least the cut.
    """
    return 0.7, {
        0.8: "that finds one image too few",
        0.2: "that finds all; the cut can be higher",
        0.75: "that is the recall that is wanted; which score is reached by that share",
    }


# The questions at a chapter's end


@dataclass(frozen=True)
class Question:
    """One question with several answers to choose from, one of them right."""

    text: str
    options: tuple[str, ...]
    right: int  # its place
    why: str


def ask(text: str, options, right: str | bool, why: str = "") -> Question:
    """Return the question of a quiz, and what is said after the right answer.

    There are two options or more, all different. The right one is computed by the run; of two, it
    may be told as whether it is the first. A `ValueError` says that it is not among the options, or
    that options are doubled.
    """
    options = tuple(str(option) for option in options)
    if len(set(options)) < max(2, len(options)):
        raise ValueError(f"{text} found the options {options}: give two or more, all different")
    if isinstance(right, bool | np.bool_) and len(options) == 2:
        right = options[0 if right else 1]
    if str(right) not in options:
        raise ValueError(f"{text} the right answer {right!r} is not among {options}")
    return Question(text, options, options.index(str(right)), why)


def quiz(*questions: Question) -> report.Shown:
    """Return questions that a page shows with answers to choose from, kept by the browser.

    Without a script the answers can be unfolded.
    """
    names = [hashlib.sha256(q.text.encode()).hexdigest()[:8] for q in questions]
    right = {name: q.right for name, q in zip(names, questions, strict=True)}
    fields = "".join(_field(*pair) for pair in zip(names, questions, strict=True))
    answers = "".join(f"<li>{escape(q.options[q.right])}. {escape(q.why)}</li>" for q in questions)
    page = (
        f'<div class="xray-quiz" data-right="{escape(json.dumps(right))}">'
        f"<style>{STYLE}</style>{fields}"
        f"<details><summary>All answers</summary><ol>{answers}</ol></details>"
        f"<script>{SCRIPT}</script></div>"
    )
    return report.Shown(page, "\n".join(f"{k}. {q.text}" for k, q in enumerate(questions, 1)))


def _field(name: str, question: Question) -> str:
    options = "".join(
        f'<label><input type="radio" name="quiz-{name}" value="{k}"> {escape(option)}</label>'
        for k, option in enumerate(question.options)
    )
    return (
        f'<fieldset data-name="{name}" data-why="{escape(question.why)}">'
        f"<legend>{escape(question.text)}</legend>{options}"
        '<p role="status" aria-live="polite"></p></fieldset>'
    )
