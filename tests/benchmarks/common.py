"""What the benchmarks share: images, a clean features folder, the clock, the machine's peak."""

import resource
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from xraylib import config, network, sources
from xraylib.network import features


def real_manifest() -> tuple[pd.DataFrame, str]:
    """Return the 1,124 real radiographs, or as many phantoms where these are not at hand."""
    try:
        return sources.provide(config.profile("real")), "darkcovidnet"
    except FileNotFoundError:
        phantoms = config.profile("quick").but(phantom_counts=(500, 500, 124))
        return sources.provide(phantoms), "phantoms (no darkcovidnet in XRAYLIB_HOME)"


@contextmanager
def empty_features():
    """Compute features anew, in a folder that is gone afterwards."""
    kept = features.home
    with tempfile.TemporaryDirectory() as folder:
        features.home = lambda *parts: Path(folder)
        network.fastest_precision()  # asked before the clock runs
        yield
    features.home = kept


def seconds(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def peak_mib() -> int:
    """Return the peak memory of this process so far in MiB.

    Linux is asked for that of the running program: `getrusage` knows of the larger process that
    started it, too.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) // 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def gflop(model: keras.Model) -> float:
    """Return the floating point operations of a model's convolutions on one image, in 1e9."""
    total = 0
    for node in sum(
        model._nodes_by_depth.values(), []
    ):  # not model.layers: a shared layer knows its first call's shapes only
        layer, before, after = node.operation, node.input_tensors, node.outputs
        if isinstance(layer, keras.layers.Conv2DTranspose):
            total += 2 * np.prod(layer.kernel.shape) * np.prod(before[0].shape[1:3])
        elif isinstance(layer, keras.layers.Conv2D):
            total += 2 * np.prod(layer.kernel.shape) * np.prod(after[0].shape[1:3])
    return total / 1e9


def sgemm_gflops(size: int = 4096) -> float:
    """Return the best of three square float32 products."""
    a = np.random.default_rng(0).random((size, size), np.float32)
    return 2 * size**3 / min(seconds(lambda: a @ a) for _ in range(3)) / 1e9
