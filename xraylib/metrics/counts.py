"""How often predictions are right: counts, the shares made from them, and their intervals.

A confusion matrix is an int64 array (C, C): rows are the true classes, columns the predicted ones.
"""

import math
import warnings
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

LEVEL = 0.95  # of the bootstrap's intervals


class UndefinedMetricWarning(UserWarning):
    """A share of nothing was asked for; it is NaN."""


def confusion_matrix(labels, predictions, n_classes: int = 3) -> np.ndarray:
    """Count every pair of true and predicted class.

    >>> confusion_matrix([0, 0, 1, 2], [0, 1, 1, 1]).tolist()
    [[1, 1, 0], [0, 1, 0], [0, 1, 0]]

    Args:
        labels: true class ids (N,), 0 to `n_classes` - 1.
        predictions: predicted class ids (N,).
        n_classes: C; also a class that nobody has gets its row and column.

    Returns:
        int64 (C, C), rows true, columns predicted. Report, section 3.3.

    Raises:
        ValueError: lengths differ, or something is no class id.
    """
    labels = check_class_ids(labels, n_classes, "labels")
    predictions = check_class_ids(predictions, n_classes, "predictions")
    check_lengths(labels=labels, predictions=predictions)
    pairs = np.bincount(labels * n_classes + predictions, minlength=n_classes**2)
    return pairs.reshape(n_classes, n_classes)


def accuracy(matrix) -> float:
    """Return the share of right predictions, 0 to 1; NaN with a warning if there are none."""
    matrix = _counts(matrix)
    return float(_share(np.trace(matrix), matrix.sum(), "accuracy"))


def precision(matrix) -> np.ndarray:
    """Return TP / (TP + FP) for each class, float (C,); NaN, with a warning, if never predicted.

    Report, appendix 7.1.
    """
    matrix = _counts(matrix)
    return _share(np.diag(matrix), matrix.sum(axis=0), "precision (never predicted)")


def recall(matrix) -> np.ndarray:
    """Return TP / (TP + FN) for each class, float (C,); NaN, with a warning, if it has no label.

    Report, appendix 7.1.
    """
    matrix = _counts(matrix)
    return _share(np.diag(matrix), matrix.sum(axis=1), "recall (not among the labels)")


def specificity(matrix) -> np.ndarray:
    """Return TN / (TN + FP) for each class, float (C,); NaN, with a warning, if all are of it."""
    matrix = _counts(matrix)
    negatives = matrix.sum() - matrix.sum(axis=1)
    false_positives = matrix.sum(axis=0) - np.diag(matrix)
    return _share(negatives - false_positives, negatives, "specificity (no other labels)")


def f_beta(matrix, beta: float) -> np.ndarray:
    """Return (1 + b^2) P R / (b^2 P + R) for each class: recall counts `beta` times as much.

    Args:
        matrix: counts (C, C), rows true.
        beta: above 0; the report uses 1 and 2.

    Returns:
        float (C,), 0 to 1; NaN, with a warning, where precision or recall is. Report, appendix 7.1.
    """
    if not beta > 0:
        raise ValueError(f"found beta = {beta}: give a number above 0")
    precisions, recalls = precision(matrix), recall(matrix)
    below = beta**2 * precisions + recalls
    # Never right though predicted and present: P = R = 0, and so is what F tends to.
    return (1 + beta**2) * precisions * recalls / np.where(below == 0, 1.0, below)


def macro_average(values, matrix) -> float:
    """Average one value per class over the classes among the labels, each counted alike.

    A class that no image has says nothing and is left out. One that is there and was never
    predicted counts 0 where its value is undefined: leaving it out would reward the omission.

    Args:
        values: float (C,), of `precision`, `recall`, `specificity` or `f_beta`.
        matrix: the counts (C, C) that they were made from.

    Returns:
        the mean, 0 to 1; NaN if there are no labels.
    """
    matrix, values = _counts(matrix), np.asarray(values, dtype=float)
    never_predicted = matrix.sum(axis=0) == 0
    present = matrix.sum(axis=1) > 0
    counted = np.where(never_predicted & np.isnan(values), 0.0, values)[present]
    return float(counted.mean()) if present.any() else float("nan")


def class_rows(matrix, class_names) -> list[dict]:
    """Return one row per class, and the row `macro`, as in the report's Table 4.

    Args:
        matrix: counts (C, C), rows true.
        class_names: C names.

    Returns:
        dicts of class, n (labels), precision, recall, specificity, f1, f2.
    """
    matrix = _counts(matrix)
    check_lengths(matrix=matrix, class_names=class_names)
    with warnings.catch_warnings(action="ignore", category=UndefinedMetricWarning):  # NaN says it
        columns = {"precision": precision(matrix), "recall": recall(matrix)}
        columns["specificity"] = specificity(matrix)
        columns |= {f"f{beta}": f_beta(matrix, beta) for beta in (1, 2)}
    rows = [
        {"class": name, "n": int(matrix[k].sum())} | {c: float(v[k]) for c, v in columns.items()}
        for k, name in enumerate(class_names)
    ]
    macro = {name: macro_average(values, matrix) for name, values in columns.items()}
    return [*rows, {"class": "macro", "n": int(matrix.sum())} | macro]


def wilson_interval(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Return the score interval of a share: honest for few images and for shares near 0 or 1.

    >>> [round(end, 2) for end in wilson_interval(26, 26)]
    [0.87, 1.0]

    Args:
        successes: 0 to `n`.
        n: independent trials; 0 gives (NaN, NaN).
        level: coverage, between 0 and 1.

    Returns:
        low, high. Wilson, "Probable inference", J. Am. Stat. Assoc. 22 (1927).
    """
    if not 0 <= successes <= n:
        raise ValueError(f"found {successes} successes of {n}: give 0 to n of n")
    if not 0 < level < 1:
        raise ValueError(f"found level = {level}: give a coverage between 0 and 1, such as 0.95")
    z = NormalDist().inv_cdf((1 + level) / 2)
    if n == 0:
        return float("nan"), float("nan")
    share = successes / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * (share * (1 - share) / n + z**2 / (4 * n**2)) ** 0.5 / (1 + z**2 / n)
    # At the ends the formula gives exactly 0 and 1, but for rounding.
    low = 0.0 if successes == 0 else centre - half
    return low, 1.0 if successes == n else centre + half


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the exact two-sided p of McNemar's test of two shares on the same images.

    Images on which both are right, or both wrong, say nothing of the difference. If the two were
    equally good, each of the others would go to either with a chance of one half.

    >>> round(mcnemar(12, 3), 4)
    0.0352

    Args:
        only_first: images that only the first calls right.
        only_second: images that only the second calls right.

    Returns:
        p, 0 to 1; 1 if there is no such image. McNemar, "Note on the sampling error of the
        difference between correlated proportions or percentages", Psychometrika 12 (1947).
    """
    if only_first < 0 or only_second < 0:
        raise ValueError(f"found {only_first} and {only_second} images: give counts, none below 0")
    n, fewer = only_first + only_second, min(only_first, only_second)
    tail = sum(math.comb(n, k) for k in range(fewer + 1)) / 2**n
    return min(1.0, 2 * tail)


def bootstrap_interval(
    statistic, labels, predictions, groups, n_resamples=1000, seed=0, n_classes=3
) -> tuple[float, float]:
    """Return the 95 % interval of a statistic when patients, not images, are drawn again.

    Images of one patient are alike: drawing them one by one would give too narrow an interval.

    Args:
        statistic: takes counts (C, C), returns a float: `accuracy`, `lambda m: recall(m)[2]`.
        labels, predictions: class ids (N,), of `n_classes`.
        groups: the patient of each image (N,), at least two different ones.
        n_resamples: how often as many patients as there are are drawn, with replacement.

    Returns:
        low, high (percentiles); draws in which the statistic is undefined are left out, with a
        warning. Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13.
    """
    confusion_matrix(labels, predictions, n_classes)  # the checks
    check_lengths(labels=labels, groups=groups)
    patients, patient_of = np.unique(_check_groups(groups), return_inverse=True)
    if "" in patients.tolist():
        raise ValueError("found an empty group: strangers would be drawn as one patient, name each")
    if len(patients) < 2:
        raise ValueError(f"found {len(patients)} group(s): an interval needs at least two patients")
    # A draw is then a sum of the patients' own matrices.
    by_patient = np.zeros((len(patients), n_classes, n_classes), dtype=np.int64)
    np.add.at(by_patient, (patient_of, np.asarray(labels), np.asarray(predictions)), 1)
    rng = np.random.default_rng(seed)
    values = np.empty(n_resamples)
    with warnings.catch_warnings(action="ignore", category=UndefinedMetricWarning):  # counted below
        for draw in range(n_resamples):
            drawn = rng.integers(len(patients), size=len(patients))
            values[draw] = statistic(by_patient[drawn].sum(axis=0))
    defined = values[~np.isnan(values)]
    if len(defined) < n_resamples:
        undefined = f"{n_resamples - len(defined)} of {n_resamples} resamples"
        warnings.warn(f"undefined in {undefined}", UndefinedMetricWarning, stacklevel=2)
    if len(defined) == 0:
        return float("nan"), float("nan")
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return float(low), float(high)


def _share(part, whole, name: str) -> np.ndarray:
    """Divide counts; where there is nothing to divide by, NaN and a warning that names classes."""
    part, whole = np.asarray(part, dtype=float), np.asarray(whole, dtype=float)
    if (whole == 0).any():
        where = f" for class ids {np.flatnonzero(whole == 0).tolist()}" if whole.ndim else ""
        # Level 3: the line that asked for the metric.
        warnings.warn(f"{name} is undefined{where}", UndefinedMetricWarning, stacklevel=3)
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)


def _counts(matrix) -> np.ndarray:
    matrix = check_finite(matrix, "counts")
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or (matrix < 0).any():
        raise ValueError(f"found shape {matrix.shape}: give counts (C, C), none below 0")
    return matrix


def check_class_ids(ids, n_classes: int, name: str) -> np.ndarray:
    """Return ids as int64 (N,); a `ValueError` says which of them is no class id."""
    ids = np.asarray(ids)
    ids = ids.astype(np.int64) if ids.size == 0 else ids
    if ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(f"{name}: found {ids.dtype} {ids.shape}, give integer class ids (N,)")
    wrong = np.flatnonzero((ids < 0) | (ids >= n_classes))
    if wrong.size:
        first = wrong[0]
        raise ValueError(f"{name}[{first}] is {ids[first]}: class ids are 0 to {n_classes - 1}")
    return ids.astype(np.int64)


def check_finite(values, name: str) -> np.ndarray:
    """Return values as an array; a `ValueError` counts those that are NaN or infinite."""
    values = np.asarray(values)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        bad = np.count_nonzero(~np.isfinite(values))
        raise ValueError(
            f"{name}: {bad} of {values.size} values are NaN or infinite; look for where they arise"
        )
    return values


def _check_groups(groups) -> np.ndarray:
    """Return the patients of images (N,); a `ValueError` counts those that are missing."""
    import pandas as pd  # what has no patients needs nothing but NumPy

    groups = np.asarray(groups)
    missing = pd.isna(groups).sum()
    if missing:
        raise ValueError(
            f"groups: {missing} of {groups.size} patients are missing: they would count as one; "
            "give each image a patient, such as its own path"
        )
    return groups


def check_lengths(**arrays) -> None:
    """Raise a `ValueError` with all lengths if the named arrays differ in it."""
    lengths = {name: len(values) for name, values in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"lengths differ: found {lengths}")


@dataclass(frozen=True)
class Mean:
    """A mean with its interval."""

    value: float
    low: float
    high: float
    n: int  # values that were defined


def bootstrap_mean(values, groups=None, seed: int = 0) -> Mean:
    """Return a mean and its 95 % interval (percentiles), drawing patients again and not images.

    Args:
        values: float (N,), NaN ones are left out.
        groups: the patient of each value (N,); without, each value is a patient of its own.
        seed: seeds the draws.

    Returns:
        the mean; its interval is (NaN, NaN) for fewer than two patients. Efron and Tibshirani,
        "An Introduction to the Bootstrap" (1993), chapter 13.
    """
    values = np.asarray(values, float)
    groups = np.arange(len(values)) if groups is None else _check_groups(groups)
    if values.ndim != 1 or groups.shape != values.shape:
        raise ValueError(f"found values {values.shape} and groups {groups.shape}: give (N,) each")
    defined = ~np.isnan(values)
    values, groups = values[defined], groups[defined]
    if len(set(groups.tolist())) < 2:
        value = float(values.mean()) if len(values) else float("nan")
        return Mean(value, float("nan"), float("nan"), len(values))
    from scipy import stats  # takes a second to load, and nothing else here needs it

    _, patient_of = np.unique(groups, return_inverse=True)
    sums, counts = np.bincount(patient_of, values), np.bincount(patient_of)
    draws = stats.bootstrap(
        (sums, counts),
        lambda s, c, axis: s.sum(axis=axis) / c.sum(axis=axis),
        paired=True,
        n_resamples=1000,
        confidence_level=LEVEL,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    low, high = draws.confidence_interval
    return Mean(float(values.mean()), float(low), float(high), len(values))


def _overlap(mask_a: np.ndarray, mask_b: np.ndarray) -> tuple[int, int]:
    """Return the pixels in both masks, and the sum of the pixels of each."""
    mask_a, mask_b = (check_finite(mask, "mask").astype(bool) for mask in (mask_a, mask_b))
    if mask_a.shape != mask_b.shape:
        raise ValueError(f"masks of shapes {mask_a.shape} and {mask_b.shape} cannot be compared")
    return int((mask_a & mask_b).sum()), int(mask_a.sum()) + int(mask_b.sum())


def dice(mask_a: np.ndarray, mask_b: np.ndarray) -> float:
    """Return the Dice coefficient: twice the overlap over the sum of the areas.

    Args:
        mask_a, mask_b: bool (H, W).

    Returns:
        0 (apart) to 1 (equal); two empty masks score 1.

    Raises:
        ValueError: the shapes differ.

    Section 3.2.3 of the report.

    >>> dice([[True, True]], [[True, False]])
    0.6666666666666666
    """
    both, total = _overlap(mask_a, mask_b)
    return 2 * both / total if total else 1.0


def iou(mask_a: np.ndarray, mask_b: np.ndarray) -> float:
    """Return the intersection over the union, of masks as `dice` takes them, 0 to 1.

    >>> iou([[True, True]], [[True, False]])
    0.5
    """
    both, total = _overlap(mask_a, mask_b)
    return both / (total - both) if total else 1.0
