"""Concepts that nobody named: patches of images, clustered by what a layer makes of them.

The first half of ACE, automatic concept-based explanation: Ghorbani et al., "Towards automatic
concept-based explanations", NeurIPS (2019). The second half is in `concept_vectors`.
"""

from dataclasses import dataclass

import cv2
import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from skimage.segmentation import slic
from sklearn.cluster import KMeans

from xraylib import network
from xraylib.images import resize
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
    """Build the frozen VGG16 up to one layer, in the precision that is fast here.

    Args:
        layer: name of one of VGG16's layers.
        scaling: as the classifier in question was built, see `network.build_base`.
        side: the side of the patches in pixels; convolutions take any.

    Returns:
        a model from patches (B, side, side, 1) to activations (B, K), see `tap`.
    """
    with fast_policy():
        whole = network.build_base(scaling)
        base = keras.models.clone_model(whole, input_tensors=keras.Input((side, side, 1)))
    base.set_weights(whole.get_weights())
    return tap(base, layer)


def tap(model: keras.Model, layer: str) -> keras.Model:
    """Return a model that ends in the mean of a layer's cells, float32 (B, K).

    Raises:
        ValueError: the model has no such layer.
    """
    names = [known.name for known in model.layers]
    if layer not in names:
        raise ValueError(f"no layer {layer!r}: choose one of {', '.join(names)}")
    maps = model.get_layer(layer).output
    pooled = keras.layers.GlobalAveragePooling2D(dtype="float32", name="mean_of_cells")(maps)
    return keras.Model(model.input, pooled)


def patch_activations(tapped: keras.Model, patches: Patches) -> np.ndarray:
    """Return what a layer makes of each patch, float32 (n, K).

    Args:
        tapped: what `tap` returns or `build_tap`; its input says the size of the patches.
        patches: n of them.
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
        name: the name of the class.
        n_clusters: clusters of K-means.
        least: patches that a cluster must have.
        most: patches that stand for a concept: those nearest to the centre.
        seed: seeds K-means.

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

    The rule of the authors' program: nearly a patch an image; or a patch in four, in a quarter of
    the images; or a patch in ten, in half of them.

    Args:
        size: patches in the cluster.
        n_images: images that they come from.
        n_all: images of the class.
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
        concepts: to be judged.
        patches: all patches.
        regions: name -> masks bool (N, H, W) of all images.
        patients: the patients of each image (N,), for the intervals.
        seed: seeds the intervals.

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
