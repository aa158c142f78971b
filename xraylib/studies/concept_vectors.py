"""What a class score owes to a concept: concept activation vectors, TCAV scores and their tests.

Kim et al., "Interpretability beyond feature attribution: quantitative testing with concept
activation vectors (TCAV)", ICML (2018), for the concepts that `concepts` has found; and the tables
of a whole set of images.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import train_test_split

from xraylib import data
from xraylib.config import CLASS_NAMES, IMAGE_SIZE
from xraylib.images import read_grey, read_mask, resize
from xraylib.maps import Explainer
from xraylib.metrics import bootstrap_mean
from xraylib.studies.concepts import (
    Concept,
    Patches,
    build_tap,
    cut_patches,
    find_concepts,
    patch_activations,
    region_overlaps,
)

SPLITS = 8  # random counterparts of each concept
RANDOM_CONCEPTS = 30
# Ridge penalty for each channel of activations whose standard deviation is 1. So strong a one turns
# the vector towards the difference of the two means: fifty patches are too few to fit hundreds of
# free weights.
PENALTY = 2.0
LEAST = 8  # patches of a concept: fewer leave next to none to judge a classifier on


@dataclass(frozen=True)
class Directions:
    """Concept activation vectors, as long as concept and counterpart lie apart along them.

    The length is in standard deviations of the activations. Random concepts hardly differ from
    their counterparts, so their vectors are short.

    Attributes:
        concepts: n of them.
        vectors: float (n, S, K), of each concept against S random counterparts.
        accuracy: the accuracy of the classifiers on patches held out, mean over the counterparts,
            float (n,).
        random: float (R, S, K), the same of R random concepts.
    """

    concepts: list[Concept]
    vectors: np.ndarray
    accuracy: np.ndarray
    random: np.ndarray


def fit_directions(
    concepts, acts, n_splits: int = SPLITS, n_random: int = RANDOM_CONCEPTS, seed: int = 0
) -> Directions:
    """Fit the vectors of concepts, and those of random concepts treated just alike.

    A random concept is a fixed set of patches drawn from all, as many as the smallest concept has:
    the fewer they are, the further chance takes them, so larger concepts are judged strictly.

    Args:
        concepts: what `studies.find_concepts` returns, of one class or several.
        acts: activations of all patches, float (n, K); the counterparts are drawn among them.
        n_splits: counterparts of each concept.
        n_random: random concepts.
        seed: seeds every draw.

    Raises:
        ValueError: there is no concept, or one has too few patches or leaves too few others.
    """
    acts = np.asarray(acts)
    if not concepts:
        raise ValueError("found no concept: give more images, or ask for smaller clusters")
    for concept in concepts:
        _check_patches(concept, len(acts))
    rng = np.random.default_rng(seed)
    scale = acts.std()  # one for all channels, so that directions stay what they are
    fits = [_against_others(acts / scale, c.members, n_splits, rng) for c in concepts]
    fewest = min(len(concept.members) for concept in concepts)
    sets = [rng.choice(len(acts), fewest, replace=False) for _ in range(n_random)]
    random = [_against_others(acts / scale, drawn, n_splits, rng)[0] for drawn in sets]
    vectors, accuracy = zip(*fits, strict=True)
    return Directions(list(concepts), np.stack(vectors), np.array(accuracy), np.stack(random))


def class_gradients(explainer: Explainer, images, class_id: int, layer: str) -> np.ndarray:
    """Return how a class score changes if the same is added to every cell of a layer.

    Args:
        explainer: explains the network.
        images, class_id, layer: as in `Explainer.differentiate`.

    Returns:
        float32 (B, K): the sum of dY/dA over the cells, as the vectors are of the cells' mean.
    """
    return explainer.differentiate(images, class_id, layer)[1].sum(axis=(1, 2))


def score_concepts(
    directions: Directions, gradients, patients=None, level: float = 0.95, seed: int = 0
) -> pd.DataFrame:
    """Ask of each concept whether a class score rises with it, more than with random concepts.

    Args:
        directions: the directions of concepts of the class.
        gradients: what `class_gradients` returns, images of the class (B, K).
        patients: the patients of each image (B,), for the interval; without, each image is a
            patient.
        level: coverage of the interval.
        seed: seeds the interval.

    Returns:
        one row per concept, the highest score first: concept; tcav, the share of images whose score
        rises along the vector (mean over the counterparts), with low and high (patients drawn
        again); sensitivity, the mean product of the vector and the gradient's direction: how far
        the concept moves activations the way that raises the score; accuracy, of the classifiers;
        p_splits, the paper's t-test over the counterparts; p, a two-sided t-test of one concept's
        sensitivity against those of the random concepts (Crawford and Howell, 1998); p_corrected,
        by Holm; n_patches, n_images.

    The paper's test asks whether the *mean* over counterparts differs from that of random
    concepts. Any fixed set of patches, meaningful or not, has a direction of its own and passes:
    `false_alarms` measures it. So decisions should rest on `p_corrected`.
    """
    random = _sensitivity(gradients, directions.random)
    random_scores = _rises(gradients, directions.random).mean(axis=1)[:, 0]
    rows = []
    for concept, vectors, accuracy in zip(
        directions.concepts, directions.vectors, directions.accuracy, strict=True
    ):
        rises = _rises(gradients, vectors)
        mean = bootstrap_mean(rises.mean(axis=1), patients, level, seed)
        sensitivity = float(_sensitivity(gradients, vectors))
        row = {"concept": concept.name, "tcav": mean.value, "low": mean.low, "high": mean.high}
        row |= {"sensitivity": sensitivity, "accuracy": accuracy}
        row |= {"p_splits": _welch(rises.mean(axis=0), random_scores)}
        row |= {"p": one_against_many(sensitivity, random)}
        rows.append(row | {"n_patches": concept.size, "n_images": concept.n_images})
    table = pd.DataFrame(rows)
    table.insert(table.columns.get_loc("p") + 1, "p_corrected", holm(table["p"]))
    return table.sort_values(["tcav", "sensitivity"], ascending=False, ignore_index=True)


def random_range(directions: Directions, gradients, level: float = 0.95) -> tuple[float, float]:
    """Return the range in which a share `level` of random concepts' sensitivities lies."""
    tail = 100 * (1 - level) / 2
    values = _sensitivity(gradients, directions.random)
    return tuple(np.percentile(values, [tail, 100 - tail]).tolist())


def false_alarms(directions: Directions, gradients, alpha: float = 0.05) -> dict[str, float]:
    """Return the share of random concepts that each test calls significant; it should be alpha.

    Args:
        directions, gradients: as in `score_concepts`; every random concept is judged against the
            others.
        alpha: the level of the tests, without correction.

    Returns:
        shares by the name of the test's column in `score_concepts`.
    """
    random = _sensitivity(gradients, directions.random)
    scores = _rises(gradients, directions.random).mean(axis=1).reshape(len(random), -1)
    others = [np.delete(np.arange(len(random)), k) for k in range(len(random))]
    p_splits = [_welch(scores[k], scores[rest, 0]) for k, rest in enumerate(others)]
    p = [one_against_many(random[k], random[rest]) for k, rest in enumerate(others)]
    return {"p_splits": np.mean(np.less(p_splits, alpha)), "p": np.mean(np.less(p, alpha))}


def holm(p_values) -> np.ndarray:
    """Correct p-values for their number, step by step (Holm, 1979).

    >>> holm([0.01, 0.04, 0.03]).round(2).tolist()
    [0.03, 0.06, 0.06]
    """
    p_values = np.asarray(p_values, float)
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    corrected = np.empty_like(p_values)
    corrected[order] = np.minimum(1, np.maximum.accumulate(factors * p_values[order]))
    return corrected


def one_against_many(value: float, others) -> float:
    """Return the two-sided p of one value being drawn like others, which are taken as normal.

    Args:
        value: a single one.
        others: float (R,), at least two.

    Returns:
        p of Student's t with R - 1 degrees of freedom. Crawford and Howell, Clin. Neuropsychol. 12
        (1998).
    """
    others = np.asarray(others, float)
    spread = others.std(ddof=1) * np.sqrt(1 + 1 / len(others))
    return float(2 * stats.t.sf(abs(value - others.mean()) / spread, len(others) - 1))


def _against_others(acts, members, n_splits: int, rng) -> tuple[np.ndarray, float]:
    """Return vectors (S, K) of some patches against random others, and the mean accuracy."""
    rest = np.setdiff1d(np.arange(len(acts)), members)
    vectors, accuracies = [], []
    for _ in range(n_splits):
        others = rng.choice(rest, len(members), replace=False)
        vector, accuracy = _fit_vector(acts[members], acts[others], int(rng.integers(2**31)))
        vectors.append(vector)
        accuracies.append(accuracy)
    return np.stack(vectors), float(np.mean(accuracies))


def _fit_vector(concept, others, seed: int) -> tuple[np.ndarray, float]:
    """Return the step from the others to the concept along a linear classifier's normal.

    Also its accuracy on the third of the patches that is held out.
    """
    x = np.concatenate([concept, others])
    y = np.repeat([1, 0], [len(concept), len(others)])
    fit_x, held_x, fit_y, held_y = train_test_split(
        x, y, test_size=1 / 3, stratify=y, random_state=seed
    )
    centre = fit_x.mean(axis=0)
    model = RidgeClassifier(PENALTY * x.shape[1]).fit(fit_x - centre, fit_y)
    normal = np.ravel(model.coef_)
    normal = normal / np.linalg.norm(normal)
    apart = normal @ (concept.mean(axis=0) - others.mean(axis=0))
    return apart * normal, model.score(held_x - centre, held_y)


def _rises(gradients, vectors) -> np.ndarray:
    """Return for each image whether its score rises along each vector: (..., B, S), 0 or 1."""
    return (gradients @ np.swapaxes(vectors, -1, -2) > 0).astype(float)


def _sensitivity(gradients, vectors) -> np.ndarray:
    """Return the mean product of the directions of gradients (B, K) and vectors (..., S, K)."""
    lengths = np.linalg.norm(gradients, axis=1, keepdims=True)
    units = np.divide(gradients, lengths, out=np.zeros_like(gradients), where=lengths > 0)
    return (units @ np.swapaxes(vectors, -1, -2)).mean(axis=(-2, -1))


def _welch(one, other) -> float:
    """Return p of Welch's t-test; two constants are alike or not."""
    if np.ptp(one) == 0 and np.ptp(other) == 0:
        return float(one[0] == other[0])
    parts = [number for x in (one, other) for number in (np.mean(x), np.std(x, ddof=1), len(x))]
    return float(stats.ttest_ind_from_stats(*parts, equal_var=False).pvalue)


def _check_patches(concept: Concept, n_all: int) -> None:
    n = len(concept.members)
    if n < LEAST or n_all < 2 * n:
        raise ValueError(
            f"{concept.name}: found {n} patches of {n_all}: a concept needs at least {LEAST}, and "
            "as many others to hold it against; give more images or finer scales"
        )


@dataclass(frozen=True)
class Discovery:
    """What was found in a set of images, before any network is asked.

    Attributes:
        rows: the rows of the manifest, N.
        patches: the patches of these images, all classes together.
        acts: what the layer makes of the patches, float32 (n, K).
        concepts: class id -> the concepts of that class.
        layer: the layer of VGG16.
    """

    rows: pd.DataFrame
    patches: Patches
    acts: np.ndarray
    concepts: dict[int, list[Concept]]
    layer: str


def discover_concepts(
    rows: pd.DataFrame, layer: str, scaling: str, scales=(12, 40), n_clusters=15, least=10, seed=0
) -> Discovery:
    """Cut images into patches and find the concepts of each class among them.

    The layers of VGG16 are frozen, so the concepts are the same for every head on top of it.

    Args:
        rows: the rows of a manifest; some twenty images a class are enough.
        layer: name of one of VGG16's convolutions.
        scaling: the scaling of the networks in question, see `network.build_base`.
        scales: see `studies.cut_patches`.
        n_clusters, least: see `studies.find_concepts`.
        seed: seeds the clusters.

    Raises:
        ValueError: a class has too few patches.
    """
    images = np.stack([resize(read_grey(path), IMAGE_SIZE) for path in rows.path])
    patches = cut_patches(images, scales)
    acts = patch_activations(build_tap(layer, scaling), patches)
    class_ids, by_class = data.label_ids(rows), {}
    for class_id in np.unique(class_ids).tolist():
        places = np.flatnonzero(class_ids[patches.image_ids] == class_id)
        by_class[class_id] = find_concepts(
            acts, patches.image_ids, places, CLASS_NAMES[class_id], n_clusters, least, seed=seed
        )
    return Discovery(rows.reset_index(drop=True), patches, acts, by_class, layer)


def region_masks(rows: pd.DataFrame, column: str) -> np.ndarray:
    """Read masks such as those in `lesion_path`, bool (N, 224, 224); empty where there is none."""
    empty = np.zeros((IMAGE_SIZE, IMAGE_SIZE), bool)
    return np.stack(
        [resize(read_mask(path), IMAGE_SIZE) if path else empty for path in rows[column]]
    )


def compare_with_regions(discovery: Discovery, columns: dict, seed: int = 0) -> pd.DataFrame:
    """Hold all concepts against known regions: a table of `studies.region_overlaps`.

    Args:
        discovery: what `discover_concepts` returns.
        columns: name of the region -> column of the masks, such as `lesion_path`.
        seed: seeds the intervals.
    """
    regions = {name: region_masks(discovery.rows, column) for name, column in columns.items()}
    every = [concept for part in discovery.concepts.values() for concept in part]
    patients = discovery.rows.patient_id.to_numpy()
    return region_overlaps(every, discovery.patches, regions, patients, seed)


def name_concepts(overlaps: pd.DataFrame) -> dict[str, str]:
    """Return for each concept the region that it lies in most, against the base, else "other"."""
    lifted = overlaps[overlaps.found].assign(lift=overlaps.share / overlaps.base)
    best = lifted.sort_values("lift").groupby("concept").region.last()
    return {name: best.get(name, "other") for name in overlaps.concept.unique()}


def score_networks(discovery: Discovery, explainers: dict[str, Explainer], seed: int = 0):
    """Ask networks what their class scores owe to the concepts of each class.

    Args:
        discovery: what `discover_concepts` returns.
        explainers: name of the network -> its explainer.
        seed: seeds the random counterparts and concepts.

    Returns:
        a table: class, network, the columns of `studies.score_concepts`, random_low and
        random_high of `random_range`, alarms_splits and alarms of `false_alarms`.
    """
    class_ids, parts = data.label_ids(discovery.rows), []
    for class_id, members in discovery.concepts.items():
        of_class = class_ids == class_id
        patients = discovery.rows.patient_id[of_class].to_numpy()
        directions = fit_directions(members, discovery.acts, seed=seed)
        for network, explainer in explainers.items():
            gradients = class_gradients(
                explainer, discovery.patches.images[of_class], class_id, discovery.layer
            )
            table = score_concepts(directions, gradients, patients, seed=seed)
            low, high = random_range(directions, gradients)
            alarms = false_alarms(directions, gradients)
            table = table.assign(random_low=low, random_high=high)
            table = table.assign(alarms_splits=alarms["p_splits"], alarms=alarms["p"])
            table.insert(0, "class", CLASS_NAMES[class_id])
            table.insert(1, "network", network)
            parts.append(table)
    return pd.concat(parts, ignore_index=True)
