"""What a network sees of a radiograph: one frozen description, saved beside the weights."""

import base64
import io
import json
from dataclasses import asdict, dataclass, replace

import cv2
import numpy as np
from PIL import Image

from xraylib.config import IMAGE_SIZE

REGIONS = (
    "whole",
    "lungs",
    "lungs_on_white",
    "lungs_framed",
    "lungs_erased",
    "lung_box_erased",
    "silhouette",
)
SINGLE_TRANSFORMS = ("rotation", "width shift", "height shift", "zoom", "flip")
TRANSFORMS = ("none", "table2", *SINGLE_TRANSFORMS)
FRAMED = 0.77  # of the side: what the margins of a Matplotlib figure leave of a square picture
WEBP_QUALITY = 80  # of 100: a radiograph of 224 px takes about 7 KB
EQUALISATIONS = ("none", "normalise", "global", "clahe", "bands")


@dataclass(frozen=True)
class Preprocessing:
    """The way from a radiograph to a network's input, the same for training and evaluation.

    Attributes:
        region: `whole`; `lungs` (black outside); `lungs_on_white` (white outside);
            `lungs_framed` (black outside, and shrunk into a white frame, as a figure that is saved
            with its margins); `lungs_erased` (black inside);
            `lung_box_erased` (the lungs' bounding box black); `silhouette` (the mask alone).
        equalise: `none`, `normalise`, `global` or `clahe`, see `images.equalise`; or `bands`:
            details of each size alike within the lungs, see `images.equalise_bands`.
        crop: cut to the lungs' bounding box, with a margin of 5 %.
        transform: `none`; or, for training images, `table2`: the report's random transforms; or
            one of `SINGLE_TRANSFORMS` alone.
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
        if self.equalise not in EQUALISATIONS:
            raise ValueError(
                f"no equalisation {self.equalise!r}: choose one of {', '.join(EQUALISATIONS)}"
            )
        if self.transform not in TRANSFORMS:
            raise ValueError(
                f"no transform {self.transform!r}: choose one of {', '.join(TRANSFORMS)}"
            )
        if self.equalise == "bands" and self.transform != "none":
            raise ValueError("bands are equalised last: choose transform none")

    @property
    def needs_mask(self) -> bool:
        return self.region != "whole" or self.crop or self.equalise == "bands"

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
            ValueError: the mask is missing, empty, no mask or of another shape, or a random view is
                asked for without `rng`.
        """
        if self.transform != "none" and rng is None:
            raise ValueError("a random view needs rng, the source of chance")
        if self.needs_mask:
            mask = _check_mask(image, mask)
        if self.equalise == "bands":
            return self._equalised_bands(image, mask)
        view = _keep(self.region, equalise(image, self.equalise), mask)
        if self.crop:
            view = view[_lung_box(mask, margin=0.05)]
        view = resize(view, self.size)
        if self.region == "lungs_framed":
            view = _in_white_frame(view)
        if self.transform != "none":
            return random_transform(view, rng, self.transform)
        return view

    def _equalised_bands(self, image, mask) -> np.ndarray:
        """Equalise last: what is fine or coarse is measured in the view, not in the file."""
        if self.crop:
            box = _lung_box(mask, margin=0.05)
            image, mask = image[box], mask[box]
        image, mask = resize(image, self.size), resize(mask, self.size)
        return _keep(self.region, equalise_bands(image, mask), mask)

    def place(self, heatmap: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Put a map of the view back where the view was cut from the image.

        Args:
            heatmap: float32 (size, size), of a view without random transforms.
            mask: bool (H, W), the lungs.

        Returns:
            float32 (H, W), 0 where the view did not reach.
        """
        box = _lung_box(_check_mask(mask, mask), margin=0.05) if self.crop else np.s_[:, :]
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
        trained: the preprocessing that the model was trained with.
        judged: the preprocessing of the images it is about to see.
        mismatch: the reason for a wanted difference, in words.

    Raises:
        PreprocessingMismatch: they differ and `mismatch` is empty.
    """
    if trained.still != judged.still and not mismatch:
        raise PreprocessingMismatch(
            f"trained on {trained.still.to_json()}, judged on {judged.still.to_json()}: "
            "make them equal, or name the mismatch if it is meant"
        )


def random_transform(
    image: np.ndarray, rng: np.random.Generator, kind: str = "table2"
) -> np.ndarray:
    """Turn, shift and zoom an image at random, by the ranges of the report's Table 2.

    Rotation 0 to 10 degrees either way, shifts 0 to 10 % of each side either way, zoom 85 to
    115 %, no flips; what comes in from outside is black.

    Args:
        image: uint8 (H, W).
        rng: the source of chance.
        kind: `table2` for all of them; or one of `SINGLE_TRANSFORMS` alone, of which `flip` mirrors
            every image.

    Returns:
        uint8 (H, W).
    """
    height, width = image.shape
    angle = rng.uniform(-10, 10)
    zoom = rng.uniform(0.85, 1.15)
    shift = rng.uniform(-0.1, 0.1, size=2) * (width, height)
    if kind == "flip":
        return image[:, ::-1]
    if kind != "table2":
        angle = angle if kind == "rotation" else 0.0
        zoom = zoom if kind == "zoom" else 1.0
        shift = shift * (kind == "width shift", kind == "height shift")
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, zoom)
    matrix[:, 2] += shift
    return cv2.warpAffine(
        image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
    )


def _check_mask(image, mask) -> np.ndarray:
    """Return the lungs, bool (H, W); a `ValueError` says why a mask cannot cut the image."""
    if mask is None:
        raise ValueError("this view needs a lung mask, and the image has none: predict it first")
    mask = np.asarray(mask)
    if mask.shape != image.shape:
        raise ValueError(f"mask of {mask.shape} (H, W) for an image of {image.shape}: resize it")
    levels = np.unique(mask)
    if mask.dtype != bool and not set(levels.tolist()) <= {0, 1} and levels.tolist() != [0, 255]:
        raise ValueError(f"a mask with values {levels[:5].tolist()}: give bool, or 0 and 1")
    if not mask.any():
        raise ValueError(
            f"an empty lung mask: none of its {mask.size:,} pixels is inside; predict it again"
        )
    return mask.astype(bool)


def _keep(region: str, image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    if region == "whole":
        return image
    if region in ("lungs", "lungs_framed"):
        return np.where(mask, image, 0).astype(np.uint8)
    if region == "lungs_on_white":
        return np.where(mask, image, 255).astype(np.uint8)
    if region == "lungs_erased":
        return np.where(mask, 0, image).astype(np.uint8)
    if region == "silhouette":
        return mask.astype(np.uint8) * 255
    erased = image.copy()
    erased[_lung_box(mask)] = 0
    return erased


def _in_white_frame(view: np.ndarray) -> np.ndarray:
    """Shrink a square view into the middle of a white square of its size."""
    inner = resize(view, round(FRAMED * len(view)))
    near = (len(view) - len(inner)) // 2
    far = len(view) - len(inner) - near
    return np.pad(inner, (near, far), constant_values=255)


def _lung_box(mask: np.ndarray, margin: float = 0.0) -> tuple[slice, slice]:
    """Return the lungs' bounding box, widened by a share of its sides, as two slices."""
    box = []
    for axis, length in ((1, mask.shape[0]), (0, mask.shape[1])):
        inside = np.flatnonzero(mask.any(axis=axis))
        extra = round(margin * (inside[-1] - inside[0] + 1))
        box.append(slice(max(0, inside[0] - extra), min(length, inside[-1] + 1 + extra)))
    return tuple(box)


def contrast(image: np.ndarray, mask: np.ndarray, width: int = 5) -> float:
    """Return how far the mean grey value of a mask is from that of a ring around it.

    Args:
        image: uint8 (H, W).
        mask: bool (H, W), not empty: a burnt-in marker, a device.
        width: of the ring in pixels.

    Returns:
        grey values, 0 to 255.
    """
    wide = cv2.dilate(mask.astype(np.uint8), np.ones((2 * width + 1, 2 * width + 1))) > 0
    return float(abs(image[mask].mean() - image[wide & ~mask].mean()))


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """Resize to a square as the report does: by area when shrinking, bilinear when enlarging.

    Args:
        image: uint8 (H, W) or (H, W, 3), or bool (H, W) for a mask, which stays a mask.
        size: side of the result in pixels.

    Returns:
        (size, size) or (size, size, 3), of the same dtype.
    """
    if image.dtype == bool:
        return resize(image.astype(np.uint8) * 255, size) > 127
    if image.shape[:2] == (size, size):
        return image
    shrinks = min(image.shape[:2]) >= size
    return cv2.resize(
        image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    )


def equalise(image: np.ndarray, method: str = "global") -> np.ndarray:
    """Spread the grey values over the whole range.

    Args:
        image: uint8 (H, W).
        method: `none`; `normalise`, a straight line that brings the darkest and the brightest
            per cent to 0 and 255; by the histogram `global`, the report's (section 3.2.2), or
            `clahe`, the local, contrast-limited kind of Zuiderveld (1994) with 8 x 8 tiles and
            clip limit 2.

    Returns:
        uint8 (H, W).
    """
    if method == "none":
        return image
    if method == "normalise":
        low, high = np.percentile(image, (1, 99))
        scaled = (image - low) * (255 / (high - low)) if high > low else image
        return np.rint(scaled).clip(0, 255).astype(np.uint8)
    if method == "global":
        return cv2.equalizeHist(image)
    if method == "clahe":
        return cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8)).apply(image)
    raise ValueError(f"no equalisation {method!r}: choose none, normalise, global or clahe")


BAND_SCALES = (2, 4, 8, 16, 32)  # pixels of a view of 224: widths of the blurs between the bands
REFERENCE_SIZE = 224
LARGEST_DETAIL = 4.0  # standard deviations that a detail may stand out by


def equalise_bands(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Give the details of each size the same strength within the lungs, in every image.

    The image, uint8 (H, W), is taken apart into bands of detail by blurs of doubling width (Burt
    and Adelson, "The Laplacian pyramid as a compact image code", 1983). Each is divided by its
    standard deviation within the lungs, bool (H, W), and the bands are put together again in fixed
    shares. How sharp, noisy, bright or contrasty an image came from its hospital then no longer
    shows; where in the lungs it is dense or clear still does. Nothing but the image itself is
    used. Returns uint8 (H, W), 1 to 255: 0 is left for what is masked.
    """
    unit = max(image.shape) / REFERENCE_SIZE
    inner = _eroded(mask, unit)
    rest, result = cv2.GaussianBlur(image.astype(np.float32), (0, 0), unit), 0.0
    for scale in BAND_SCALES:
        blurred = cv2.GaussianBlur(rest, (0, 0), scale * unit, borderType=cv2.BORDER_REFLECT)
        result = result + (scale / BAND_SCALES[-1]) ** 0.5 * _standardised(rest - blurred, inner)
        rest = blurred
    result = _standardised(result + _standardised(rest - rest[inner].mean(), inner), inner, None)
    return np.clip(110 + 38 * (result - result[mask].mean()), 1, 255).astype(np.uint8)


def _eroded(mask: np.ndarray, unit: float) -> np.ndarray:
    """Return the lungs without their rim, whose edge is the strongest detail; or all of them."""
    side = 2 * round(3 * unit) + 1
    inner = cv2.erode(mask.astype(np.uint8), np.ones((side, side), np.uint8)) > 0
    return inner if inner.sum() > 0.2 * mask.sum() else mask


def _standardised(band, inside, largest: float | None = LARGEST_DETAIL):
    scaled = band / (band[inside].std() + 0.3)  # grey values: an empty band stays empty
    return scaled if largest is None else np.clip(scaled, -largest, largest)


def data_uri(pixels: np.ndarray, exact: bool = False) -> str:
    """Return a picture as a page shows it without a file.

    Args:
        pixels: uint8 (H, W), or (H, W, 3) in colour.
        exact: whether no value may change, which takes more room.

    Returns:
        a data URI of a WebP picture.
    """
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=WEBP_QUALITY, lossless=exact, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
