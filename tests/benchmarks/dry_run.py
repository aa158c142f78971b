"""What experiments 1 to 3 of the profile report cost on this machine: a sum of measured stages.

Every stage is measured twice over: by the clock, and as CPU time over the number of cores. The
second is what the clock would show, at best, were no one else using the machine.
"""

import os
import tempfile
import time

import numpy as np
from common import empty_features, peak_mib

from xraylib import config, experiments, images, lungs, network, sources
from xraylib.config import CLASS_NAMES, COVID
from xraylib.data import report_counts
from xraylib.images import Preprocessing
from xraylib.lungs import masks
from xraylib.network import UpsampledBatches, features

TABLE_1 = (8851, 6045, 267)  # images of each class in the report's lists
GOAL = 90  # minutes
SLICE = 256  # images that a stage is measured on


def print_sum() -> None:
    """Print the sum, stage by stage; what the images come from is no part of it."""
    settings = config.profile("report")
    units, counts = unit_costs(settings), stage_counts(settings)
    print(f"(f) dry run of the profile report, {sum(TABLE_1):,} images, experiments 1 to 3")
    print("    minutes by the clock | CPU minutes over cores")
    for stage, count in counts.items():
        clock, cpu = count * units[stage] / 60
        speed = 1 / units[stage][0]
        print(f"    {clock:8.1f} | {cpu:6.1f}  {stage}: {count:,} images, {speed:,.0f} a second")
    clock, cpu = sum(counts[stage] * units[stage] for stage in counts) / 60
    print(f"    {clock:8.1f} | {cpu:6.1f}  in all (goal: below {GOAL})")
    print(f"    peak memory of this dry run {peak_mib()} MiB, report_run.py measures the real one")


def cost(work) -> np.ndarray:
    """Return seconds by the clock, and CPU seconds over the number of cores."""
    before = time.perf_counter(), time.process_time()
    work()
    after = time.perf_counter(), time.process_time()
    return (np.array(after) - before) / (1, os.cpu_count())


def stage_counts(settings) -> dict[str, int]:
    """Return how many images go through each stage."""
    n, parts = sum(TABLE_1), [report_counts(count) for count in TABLE_1]
    labels = np.repeat(range(len(CLASS_NAMES)), [part["train"] for part in parts])
    steps = UpsampledBatches([labels], labels, settings.batch_size, settings.upsampling_rate)
    trained = sum(len(rows) for rows, _ in steps.batches) * settings.epochs
    judged = sum(part["val"] for part in parts) * settings.epochs
    wanted = experiments.EXPERIMENTS.values()
    still = {view for one in wanted for view in (one.train, one.judge) if view.transform == "none"}
    moving = {one.train for one in wanted} - still
    return {
        "reading and hashing": n,
        "lung masks": n,
        "features of views as they are": n * len(still),
        "features of views with random transforms": n * len(moving) * settings.augmented_views,
        "head, training": trained * len(wanted),
        "head, validation": judged * len(wanted),
    }


def unit_costs(settings) -> dict[str, np.ndarray]:
    """Return the `cost` of an image in each stage, measured on phantoms."""
    table = sources.provide(config.profile("quick")).head(SLICE)
    moving = Preprocessing("lungs", transform="table2")
    with empty_features():
        ways = {view: extraction(table, view, settings) for view in (Preprocessing(), moving)}
        kept = network.extract_features(table, Preprocessing(), settings.scaling)
    train, judge = head_costs(np.array(kept), settings)
    return {
        "reading and hashing": cost(lambda: read_all(table, settings)) / len(table),
        "lung masks": mask_cost(table),
        "features of views as they are": ways[Preprocessing()],
        "features of views with random transforms": ways[moving],
        "head, training": train,
        "head, validation": judge,
    }


def extraction(table, view, settings) -> np.ndarray:
    """Return the cost of an image, once the network is built and traced."""
    network.extract_features(table[: features.BATCH], view, settings.scaling)
    return cost(lambda: network.extract_features(table, view, settings.scaling)) / len(table)


def read_all(table, settings) -> None:
    features._digest_of.cache_clear()
    network.content_key(table, Preprocessing("lungs"), settings.scaling, 0, "float32")
    for path in table.path:
        images.read_grey(path)


def mask_cost(table) -> np.ndarray:
    unet = masks.build_in_fast_precision(lungs.UNET_PROFILES["report"], pretrained=False)
    grey = [images.read_grey(path) for path in table.path]
    batches = [grey[i : i + masks.BATCH] for i in range(0, len(grey), masks.BATCH)]
    lungs.segment_images(unet, batches[0])  # the first call traces
    return cost(lambda: [lungs.segment_images(unet, batch) for batch in batches]) / len(grey)


def head_costs(kept: np.ndarray, settings) -> tuple[np.ndarray, np.ndarray]:
    """Return the costs of an image in training and in validation, without those of a start."""
    maps = np.concatenate([kept] * (4096 // len(kept)))
    labels = np.resize([0, 1, COVID], len(maps))
    seen = sum(
        len(rows)
        for rows, _ in UpsampledBatches([labels], labels, rate=settings.upsampling_rate).batches
    )

    def fit(epochs: int, validation) -> np.ndarray:
        with tempfile.TemporaryDirectory() as folder:
            few = settings.but(epochs=epochs)
            return cost(lambda: network.fit_head([maps], labels, validation, few, folder))

    fit(1, (maps, labels))  # the first call traces
    one, three, judged = fit(1, None), fit(3, None), fit(3, (maps, labels))
    return (three - one) / 2 / seen, np.maximum(judged - three, 0) / 3 / len(maps)
