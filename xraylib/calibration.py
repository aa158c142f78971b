"""How far predicted probabilities can be believed, and one number that mends them."""

import numpy as np
from sklearn.utils.extmath import softmax

from .metrics import check_class_ids, check_lengths


def negative_log_likelihood(probs, labels) -> float:
    """Return the mean of -log p(true class), in nats; p is at least the dtype's epsilon.

    Args:
        probs: float (N, C), rows sum to 1.
        labels: class ids (N,).
    """
    probs, labels = _probabilities(probs, labels)
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
    probs, labels = _probabilities(probs, labels)
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


def chance_error(probs, n_bins: int = 15, seed: int = 0, n_draws: int = 200) -> float:
    """Return the calibration error that is to be expected when every probability is true.

    With few images in a bin, the share of right ones lies beside the confidence by chance alone.
    So classes are drawn with just these probabilities, and the errors averaged: the floor that an
    error has to be compared with.

    Args:
        probs: float (N, C), rows sum to 1.
        n_bins: as in `reliability_curve`.
        seed: of the draws.
        n_draws: how often N classes are drawn.

    Returns:
        the mean error, 0 to 1. Vaicenavicius et al., "Evaluating model calibration in
        classification" (2019), section 4.
    """
    probs = np.asarray(probs)
    limits, rng = probs.astype(float).cumsum(axis=1), np.random.default_rng(seed)
    limits /= limits[:, -1:]
    draws = [(rng.random((len(probs), 1)) > limits).sum(axis=1) for _ in range(n_draws)]
    return float(np.mean([expected_calibration_error(probs, drawn, n_bins) for drawn in draws]))


def judge(probs, labels, n_bins: int = 15, seed: int = 0) -> dict[str, float]:
    """Return how far probabilities can be believed: errors, and the floor of the first.

    Args:
        probs: float (N, C), rows sum to 1.
        labels: class ids (N,).
        n_bins: as in `reliability_curve`.
        seed: of `chance_error`.

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
    _, labels = _probabilities(temperature_scale(logits, 1.0), labels)
    low, high = 0.05, 20.0
    for _ in range(50):  # the slope in 1 / temperature rises (convex): halve the range
        temperature = (low * high) ** 0.5
        expected = (temperature_scale(logits, temperature) * logits).sum(axis=1)
        slope = (expected - logits[np.arange(len(labels)), labels]).mean()
        low, high = (temperature, high) if slope > 0 else (low, temperature)
    return float(temperature)


def _probabilities(probs, labels) -> tuple[np.ndarray, np.ndarray]:
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
