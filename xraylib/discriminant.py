"""A linear discriminant for which the differences between hospitals count as noise."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.linalg import eigh

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
    views: list[np.ndarray],
    manifest: pd.DataFrame,
    shrinkage: float,
    nuisance: float,
    removed: int = 0,
) -> Head:
    """Fit a linear discriminant in which hospitals count as noise.

    Classes weigh alike, and so do the sources of a class. To the covariance within the classes,
    shrunk, comes `nuisance` times the covariance of the means of each class's sites: a direction
    in which the hospitals of a class differ is one to distrust. Where a class comes from one
    source only, that difference cannot be seen, but it is large: so the directions in which all
    images vary most are not looked at.

    Args:
        views: float32 (N, D) each, of the same N images.
        manifest: the N rows, with site.
        shrinkage: 0 to 1, of the covariance towards a multiple of the identity.
        nuisance: weight of the differences between sites.
        removed: leading principal components of all images that the head is blind to, below D.

    Returns:
        the head, at temperature 1. Mu and Viswanath, "All-but-the-top" (2018), for the removal.
    """
    x = np.concatenate(views).astype(np.float32)
    weight = np.tile(sources.cell_weights(manifest), len(views))
    weight = (weight / weight.sum()).astype(np.float32)
    centre = weight @ x
    spread = np.sqrt(weight @ (x - centre) ** 2) + 1e-6
    x = _without_leading((x - centre) / spread, weight, removed)
    labels = np.tile(datasets.label_ids(manifest), len(views))
    sites = np.tile(manifest.site.to_numpy(), len(views))
    means = np.stack([np.average(x[labels == i], 0, weight[labels == i]) for i in range(3)])
    noise = _noise(x, labels, sites, weight, shrinkage, nuisance)
    weights = np.linalg.solve(noise, means.T.astype(np.float64))
    bias = -0.5 * np.einsum("cd,dc->c", means, weights)
    weights = weights / spread[:, None]
    return Head(weights.astype(np.float32), (bias - centre @ weights).astype(np.float32))


def fit_mean_head(
    views: list[np.ndarray], manifest: pd.DataFrame, shrinkage: float, nuisance: float, removed
) -> Head:
    """Average heads that are blind to more or to less, their logits spread alike.

    The one that sees everything knows the hospitals of its training, and calls what it does not
    know COVID-19, the class of most hospitals. The blind one does so less, and knows less.

    Args:
        views, manifest, shrinkage, nuisance: as in `fit_head`.
        removed: sequence of int, one a head, see `fit_head`.

    Returns:
        the mean of the heads, at temperature 1.
    """
    heads = [fit_head(views, manifest, shrinkage, nuisance, number) for number in removed]
    spreads = [head.logits(views[0]).std() for head in heads]
    weights = [head.weights / spread for head, spread in zip(heads, spreads, strict=True)]
    biases = [head.bias / spread for head, spread in zip(heads, spreads, strict=True)]
    return Head(np.mean(weights, axis=0), np.mean(biases, axis=0))


def _without_leading(x, weight, removed: int) -> np.ndarray:
    """Return centred x (N, D) without its leading principal components; rows count by weight."""
    if removed == 0:
        return x
    last = x.shape[1] - 1
    covariance = ((x * weight[:, None]).T @ x).astype(np.float64)
    _, leading = eigh(covariance, subset_by_index=(last - removed + 1, last))
    leading = leading.astype(np.float32)
    return x - (x @ leading) @ leading.T


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


def unseen_logits(views, manifest, shrinkage: float, nuisance: float, removed=(0,)) -> pd.DataFrame:
    """Return logits for each image from heads that saw no image of its hospital.

    Args:
        views, manifest, shrinkage, nuisance, removed: as in `fit_mean_head`.

    Returns:
        a row a tested image and fold: the manifest's columns, left_out, and `LOGITS`.
    """

    def judge(train, test) -> np.ndarray:
        shown = [view[train] for view in views]
        head = fit_mean_head(shown, manifest.iloc[train], shrinkage, nuisance, removed)
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
