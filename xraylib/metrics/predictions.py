"""Predictions as a table: figures of merit, and how far their probabilities can be believed."""

import warnings

import numpy as np
import pandas as pd

from xraylib.config import CLASS_NAMES, COVID
from xraylib.metrics.counts import (
    UndefinedMetricWarning,
    accuracy,
    bootstrap_interval,
    check_class_ids,
    check_finite,
    check_lengths,
    class_rows,
    confusion_matrix,
    f_beta,
    macro_average,
    precision,
    recall,
    wilson_interval,
)

DRAWS = 200  # of classes, for `chance_error`


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities (B, C) for finite logits (B, C)."""
    logits = check_finite(logits, "logits")
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def predictions_table(manifest: pd.DataFrame, logits, class_names=CLASS_NAMES) -> pd.DataFrame:
    """Put predictions beside the rows of a manifest.

    Args:
        manifest: N rows.
        logits: float (N, C), finite.
        class_names: C names.

    Returns:
        path, patient_id, source, label, prediction, and a probability for each class.
    """
    logits = np.asarray(logits)
    if logits.shape != (len(manifest), len(class_names)):
        raise ValueError(
            f"found logits {logits.shape} for {len(manifest)} images and {len(class_names)} "
            "classes: give (N, C) and class_names"
        )
    probs = softmax(logits)
    table = manifest[["path", "patient_id", "source", "label"]].reset_index(drop=True)
    table["prediction"] = np.array(class_names)[logits.argmax(axis=1)]
    table[list(class_names)] = probs
    return table


def judge_predictions(
    predictions: pd.DataFrame, seed: int = 0, class_names=CLASS_NAMES, rare_class=None
) -> dict:
    """Return the figures of merit of predictions, with n and intervals.

    Accuracy, recall and precision are shares, so they carry a Wilson interval; the macro F1
    carries a bootstrap by patient.

    Args:
        predictions: what `Run.predictions` returns or `cross_validate`.
        seed: seeds the bootstrap.
        class_names: C names, in the order of the confusion matrix.
        rare_class: a name or an id: the class whose recall and precision are told; COVID-19 where
            it is among the names, else none.

    Returns:
        n; confusion (C x C, rows true); and value, low and high for each figure. The precision
        of a class that was never predicted is NaN.

    Raises:
        ValueError: a label or a prediction is none of the names.
    """
    with warnings.catch_warnings(action="ignore", category=UndefinedMetricWarning):  # NaN says it
        return _judge_predictions(predictions, seed, list(class_names), rare_class)


def _judge_predictions(predictions: pd.DataFrame, seed: int, class_names, rare_class) -> dict:
    labels = _ids(predictions.label, class_names)
    predicted = _ids(predictions.prediction, class_names)
    matrix = confusion_matrix(labels, predicted, len(class_names))
    interval = wilson_interval(int(np.trace(matrix)), int(matrix.sum()))
    figures = {"accuracy": (accuracy(matrix), interval)}
    if rare_class is None and CLASS_NAMES[COVID] in class_names:
        rare_class = CLASS_NAMES[COVID]
    if rare_class is not None:
        rare = rare_class if rare_class not in class_names else class_names.index(rare_class)
        check_class_ids([rare], len(class_names), "rare_class")
        name, hits = class_names[rare], int(matrix[rare, rare])
        interval = wilson_interval(hits, int(matrix[rare].sum()))
        figures[f"{name} recall"] = recall(matrix)[rare], interval
        interval = wilson_interval(hits, int(matrix[:, rare].sum()))
        figures[f"{name} precision"] = precision(matrix)[rare], interval
    # an image without a patient_id counts as a patient of its own
    known = predictions.patient_id.notna() & (predictions.patient_id != "")
    groups = predictions.patient_id.where(known, predictions.path).astype(str).to_numpy()
    interval = bootstrap_interval(
        _macro_f1, labels, predicted, groups, seed=seed, n_classes=len(class_names)
    )
    figures["macro F1"] = _macro_f1(matrix), interval
    table = {name: {"value": v, "low": lo, "high": hi} for name, (v, (lo, hi)) in figures.items()}
    return {"n": int(matrix.sum()), "confusion": matrix.tolist(), **table}


def _ids(names: pd.Series, class_names) -> np.ndarray:
    strange = sorted(set(names[~names.isin(class_names)].astype(str)))
    if strange:
        known = ", ".join(map(str, class_names))
        said = f"{names.name} {', '.join(map(repr, strange))}"
        raise ValueError(f"{said} is no class: give class_names; now {known}")
    return names.map(list(class_names).index).to_numpy(int)


def figures_row(
    predictions: pd.DataFrame, seed: int = 0, class_names=CLASS_NAMES, rare_class=None
) -> dict:
    """Return the figures of `judge_predictions` as one row: n, and each with its interval."""
    figures = judge_predictions(predictions, seed, class_names, rare_class)
    row = {"n": figures.pop("n")}
    figures.pop("confusion")
    for name, figure in figures.items():
        row |= {name: figure["value"], f"{name} low": figure["low"], f"{name} high": figure["high"]}
    return row


def per_class_table(confusion, class_names=CLASS_NAMES) -> pd.DataFrame:
    """Return precision, recall, specificity, F1 and F2 for each class, as in Table 4.

    Args:
        confusion: counts (C, C), rows true.
        class_names: C names.
    """
    return pd.DataFrame(class_rows(confusion, class_names)).set_index("class")


def as_text(table: pd.DataFrame, names) -> pd.DataFrame:
    """Write figures and their intervals as text, in per cent.

    Args:
        table: a table with the columns of `figures_row`.
        names: the names of the figures to show.

    Returns:
        a table of texts such as `82.0 % [74.0, 88.0]`, and n.
    """
    text = pd.DataFrame({"n": table["n"].astype(int)}, index=table.index)
    for name in names:
        rows = table[[name, f"{name} low", f"{name} high"]].to_numpy(float) * 100
        text[name] = [f"{value:.1f} % [{low:.1f}, {high:.1f}]" for value, low, high in rows]
    return text


def _macro_f1(matrix) -> float:
    return macro_average(f_beta(matrix, 1), matrix)


def negative_log_likelihood(probs, labels) -> float:
    """Return the mean of -log p(true class), in nats; p is at least the dtype's epsilon.

    Args:
        probs: float (N, C), rows sum to 1.
        labels: class ids (N,).
    """
    probs, labels = _checked_probabilities(probs, labels)
    of_truth = probs[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(of_truth, np.finfo(probs.dtype).eps), dtype=float).mean())


def reliability_curve(probs, labels, n_bins: int = 15) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compare how sure the predictions are with how often they are right.

    Args:
        probs: float (N, C), rows sum to 1.
        labels: class ids (N,).
        n_bins: B equal bins (low, high] of the predicted class's probability.

    Returns:
        mean confidence (B,), accuracy (B,), both NaN where a bin is empty, and counts (B,).
        Guo et al., "On Calibration of Modern Neural Networks" (2017).
    """
    probs, labels = _checked_probabilities(probs, labels)
    confidence, right = probs.max(axis=1).astype(float), probs.argmax(axis=1) == labels
    bins = np.digitize(confidence, np.linspace(0, 1, n_bins + 1)[1:-1], right=True)
    counts = np.bincount(bins, minlength=n_bins)
    sums = [np.bincount(bins, weights=w, minlength=n_bins) for w in (confidence, right)]
    with np.errstate(invalid="ignore"):
        return sums[0] / counts, sums[1] / counts, counts


def expected_calibration_error(probs, labels, n_bins: int = 15) -> float:
    """Return the mean gap of confidence and accuracy, bins weighted by images; 0 is best, 1 worst.

    Arguments and source as in `reliability_curve`.
    """
    confidence, right, counts = reliability_curve(probs, labels, n_bins)
    return float(np.nansum(np.abs(confidence - right) * counts) / counts.sum())


def chance_error(probs, n_bins: int = 15, seed: int = 0) -> float:
    """Return the calibration error that is to be expected when every probability is true.

    With few images in a bin, the share of right ones lies beside the confidence by chance alone.
    So classes are drawn with just these probabilities, and the errors averaged: the floor that an
    error has to be compared with.

    Args:
        probs: float (N, C), rows sum to 1.
        n_bins: as in `reliability_curve`.
        seed: seeds the draws.

    Returns:
        the mean error, 0 to 1. Vaicenavicius et al., "Evaluating model calibration in
        classification" (2019), section 4.
    """
    probs = check_finite(probs, "probs")
    limits, rng = probs.astype(float).cumsum(axis=1), np.random.default_rng(seed)
    limits /= limits[:, -1:]
    draws = [(rng.random((len(probs), 1)) > limits).sum(axis=1) for _ in range(DRAWS)]
    return float(np.mean([expected_calibration_error(probs, drawn, n_bins) for drawn in draws]))


def judge_probabilities(probs, labels, n_bins: int = 15, seed: int = 0) -> dict[str, float]:
    """Return how far probabilities can be believed: errors, and the floor of the first.

    Args:
        probs: float (N, C), rows sum to 1.
        labels: class ids (N,).
        n_bins: as in `reliability_curve`.
        seed: seeds `chance_error`.

    Returns:
        n, calibration error, what of it is to be expected by chance, and the log loss in nats.
    """
    return {
        "n": len(labels),
        "calibration error": expected_calibration_error(probs, labels, n_bins),
        "by chance": chance_error(probs, n_bins, seed),
        "log loss": negative_log_likelihood(probs, labels),
    }


def temperature_scale(logits, temperature: float) -> np.ndarray:
    """Return softmax(logits / temperature), float64 (N, C): above 1 softens, classes stay."""
    return softmax(np.asarray(logits, dtype=float) / temperature)


def fit_temperature(logits, labels) -> float:
    """Return the temperature, 0.05 to 20, with the least negative log likelihood.

    Args:
        logits: (N, C) of validation images, never of those that are judged afterwards.
        labels: class ids (N,).

    Returns:
        the temperature. Guo et al. (2017), section 4.2.
    """
    logits = np.asarray(logits, dtype=float)
    _, labels = _checked_probabilities(temperature_scale(logits, 1.0), labels)
    low, high = 0.05, 20.0
    for _ in range(50):  # the slope in 1 / temperature rises (convex): halve the range
        temperature = (low * high) ** 0.5
        expected = (temperature_scale(logits, temperature) * logits).sum(axis=1)
        slope = (expected - logits[np.arange(len(labels)), labels]).mean()
        low, high = (temperature, high) if slope > 0 else (low, temperature)
    return float(temperature)


def _checked_probabilities(probs, labels) -> tuple[np.ndarray, np.ndarray]:
    probs = np.asarray(probs)
    if probs.ndim != 2 or len(probs) == 0 or not np.issubdtype(probs.dtype, np.floating):
        raise ValueError(f"probs: found {probs.dtype} {probs.shape}, give floats (N, C), N above 0")
    sums = probs.sum(axis=1, dtype=float)
    wrong = np.flatnonzero(~((probs >= 0).all(axis=1) & (np.abs(sums - 1) < 1e-2)))
    if wrong.size:
        raise ValueError(f"probs[{wrong[0]}] is {probs[wrong[0]]}: give softmax output, not logits")
    labels = check_class_ids(labels, probs.shape[1], "labels")
    check_lengths(probs=probs, labels=labels)
    return probs, labels
