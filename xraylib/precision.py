"""The number format that is fastest here, and layers built in it."""

import platform
import threading
import time
from functools import cache

import keras
import tensorflow as tf

from xraylib import files
from xraylib.config import home

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}  # precision -> Keras' policy


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
    files.write_text(kept, choice)
    return choice


class dtype_policy:
    """Set Keras' dtype policy for the layers built in a `with` block.

    The policy belongs to the process: of several threads one builds at a time.
    """

    building = threading.RLock()

    def __init__(self, name: str):
        self.name = name

    def __enter__(self):
        self.building.acquire()
        self.before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(self.name)

    def __exit__(self, *_):
        keras.config.set_dtype_policy(self.before)
        self.building.release()


def fast_policy() -> dtype_policy:
    """Return a `dtype_policy` for layers in the precision that is fastest here."""
    return dtype_policy(POLICIES[fastest_precision()])


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
