"""Tables of map checks: what the maps of a network score at each layer, beside their floors."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from xraylib import datasets
from xraylib.config import IMAGE_SIZE
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


def as_grid(table: pd.DataFrame, check: str) -> pd.DataFrame:
    """Write one check of `layer_checks` in per cent: a row a layer, a column a kind of map.

    Args:
        table: of `layer_checks`.
        check: a key of `CHECKS`.

    Returns:
        texts such as `29.8 [25.4, 34.2]`, and the least n of the row.
    """
    part = table[table.check == check]
    percent = part[["value", "low", "high"]].to_numpy() * 100
    text = [f"{value:.1f} [{low:.1f}, {high:.1f}]" for value, low, high in percent]
    grid = part.assign(text=text).pivot_table(
        index="layer", columns="maps", values="text", aggfunc="first", sort=False
    )
    return grid.rename_axis(columns=None).assign(n=part.groupby("layer").n.min())
