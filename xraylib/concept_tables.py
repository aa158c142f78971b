"""Concepts of a whole set of images: found in each class, scored for each network, named."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from xraylib import concept_vectors, concepts, datasets
from xraylib.config import CLASS_NAMES, IMAGE_SIZE
from xraylib.gradcam import Explainer
from xraylib.images import read_grey, read_mask, resize
from xraylib.patches import Patches, cut_patches


@dataclass(frozen=True)
class Discovery:
    """What was found in a set of images, before any network is asked.

    Attributes:
        rows: of the manifest, N.
        patches: of these images, all classes together.
        acts: what the layer makes of the patches, float32 (n, K).
        concepts: class id -> the concepts of that class.
        layer: of VGG16.
    """

    rows: pd.DataFrame
    patches: Patches
    acts: np.ndarray
    concepts: dict[int, list[concepts.Concept]]
    layer: str


def discover(
    rows: pd.DataFrame, layer: str, scaling: str, scales=(12, 40), n_clusters=15, least=10, seed=0
) -> Discovery:
    """Cut images into patches and find the concepts of each class among them.

    The layers of VGG16 are frozen, so the concepts are the same for every head on top of it.

    Args:
        rows: of a manifest; some twenty images a class are enough.
        layer: name of one of VGG16's convolutions.
        scaling: of the networks in question, see `classifier.build_base`.
        scales: see `patches.cut_patches`.
        n_clusters, least: see `concepts.find_concepts`.
        seed: of the clusters.

    Raises:
        ValueError: a class has too few patches.
    """
    images = np.stack([resize(read_grey(path), IMAGE_SIZE) for path in rows.path])
    patches = cut_patches(images, scales)
    acts = concepts.activations(concepts.build_tap(layer, scaling), patches)
    class_ids, found = datasets.label_ids(rows), {}
    for class_id in np.unique(class_ids).tolist():
        places = np.flatnonzero(class_ids[patches.image_ids] == class_id)
        found[class_id] = concepts.find_concepts(
            acts, patches.image_ids, places, CLASS_NAMES[class_id], n_clusters, least, seed=seed
        )
    return Discovery(rows.reset_index(drop=True), patches, acts, found, layer)


def region_masks(rows: pd.DataFrame, column: str) -> np.ndarray:
    """Read masks such as those in `lesion_path`, bool (N, 224, 224); empty where there is none."""
    empty = np.zeros((IMAGE_SIZE, IMAGE_SIZE), bool)
    return np.stack(
        [resize(read_mask(path), IMAGE_SIZE) if path else empty for path in rows[column]]
    )


def hold_against(found: Discovery, columns: dict, seed: int = 0) -> pd.DataFrame:
    """Hold all concepts against known regions: a table of `concepts.overlaps`.

    Args:
        found: of `discover`.
        columns: name of the region -> column of the masks, such as `lesion_path`.
        seed: of the intervals.
    """
    regions = {name: region_masks(found.rows, column) for name, column in columns.items()}
    every = [concept for part in found.concepts.values() for concept in part]
    patients = found.rows.patient_id.to_numpy()
    return concepts.overlaps(every, found.patches, regions, patients, seed)


def name_concepts(overlaps: pd.DataFrame) -> dict[str, str]:
    """Return for each concept the region that it lies in most, against the base, else "other"."""
    lifted = overlaps[overlaps.found].assign(lift=overlaps.share / overlaps.base)
    best = lifted.sort_values("lift").groupby("concept").region.last()
    return {name: best.get(name, "other") for name in overlaps.concept.unique()}


def score_networks(found: Discovery, explainers: dict[str, Explainer], seed: int = 0):
    """Ask networks what their class scores owe to the concepts of each class.

    Args:
        found: of `discover`.
        explainers: name of the network -> its explainer.
        seed: of the random counterparts and concepts.

    Returns:
        a table: class, network, the columns of `concept_vectors.score_concepts`, random_low and
        random_high of `random_range`, alarms_splits and alarms of `false_alarms`.
    """
    class_ids, parts = datasets.label_ids(found.rows), []
    for class_id, members in found.concepts.items():
        of_class = class_ids == class_id
        patients = found.rows.patient_id[of_class].to_numpy()
        directions = concept_vectors.fit_directions(members, found.acts, seed=seed)
        for network, explainer in explainers.items():
            gradients = concept_vectors.class_gradients(
                explainer, found.patches.images[of_class], class_id, found.layer
            )
            table = concept_vectors.score_concepts(directions, gradients, patients, seed=seed)
            low, high = concept_vectors.random_range(directions, gradients)
            alarms = concept_vectors.false_alarms(directions, gradients)
            table = table.assign(random_low=low, random_high=high)
            table = table.assign(alarms_splits=alarms["p_splits"], alarms=alarms["p"])
            table.insert(0, "class", CLASS_NAMES[class_id])
            table.insert(1, "network", network)
            parts.append(table)
    return pd.concat(parts, ignore_index=True)
