"""Predictions as a table, and the figures of merit that follow from it."""

import warnings

import numpy as np
import pandas as pd
from sklearn.exceptions import UndefinedMetricWarning

from xraylib import metrics
from xraylib.classifier import softmax
from xraylib.config import CLASS_NAMES, COVID


def predictions_table(manifest: pd.DataFrame, logits: np.ndarray) -> pd.DataFrame:
    """Put predictions beside the rows of a manifest.

    Args:
        manifest: N rows.
        logits: float (N, 3).

    Returns:
        path, patient_id, source, label, prediction, and a probability for each class.
    """
    table = manifest[["path", "patient_id", "source", "label"]].reset_index(drop=True)
    table["prediction"] = np.array(CLASS_NAMES)[logits.argmax(axis=1)]
    table[list(CLASS_NAMES)] = softmax(logits)
    return table


def judge(predictions: pd.DataFrame, seed: int = 0) -> dict:
    """Return the figures of merit of predictions, with n and intervals.

    Accuracy, recall and precision are shares, so they carry a Wilson interval; the macro F1
    carries a bootstrap by patient.

    Args:
        predictions: of `Run.predictions` or `cross_validate`.
        seed: of the bootstrap.

    Returns:
        n; confusion (3 x 3, rows true); and value, low and high for each figure. The precision
        of a class that was never predicted is NaN.
    """
    with warnings.catch_warnings():  # the NaN in the table says it
        warnings.simplefilter("ignore", UndefinedMetricWarning)
        return _judge(predictions, seed)


def _judge(predictions: pd.DataFrame, seed: int) -> dict:
    labels = predictions.label.map(CLASS_NAMES.index).to_numpy()
    predicted = predictions.prediction.map(CLASS_NAMES.index).to_numpy()
    matrix = metrics.confusion_matrix(labels, predicted)

    hits, found, called = matrix[COVID, COVID], matrix[COVID].sum(), matrix[:, COVID].sum()
    # an image without a patient_id counts as a patient of its own
    known = predictions.patient_id != ""
    groups = predictions.patient_id.where(known, predictions.path).to_numpy()
    figures = {
        "accuracy": (
            metrics.accuracy(matrix),
            metrics.wilson_interval(int(np.trace(matrix)), int(matrix.sum())),
        ),
        "COVID-19 recall": (
            metrics.recall(matrix)[COVID],
            metrics.wilson_interval(int(hits), int(found)),
        ),
        "COVID-19 precision": (
            metrics.precision(matrix)[COVID],
            metrics.wilson_interval(int(hits), int(called)),
        ),
        "macro F1": (
            _macro_f1(matrix),
            metrics.bootstrap_interval(_macro_f1, labels, predicted, groups, seed=seed),
        ),
    }
    table = {name: {"value": v, "low": lo, "high": hi} for name, (v, (lo, hi)) in figures.items()}
    return {"n": int(matrix.sum()), "confusion": matrix.tolist(), **table}


def figures_row(predictions: pd.DataFrame, seed: int = 0) -> dict:
    """Return `judge`'s figures as one flat row: n, and each figure with its low and high end."""
    figures = judge(predictions, seed)
    row = {"n": figures.pop("n")}
    figures.pop("confusion")
    for name, figure in figures.items():
        row |= {name: figure["value"], f"{name} low": figure["low"], f"{name} high": figure["high"]}
    return row


def per_class(confusion) -> pd.DataFrame:
    """Return precision, recall, specificity, F1 and F2 for each class, as in Table 4.

    Args:
        confusion: counts (3, 3), rows true.
    """
    return pd.DataFrame(metrics.summarise(confusion, CLASS_NAMES)).set_index("class")


def as_text(table: pd.DataFrame, names) -> pd.DataFrame:
    """Write figures and their intervals as text, in per cent.

    Args:
        table: with the columns of `figures_row`.
        names: of the figures to show.

    Returns:
        a table of texts such as `82.0 % [74.0, 88.0]`, and n.
    """
    text = pd.DataFrame({"n": table["n"].astype(int)}, index=table.index)
    for name in names:
        rows = table[[name, f"{name} low", f"{name} high"]].to_numpy(float) * 100
        text[name] = [f"{value:.1f} % [{low:.1f}, {high:.1f}]" for value, low, high in rows]
    return text


def _macro_f1(matrix) -> float:
    return metrics.macro_average(metrics.f_beta(matrix, 1), matrix)
