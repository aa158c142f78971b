"""The report's experiments trained several times on one split: what chance alone does to them."""

import argparse

import pandas as pd

from xraylib import datasets, evaluation, experiments, masks, results, segment, splitting
from xraylib.config import RunConfig, profile

TIMES = 5


def repeat(manifest: pd.DataFrame, config: RunConfig, times: int = TIMES) -> pd.DataFrame:
    """Train each experiment several times and judge each training on the same test images.

    First weights, order and dropout are drawn anew; images, split and settings stay.

    Args:
        manifest: split, with masks.
        config: of the trainings.
        times: trainings an experiment.

    Returns:
        a row a training: experiment, run_seed from 0, and the figures of
        `evaluation.figures_row`.
    """
    rows = []
    for experiment in experiments.EXPERIMENTS.values():
        for seed in range(times):
            run = experiments.run(experiment, manifest, config, run_seed=seed)
            figures = evaluation.figures_row(run.predictions, config.seed)
            rows.append({"experiment": experiment.name, "run_seed": seed} | figures)
    return pd.DataFrame(rows)


def main(arguments=None) -> None:
    """Repeat the experiments of a profile and keep the table `repeats`."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--profile", default="quick")
    name = parser.parse_args(arguments).profile
    config = profile(name)
    manifest = masks.predict_masks(datasets.load(config), segment.find_unet(name))
    table = repeat(splitting.split(manifest, config), config)
    table = table.assign(split=config.split_by, seed=config.seed, data=config.dataset)
    results.save(table, name, "repeats", f"python -m xraylib.repeats --profile {name}")
    print(table[["experiment", "run_seed", "accuracy"]].round(3).to_string())


if __name__ == "__main__":
    main()
