"""Checks of class activation maps: do they point where they should, and at what the model uses?

Each check is worth something only beside its floors: a random map (`random_maps`) and an edge
detector (`edge_maps`), which know nothing of the model. The tables below give both.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import keras
import numpy as np
import pandas as pd
from scipy import stats

from xraylib import data
from xraylib.config import CLASS_NAMES, IMAGE_SIZE
from xraylib.images import read_grey, read_mask, resize
from xraylib.maps.equations import upscale
from xraylib.maps.explainer import Explainer
from xraylib.metrics import Mean, bootstrap_mean, mcnemar, wilson_interval


def energy_inside(heatmaps, masks) -> np.ndarray:
    """Return the share of a map's energy that lies inside a mask: lungs, lesion, marker.

    A flat map gets the mask's share of the image, so compare with `masks.mean()` too.

    Args:
        heatmaps: float (..., H, W), none below 0.
        masks: bool (..., H, W).

    Returns:
        float (...), 0 to 1; NaN for a map of zeros or an empty mask. Wang et al., "Score-CAM",
        CVPR Workshops (2020), section 4.3 (energy-based pointing game).
    """
    heatmaps, masks = _same_shape(heatmaps, masks)
    inside = (heatmaps * masks).sum(axis=(-2, -1))
    whole = heatmaps.sum(axis=(-2, -1))
    defined = (whole > 0) & masks.any(axis=(-2, -1))
    return np.divide(inside, whole, out=np.full(whole.shape, np.nan), where=defined)


def points_inside(heatmaps, masks) -> np.ndarray:
    """Return whether a map's highest point lies inside a mask: its mean is the pointing game.

    Where several pixels share the maximum, as at the border of an upscaled map, the share of them
    that is inside.

    Args:
        heatmaps: float (..., H, W), none below 0.
        masks: bool (..., H, W).

    Returns:
        float (...), 0 to 1; NaN for a map of zeros or an empty mask. Zhang et al., "Top-down neural
        attention by excitation backprop", Int. J. Comput. Vis. 126 (2018), without a tolerance.
    """
    heatmaps, masks = _same_shape(heatmaps, masks)
    peak = heatmaps.max(axis=(-2, -1), keepdims=True)
    return energy_inside((heatmaps == peak) & (peak > 0), masks)


@dataclass(frozen=True)
class Curve:
    """How a class' probability goes while pixels are replaced."""

    shares: np.ndarray  # of the pixels that are replaced, float (steps + 1,), 0 to 1
    probs: np.ndarray  # of the class, float (steps + 1,)

    @property
    def area(self) -> float:
        """The area under the curve, 0 to 1."""
        return float(np.trapezoid(self.probs, self.shares))


def deletion(probs: Callable, image, heatmap, class_id: int, steps: int = 32) -> Curve:
    """Take away the pixels that a map calls important first: a good map has a small area.

    Args:
        probs: from images (B, H, W) to probabilities (B, classes), such as `Explainer.probs`.
        image: grey values (H, W); what is taken away gets the image's mean.
        heatmap: float (H, W).
        steps: probabilities asked for on the way.

    Returns:
        the curve. Petsiuk et al., "RISE", BMVC (2018), section 4.2.
    """
    image = np.asarray(image, np.float32)
    return _replace_pixels(
        probs, image, np.full_like(image, image.mean()), heatmap, class_id, steps
    )


def insertion(probs: Callable, image, heatmap, class_id: int, steps: int = 32) -> Curve:
    """Bring back the important pixels of a blurred image first: a good map has a large area.

    As `deletion`. The blur is the paper's: 11 pixels, standard deviation 5.
    """
    image = np.asarray(image, np.float32)
    return _replace_pixels(
        probs, cv2.GaussianBlur(image, (11, 11), 5), image, heatmap, class_id, steps
    )


def road(probs: Callable, image, heatmap, class_id: int, steps: int = 32) -> Curve:
    """Fill in the important pixels from their neighbours first: a good map has a small area.

    As `deletion`, which leaves grey holes, and a network can read the *shape* of a hole. A hole
    that is filled in smoothly, with a little noise, gives less away. Rong et al., "A consistent and
    efficient evaluation strategy for attribution methods" (remove and debias, ROAD), ICML (2022).
    """
    image = np.asarray(image, np.float32)
    shares, removed = _most_important(image, heatmap, steps)
    noise = np.random.default_rng(0).normal(0, 0.01 * 255, image.shape)
    filled = [fill_in(image, missing) + np.where(missing, noise, 0) for missing in removed[:-1]]
    filled.append(np.full_like(image, image.mean()))  # nothing is left to fill in from
    return Curve(shares, probs(np.stack(filled))[:, class_id])


NEIGHBOURS = np.array([[1, 2, 1], [2, 0, 2], [1, 2, 1]], np.float32) / 12  # near ones count double


def fill_in(image: np.ndarray, missing: np.ndarray, sweeps: int = 40) -> np.ndarray:
    """Give each missing pixel the weighted mean of its neighbours, which may be missing too.

    Solved by repetition, from a coarse image to a fine one, `sweeps` times at each size: each
    begins where the coarser ended. The image is float32 (H, W), `missing` bool (H, W), some of it
    False.
    """
    if min(image.shape) > 4 and missing.any():
        half = (image.shape[1] // 2, image.shape[0] // 2)
        known = cv2.resize(np.float32(~missing), half, interpolation=cv2.INTER_AREA)
        total = cv2.resize(np.where(missing, 0, image), half, interpolation=cv2.INTER_AREA)
        coarse = np.divide(total, known, out=np.zeros_like(total), where=known > 0)
        coarse = fill_in(coarse, known == 0, sweeps)
        image = np.where(missing, cv2.resize(coarse, image.shape[::-1]), image)
    for _ in range(sweeps):
        means = cv2.filter2D(image, -1, NEIGHBOURS, borderType=cv2.BORDER_REPLICATE)
        image = np.where(missing, means, image)
    return image


def agreement(one, other) -> np.ndarray:
    """Return Spearman's rank correlation of maps: of two seeds, two methods, before and after.

    Args:
        one, other: float (..., h, w). Give cells: upscaled pixels only repeat them.

    Returns:
        float (...), -1 to 1; NaN where a map is flat. Adebayo et al., "Sanity checks for saliency
        maps", NeurIPS (2018).
    """
    one, other = _same_shape(one, other)
    flat = (maps.reshape(-1, maps.shape[-2] * maps.shape[-1]) for maps in (one, other))
    values = [
        stats.spearmanr(a, b).statistic if np.ptp(a) and np.ptp(b) else np.nan
        for a, b in zip(*flat, strict=True)
    ]
    return np.reshape(values, one.shape[:-2])


def randomise_from_top(
    model: keras.Model, images, class_ids, layer: str, method: str = "grad_cam", seed: int = 0
) -> dict[str, np.ndarray]:
    """Destroy a copy of the model layer by layer from the top, and watch the maps change.

    A map that stays as it was does not show what the model has learnt. A layer is destroyed by
    shuffling the values within each of its tensors, which keeps their distribution.

    Args:
        model: a model for an `Explainer`; it stays as it is.
        images: (B, H, W) or (B, H, W, C).
        class_ids: the class to explain for each image (B,).
        layer: name of the convolution whose maps are compared.
        method: one of `maps.METHODS`.

    Returns:
        by the name of the layer destroyed last, from the top down, the rank correlation with the
        first maps, float (B,); NaN where a map is flat. Adebayo et al. (2018), section 3.1.
    """
    rng = np.random.default_rng(seed)
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    explainer = Explainer(copy)
    class_ids = np.asarray(class_ids)[:, None]

    def cells():
        return explainer.explain(images, class_ids, [layer], method)[layer][:, 0]

    before, correlations = cells(), {}
    for top in reversed([known for known in copy.layers if known.weights]):
        shuffled = [rng.permutation(w.ravel()).reshape(w.shape) for w in top.get_weights()]
        top.set_weights(shuffled)
        correlations[top.name] = agreement(before, cells())
    return correlations


def random_maps(n: int, cells: tuple[int, int], size, seed: int = 0) -> np.ndarray:
    """Return the floor of maps with random cells, as coarse as the maps they stand beside.

    Args:
        cells: (h, w), as of the layer in question.
        size: (H, W), or one number for a square.

    Returns:
        float32 (n, H, W), 0 to 1.
    """
    return upscale(np.random.default_rng(seed).random((n, *cells)), size)


def edge_maps(images) -> np.ndarray:
    """Return the floor of an edge detector: the length of Sobel's gradient.

    Args:
        images: grey values (B, H, W).

    Returns:
        float32 (B, H, W), 0 to 1. Adebayo et al. (2018) show how much edges look like maps.
    """
    images = np.asarray(images, np.float32)
    edges = [np.hypot(*(cv2.Sobel(im, cv2.CV_32F, *d) for d in ((1, 0), (0, 1)))) for im in images]
    return upscale(np.stack(edges), images.shape[1:])


def _replace_pixels(probs, start, goal, heatmap, class_id, steps) -> Curve:
    """Turn one image into another, the pixels of the highest values first."""
    shares, replaced = _most_important(start, heatmap, steps)
    return Curve(shares, probs(np.where(replaced, goal, start))[:, class_id])


def _most_important(image, heatmap, steps) -> tuple[np.ndarray, np.ndarray]:
    """Return shares from 0 to 1, and the pixels among that share of the highest values."""
    image, heatmap = _same_shape(image, heatmap)
    if image.ndim != 2 or steps < 1:
        raise ValueError(f"found an image {image.shape}, {steps} steps: give (H, W), 1 or more")
    # Ties at random, or a flat map would be read from its top row down.
    chance = np.random.default_rng(0).random(heatmap.size)
    rank = np.empty(heatmap.size, int)
    rank[np.lexsort((chance, -heatmap.ravel()))] = np.arange(heatmap.size)
    shares = np.linspace(0, 1, steps + 1)
    return shares, rank.reshape(heatmap.shape) < (shares * heatmap.size)[:, None, None]


def _same_shape(one, other) -> tuple[np.ndarray, np.ndarray]:
    one, other = np.asarray(one), np.asarray(other)
    if one.shape != other.shape or one.ndim < 2:
        raise ValueError(f"found maps {one.shape} and {other.shape}: give the same (..., H, W)")
    return one, other


ENERGY, POINTING = "energy inside", "pointing game"
CHECKS = {ENERGY: energy_inside, POINTING: points_inside}
TRAINED, RANDOM, EDGES = "network", "random map", "edge detector"


@dataclass(frozen=True)
class Cases:
    """Images that a network has not trained on, each with the region where its maps should lie."""

    rows: pd.DataFrame  # of the manifest, N
    images: np.ndarray  # uint8 (N, 224, 224)
    masks: np.ndarray  # bool (N, 224, 224), none of them empty

    @property
    def class_ids(self) -> np.ndarray:
        """The true classes, int (N,)."""
        return data.label_ids(self.rows)

    def __len__(self):
        return len(self.rows)

    def take(self, places) -> "Cases":
        """Return the cases at some places: int (M,), or bool (N,)."""
        rows = self.rows.iloc[places].reset_index(drop=True)
        return Cases(rows, self.images[places], self.masks[places])


def known_region(manifest: pd.DataFrame) -> str:
    """Return the column of the best known region: the lesion if there is one, else the lungs."""
    return "lesion_path" if "lesion_path" in manifest else "mask_path"


def known_regions(row) -> dict[str, np.ndarray]:
    """Return what is known of one image of a manifest: lesion and marker, or else the lungs.

    Args:
        row: of a manifest.

    Returns:
        name -> mask bool (224, 224); only those that are not empty.
    """
    columns = {"lesion": "lesion_path", "marker": "marker_path"}
    if "lesion_path" not in row:
        columns = {"lungs": "mask_path"}
    paths = {name: row.get(column, "") for name, column in columns.items()}
    masks = {name: resize(read_mask(path), IMAGE_SIZE) for name, path in paths.items() if path}
    return {name: mask for name, mask in masks.items() if mask.any()}


def surest_calls(predictions: pd.DataFrame, manifest: pd.DataFrame) -> pd.DataFrame:
    """Return the right call of each class that a network is surest of, and its surest wrong call.

    Args:
        predictions: path, label, prediction and a probability for each class, as a run keeps them.
        manifest: of the same images.

    Returns:
        rows of the manifest, the last class first and the wrong call last, with a column `title`;
        fewer where a class has no right call, or all of them are right.
    """
    surest = predictions.set_index("path")
    surest = surest.assign(sure=surest[list(CLASS_NAMES)].max(axis=1)).sort_values("sure")[::-1]
    is_right = surest.label == surest.prediction
    right = [surest[is_right & (surest.label == name)][:1] for name in reversed(CLASS_NAMES)]
    chosen = pd.concat([*right, surest[~is_right][:1]])
    rows = manifest.set_index("path").loc[chosen.index].reset_index()
    called = np.where(is_right[chosen.index], "right", chosen.prediction)
    return rows.assign(title=chosen.label.to_numpy() + ", called " + called)


def unseen_cases(manifest: pd.DataFrame, region: str, n: int, seed: int = 0) -> Cases:
    """Draw images of the validation and test sets that have a region.

    Args:
        region: a column such as `lesion_path`, `marker_path` or `mask_path`; rows without a file
            and empty masks are left out.
        n: images at most.

    Raises:
        ValueError: no image is left.
    """
    rows = manifest[(manifest.split != "train") & (manifest[region] != "")]
    rows = rows.sample(frac=1, random_state=seed)
    masks = [resize(read_mask(path), IMAGE_SIZE) for path in rows[region]]
    has_region = np.array([mask.any() for mask in masks], bool)
    rows = rows[has_region][:n].reset_index(drop=True)
    if len(rows) == 0:
        raise ValueError(f"no validation or test image has a mask in the column {region}")
    kept = [mask for mask, has in zip(masks, has_region, strict=True) if has][:n]
    pictures = [resize(read_grey(path), IMAGE_SIZE) for path in rows.path]
    return Cases(rows, np.stack(pictures), np.stack(kept))


def mean_of_check(check: str, values, patients, seed: int = 0) -> Mean:
    """Return the mean of a check over images, and its 95 % interval.

    Patients are drawn again. A pointing game that every image wins, or none, gets Wilson's interval
    of as many patients: drawing the same again would give no width.

    Args:
        check: a key of `CHECKS`, or the name of another check.
        values: float (N,), NaN ones are left out.
        patients: the patient of each image (N,).
    """
    values, mean = np.asarray(values, float), bootstrap_mean(values, patients, seed=seed)
    if check != POINTING or mean.n == 0 or 0.5 <= np.nansum(values) <= mean.n - 0.5:
        return mean
    n = len(np.unique(np.asarray(patients)[~np.isnan(values)]))
    low, high = wilson_interval(round(mean.value * n), n)
    return Mean(mean.value, np.fmin(mean.low, low), np.fmax(mean.high, high), mean.n)


def gain_of_check(check: str, values, floor, patients, seed: int = 0) -> tuple[float, ...]:
    """Return the mean difference to a floor on the same images, with its 95 % interval.

    Where no image tells two pointing games apart, the ends are those of Wilson's interval of 0.

    Args:
        check, patients, seed: as in `mean_of_check`.
        values: float (N,).
        floor: float (N,), of the same images.

    Returns:
        gain, low, high.
    """
    difference = np.asarray(values, float) - floor
    gain = bootstrap_mean(difference, patients, seed=seed)
    if check == POINTING and gain.n and not np.nansum(np.abs(difference)) >= 0.5:
        n = len(np.unique(np.asarray(patients)[~np.isnan(difference)]))
        high = wilson_interval(0, n)[1]
        return gain.value, -high, high
    return gain.value, gain.low, gain.high


def layer_checks(
    explainer: Explainer, cases: Cases, layers, method: str = "grad_cam", seed: int = 0
) -> pd.DataFrame:
    """Check the maps of the true classes at each layer, and both floors on the same images.

    Args:
        method: one of `maps.METHODS`.

    Returns:
        layer, maps (network, random map or edge detector), check (energy inside or pointing game),
        value, low, high (95 %, see `mean_of_check`), n: those not empty; and for the network gain,
        gain_low, gain_high: the mean difference to the stronger floor on the same images, and for
        the pointing game p, McNemar's exact test of the two.
    """
    cells = explainer.explain(cases.images, cases.class_ids[:, None], layers, method)
    edges, rows = edge_maps(cases.images), []
    for layer in layers:
        shape = cells[layer].shape[-2:]
        maps = {
            TRAINED: upscale(cells[layer][:, 0], IMAGE_SIZE),
            RANDOM: random_maps(len(cases), shape, IMAGE_SIZE, seed),
            EDGES: edges,
        }
        for check, score in CHECKS.items():
            scores = {name: score(heatmaps, cases.masks) for name, heatmaps in maps.items()}
            against = _against_floors(check, scores, cases.rows.patient_id, seed)
            for name, values in scores.items():
                mean = mean_of_check(check, values, cases.rows.patient_id, seed)
                row = (layer, name, check, mean.value, mean.low, mean.high, mean.n)
                rows.append(row + (against if name == TRAINED else (np.nan,) * 4))
    columns = ["layer", "maps", "check", "value", "low", "high", "n"]
    return pd.DataFrame(rows, columns=[*columns, "gain", "gain_low", "gain_high", "p"])


def _against_floors(check: str, scores: dict, patients, seed: int) -> tuple[float, ...]:
    """Return gain, low, high and McNemar's p of the network against the stronger floor."""
    floor = max((RANDOM, EDGES), key=lambda name: np.nanmean(scores[name]))
    gain = gain_of_check(check, scores[TRAINED], scores[floor], patients, seed)
    if check != POINTING:
        return (*gain, np.nan)
    ours, theirs = scores[TRAINED] > 0.5, scores[floor] > 0.5
    return (*gain, mcnemar(int((ours & ~theirs).sum()), int((theirs & ~ours).sum())))


def class_checks(
    explainer: Explainer, manifest: pd.DataFrame, region: str, layers, n: int, seed: int = 0
) -> pd.DataFrame:
    """As `layer_checks`, class by class: does it look at the lungs of the sick and of the healthy?

    Args:
        region, n, seed: as in `unseen_cases`, n images of each class at most.

    Returns:
        the rows of `layer_checks`, with the column `class`.
    """
    parts = []
    for name in CLASS_NAMES:
        cases = unseen_cases(manifest[manifest.label == name], region, n, seed)
        parts.append(layer_checks(explainer, cases, layers, seed=seed).assign(**{"class": name}))
    return pd.concat(parts, ignore_index=True)


def as_grid(table: pd.DataFrame, check: str, index="layer", percent: bool = True) -> pd.DataFrame:
    """Write one check of `layer_checks` or the like: one row per layer, one column per kind of map.

    Args:
        table: what `layer_checks` returns, `class_checks` and others of their columns.
        check: one in its column `check`.
        index: the column whose values are the rows, or several.
        percent: whether to write per cent.

    Returns:
        texts such as `29.8 [25.4, 34.2]`, and the least n of the row.
    """
    part = table[table.check == check]
    values = part[["value", "low", "high"]].to_numpy() * (100 if percent else 1)
    digits = 1 if percent else 2
    text = [f"{v:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]" for v, low, high in values]
    grid = part.assign(text=text).pivot_table(
        index=index, columns="maps", values="text", aggfunc="first", sort=False
    )
    return grid.rename_axis(columns=None).assign(n=part.groupby(index).n.min())
