"""The profile report, run to its end over phantoms: time and memory, a row a stage.

.venv/bin/python tests/benchmarks/report_run.py OUT.csv               15,161 images, over an hour
.venv/bin/python tests/benchmarks/report_run.py OUT.csv --share 0.01  a trial

Everything is kept in XRAYLIB_HOME: a run that was cut off goes on where it stopped, and its rows
then tell the time of what was left. Name an empty folder there for a clean measurement.
"""

import argparse
import time

import numpy as np
import pandas as pd
from common import peak_mib
from dry_run import TABLE_1

from xraylib import config, data, experiments, files, lungs, metrics, network

PAIRS = 100  # phantoms with a drawn mask that the U-Net learns from, as many as there are real ones
FEWEST = 20  # images of a class in a trial, so that every class comes into every set


class Stages:
    """Rows of a table: what was done, on how many images, in what time and memory.

    Args:
        out: the CSV file, written again after every stage.
    """

    def __init__(self, out: str):
        self.out, self.rows = out, []

    def measure(self, stage: str, images: int, work, *arguments, **settings):
        """Do a piece of work, add its row and return its result."""
        start = clocks()
        result = work(*arguments, **settings)
        self.add(stage, images, clocks() - start)
        return result

    def add(self, stage: str, images: int, took: np.ndarray) -> None:
        row = {"stage": stage, "images": images}
        row |= dict(zip(("seconds", "cpu_seconds"), took.round(1), strict=True))
        row |= {"peak_mib_so_far": peak_mib()}
        self.rows.append(row)
        files.write_text(self.out, pd.DataFrame(self.rows).to_csv(index=False))
        print(", ".join(f"{name} {value}" for name, value in row.items()), flush=True)


def clocks() -> np.ndarray:
    """Return the time by the clock and the CPU time of this process, in seconds."""
    return np.array([time.perf_counter(), time.process_time()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", help="CSV file for the table of stages")
    parser.add_argument("--share", type=float, default=1.0, help="of the report's images, 0 to 1")
    parser.add_argument("--epochs", type=int, help="in place of the profile's")
    options = parser.parse_args()
    counts = tuple(max(FEWEST, round(options.share * count)) for count in TABLE_1)
    settings = config.profile("report").but(dataset="phantom", phantom_counts=counts)
    run_all(settings.but(epochs=options.epochs or settings.epochs), Stages(options.out))


def run_all(settings, stages: Stages) -> None:
    """Draw, segment, extract, train and judge; the experiments find their features there."""
    n = sum(settings.phantom_counts)
    network.fastest_precision()
    manifest = stages.measure("phantoms drawn", n, data.load_manifest, settings)
    begin = clocks()
    manifest = stages.measure("checked and split", n, data.split_manifest, manifest, settings)
    taught = manifest.sample(min(PAIRS, n), random_state=0)
    unet = lungs.UNET_PROFILES["report"].but(dataset="phantom")
    folder = stages.measure("U-Net trained", len(taught), lungs.train_unet, taught, unet)
    manifest = stages.measure("masks predicted", n, lungs.predict_masks, manifest, folder)
    for view, seed in views(settings):
        name = f"features, {view.region}, transform {view.transform}, seed {seed}"
        stages.measure(name, n, network.extract_features, manifest, view, settings.scaling, seed)
    for experiment in experiments.EXPERIMENTS.values():
        name = f"{experiment.name}, {settings.epochs} epochs"
        run = stages.measure(name, n, experiments.run, experiment, manifest, settings)
        print(metrics.figures_row(run.predictions, settings.seed))
    stages.add("all but the drawing", n, clocks() - begin)


def views(settings) -> list[tuple]:
    """Return every view that the experiments need, with the seed of its transforms."""
    wanted = []
    for experiment in experiments.EXPERIMENTS.values():
        for view in (experiment.judge, experiment.train):
            times = 1 if view.transform == "none" else settings.augmented_views
            wanted += [(view, settings.seed + k) for k in range(times)]
    return list(dict.fromkeys(wanted))


if __name__ == "__main__":
    main()
