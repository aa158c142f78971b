"""Radiographs as arrays: decode, resize, equalise. An image is uint8 (H, W), a mask bool (H, W)."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

MAX_PIXELS = 100_000_000  # a 10,000 x 10,000 radiograph; checked before memory is taken
SUFFIXES = (".png", ".jpg", ".jpeg")


class ImageError(ValueError):
    """A file cannot be read as an image; the message names the file and the reason."""

    def __init__(self, path, reason: str):
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason


def read_grey(path) -> np.ndarray:
    """Decode a PNG or JPEG file into grey values.

    16-bit grey is scaled from its full range 0..65535; colour is weighted into luminance
    (ITU-R 601); transparent pixels become black; an animation gives its first frame.

    Args:
        path: of a PNG or JPEG file: 1, 8 or 16 bit, grey, palette, RGB, RGBA or CMYK.

    Returns:
        uint8 (H, W), 0 black to 255 white.

    Raises:
        ImageError: no such file, not a PNG or JPEG, damaged, or more than `MAX_PIXELS`.
    """
    path = Path(path)
    if not path.is_file():
        raise ImageError(path, "is a directory" if path.is_dir() else "no such file")
    if path.stat().st_size == 0:
        raise ImageError(path, "the file is empty")
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as file:
            width, height = file.size
            if width * height > MAX_PIXELS:
                raise ImageError(path, f"{width} x {height} pixels; at most {MAX_PIXELS:,}")
            return _to_grey(file)
    except UnidentifiedImageError:
        raise ImageError(path, "not a PNG or JPEG image") from None
    except Image.DecompressionBombError:  # Pillow's own bound, before the size can be read
        raise ImageError(path, f"too many pixels; at most {MAX_PIXELS:,}") from None
    except (OSError, SyntaxError, ValueError) as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(path, f"damaged image ({error})") from error


def _to_grey(file: Image.Image) -> np.ndarray:
    if file.mode.startswith("I"):  # 16 bit
        return (np.asarray(file, np.int64).clip(0, 65535) // 257).astype(np.uint8)
    if file.mode in ("P", "PA", "LA", "RGBA") or "transparency" in file.info:
        colour = file.convert("RGBA")
        file = Image.alpha_composite(Image.new("RGBA", colour.size, (0, 0, 0, 255)), colour)
    return np.asarray(file.convert("L"))


def read_mask(path, shape: tuple[int, int] | None = None) -> np.ndarray:
    """Read a mask file: whatever is brighter than half is inside.

    Args:
        path: of a PNG or JPEG file.
        shape: (H, W) of the image that the mask belongs to; other sizes raise.

    Returns:
        bool (H, W).

    Raises:
        ImageError: unreadable, or not of that shape.
    """
    mask = read_grey(path) > 127
    if shape is not None and mask.shape != tuple(shape):
        raise ImageError(path, f"mask of {mask.shape} (H, W) for an image of {tuple(shape)}")
    return mask


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """Resize to a square as the report does: by area when shrinking, bilinear when enlarging.

    Args:
        image: uint8 (H, W), or bool (H, W) for a mask, which stays a mask.
        size: side of the result in pixels.

    Returns:
        (size, size), of the same dtype.
    """
    if image.dtype == bool:
        return resize(image.astype(np.uint8) * 255, size) > 127
    if image.shape == (size, size):
        return image
    shrinks = min(image.shape) >= size
    return cv2.resize(
        image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    )


def equalise(image: np.ndarray, method: str = "global") -> np.ndarray:
    """Spread the grey values over the whole range by their histogram.

    Args:
        image: uint8 (H, W).
        method: `none`; `global`, the report's (section 3.2.2); or `clahe`, the local,
            contrast-limited kind of Zuiderveld (1994) with 8 x 8 tiles and clip limit 2.

    Returns:
        uint8 (H, W).
    """
    if method == "none":
        return image
    if method == "global":
        return cv2.equalizeHist(image)
    if method == "clahe":
        return cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8)).apply(image)
    raise ValueError(f"no equalisation {method!r}: choose none, global or clahe")
