"""Copies among radiographs: exact ones by their pixels, near ones by a perceptual hash."""

import hashlib

import imagehash
import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from PIL import Image
from tqdm.auto import tqdm

from xraylib.images import ImageError, read_grey

HASH_SIDE = 16  # 256 bits: with the usual 64, chests of strangers are as close as copies are
NEAR = 32  # of the 256 bits; see `near_pairs`
BLOCK = 512  # rows compared at once, so that memory stays small
EDGE = 0.03  # of a side: the frame of an image, where no lung reaches

COLUMNS = ("pixels", "phash", "height", "width", "frame_level", "frame_spread", "margin")


def describe(paths, jobs: int = -1) -> pd.DataFrame:
    """Decode images and keep of each what the audits compare.

    Args:
        paths: of images, (N,).
        jobs: threads; -1 for one on each core.

    Returns:
        a row an image: error ("" or why it cannot be read); pixels, the SHA-256 of the decoded
        grey values; phash, 256 bits as bytes; height and width in pixels; frame_level and
        frame_spread, mean and standard deviation of the outermost 3 %; margin, the share of the
        rows and columns, counted from outside, that hold one grey value only.
    """
    found = Parallel(jobs, prefer="threads", return_as="generator")(
        delayed(_describe_file)(path) for path in paths
    )
    rows = list(tqdm(found, total=len(paths), desc="decode", unit=" images"))
    return pd.DataFrame(rows, columns=["error", *COLUMNS])


def _describe_file(path) -> dict:
    try:
        return {"error": "", **describe_image(read_grey(path))}
    except ImageError as error:
        return {"error": error.reason}


def describe_image(image: np.ndarray) -> dict:
    """Return what `describe` keeps of one image, uint8 (H, W)."""
    height, width = image.shape
    content = f"{height}x{width}:".encode() + image.tobytes()
    bits = imagehash.phash(Image.fromarray(image), HASH_SIDE).hash
    frame = _frame(image)
    values = (
        hashlib.sha256(content).hexdigest(),
        np.packbits(bits).tobytes(),
        height,
        width,
        float(frame.mean()),
        float(frame.std()),
        _margin(image),
    )
    return dict(zip(COLUMNS, values, strict=True))


def _frame(image: np.ndarray) -> np.ndarray:
    inside = np.zeros(image.shape, bool)
    y, x = (max(1, round(EDGE * side)) for side in image.shape)
    inside[y:-y, x:-x] = True
    return image[~inside]


def _margin(image: np.ndarray) -> float:
    """Return the share of rows and columns, counted from the four sides, of one grey value."""
    plain = 0
    for turned in (image, image.T):
        same = turned.min(axis=1) == turned.max(axis=1)
        if same.all():
            return 1.0
        plain += int(np.argmin(same)) + int(np.argmin(same[::-1]))
    return plain / sum(image.shape)


def exact_pairs(pixels) -> pd.DataFrame:
    """List the pairs of images whose decoded pixels are the same.

    Args:
        pixels: SHA-256 of each image's pixels (N,); missing for unreadable ones.

    Returns:
        columns first and second, places in `pixels`. Of k copies the first is paired with each
        of the others: k - 1 pairs.
    """
    seen, pairs = {}, []
    for place, digest in enumerate(pixels):
        if isinstance(digest, str):
            first = seen.setdefault(digest, place)
            if first != place:
                pairs.append((first, place))
    return pd.DataFrame(pairs, columns=["first", "second"], dtype=int)


def near_pairs(hashes, distance: int = NEAR) -> pd.DataFrame:
    """List the pairs of images whose perceptual hashes differ in few bits.

    The bound of 32 bits was set on 1,689 radiographs of three sources. Copies at half the size,
    saved as JPEG of quality 40, or with another gamma or contrast differ in up to 30 bits; the
    nearest radiographs of two patients differ in 44. Copies with letters burnt in or with 2 % of
    the margin cut off differ in 34 and 42 as a rule: such ones are missed, and so are mirrored
    ones.

    Args:
        hashes: 256 bits as bytes for each image (N,); missing for unreadable ones.
        distance: largest number of bits in which the two of a pair differ.

    Returns:
        columns first, second (places in `hashes`, first < second) and distance, sorted by it.

    Zauner, "Implementation and benchmarking of perceptual image hash functions" (2010).
    """
    known = [place for place, bits in enumerate(hashes) if isinstance(bits, bytes)]
    if not known:
        return pd.DataFrame({"first": [], "second": [], "distance": []}, dtype=int)
    words = np.stack([np.frombuffer(hashes[place], np.uint64) for place in known])
    found = []
    for start in range(0, len(words), BLOCK):
        block, rest = words[start : start + BLOCK], words[start:]
        apart = np.zeros((len(block), len(rest)), np.uint16)
        for word in range(words.shape[1]):
            apart += np.bitwise_count(block[:, word, None] ^ rest[None, :, word])
        first, second = np.nonzero(np.triu(apart <= distance, 1))
        found.append(np.stack([first + start, second + start, apart[first, second]], 1))
    first, second, apart = np.concatenate(found).T
    places = np.array(known)
    table = pd.DataFrame({"first": places[first], "second": places[second], "distance": apart})
    return table.sort_values(["distance", "first", "second"], ignore_index=True).astype(int)
