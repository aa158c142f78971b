"""Frozen features: VGG16's block5_pool, computed once per view and kept on disk."""

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from tqdm.auto import tqdm

from xraylib import files, images
from xraylib.config import home
from xraylib.images import Preprocessing
from xraylib.network.machinery import weights
from xraylib.network.machinery.fast import POLICIES, dtype_policy, fastest_precision
from xraylib.network.machinery.storage import (
    check_shared,
    connect_cluster,
    grow_array,
    join_arrays,
    map_shards,
    read_ahead,
    spans,
)
from xraylib.network.stack import FEATURES, build_base

SIDE = 7  # of block5_pool's maps; those of earlier layers are averaged down to it
TAPS = (FEATURES,)
BATCH = 32
SHARD = 16  # batches: some seconds' work, for a worker of a cluster to do or to do again


@dataclass(frozen=True)
class FeatureSettings:
    """What decides the features of an image.

    Attributes:
        preprocessing: what the network sees of the image.
        scaling: `report` or `vgg16`, see `build_base`.
        transform_seed: seeds the random transforms, where the preprocessing has them.
        precision: `float32`, `bfloat16`, or `auto` for what the hardware declares.
        taps: names of VGG16's layers to keep, beside or in place of block5_pool.
    """

    preprocessing: Preprocessing
    scaling: str
    transform_seed: int = 0
    precision: str = "auto"
    taps: tuple[str, ...] = TAPS


def extract_features(
    manifest: pd.DataFrame,
    preprocessing: Preprocessing,
    scaling: str,
    transform_seed: int = 0,
    precision: str = "auto",
    taps: tuple[str, ...] = TAPS,
    client=None,
) -> np.memmap:
    """Return block5_pool of every image of a manifest, computed now or on an earlier day.

    The file is keyed by content: the bytes of the images (and of the masks that the view
    needs), the preprocessing, the weights and the precision. It is appended to batch by batch
    under a temporary name, so that a killed process loses one batch at most, and renamed when
    whole. Processes that want the same features wait for each other. On a cluster every worker
    computes shards of the manifest, and the result is the same file.

    Args:
        preprocessing, scaling, transform_seed, precision, taps: see `FeatureSettings`.
        client: the client of a Dask cluster, see `network.connect_cluster`.

    Returns:
        read-only float16 memory map (N, 7, 7, C), rows in the manifest's order; C is 512 for
        block5_pool, and the sum over the taps where there are several.

    Raises:
        ImageError: an image or mask cannot be read.
        ValueError: the view needs masks and an image has none.
    """
    precision = fastest_precision() if precision == "auto" else precision
    settings = FeatureSettings(preprocessing, scaling, transform_seed, precision, taps)
    target = home("features") / f"{content_key(manifest, settings)}.npy"
    if not target.exists():
        with files.locked(target):
            if not target.exists():
                client = connect_cluster(client)
                if client is None:
                    _write_features(manifest, 0, target, settings)
                else:
                    _write_on_cluster(client, manifest, target, settings)
    return np.load(target, mmap_mode="r")


def content_key(manifest: pd.DataFrame, settings: FeatureSettings) -> str:
    """Return the name of a features file: a hash of all that decides its content."""
    preprocessing = settings.preprocessing
    seed = settings.transform_seed if preprocessing.transform != "none" else None
    names = [preprocessing.to_json(), settings.scaling, seed, settings.precision]
    names += [weights.TENSORS_SHA256, *(settings.taps if settings.taps != TAPS else ())]
    digest = hashlib.sha256(json.dumps(names).encode())
    for row in manifest.itertuples():
        digest.update(_file_digest(row.path))
        if preprocessing.needs_mask and row.mask_path:
            digest.update(_file_digest(row.mask_path))
    return digest.hexdigest()[:32]


@lru_cache(maxsize=1)
def _predictor(scaling: str, taps: tuple[str, ...], precision: str, weights_sha256: str):
    """Build the frozen network for all views and shards to come; return it and its output's shape.

    It is kept by the hash of its weights too: with other weights it is another network.
    """
    with dtype_policy(POLICIES[precision]):
        base = build_base(scaling)
        tapped = [base.get_layer(name).output for name in taps]
        maps = [
            x if x.shape[1] == SIDE else keras.layers.AveragePooling2D(x.shape[1] // SIDE)(x)
            for x in tapped
        ]
        outputs = keras.layers.Concatenate()(maps) if len(maps) > 1 else maps[0]
        base = keras.Model(base.input, outputs)
    predict = tf.function(lambda x: tf.cast(base(x, training=False), tf.float16))
    return predict, base.output_shape[1:]


def _file_digest(path: str) -> bytes:
    status = Path(path).stat()
    return _digest_of(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=100_000)
def _digest_of(path: str, changed: int, size: int) -> bytes:
    """Hash a file's bytes, again only when the file has changed."""
    return hashlib.sha256(Path(path).read_bytes()).digest()


def load_view(row, preprocessing: Preprocessing, rng=None) -> np.ndarray:
    """Read the image (and mask) of a manifest's row and make its view, uint8 (size, size)."""
    image, mask = images.read_grey(row.path), None
    if preprocessing.needs_mask and row.mask_path:
        mask = images.read_mask(row.mask_path, image.shape, empty=False)
    try:
        return preprocessing.apply(image, mask, rng)
    except ValueError as error:
        raise ValueError(f"{row.path}: {error}") from error


class FreshViews:
    """Images that are transformed anew each time, in place of an array (N, size, size, 1).

    Args:
        preprocessing: the preprocessing of the view.
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


def _write_features(
    manifest: pd.DataFrame, first: int, target: Path, settings: FeatureSettings
) -> None:
    """Compute the features of a manifest, or of a shard that starts at `first`, into a file."""
    predict, shape = _predictor(
        settings.scaling, settings.taps, settings.precision, weights.TENSORS_SHA256
    )
    rows, n = list(manifest.itertuples()), len(manifest)

    def read(span: range) -> np.ndarray:
        views = [
            load_view(rows[i], settings.preprocessing, view_rng(settings.transform_seed, first + i))
            for i in span
        ]
        return np.stack(views)[..., None].astype(np.float32)

    def rest(done: int):
        title = f"features, {settings.preprocessing.region}"
        with tqdm(total=n, initial=done, desc=title, unit=" images") as bar:
            for batch in read_ahead(read, spans(done, n, BATCH)):
                yield predict(batch).numpy()
                bar.update(len(batch))

    grow_array(target, (n, *shape), BATCH, rest)


def _write_on_cluster(client, manifest, target: Path, settings: FeatureSettings) -> None:
    """Let the workers compute shards of whole batches, each a file, and join them."""
    title = f"features, {settings.preprocessing.region}"
    size = SHARD * BATCH
    shards = map_shards(client, _write_shard, manifest, size, target, settings, title=title)
    check_shared(shards)
    join_arrays(target, shards)
    for leftover in target.parent.glob(f"{target.stem}-*"):
        leftover.unlink()


def _write_shard(shard: pd.DataFrame, first: int, whole: Path, settings: FeatureSettings) -> Path:
    """Compute a shard on a worker, going on where a killed one stopped; return its file."""
    target = whole.with_name(f"{whole.stem}-{first}-{first + len(shard)}.npy")
    with files.locked(target):
        if not target.exists():
            _write_features(shard, first, target, settings)
    return target
