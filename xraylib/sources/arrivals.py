"""Images of other data sets on arrival: shrunk, turned grey, and kept with a note of their origin.

The note (SHA-256 and size of the original) stands in the PNG itself. So a set that was cut off
half way can be taken up again without the originals, and nothing counts as there that is not whole.
"""

import hashlib
from pathlib import Path

import cv2
import imagehash
import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from xraylib import files, images

SHORTER_SIDE = 256  # pixels: a little above the 224 of the network's input
PICTURE = "picture:"  # before a hash of what a picture looks like, to tell it from a SHA-256
HASH_SIDE = 16  # of the cells of `imagehash.dhash`, 256 bits
MOST_BITS = 24  # that differ in two copies of one radiograph; in two of Hannover's 41 or more do


def sha256(path) -> str:
    """Return the SHA-256 of a file as hexadecimal text."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def keep_small(original, target) -> tuple[int, int]:
    """Write a radiograph as a small grey PNG that remembers its original.

    Args:
        original: the path of a PNG, JPEG or DICOM file.
        target: the path of the PNG to write, whole or not at all; its folder is made.

    Returns:
        height and width of the original in pixels.

    Raises:
        ImageError: the original cannot be read.
        WriteError: the PNG cannot be written.
    """
    image = images.read_grey(original)
    height, width = image.shape
    write_png(shrink(image), target, sha256=sha256(original), size=f"{height} {width}")
    return height, width


def write_png(image: np.ndarray, target, **note: str) -> None:
    """Write grey values uint8 (H, W) as a PNG, or raise `WriteError`, with a note in it."""
    target, info = Path(target), PngInfo()
    for key, text in note.items():
        info.add_text(key, text)
    with files.writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    with files.whole_file(target) as part:
        Image.fromarray(image).save(part, format="PNG", pnginfo=info)


def size_of_original(target, known: str) -> tuple[int, int] | None:
    """Return height and width of an original if `target` was made from it.

    Args:
        target: the path of a small image.
        known: the original's SHA-256; or `PICTURE` and its `imagehash.dhash`, where nothing but
            the picture is known of it.

    Returns:
        None if `target` is no whole PNG written by `keep_small`, or made from another original.
    """
    try:
        with Image.open(target, formats=("PNG",)) as file:
            note = file.info
            file.verify()  # the checksum of every part of the file
        if known != note.get("sha256") and not shows(target, known):
            return None
        height, width = note["size"].split()
        return int(height), int(width)
    except (OSError, SyntaxError, ValueError, KeyError):
        return None


def shows(path, known: str) -> bool:
    """Say whether a file shows the radiograph of a `PICTURE` and its hash; no other text does."""
    if not known.startswith(PICTURE):
        return False
    try:
        image = images.read_grey(path)
    except images.ImageError:
        return False
    here = imagehash.dhash(Image.fromarray(image), HASH_SIDE)
    return here - imagehash.hex_to_hash(known.removeprefix(PICTURE)) <= MOST_BITS


def shrink(image: np.ndarray) -> np.ndarray:
    """Resize uint8 (H, W) so that the shorter side has `SHORTER_SIDE` pixels, proportions kept."""
    scale = SHORTER_SIDE / min(image.shape)
    height, width = (max(round(side * scale), SHORTER_SIDE) for side in image.shape)
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cv2.resize(image, (width, height), interpolation=way)


def fit_mask(mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Bring a mask bool (H, W) to an image's shape: a pixel counts if most of it was inside."""
    grey = mask.astype(np.uint8) * 255
    return cv2.resize(grey, shape[::-1], interpolation=cv2.INTER_AREA) > 127
