"""A linear discriminant for which the differences between hospitals count as noise."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from xraylib import datasets, sources
from xraylib.config import CLASS_NAMES

LOGITS = [f"logit {name}" for name in CLASS_NAMES]  # columns of tables


@dataclass(frozen=True)
class Head:
    """The affine layer: logits = pooled features @ weights + bias; probs by the temperature.

    Attributes:
        weights: float32 (D, 3).
        bias: float32 (3,).
        temperature: see `calibration.temperature_scale`.
    """

    weights: np.ndarray
    bias: np.ndarray
    temperature: float = 1.0

    def logits(self, pooled: np.ndarray) -> np.ndarray:
        return pooled @ self.weights + self.bias


def fit_head(
    views: list[np.ndarray], manifest: pd.DataFrame, shrinkage: float, nuisance: float
) -> Head:
    """Fit a linear discriminant in which hospitals count as noise.

    Classes weigh alike, and so do the sources of a class. To the covariance within the classes,
    shrunk, comes `nuisance` times the covariance of the means of each class's sites: a direction
    in which the hospitals of a class differ is one to distrust.

    Args:
        views: float32 (N, D) each, of the same N images.
        manifest: the N rows, with site.
        shrinkage: 0 to 1, of the covariance towards a multiple of the identity.
        nuisance: weight of the differences between sites.

    Returns:
        the head, at temperature 1.
    """
    x = np.concatenate(views).astype(np.float32)
    weight = np.tile(sources.cell_weights(manifest), len(views))
    weight = (weight / weight.sum()).astype(np.float32)
    centre = weight @ x
    spread = np.sqrt(weight @ (x - centre) ** 2) + 1e-6
    x = (x - centre) / spread
    labels = np.tile(datasets.label_ids(manifest), len(views))
    sites = np.tile(manifest.site.to_numpy(), len(views))
    means = np.stack([np.average(x[labels == i], 0, weight[labels == i]) for i in range(3)])
    noise = _noise(x, labels, sites, weight, shrinkage, nuisance)
    weights = np.linalg.solve(noise, means.T.astype(np.float64))
    bias = -0.5 * np.einsum("cd,dc->c", means, weights)
    weights = weights / spread[:, None]
    return Head(weights.astype(np.float32), (bias - centre @ weights).astype(np.float32))


def _noise(x, labels, sites, weight, shrinkage: float, nuisance: float) -> np.ndarray:
    """Return the covariance (D, D) that the discriminant divides by."""
    within = np.zeros((x.shape[1],) * 2)
    between = np.zeros_like(within)
    for label in np.unique(labels):
        means = []
        for site in np.unique(sites[labels == label]):
            rows = (labels == label) & (sites == site)
            means.append(x[rows].mean(axis=0))
            offset = x[rows] - means[-1]
            within += offset.T @ (offset * weight[rows][:, None])
        offset = np.stack(means) - np.mean(means, axis=0)
        between += offset.T @ offset / len(means)
    identity = np.eye(len(within)) * np.trace(within) / len(within)
    shrunk = (1 - shrinkage) * within + shrinkage * identity
    return shrunk + nuisance * between


def unseen_logits(views, manifest, shrinkage: float, nuisance: float) -> pd.DataFrame:
    """Return logits for each image from heads that saw no image of its hospital.

    Args:
        views, manifest, shrinkage, nuisance: as in `fit_head`.

    Returns:
        a row a tested image and fold: the manifest's columns, left_out, and `LOGITS`.
    """

    def judge(train, test) -> np.ndarray:
        shown = [view[train] for view in views]
        head = fit_head(shown, manifest.iloc[train], shrinkage, nuisance)
        return head.logits(views[0][test])

    return judge_unseen(manifest, judge)


def judge_unseen(manifest: pd.DataFrame, judge) -> pd.DataFrame:
    """Leave hospitals out in turn, and gather what a classifier makes of them.

    Args:
        manifest: N rows, with site.
        judge: fits on the rows `train` and returns logits (M, 3) of the rows `test`, both int.

    Returns:
        as `unseen_logits`.
    """
    parts = []
    for left_out, fold in sources.leave_one_out(manifest):
        train, test = (np.flatnonzero(fold.split == name) for name in ("train", "test"))
        part = manifest.iloc[test].assign(left_out=left_out)
        part[LOGITS] = judge(train, test)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)
