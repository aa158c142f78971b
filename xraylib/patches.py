"""Patches of images: superpixels at several scales, each of which can be shown alone."""

from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd
from skimage.segmentation import slic

from xraylib.images import resize

SCALES = (15, 50, 80)  # superpixels an image, from large parts to small ones: the paper's
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
        table: one row a patch: image (its place), scale (its place), segment.
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


def cut_patches(images, scales=SCALES) -> Patches:
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
