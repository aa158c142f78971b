"""Concepts that nobody named: patches clustered by what a layer makes of them, and their weight.

ACE, automatic concept-based explanation: Ghorbani et al., "Towards automatic concept-based
explanations", NeurIPS (2019). What a class score owes to a concept: concept activation vectors,
TCAV scores and their tests: Kim et al., "Interpretability beyond feature attribution: quantitative
testing with concept activation vectors (TCAV)", ICML (2018).
"""

from dataclasses import dataclass

import cv2
import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from scipy import stats
from skimage.segmentation import slic
from sklearn.cluster import KMeans
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import train_test_split

from xraylib import data, network
from xraylib.config import CLASS_NAMES, IMAGE_SIZE
from xraylib.images import read_grey, read_mask, resize
from xraylib.maps import Explainer
from xraylib.metrics import bootstrap_mean
from xraylib.network import fast_policy

PATCH_SCALES = (15, 50, 80)  # superpixels an image, from large parts to small ones: the paper's
COMPACTNESS = 0.3  # of a superpixel, on grey values 0..1: how much nearness counts
SMOOTHING = 1.0  # pixels: film grain must not draw the borders
PATCH_SIDE = 112  # pixels. The paper takes the network's input, 224; half of it blows a patch up
# less, so that its edges are more like those the network knows, and costs a quarter
OVERLAP = 0.5  # two superpixels that share more of their union are one and the same patch


@dataclass(frozen=True)
class Patches:
    """Superpixels of several images; each can be shown alone.

    Attributes:
        images: uint8 (N, H, W).
        segments: int16 (N, S, H, W), number of the superpixel at each of S scales.
        table: one row per patch: image (its place), scale (its place), segment.
    """

    images: np.ndarray
    segments: np.ndarray
    table: pd.DataFrame

    def __len__(self):
        return len(self.table)

    @property
    def image_ids(self) -> np.ndarray:
        """The place of each patch's image, int (n,)."""
        return self.table.image.to_numpy()

    def region(self, i: int) -> np.ndarray:
        """Return the pixels of one patch, bool (H, W)."""
        row = self.table.iloc[i]
        return self.segments[row.image, row.scale] == row.segment

    def picture(self, i: int, side: int = PATCH_SIDE) -> np.ndarray:
        """Return one patch as the network is shown it, uint8 (side, side).

        The superpixel on the mean grey of all images, cropped to its box and resized, whatever its
        shape. One grey for all: an image's own would tell its exposure.
        """
        region = self.region(i)
        left, top, wide, tall = cv2.boundingRect(region.astype(np.uint8))
        shown = np.where(region, self.images[self.image_ids[i]], self._grey)
        return resize(shown[top : top + tall, left : left + wide], side)

    def share_inside(self, masks) -> np.ndarray:
        """Return the share of each patch's pixels that lies in its image's mask.

        Args:
            masks: bool (N, H, W), one for each image.

        Returns:
            float (n,), 0 to 1.
        """
        if np.shape(masks) != self.images.shape:
            raise ValueError(f"found masks {np.shape(masks)} for images {self.images.shape}")
        regions = (self.region(i) for i in range(len(self)))
        pairs = zip(self.image_ids, regions, strict=True)
        return np.array([masks[k][region].mean() for k, region in pairs])

    @property
    def _grey(self) -> np.uint8:
        return np.uint8(np.rint(self.images.mean()))


def cut_patches(images, scales=PATCH_SCALES) -> Patches:
    """Cut images into superpixels at several scales.

    Args:
        images: uint8 (N, H, W).
        scales: superpixels an image, about, at each scale.

    Returns:
        the patches; what a coarser scale has already given is left out. Ghorbani et al. (2019),
        section 3, step 1; the superpixels are SLIC's (Achanta et al., 2012).

    Raises:
        ValueError: the images are not uint8 (N, H, W), or there is none.
    """
    images = np.asarray(images)
    if images.ndim != 3 or images.dtype != np.uint8 or len(images) == 0:
        raise ValueError(f"found images {images.dtype} {images.shape}: give uint8 (N, H, W)")
    segments = np.stack([[_superpixels(image, n) for n in scales] for image in images])
    rows = [
        (k, scale, segment)
        for k, levels in enumerate(segments)
        for scale, segment in _distinct(levels)
    ]
    return Patches(images, segments, pd.DataFrame(rows, columns=["image", "scale", "segment"]))


def _superpixels(image: np.ndarray, n: int) -> np.ndarray:
    grey = image.astype(np.float32) / 255
    cut = slic(grey, n, COMPACTNESS, sigma=SMOOTHING, start_label=0, channel_axis=None)
    return cut.astype(np.int16)


def _distinct(levels: np.ndarray) -> list[tuple[int, int]]:
    """Return (scale, segment) of superpixels that no coarser scale has, nearly, as well."""
    sizes = [np.bincount(level.ravel()) for level in levels]
    kept = [(0, segment) for segment in np.flatnonzero(sizes[0])]
    for fine in range(1, len(levels)):
        doubled = np.zeros(len(sizes[fine]), bool)
        for coarse in range(fine):
            shared = np.zeros((len(sizes[coarse]), len(sizes[fine])))
            np.add.at(shared, (levels[coarse].ravel(), levels[fine].ravel()), 1)
            union = sizes[coarse][:, None] + sizes[fine] - shared
            doubled |= (shared > OVERLAP * union).any(axis=0)
        kept += [(fine, segment) for segment in np.flatnonzero((sizes[fine] > 0) & ~doubled)]
    return kept


BATCH = 32


def build_tap(layer: str, scaling: str = "report", side: int = PATCH_SIDE) -> keras.Model:
    """Build the frozen VGG16 up to the means of one layer, in the precision that is fast here.

    The scaling is that of the classifier in question, see `network.build_base`. Returns a model
    from patches (B, side, side, 1) to the mean of the layer's cells, float32 (B, K); convolutions
    take any side.
    """
    with fast_policy():
        whole = network.build_base(scaling)
        base = keras.models.clone_model(whole, input_tensors=keras.Input((side, side, 1)))
    base.set_weights(whole.get_weights())
    return tap(base, layer)


def tap(model: keras.Model, layer: str) -> keras.Model:
    """Return a model that ends in the mean of a layer's cells, float32 (B, K)."""
    cells = model.get_layer(layer).output
    pooled = keras.layers.GlobalAveragePooling2D(dtype="float32", name="mean_of_cells")(cells)
    return keras.Model(model.input, pooled)


def patch_activations(tapped: keras.Model, patches: Patches) -> np.ndarray:
    """Return what a layer makes of each patch, float32 (n, K).

    The input of `tapped`, a model of `build_tap`, says the size of the patches.
    """
    run = tf.function(lambda x: tapped(x, training=False), reduce_retracing=True, autograph=False)
    side, parts = tapped.input_shape[1], []
    for start in range(0, len(patches), BATCH):
        places = range(start, min(start + BATCH, len(patches)))
        batch = np.stack([patches.picture(i, side) for i in places])[..., None]
        parts.append(run(tf.constant(batch, tf.float32)).numpy())
    return np.concatenate(parts)


@dataclass(frozen=True)
class Concept:
    """Patches that a layer sees alike.

    Attributes:
        name: class and number, the largest cluster first.
        members: places of the patches nearest to the centre, nearest first, int (m,).
        drawn_from: places of all patches that were clustered, int (n,).
        size: patches in the whole cluster.
        n_images: images that these come from.
    """

    name: str
    members: np.ndarray
    drawn_from: np.ndarray
    size: int
    n_images: int


def find_concepts(
    acts, image_ids, places, name: str, n_clusters: int = 25, least=20, most=40, seed=0
) -> list[Concept]:
    """Cluster patches and keep the clusters that several images share.

    Args:
        acts: activations of all patches, float (n, K).
        image_ids: the image of each patch (n,).
        places: the places of the patches to cluster, such as those of one class, int (m,).
        least: patches that a cluster must have.
        most: patches that stand for a concept: those nearest to the centre.

    Returns:
        the concepts, the largest cluster first. Ghorbani et al. (2019), section 3, step 2.

    Raises:
        ValueError: there are too few patches to give one cluster of the least size.
    """
    acts, places = np.asarray(acts), np.asarray(places)
    if len(places) < max(n_clusters, 2 * least):
        raise ValueError(
            f"{name}: found {len(places)} patches for {n_clusters} clusters of at least {least}: "
            "give more images or finer scales, or ask for fewer clusters"
        )
    model = KMeans(n_clusters, n_init=2, random_state=seed).fit(acts[places])
    distance = np.linalg.norm(acts[places] - model.cluster_centers_[model.labels_], axis=1)
    n_all, clusters = len(np.unique(image_ids[places])), []
    for number in range(n_clusters):
        inside = np.flatnonzero(model.labels_ == number)
        n_images = len(np.unique(image_ids[places[inside]]))
        if len(inside) >= least and is_shared(len(inside), n_images, n_all):
            nearest = inside[np.argsort(distance[inside], kind="stable")][:most]
            clusters.append((places[nearest], places, len(inside), n_images))
    clusters.sort(key=lambda parts: -parts[2])
    return [Concept(f"{name} {k}", *parts) for k, parts in enumerate(clusters, start=1)]


def is_shared(size: int, n_images: int, n_all: int) -> bool:
    """Return whether a cluster speaks of a class and not of a few of its images.

    Its patches come from `n_images` of the `n_all` images of the class. The rule of the authors'
    program: nearly a patch an image; or a patch in four, in a quarter of the images; or a patch in
    ten, in half of them.
    """
    a_patch_an_image = n_images / size
    of_the_images = n_images / n_all
    return (
        a_patch_an_image > 0.5
        or (a_patch_an_image > 0.25 and of_the_images > 0.25)
        or (a_patch_an_image > 0.1 and of_the_images > 0.5)
    )


def region_overlaps(
    concepts, patches: Patches, regions: dict, patients=None, seed=0
) -> pd.DataFrame:
    """Hold concepts against what is known of the images: lesion, marker, lungs.

    Args:
        regions: name -> masks bool (N, H, W) of all images.
        patients: the patients of each image (N,), for the intervals.

    Returns:
        concept, region; share of the pixels of a concept's patch that lies in the region, mean
        over the patches, with low and high (95 %, patients drawn again); base, base_low and
        base_high, the same over all patches of the class; found: whether the share's interval
        lies above the base's.
    """
    patients = np.arange(len(patches.images)) if patients is None else np.asarray(patients)
    of_patch, rows = patients[patches.image_ids], []
    for region, masks in regions.items():
        shares = patches.share_inside(masks)
        for concept in concepts:
            mean, base = (
                bootstrap_mean(shares[places], of_patch[places], seed=seed)
                for places in (concept.members, concept.drawn_from)
            )
            row = (mean.value, mean.low, mean.high, base.value, base.low, base.high)
            rows.append((concept.name, region, *row, mean.low > base.high))
    columns = ["concept", "region", "share", "low", "high", "base", "base_low", "base_high"]
    return pd.DataFrame(rows, columns=[*columns, "found"])


SPLITS = 8  # random counterparts of each concept
RANDOM_CONCEPTS = 30
ALPHA = 0.05  # the level of the tests, without correction
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


def fit_directions(concepts, acts, n_random: int = RANDOM_CONCEPTS, seed: int = 0) -> Directions:
    """Fit the vectors of concepts, and those of random concepts treated just alike.

    The concepts are those of `studies.find_concepts`, of one class or several; the counterparts are
    drawn among all patches, whose activations are float (n, K). A random concept is a fixed set of
    patches drawn from all, as many as the smallest concept has: the fewer they are, the further
    chance takes them, so larger concepts are judged strictly. A `ValueError` says that there is no
    concept, or that one has too few patches or leaves too few others.
    """
    acts = np.asarray(acts)
    if not concepts:
        raise ValueError("found no concept: give more images, or ask for smaller clusters")
    for concept in concepts:
        n = len(concept.members)
        if n < LEAST or len(acts) < 2 * n:
            raise ValueError(
                f"{concept.name}: found {n} patches of {len(acts)}: a concept needs at least "
                f"{LEAST}, and as many others to hold it against; give more images or finer scales"
            )
    rng = np.random.default_rng(seed)
    scale = acts.std()  # one for all channels, so that directions stay what they are
    fits = [_against_others(acts / scale, c.members, rng) for c in concepts]
    fewest = min(len(concept.members) for concept in concepts)
    sets = [rng.choice(len(acts), fewest, replace=False) for _ in range(n_random)]
    random = [_against_others(acts / scale, drawn, rng)[0] for drawn in sets]
    vectors, accuracy = zip(*fits, strict=True)
    return Directions(list(concepts), np.stack(vectors), np.array(accuracy), np.stack(random))


def score_concepts(directions: Directions, gradients, patients=None, seed: int = 0) -> pd.DataFrame:
    """Ask of each concept whether a class score rises with it, more than with random concepts.

    The directions are those of concepts of the class. The gradients, float32 (B, K), say for images
    of the class how its score changes if the same is added to every cell of the layer: they are the
    sum of dY/dA over the cells. The patients of these images (B,) are for the interval; without,
    each image is a patient.

    Returns one row per concept, the highest score first: concept; tcav, the share of images whose
    score rises along the vector (mean over the counterparts), with low and high (patients drawn
    again); sensitivity, the mean product of the vector and the gradient's direction: how far the
    concept moves activations the way that raises the score; accuracy, of the classifiers; p_splits,
    the paper's t-test over the counterparts; p, a two-sided t-test of one concept's sensitivity
    against those of the random concepts (Crawford and Howell, 1998); p_corrected, by Holm;
    n_patches, n_images.

    The paper's test asks whether the *mean* over counterparts differs from that of random concepts.
    Any fixed set of patches, meaningful or not, has a direction of its own and passes:
    `false_alarms` measures it. So decisions should rest on `p_corrected`.
    """
    random = _sensitivity(gradients, directions.random)
    random_scores = _rises(gradients, directions.random).mean(axis=1)[:, 0]
    rows = []
    for concept, vectors, accuracy in zip(
        directions.concepts, directions.vectors, directions.accuracy, strict=True
    ):
        rises = _rises(gradients, vectors)
        mean = bootstrap_mean(rises.mean(axis=1), patients, seed=seed)
        sensitivity = float(_sensitivity(gradients, vectors))
        row = {"concept": concept.name, "tcav": mean.value, "low": mean.low, "high": mean.high}
        row |= {"sensitivity": sensitivity, "accuracy": accuracy}
        row |= {"p_splits": _welch(rises.mean(axis=0), random_scores)}
        row |= {"p": one_against_many(sensitivity, random)}
        rows.append(row | {"n_patches": concept.size, "n_images": concept.n_images})
    table = pd.DataFrame(rows)
    table.insert(table.columns.get_loc("p") + 1, "p_corrected", holm(table["p"]))
    return table.sort_values(["tcav", "sensitivity"], ascending=False, ignore_index=True)


def random_range(directions: Directions, gradients) -> tuple[float, float]:
    """Return the range in which 95 % of the random concepts' sensitivities lie."""
    values = _sensitivity(gradients, directions.random)
    return tuple(np.percentile(values, [2.5, 97.5]).tolist())


def false_alarms(directions: Directions, gradients) -> dict[str, float]:
    """Return the share of random concepts that each test calls significant; it should be `ALPHA`.

    Arguments are as in `score_concepts`, whose columns name the tests; every random concept is
    judged against the others.
    """
    random = _sensitivity(gradients, directions.random)
    scores = _rises(gradients, directions.random).mean(axis=1).reshape(len(random), -1)
    others = [np.delete(np.arange(len(random)), k) for k in range(len(random))]
    p_splits = [_welch(scores[k], scores[rest, 0]) for k, rest in enumerate(others)]
    p = [one_against_many(random[k], random[rest]) for k, rest in enumerate(others)]
    return {"p_splits": np.mean(np.less(p_splits, ALPHA)), "p": np.mean(np.less(p, ALPHA))}


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

    There are R others, at least two; p is that of Student's t with R - 1 degrees of freedom.
    Crawford and Howell, Clin. Neuropsychol. 12 (1998).
    """
    others = np.asarray(others, float)
    spread = others.std(ddof=1) * np.sqrt(1 + 1 / len(others))
    return float(2 * stats.t.sf(abs(value - others.mean()) / spread, len(others) - 1))


def _against_others(acts, members, rng) -> tuple[np.ndarray, float]:
    """Return vectors (S, K) of some patches against random others, and the mean accuracy."""
    rest = np.setdiff1d(np.arange(len(acts)), members)
    vectors, accuracies = [], []
    for _ in range(SPLITS):
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
        scaling: the scaling of the networks in question, see `network.build_base`.
        scales: see `studies.cut_patches`.
        n_clusters, least: see `studies.find_concepts`.

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

    Returns:
        a table: class, network, the columns of `studies.score_concepts`, random_low and
        random_high of `random_range`, alarms_splits and alarms of `false_alarms`.
    """
    class_ids, parts = data.label_ids(discovery.rows), []
    for class_id, members in discovery.concepts.items():
        of_class = class_ids == class_id
        patients = discovery.rows.patient_id[of_class].to_numpy()
        images = discovery.patches.images[of_class]
        directions = fit_directions(members, discovery.acts, seed=seed)
        for name, explainer in explainers.items():
            found = explainer.differentiate(images, class_id, discovery.layer)
            gradients = found[1].sum(axis=(1, 2))  # the vectors are of the mean over the cells
            table = score_concepts(directions, gradients, patients, seed=seed)
            low, high = random_range(directions, gradients)
            alarms = false_alarms(directions, gradients)
            table = table.assign(random_low=low, random_high=high)
            table = table.assign(alarms_splits=alarms["p_splits"], alarms=alarms["p"])
            table.insert(0, "class", CLASS_NAMES[class_id])
            table.insert(1, "network", name)
            parts.append(table)
    return pd.concat(parts, ignore_index=True)
