"""Experiment 1 by cached features against the whole model; speed and memory of extraction."""

import os
import subprocess
import sys
import tempfile
import time
from functools import partial

import keras
import numpy as np
import pandas as pd
from common import empty_features, gflop, peak_mib, real_manifest, seconds, sgemm_gflops

from xraylib import config, network
from xraylib.data import label_ids, split_manifest
from xraylib.images import Preprocessing
from xraylib.network import UpsampledBatches
from xraylib.network.machinery.fast import OnePassAdam


def training_ratio() -> None:
    """(a) Experiment 1's 50 epochs: cached features against fit on the whole model."""
    settings = config.profile("real")
    manifest, data = real_manifest()
    split = split_manifest(manifest, settings)
    labels = label_ids(split)
    train, val = (np.flatnonzero(split.split == part) for part in ("train", "val"))
    steps = UpsampledBatches(
        [np.arange(len(train))], labels[train], settings.batch_size, settings.upsampling_rate
    )
    per_epoch = sum(len(steps[k][0]) for k in range(len(steps)))
    before = whole_model_seconds(settings)
    with empty_features(), tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        kept = network.extract_features(split, Preprocessing(), settings.scaling)
        extraction = time.perf_counter() - start
        validation = (kept[val], labels[val])
        network.fit_head([kept[train]], labels[train], validation, settings, folder)
        cached = time.perf_counter() - start
    after = whole_model_seconds(settings)
    fit, judge = (min(pair) for pair in zip(before, after, strict=True))
    whole = settings.epochs * (per_epoch * fit + len(val) * judge)
    print(f"(a) {settings.epochs} epochs of experiment 1 on {data}, {per_epoch} images an epoch")
    print(f"    cached: {cached:.1f} s (features of {len(split)} images {extraction:.1f} s)")
    print(
        f"    Keras fit, whole model, base frozen, float32: {whole:,.0f} s, extrapolated from "
        f"{1 / fit:.1f} images/s in training and {1 / judge:.1f} in validation (3 batches each, "
        "the better of one slice before and one after)"
    )
    print(f"    ratio {whole / cached:.1f} (goal: at least 40)")


def whole_model_seconds(settings) -> tuple[float, float]:
    """Return seconds an image of Keras' fit and evaluate on the whole model."""
    model = network.build_classifier(settings.scaling)
    model.compile("adam", keras.losses.CategoricalCrossentropy(from_logits=True))
    n = 3 * settings.batch_size
    images = np.random.default_rng(0).uniform(0, 255, (n, 224, 224, 1)).astype("float32")
    targets = keras.utils.to_categorical(np.arange(n) % 3, 3)
    one = slice(0, settings.batch_size)
    options = {"batch_size": settings.batch_size, "verbose": 0}
    model.fit(images[one], targets[one], **options)  # the first call traces
    model.evaluate(images[one], targets[one], **options)
    fit = seconds(lambda: model.fit(images, targets, **options))
    judge = seconds(lambda: model.evaluate(images, targets, **options))
    return fit / n, judge / n


def loop_ratio() -> None:
    """(j) The head's training loop against Keras' fit on the same batches, on one core."""
    command = [sys.executable, __file__, "loop"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    ours, keras_fit = map(float, done.stdout.split()[-2:])
    print(f"(j) 6 epochs of the head, 900 images, one core: fit_head {ours:.1f} s")
    print(f"    Keras fit, the same batches and optimizer: {keras_fit:.1f} s")
    print(f"    ratio {keras_fit / ours:.2f}")


def print_loop() -> None:
    """Print the seconds of `fit_head`, and of Keras' fit, after a first epoch that traces."""
    os.sched_setaffinity(0, {0})
    rng, settings = np.random.default_rng(0), config.profile("real")
    maps = rng.gamma(0.5, 0.3, (900, 7, 7, 512)).astype(np.float16)
    labels = np.arange(900) % 3
    steps = UpsampledBatches([network.LiveMaps(maps)], labels)
    with network.fast_policy():
        model = network.fast_head()
        network.compile_head(model, settings, OnePassAdam)

    def ours(epochs: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            network.fit_head([maps], labels, None, settings.but(epochs=epochs), folder)

    def theirs(epochs: int) -> None:
        model.fit(steps, epochs=epochs, shuffle=False, verbose=0)

    for train in (ours, theirs):
        train(1)
        print(seconds(partial(train, 6)))


def extraction_ratio() -> None:
    """(b) Feature extraction against the machine's own float32 matrix product."""
    manifest, data = real_manifest()
    before = sgemm_gflops()
    with empty_features():
        took = seconds(lambda: network.extract_features(manifest, Preprocessing(), "report"))
        precision = network.fastest_precision()
    peak = max(before, sgemm_gflops())
    speed, cost = len(manifest) / took, gflop(network.build_base())
    print(f"(b) features of {len(manifest)} images of {data}, {precision}: {speed:.1f} images/s")
    print(f"    = {speed * cost:.0f} GFLOP/s; sgemm {peak:.0f} GFLOP/s")
    print(f"    ratio {speed * cost / peak:.2f} (goal: at least 1.0 in float32 terms)")


def memory_ratio() -> None:
    """(c) Peak memory of extraction, for the set and for the set four times over."""
    peaks = {}
    for times in (1, 4):
        command = [sys.executable, __file__, str(times)]
        peaks[times] = int(
            subprocess.run(command, capture_output=True, text=True, check=True).stdout
        )
    manifest, data = real_manifest()
    n = len(manifest)
    print(
        f"(c) peak memory of extraction, {data}: {n} images {peaks[1]} MiB, "
        f"{4 * n} images {peaks[4]} MiB"
    )
    print(f"    ratio {peaks[4] / peaks[1]:.3f} (goal: at most 1.10)")


def print_peak(times: str) -> None:
    """Extract the set so many times over and print the process's peak memory in MiB."""
    manifest, _ = real_manifest()
    with empty_features():
        network.extract_features(pd.concat([manifest] * int(times)), Preprocessing(), "report")
    print(peak_mib())


if __name__ == "__main__":
    if sys.argv[1] == "loop":
        print_loop()
    else:
        print_peak(sys.argv[1])
