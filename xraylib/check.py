"""What readers answer: exercises that are checked without giving the answer away, and quizzes.

Every exercise of the book has a function here, `check.<exercise>(answer)`. It says whether the
answer is right, and of a typical mistake what is wrong with it.
"""

import hashlib
import html
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xraylib import images, maps, metrics, report
from xraylib.config import COVID

SCRIPT = Path(__file__).with_name("quiz.js").read_text("utf8")
STYLE = """.xray-quiz fieldset { border: 0; border-left: 4px solid #0072B2; padding: 0 .9rem;
  margin: 1.2rem 0; min-width: 0; break-inside: avoid; }
.xray-quiz legend { float: none; width: auto; font-size: 1em; padding: 0; margin: 0; }
.xray-quiz label { display: block; margin: .25rem 0; min-height: 1.5rem; }
.xray-quiz [role=status] { min-height: 1.5em; margin: .3rem 0; font-weight: 600; }
.text_html:has(.xray-quiz) { background: none !important; color: inherit !important; }"""
PER_CENT = "give a share between 0 and 1, and not per cent"


@dataclass(frozen=True)
class Verdict:
    """What is said of an answer."""

    right: bool
    text: str

    def __repr__(self):
        return self.text


NOT_YET = Verdict(False, "No answer yet: write yours in place of None.")


def _number(answer, right: float, mistakes: dict, tolerance: float = 0.005) -> Verdict:
    """Judge a number.

    Args:
        answer: what the reader found; None is no answer yet.
        right: the number asked for.
        mistakes: wrong number -> what has gone wrong if somebody finds it.
        tolerance: how far an answer may lie off.
    """
    if answer is None:
        return NOT_YET
    try:
        value = float(answer)
    except (TypeError, ValueError):
        return Verdict(False, f"Found {answer!r}: give one number.")
    if abs(value - right) <= tolerance:
        return Verdict(True, "Right.")
    if 0 < right < 1 and abs(value / 100 - right) <= tolerance:
        return Verdict(False, f"Nearly: {PER_CENT}.")
    for wrong, why in mistakes.items():
        if abs(value - wrong) <= tolerance:
            return Verdict(False, f"Not yet: {why}.")
    return Verdict(False, f"Not yet: {value:g} is too {'high' if value > right else 'low'}.")


# Chapter 1


def always_normal(answer) -> Verdict:
    """Check the accuracy of a program that calls every test image of the report normal."""
    counts = {name: row["test"] for name, row in report.TABLE_1.items()}
    n = sum(counts.values())
    mistakes = {
        1 / 3: "that is one class in three, but the classes are not of one size",
        counts["COVID-19"] / n: "that is the share of COVID-19; which images are called right",
        1 - counts["COVID-19"] / n: "pneumonia is called normal too, and that is wrong",
    }
    return _number(answer, counts["normal"] / n, mistakes)


def missed(answer) -> Verdict:
    """Check how many of the COVID-19 test images experiment 1 of the report missed."""
    row = report.CONFUSION["experiment 1"][COVID]
    mistakes = {
        row[COVID]: "these are the ones that it found",
        row[0]: "an image that is called pneumonia is missed as well",
        row[1]: "an image that is called normal is missed as well",
    }
    return _number(answer, sum(row) - row[COVID], mistakes)


# Chapter 2


def up_sampling(answer, labels, size: int = 20, rate: float = 0.3) -> Verdict:
    """Check a batch in which COVID-19 images are repeated until they fill a share of it.

    Args:
        answer: the rows that make the batch, int (size,).
        labels: class ids of all rows (N,).
        size: images in the batch.
        rate: share of COVID-19 in it.
    """
    if answer is None:
        return NOT_YET
    rows, labels = np.asarray(answer), np.asarray(labels)
    if rows.ndim != 1 or not np.issubdtype(rows.dtype, np.integer):
        return Verdict(False, "Give the numbers of rows, a list of integers.")
    if len(rows) != size:
        return Verdict(False, f"Not yet: the batch holds {len(rows)} images, not {size}.")
    if rows.min() < 0 or rows.max() >= len(labels):
        return Verdict(False, f"Not yet: rows are numbered from 0 to {len(labels) - 1}.")
    is_covid = labels[rows] == COVID
    if is_covid.sum() != round(rate * size):
        return Verdict(False, f"Not yet: {is_covid.mean():.0%} of the batch are COVID-19.")
    others = rows[~is_covid]
    if len(np.unique(others)) < len(others):
        return Verdict(False, "Not yet: only COVID-19 images may be repeated.")
    return Verdict(True, "Right.")


def leaking_patients(answer, train, test) -> Verdict:
    """Check which patients are on both sides of a split.

    Args:
        answer: the names of these patients.
        train: the patient of each training image.
        test: the patient of each test image.
    """
    if answer is None:
        return NOT_YET
    if isinstance(answer, str | int):
        return Verdict(False, "Give the names of the patients, as a list or a set.")
    both, found = set(train) & set(test), set(answer)
    strangers = found - both
    if strangers:
        return Verdict(False, f"Not yet: {min(strangers)} is on one side only.")
    if found != both:
        return Verdict(False, f"Not yet: {len(both - found)} more to be found.")
    return Verdict(True, "Right.")


# Chapter 3.1


def head_weights(answer) -> Verdict:
    """Check how many weights the head has: two convolutions, two dense layers, with biases."""
    convolution, dense, last = 3 * 3 * 512 * 512, 512 * 64, 64 * 3
    biases = 2 * 512 + 64 + 3
    right = 2 * convolution + dense + last + biases
    mistakes = {
        right - biases: "every filter and every unit has a bias, too",
        right - convolution - 512: "there are two convolutions",
        2 * convolution + 2 * 512: "the dense layers have weights, too",
        right - 2 * 8 * 512 * 512: "a filter of 3 x 3 has nine weights for each channel",
    }
    return _number(answer, right, mistakes, tolerance=0.5)


def cells_read(answer, side: int = 5) -> Verdict:
    """Check how many of side x side cells a 2 x 2 pool of stride 2 without padding reads."""
    mistakes = {
        side**2: "a window that sticks out is left out, and there is no padding",
        (side // 2) ** 2: "these are the cells behind the pool; how many does it read",
        ((side + 1) // 2) ** 2: "without padding the last window does not fit",
    }
    return _number(answer, (2 * (side // 2)) ** 2, mistakes, tolerance=0.5)


# Chapter 3.2


def equalised(answer, pixels=(10, 10, 20, 30)) -> Verdict:
    """Check grey values after equalisation.

    Args:
        answer: the new value of each pixel.
        pixels: the old ones.
    """
    if answer is None:
        return NOT_YET
    row = np.array([pixels], np.uint8)
    right, found = images.equalise(row)[0].astype(float), np.ravel(np.asarray(answer, float))
    if found.shape != right.shape:
        return Verdict(False, f"Give {len(right)} values, one for each pixel.")
    if np.abs(found - right).max() <= 1:
        return Verdict(True, "Right.")
    if np.abs(found - right / 255).max() <= 0.01:
        return Verdict(False, "Nearly: the new values go from 0 to 255.")
    shares = np.array([np.mean(row <= value) for value in row[0]])
    if np.abs(found - 255 * shares).max() <= 1:
        return Verdict(False, "Nearly: the darkest value becomes 0; take its pixels away first.")
    stretched = 255 * (row[0] - row.min()) / np.ptp(row)
    if np.abs(found - stretched).max() <= 1:
        return Verdict(False, "Not yet: that is stretching. Equalising goes by ranks.")
    wrong = np.flatnonzero(np.abs(found - right) > 1)[0]
    return Verdict(False, f"Not yet: look at pixel {wrong} again, counted from 0.")


def largest_shift(answer, side: int = 224) -> Verdict:
    """Check the largest shift of Table 2 in pixels, of an image so many pixels wide."""
    share = report.TABLE_2["horizontal shift (%)"][1]
    mistakes = {share: "that is in per cent; how many pixels are that", share / 100: "in pixels"}
    return _number(answer, share * side / 100, mistakes, tolerance=0.5)


# Chapter 3.2.3


def dice(answer) -> Verdict:
    """Check a function that takes two masks, bool (H, W), and returns their Dice score."""
    if answer is None:
        return NOT_YET
    if not callable(answer):
        return Verdict(False, "Give the function itself, without calling it.")
    left = np.zeros((4, 4), bool)
    left[:, :2] = True
    middle = np.roll(left, 1, axis=1)
    cases = {"the same mask twice": (left, left), "masks apart": (left, ~left)}
    cases |= {"masks that share half": (left, middle), "a small one in a large": (left, left | 1)}
    for name, (one, other) in cases.items():
        found, right = float(answer(one, other)), metrics.dice(one, other)
        if abs(found - right) > 1e-6:
            overlap = metrics.iou(one, other)
            is_iou = abs(found - overlap) < 1e-6 and abs(right - overlap) > 1e-6
            what = "that is IoU" if is_iou else f"it gives {found:g} for {name}"
            return Verdict(False, f"Not yet: {what}.")
    return Verdict(True, "Right.")


def shifted_dice(answer, shift: float = 0.1) -> Verdict:
    """Check the Dice of a rectangle and its copy, moved by a share of its width."""
    mistakes = {
        (1 - shift) / (1 + shift): "that is IoU",
        1 - 2 * shift: "what is lost on one side is not lost again on the other",
    }
    return _number(answer, 1 - shift, mistakes)


# Chapter 3.3


def recall_of_covid(answer) -> Verdict:
    """Check the recall of COVID-19 in experiment 2 of the report."""
    matrix = np.array(report.CONFUSION["experiment 2"])
    right, precision = metrics.recall(matrix)[COVID], metrics.precision(matrix)[COVID]
    mistakes = {
        precision: "that is precision: the share of those called COVID-19 that have it",
        metrics.accuracy(matrix): "that is the accuracy over all classes",
        1 - right: "that is the share that is missed",
    }
    return _number(answer, right, mistakes)


def rare(answer, recall=0.8, specificity=0.95, prevalence=0.02) -> Verdict:
    """Check the precision of a test where few have the disease, by Bayes' rule."""
    found, wrong = recall * prevalence, (1 - specificity) * (1 - prevalence)
    mistakes = {
        recall: "that is the recall, and it does not depend on how many are ill",
        specificity: "that is the specificity",
        recall / (recall + 1 - specificity): "that would hold if one in two had the disease",
        found: "divide by all who are called ill",
    }
    return _number(answer, found / (found + wrong), mistakes)


# Chapter 3.4


def half_rate(answer) -> Verdict:
    """Check after how many steps the decay of Table 3 has halved the learning rate."""
    decay = report.TABLE_3["decay"]
    mistakes = {
        0.5 / decay: "then the rate is divided by one and a half",
        report.TABLE_3["epochs"]: "these are epochs; the decay counts steps",
        2 / decay: "then the rate is divided by three",
    }
    return _number(answer, 1 / decay, mistakes, tolerance=1)


def best_epoch(answer, losses=(1.1, 0.8, 0.6, 0.55, 0.58, 0.66)) -> Verdict:
    """Check at which epoch, counted from 1, to stop.

    Args:
        answer: the epoch.
        losses: validation loss after each epoch.
    """
    right = int(np.argmin(losses)) + 1
    mistakes = {
        right - 1: "count epochs from one",
        len(losses): "that is the last epoch, and the loss has risen before it",
        int(np.argmax(losses)) + 1: "there the loss is largest",
    }
    return _number(answer, right, mistakes, tolerance=0.1)


# Chapter 3.5


def cam(answer, activations, gradients) -> Verdict:
    """Check a Grad-CAM map that was computed by hand.

    Args:
        answer: the map, float (h, w).
        activations: A of one image, float (h, w, K).
        gradients: dY/dA of it, float (h, w, K).
    """
    if answer is None:
        return NOT_YET
    found, (A, g) = np.asarray(answer, float), (np.asarray(activations), np.asarray(gradients))
    if found.shape != A.shape[:2]:
        return Verdict(False, f"Not yet: the map has shape {found.shape}, not {A.shape[:2]}.")
    linear = (A * g.mean(axis=(0, 1))).sum(axis=-1)
    others = {
        "negative values are left; equation (1) ends with a ReLU": linear,
        "that is Layer-CAM: each cell has its own weight": np.maximum(A * g, 0).sum(-1),
        "the ReLU comes after the sum": (np.maximum(A * g.mean(axis=(0, 1)), 0)).sum(-1),
        "the weights of equation (2) are missing": A.sum(axis=-1),
    }
    right = np.maximum(linear, 0)
    if _same(found, right):
        return Verdict(True, "Right.")
    for why, wrong in others.items():
        if _same(found, wrong) or _same(found, np.maximum(wrong, 0)):
            return Verdict(False, f"Not yet: {why}.")
    if right.max() > 0 and _same(found / (found.max() or 1), right / right.max()):
        return Verdict(False, "Nearly: right but for a factor. The weights are means, not sums.")
    return Verdict(False, "Not yet: take the mean gradient of each channel as its weight.")


def _same(one, other) -> bool:
    return bool(np.allclose(one, other, rtol=1e-3, atol=1e-3 * np.abs(other).max()))


def energy(answer, heatmap=((0, 1), (3, 4)), mask=((0, 1), (0, 1))) -> Verdict:
    """Check the share of a map's energy inside a mask.

    Args:
        answer: the share.
        heatmap: float (h, w).
        mask: 0 or 1, (h, w).
    """
    heatmap, mask = np.array(heatmap, float), np.array(mask, bool)
    mistakes = {
        mask.mean(): "that is the share of the area; weight each cell by its value",
        float(maps.points_inside(heatmap, mask)): "that is the pointing game",
        heatmap[mask].sum(): "divide by the sum of the whole map",
    }
    return _number(answer, float(maps.energy_inside(heatmap, mask)), mistakes)


def lesion(answer, phantom) -> Verdict:
    """Check a pixel that should lie in the lesion of a drawn radiograph.

    Args:
        answer: (row, column).
        phantom: what `phantoms.make_phantom` returns, with a lesion.
    """
    if answer is None:
        return NOT_YET
    if np.shape(answer) != (2,):
        return Verdict(False, "Give two numbers: row, column.")
    row, column = (int(number) for number in answer)
    shape = phantom.lesion_mask.shape
    if not (0 <= row < shape[0] and 0 <= column < shape[1]):
        return Verdict(False, f"Not yet: the image has {shape[0]} rows and {shape[1]} columns.")
    if phantom.lesion_mask[row, column]:
        return Verdict(True, "Right.")
    if phantom.marker_mask[row, column]:
        return Verdict(False, "Not yet: that is the marker of the hospital.")
    if not phantom.lung_mask[row, column]:
        return Verdict(False, "Not yet: that pixel lies outside the lungs.")
    return Verdict(False, "Not yet: in the lungs, but beside the lesion.")


# Chapter 4


def f2(answer, precision: float = 0.89, recall: float = 0.65) -> Verdict:
    """Check the F2 of COVID-19 in experiment 1, from the report's own precision and recall."""
    mistakes = {
        2 * precision * recall / (precision + recall): "that is F1",
        5 * precision * recall / (4 * recall + precision): "recall counts more, not precision",
        (precision + recall) / 2: "that is the mean of the two",
    }
    return _number(answer, 5 * precision * recall / (4 * precision + recall), mistakes)


def calibration_error(answer) -> Verdict:
    """Check the calibration error of two bins.

    60 images of mean probability 0.9, of which 80 % are right, and 40 of 0.6, 60 % right.
    """
    mistakes = {
        0.05: "the bins are not of one size: weight each by its images",
        0.1: "the second bin counts, too",
    }
    return _number(answer, 0.06, mistakes, tolerance=0.002)


# Chapter 5


def report_cell(answer) -> Verdict:
    """Check which pair of views, (training, test), the report's experiment 2 took."""
    if answer is None:
        return NOT_YET
    if np.shape(answer) != (2,):
        return Verdict(False, "Give two names of views: training, test.")
    train, test = answer
    if (train, test) == ("segmented", "original"):
        return Verdict(True, "Right.")
    if (train, test) == ("original", "segmented"):
        return Verdict(False, "Not yet: the other way round.")
    if train == test:
        return Verdict(False, "Not yet: in experiment 2 training and test images differ.")
    return Verdict(False, "Not yet: read section 3.4 of the report again.")


def mcnemar(answer, only_first: int = 12, only_second: int = 3) -> Verdict:
    """Check the exact two-sided p of McNemar's test.

    Args:
        answer: p.
        only_first: images that only the first network calls right.
        only_second: images that only the second calls right.
    """
    right = metrics.mcnemar(only_first, only_second)
    mistakes = {right / 2: "that is one-sided: the difference could have gone the other way, too"}
    return _number(answer, right, mistakes, tolerance=0.001)


def main_effect(answer, none=0.80, mask=0.74, equal=0.78, both=0.75) -> Verdict:
    """Check the mean effect of the mask in a small factorial of mask and equalisation.

    Args:
        answer: the effect, a difference of accuracies.
        none, mask, equal, both: accuracy without both, with one of them, with both.
    """
    right = ((mask - none) + (both - equal)) / 2
    mistakes = {
        mask - none: "that is its effect without equalisation; average both",
        both - equal: "that is its effect with equalisation; average both",
        both - none: "that is the effect of both together",
        -right: "with the mask minus without it",
    }
    return _number(answer, right, mistakes, tolerance=0.002)


def macro_recall(answer, found=(0, 13, 34), of=(22, 20, 63)) -> Verdict:
    """Check the macro recall of three classes.

    Args:
        answer: the macro recall.
        found: images called right, of each class.
        of: images of each class.
    """
    right = float(np.mean(np.divide(found, of)))
    mistakes = {
        sum(found) / sum(of): "that is the accuracy: large classes count more",
        float(np.mean(np.divide(found, of)[1:])): "a class with nothing found counts as zero",
    }
    return _number(answer, right, mistakes)


# Chapter 6


def deletion_area(answer, shares=(0, 0.5, 1), probs=(0.9, 0.3, 0.1)) -> Verdict:
    """Check the area under a deletion curve.

    Args:
        answer: the area.
        shares: of the pixels taken away.
        probs: probability of the class, at each share.
    """
    mistakes = {
        float(np.mean(probs)): "that is the mean of the points; the ends count half",
        probs[0] - probs[-1]: "that is how far it falls; the area asks how fast",
    }
    return _number(answer, float(np.trapezoid(probs, shares)), mistakes)


def score_cam_passes(answer, layers: int = 3, channels: int = 512) -> Verdict:
    """Check the passes of Score-CAM for one image and class: one for each channel of each layer."""
    mistakes = {
        channels: "that is one layer; its passes serve no other",
        2: "that holds for methods with gradients",
        layers: "every channel is tried by itself",
    }
    return _number(answer, layers * channels, mistakes, tolerance=layers)


def tcav(answer, slopes=(0.2, -0.1, 0.3, 0.4, -0.2)) -> Verdict:
    """Check a TCAV score.

    Args:
        answer: the score.
        slopes: how the class score changes along the concept, for each image.
    """
    share = float(np.mean(np.array(slopes) > 0))
    mistakes = {
        float(np.mean(slopes)): "that is the mean slope; TCAV counts signs",
        1 - share: "count the images whose score rises",
        sum(slope > 0 for slope in slopes): "give a share of the images",
    }
    return _number(answer, share, mistakes)


def holm(answer, p_values=(0.01, 0.04, 0.03)) -> Verdict:
    """Check p-values that are corrected by Holm.

    Args:
        answer: the corrected values, in the order of the first.
        p_values: as found.
    """
    if answer is None:
        return NOT_YET
    p, found = np.array(p_values), np.ravel(np.asarray(answer, float))
    if found.shape != p.shape:
        return Verdict(False, f"Give {len(p)} values.")
    factors = len(p) - np.argsort(np.argsort(p))
    steps = np.minimum(1, factors * p)
    right = np.array([steps[p <= value].max() for value in p])
    if np.allclose(found, right, atol=1e-3):
        return Verdict(True, "Right.")
    if np.allclose(found, np.minimum(1, len(p) * p), atol=1e-3):
        return Verdict(False, "Not yet: that is Bonferroni's; Holm's factor falls step by step.")
    if np.allclose(found, steps, atol=1e-3):
        return Verdict(False, "Nearly: no value may be smaller than that of a smaller p.")
    return Verdict(False, "Not yet: the smallest p is multiplied by the number of tests.")


def tempered(answer, logits=(2.0, 0.0, 0.0), temperature: float = 2.0) -> Verdict:
    """Check the probability of the first class after its logits are divided by a temperature.

    Args:
        answer: the probability.
        logits: scores of the classes.
        temperature: above 0.
    """
    scores = np.array([logits])
    plain = float(metrics.softmax(scores)[0, 0])
    mistakes = {
        plain: "that is without the temperature",
        plain / temperature: "divide the logits, not the probability",
        float(metrics.softmax(scores * temperature)[0, 0]): "divide the logits, do not multiply",
    }
    return _number(answer, float(metrics.softmax(scores / temperature)[0, 0]), mistakes)


def cut(answer, scores=(0.9, 0.8, 0.7, 0.2), wanted: float = 0.75) -> Verdict:
    """Check the highest cut at which a share of the COVID-19 images is found.

    Args:
        answer: the cut; an image is called COVID-19 where its score is at least that.
        scores: probabilities of the COVID-19 images.
        wanted: recall.
    """
    ordered = sorted(scores, reverse=True)
    place = int(np.ceil(wanted * len(ordered))) - 1
    mistakes = {
        ordered[max(place - 1, 0)]: "that finds one image too few",
        ordered[-1]: "that finds all; the cut can be higher",
        wanted: "that is the recall that is wanted; which score is reached by that share",
    }
    return _number(answer, ordered[place], mistakes, tolerance=0.001)


# The questions at a chapter's end


@dataclass(frozen=True)
class Question:
    """One question with several answers to choose from, one of them right."""

    text: str
    options: tuple[str, ...]
    right: int  # its place
    why: str


def ask(text: str, options, right: str | bool, why: str = "") -> Question:
    """Return a question of a quiz.

    Args:
        text: what is asked.
        options: two texts or more to choose from, all different.
        right: the right one, computed by the run; or, of two, whether it is the first.
        why: said after the right answer.

    Raises:
        ValueError: the right answer is not among the options, or options are doubled.
    """
    options = tuple(str(option) for option in options)
    if len(set(options)) < max(2, len(options)):
        raise ValueError(f"{text} found the options {options}: give two or more, all different")
    if isinstance(right, bool | np.bool_) and len(options) == 2:
        right = options[0 if right else 1]
    if str(right) not in options:
        raise ValueError(f"{text} the right answer {right!r} is not among {options}")
    return Question(text, options, options.index(str(right)), why)


@dataclass(frozen=True)
class Quiz:
    """Questions as a page shows them; without a script the answers can be unfolded."""

    questions: tuple[Question, ...]

    def __repr__(self):
        texts = [f"{k}. {q.text}" for k, q in enumerate(self.questions, 1)]
        return "\n".join(texts)

    def _repr_html_(self) -> str:
        names = [hashlib.sha256(q.text.encode()).hexdigest()[:8] for q in self.questions]
        right = {name: q.right for name, q in zip(names, self.questions, strict=True)}
        fields = "".join(_field(*pair) for pair in zip(names, self.questions, strict=True))
        answers = "".join(
            f"<li>{_escape(q.options[q.right])}. {_escape(q.why)}</li>" for q in self.questions
        )
        return (
            f'<div class="xray-quiz" data-right="{_escape(json.dumps(right))}">'
            f"<style>{STYLE}</style>{fields}"
            f"<details><summary>All answers</summary><ol>{answers}</ol></details>"
            f"<script>{SCRIPT}</script></div>"
        )


def quiz(*questions: Question) -> Quiz:
    """Return questions that a page shows with answers to choose from, kept by the browser.

    Args:
        questions: of `check.ask`.
    """
    return Quiz(questions)


def _escape(text: str) -> str:
    return html.escape(text, quote=True)


def _field(name: str, question: Question) -> str:
    options = "".join(
        f'<label><input type="radio" name="quiz-{name}" value="{k}"> {_escape(option)}</label>'
        for k, option in enumerate(question.options)
    )
    return (
        f'<fieldset data-name="{name}" data-why="{_escape(question.why)}">'
        f"<legend>{_escape(question.text)}</legend>{options}"
        '<p role="status" aria-live="polite"></p></fieldset>'
    )
