"""The mean of many values with its interval, when patients and not images are drawn again."""

from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Mean:
    """A mean with its interval."""

    value: float
    low: float
    high: float
    n: int  # values that were defined


def bootstrap_mean(values, groups=None, level: float = 0.95, seed: int = 0) -> Mean:
    """Return a mean and its percentile interval, drawing patients again and not images.

    Args:
        values: float (N,), NaN ones are left out.
        groups: the patient of each value (N,); without, each value is a patient of its own.
        level: coverage, between 0 and 1.
        seed: of the 1000 draws.

    Returns:
        the mean; its interval is (NaN, NaN) for fewer than two patients. Efron and Tibshirani,
        "An Introduction to the Bootstrap" (1993), chapter 13.
    """
    values = np.asarray(values, float)
    groups = np.arange(len(values)) if groups is None else np.asarray(groups)
    if values.ndim != 1 or groups.shape != values.shape:
        raise ValueError(f"found values {values.shape} and groups {groups.shape}: give (N,) each")
    defined = ~np.isnan(values)
    values, groups = values[defined], groups[defined]
    if len(set(groups.tolist())) < 2:
        value = float(values.mean()) if len(values) else float("nan")
        return Mean(value, float("nan"), float("nan"), len(values))
    _, patient_of = np.unique(groups, return_inverse=True)
    sums, counts = np.bincount(patient_of, values), np.bincount(patient_of)
    draws = stats.bootstrap(
        (sums, counts),
        lambda s, c, axis: s.sum(axis=axis) / c.sum(axis=axis),
        paired=True,
        n_resamples=1000,
        confidence_level=level,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    low, high = draws.confidence_interval
    return Mean(float(values.mean()), float(low), float(high), len(values))
