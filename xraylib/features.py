"""Frozen features: VGG16's block5_pool, computed once per view and kept on disk."""

import hashlib
import json
import os
import platform
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import cache, lru_cache
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from filelock import FileLock
from tqdm.auto import tqdm

from xraylib import classifier, images, weights
from xraylib.config import home
from xraylib.preprocessing import Preprocessing

SIDE = 7  # of block5_pool's maps; earlier blocks are averaged down to it
TAPS = (classifier.FEATURES,)
BATCH = 32


def extract(
    manifest: pd.DataFrame,
    preprocessing: Preprocessing,
    scaling: str,
    transform_seed: int = 0,
    precision: str = "auto",
    taps: tuple[str, ...] = TAPS,
) -> np.memmap:
    """Return block5_pool of every image of a manifest, computed now or on an earlier day.

    The file is keyed by content: the bytes of the images (and of the masks that the view
    needs), the preprocessing, the weights and the precision. It is appended to batch by batch
    under a temporary name, so that a killed process loses one batch at most, and renamed when
    whole. Processes that want the same features wait for each other.

    Args:
        manifest: one row an image.
        preprocessing: of the view.
        scaling: `report` or `vgg16`, see `classifier.build_base`.
        transform_seed: of the random transforms, where the preprocessing has them.
        precision: `float32`, `bfloat16`, or `auto` for the faster one on this machine.
        taps: names of VGG16's layers to keep, beside or in place of block5_pool; maps larger
            than 7 x 7 are averaged down to it.

    Returns:
        read-only float16 memory map (N, 7, 7, C), rows in the manifest's order; C is 512 for
        block5_pool, and the sum over the taps where there are several.

    Raises:
        ImageError: an image or mask cannot be read.
        ValueError: the view needs masks and an image has none.
    """
    keras_policy = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
    if precision == "auto":
        precision = fastest_precision()
    key = content_key(manifest, preprocessing, scaling, transform_seed, precision, taps)
    target = home("features") / f"{key}.npy"
    if not target.exists():
        with FileLock(f"{target}.lock"):
            if not target.exists():
                with dtype_policy(keras_policy[precision]):
                    base = _tapped(classifier.build_base(scaling), taps)
                views = _views(manifest, preprocessing, transform_seed)
                _append_rows(target, base, views, len(manifest), preprocessing.region)
    return np.load(target, mmap_mode="r")


def content_key(
    manifest, preprocessing, scaling, transform_seed, precision, taps: tuple[str, ...] = TAPS
) -> str:
    """Return the name of a features file: a hash of all that decides its content."""
    seed = transform_seed if preprocessing.transform != "none" else None
    digest = hashlib.sha256()
    settings = [preprocessing.to_json(), scaling, seed, precision, weights.TENSORS_SHA256]
    settings += [] if taps == TAPS else list(taps)
    digest.update(json.dumps(settings).encode())
    for row in manifest.itertuples():
        digest.update(_file_digest(row.path))
        if preprocessing.needs_mask and row.mask_path:
            digest.update(_file_digest(row.mask_path))
    return digest.hexdigest()[:32]


def _tapped(base: keras.Model, taps: tuple[str, ...]) -> keras.Model:
    """Return a model from the base's input to its layers `taps`, side by side (B, 7, 7, C)."""
    maps = [base.get_layer(name).output for name in taps]
    maps = [
        x if x.shape[1] == SIDE else keras.layers.AveragePooling2D(x.shape[1] // SIDE)(x)
        for x in maps
    ]
    outputs = keras.layers.Concatenate()(maps) if len(maps) > 1 else maps[0]
    return keras.Model(base.input, outputs)


def _file_digest(path: str) -> bytes:
    status = Path(path).stat()
    return _digest_of(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=100_000)
def _digest_of(path: str, changed: int, size: int) -> bytes:
    """Hash a file's bytes, again only when the file has changed."""
    return hashlib.sha256(Path(path).read_bytes()).digest()


def load_view(row, preprocessing: Preprocessing, rng=None) -> np.ndarray:
    """Read the image (and mask) of a manifest's row and make its view, uint8 (size, size)."""
    image = images.read_grey(row.path)
    mask = None
    if preprocessing.needs_mask:
        if not row.mask_path:
            raise ValueError(f"{row.path}: this view needs a lung mask; predict masks first")
        mask = images.read_mask(row.mask_path, image.shape)
    try:
        return preprocessing.apply(image, mask, rng)
    except ValueError as error:
        raise ValueError(f"{row.path}: {error}") from error


class FreshViews:
    """Images that are transformed anew each time, in place of an array (N, size, size, 1).

    Args:
        manifest: N rows.
        preprocessing: of the view.
        seed: of the transforms.
    """

    dtype = np.float32

    def __init__(self, manifest: pd.DataFrame, preprocessing: Preprocessing, seed: int = 0):
        self.rows, self.preprocessing = list(manifest.itertuples()), preprocessing
        self.shape = (len(manifest), preprocessing.size, preprocessing.size, 1)
        self.rng = np.random.default_rng(seed)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, places) -> np.ndarray:
        """Return the images at places (B,), float32 (B, size, size, 1), 0..255."""
        views = [load_view(self.rows[i], self.preprocessing, self.rng) for i in places]
        return np.stack(views)[..., None].astype(self.dtype)


def view_rng(seed: int, index: int) -> np.random.Generator:
    """Return the source of chance for the transform of one image, by its place."""
    return np.random.default_rng([seed, index])


@cache
def fastest_precision() -> str:
    """Measure one convolution of VGG16 in float32 and bfloat16, once on each machine.

    The choice is kept in `XRAYLIB_HOME`, so that a busy moment later does not change it and
    with it every number that follows.

    Returns:
        `bfloat16` where it is at least 1.3 times as fast, else `float32`.
    """
    kept = home("features") / f"precision-{platform.node()}.txt"
    if kept.exists():
        return kept.read_text().strip()
    seconds = {dtype: _time_convolution(dtype) for dtype in (tf.float32, tf.bfloat16)}
    choice = "bfloat16" if seconds[tf.float32] > 1.3 * seconds[tf.bfloat16] else "float32"
    part = kept.with_suffix(f".{os.getpid()}")
    part.write_text(choice)
    part.replace(kept)
    return choice


class dtype_policy:
    """Set Keras' dtype policy for the layers built in a `with` block."""

    def __init__(self, name: str):
        self.name = name

    def __enter__(self):
        self.before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(self.name)

    def __exit__(self, *_):
        keras.config.set_dtype_policy(self.before)


def _time_convolution(dtype) -> float:
    maps = tf.ones((8, 56, 56, 256), dtype)
    kernel = tf.ones((3, 3, 256, 256), dtype)
    convolve = tf.function(lambda x: tf.reduce_sum(tf.nn.conv2d(x, kernel, 1, "SAME")))
    convolve(maps).numpy()  # the first call traces
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        convolve(maps).numpy()
        best = min(best, time.perf_counter() - start)
    return best


def _views(manifest, preprocessing, transform_seed):
    """Return a function from a place in the manifest to the view there."""
    rows = list(manifest.itertuples())
    return lambda i: load_view(rows[i], preprocessing, view_rng(transform_seed, i))


def _append_rows(target: Path, base, views, n: int, name: str) -> None:
    """Compute what a file of features still lacks, then give it its name."""
    part = target.with_suffix(".part")
    shape = base.output_shape[1:]
    row_bytes = int(np.prod(shape)) * 2  # float16
    with open(part, "ab") as file:
        if file.tell() == 0:
            header = {"descr": "<f2", "fortran_order": False, "shape": (n, *shape)}
            np.lib.format.write_array_header_1_0(file, header)
            file.flush()
        start = _header_bytes(part)
        # whole batches only: a kill may have cut one, and a row's last bit depends on its batch
        done = (file.tell() - start) // row_bytes // BATCH * BATCH
        file.truncate(start + done * row_bytes)
        predict = tf.function(lambda x: tf.cast(base(x, training=False), tf.float16))
        with tqdm(total=n, initial=done, desc=f"features, {name}", unit=" images") as bar:
            for batch in _read_ahead(views, range(done, n), BATCH):
                file.write(predict(batch).numpy().tobytes())
                file.flush()
                bar.update(len(batch))
        os.fsync(file.fileno())
    part.replace(target)


def _header_bytes(path: Path) -> int:
    with open(path, "rb") as file:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        return file.tell()


def _read_ahead(views, places: range, batch_size: int, ahead: int = 2):
    """Yield batches float32 (B, 224, 224, 1), decoded on a thread while others are computed."""

    def read(start: int) -> np.ndarray:
        stack = [views(i) for i in places[start : start + batch_size]]
        return np.stack(stack)[..., None].astype(np.float32)

    with ThreadPoolExecutor(1) as pool:
        waiting = deque()
        for start in range(0, len(places), batch_size):
            waiting.append(pool.submit(read, start))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
