"""Tables of map checks: what the maps of a network score at each layer, beside their floors."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from xraylib import datasets
from xraylib.config import CLASS_NAMES, IMAGE_SIZE
from xraylib.gradcam import Explainer, upscale
from xraylib.images import read_grey, read_mask, resize
from xraylib.intervals import bootstrap_mean
from xraylib.map_checks import (
    edge_maps,
    energy_inside,
    points_inside,
    random_maps,
)

CHECKS = {"energy inside": energy_inside, "pointing game": points_inside}
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
        return datasets.label_ids(self.rows)

    def __len__(self):
        return len(self.rows)

    def take(self, places) -> "Cases":
        """Return the cases at some places: int (M,), or bool (N,)."""
        rows = self.rows.iloc[places].reset_index(drop=True)
        return Cases(rows, self.images[places], self.masks[places])


def known_region(manifest: pd.DataFrame) -> str:
    """Return the column of the best known region: the lesion if there is one, else the lungs."""
    return "lesion_path" if "lesion_path" in manifest else "mask_path"


def unseen_cases(manifest: pd.DataFrame, region: str, n: int, seed: int = 0) -> Cases:
    """Draw images of the validation and test sets that have a region.

    Args:
        manifest: with `split` filled.
        region: a column such as `lesion_path`, `marker_path` or `mask_path`; rows without a file
            and empty masks are left out.
        n: images at most.
        seed: of the draw.

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


def layer_checks(
    explainer: Explainer, cases: Cases, layers, method: str = "grad_cam", seed: int = 0
) -> pd.DataFrame:
    """Check the maps of the true classes at each layer, and both floors on the same images.

    Args:
        explainer: of the network.
        cases: images and regions.
        layers: names of convolutions.
        method: one of `gradcam.METHODS`.
        seed: of the random maps and the intervals.

    Returns:
        layer, maps (network, random map or edge detector), check (energy inside or pointing game),
        value, low, high (95 %, patients drawn again), n: those not empty.
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
        for name, heatmaps in maps.items():
            for check, score in CHECKS.items():
                mean = bootstrap_mean(
                    score(heatmaps, cases.masks), cases.rows.patient_id, seed=seed
                )
                rows.append((layer, name, check, mean.value, mean.low, mean.high, mean.n))
    columns = ["layer", "maps", "check", "value", "low", "high", "n"]
    return pd.DataFrame(rows, columns=columns)


def class_checks(
    explainer: Explainer, manifest: pd.DataFrame, region: str, layers, n: int, seed: int = 0
) -> pd.DataFrame:
    """As `layer_checks`, class by class: does it look at the lungs of the sick and of the healthy?

    Args:
        explainer: of the network.
        manifest: with `split` filled.
        region, n, seed: as in `unseen_cases`, n images of each class at most.
        layers: names of convolutions.

    Returns:
        the rows of `layer_checks`, with the column `class`.
    """
    parts = []
    for name in CLASS_NAMES:
        cases = unseen_cases(manifest[manifest.label == name], region, n, seed)
        parts.append(layer_checks(explainer, cases, layers, seed=seed).assign(**{"class": name}))
    return pd.concat(parts, ignore_index=True)


def as_grid(table: pd.DataFrame, check: str, index="layer", percent: bool = True) -> pd.DataFrame:
    """Write one check of `layer_checks` or the like: a row a layer, a column a kind of map.

    Args:
        table: of `layer_checks`, `class_checks` and others of their columns.
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
