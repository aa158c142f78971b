"""What a network sees of a radiograph: one frozen description, saved beside the weights."""

import json
from dataclasses import asdict, dataclass, replace

import cv2
import numpy as np

from xraylib import images, scanners
from xraylib.config import IMAGE_SIZE

REGIONS = ("whole", "lungs", "lungs_erased", "lung_box_erased", "silhouette")
EQUALISE = ("none", "normalise", "global", "clahe", "bands")
TRANSFORMS = ("none", "table2", "scanner")


@dataclass(frozen=True)
class Preprocessing:
    """The way from a radiograph to a network's input, the same for training and evaluation.

    Attributes:
        region: `whole`; `lungs` (black outside); `lungs_erased` (black inside);
            `lung_box_erased` (the lungs' bounding box black); `silhouette` (the mask alone).
        equalise: `none`, `normalise`, `global` or `clahe`, see `images.equalise`; or `bands`:
            details of each size alike within the lungs, see `scanners.equalise_bands`.
        crop: cut to the lungs' bounding box, with a margin of 5 %.
        transform: `none`; or, for training images, `table2`: the report's random transforms; or
            `scanner`: random posture, exposure, sharpness and noise, see `scanners.vary`.
        size: side of the result in pixels.
    """

    region: str = "whole"
    equalise: str = "none"
    crop: bool = False
    transform: str = "none"
    size: int = IMAGE_SIZE

    def __post_init__(self):
        if self.region not in REGIONS:
            raise ValueError(f"no region {self.region!r}: choose one of {', '.join(REGIONS)}")
        if self.equalise not in EQUALISE:
            raise ValueError(
                f"no equalisation {self.equalise!r}: choose one of {', '.join(EQUALISE)}"
            )
        if self.transform not in TRANSFORMS:
            raise ValueError(
                f"no transform {self.transform!r}: choose one of {', '.join(TRANSFORMS)}"
            )
        if self.equalise == "bands" and self.transform == "table2":
            raise ValueError("bands are equalised after the transform: choose scanner or none")

    @property
    def needs_mask(self) -> bool:
        needing = self.crop or self.equalise == "bands" or self.transform == "scanner"
        return self.region != "whole" or needing

    @property
    def still(self) -> "Preprocessing":
        """The same without random transforms: what validation and test images go through."""
        return replace(self, transform="none")

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    def apply(self, image, mask=None, rng: np.random.Generator | None = None) -> np.ndarray:
        """Make the view of one image.

        Args:
            image: uint8 (H, W).
            mask: bool (H, W), the lungs; needed by every region but `whole` and by `crop`.
            rng: draws the random transform; needed where `transform` is not `none`.

        Returns:
            uint8 (size, size).

        Raises:
            ValueError: the mask is missing, empty where a box is needed, or of another shape, or
                a random view is asked for without `rng`.
        """
        if self.transform != "none" and rng is None:
            raise ValueError("a random view needs rng, the source of chance")
        if self.needs_mask:
            _check_mask(image, mask)
        if self.transform == "scanner":
            image, mask = scanners.vary(image, mask, rng)
        if self.equalise == "bands":
            return self._equalised_bands(image, mask)
        view = _keep(self.region, images.equalise(image, self.equalise), mask)
        if self.crop:
            view = view[_lung_box(mask, margin=0.05)]
        view = images.resize(view, self.size)
        return random_transform(view, rng) if self.transform == "table2" else view

    def _equalised_bands(self, image, mask) -> np.ndarray:
        """Equalise last: what is fine or coarse is measured in the view, not in the file."""
        if self.crop:
            box = _lung_box(mask, margin=0.05)
            image, mask = image[box], mask[box]
        image, mask = images.resize(image, self.size), images.resize(mask, self.size)
        return _keep(self.region, scanners.equalise_bands(image, mask), mask)

    def place(self, heatmap: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Put a map of the view back where the view was cut from the image.

        Args:
            heatmap: float32 (size, size), of a view without random transforms.
            mask: bool (H, W), the lungs.

        Returns:
            float32 (H, W), 0 where the view did not reach.
        """
        box = _lung_box(mask, margin=0.05) if self.crop else np.s_[:, :]
        placed = np.zeros(mask.shape, np.float32)
        height, width = placed[box].shape
        placed[box] = cv2.resize(heatmap, (width, height), interpolation=cv2.INTER_LINEAR)
        return placed


class PreprocessingMismatch(ValueError):
    """A model is about to be judged on a kind of image that it was not trained on."""


def check_same(trained: Preprocessing, judged: Preprocessing, mismatch: str = "") -> None:
    """Refuse to judge a model on other views than its training's, unless the reader says why.

    Random transforms may differ. This is the mistake behind the report's experiments 2 and 3.

    Args:
        trained: of the model.
        judged: of the images it is about to see.
        mismatch: the reason for a wanted difference, in words.

    Raises:
        PreprocessingMismatch: they differ and `mismatch` is empty.
    """
    if trained.still != judged.still and not mismatch:
        raise PreprocessingMismatch(
            f"trained on {trained.still.to_json()}, judged on {judged.still.to_json()}: "
            "make them equal, or name the mismatch if it is meant"
        )


def random_transform(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Turn, shift and zoom an image at random, by the ranges of the report's Table 2.

    Rotation 0 to 10 degrees either way, shifts 0 to 10 % of each side either way, zoom 85 to
    115 %, no flips; what comes in from outside is black.

    Args:
        image: uint8 (H, W).
        rng: the source of chance.

    Returns:
        uint8 (H, W).
    """
    height, width = image.shape
    angle = rng.uniform(-10, 10)
    zoom = rng.uniform(0.85, 1.15)
    shift = rng.uniform(-0.1, 0.1, size=2) * (width, height)
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, zoom)
    matrix[:, 2] += shift
    return cv2.warpAffine(
        image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
    )


def _check_mask(image, mask) -> None:
    if mask is None:
        raise ValueError("this view needs a lung mask, and the image has none")
    if mask.shape != image.shape:
        raise ValueError(f"mask of {mask.shape} (H, W) for an image of {image.shape}")


def _keep(region: str, image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    if region == "whole":
        return image
    if region == "lungs":
        return np.where(mask, image, 0).astype(np.uint8)
    if region == "lungs_erased":
        return np.where(mask, 0, image).astype(np.uint8)
    if region == "silhouette":
        return mask.astype(np.uint8) * 255
    erased = image.copy()
    erased[_lung_box(mask)] = 0
    return erased


def _lung_box(mask: np.ndarray, margin: float = 0.0) -> tuple[slice, slice]:
    """Return the lungs' bounding box, widened by a share of its sides, as two slices."""
    if not mask.any():
        raise ValueError("an empty lung mask has no bounding box")
    box = []
    for axis, length in ((1, mask.shape[0]), (0, mask.shape[1])):
        inside = np.flatnonzero(mask.any(axis=axis))
        extra = round(margin * (inside[-1] - inside[0] + 1))
        box.append(slice(max(0, inside[0] - extra), min(length, inside[-1] + 1 + extra)))
    return tuple(box)
