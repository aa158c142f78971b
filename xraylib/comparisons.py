"""The report's open question as controlled experiments: the grid of views, and a factorial."""

from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd

from xraylib import datasets, evaluation, experiments, splitting
from xraylib.config import CLASS_NAMES, RunConfig
from xraylib.experiments import Experiment
from xraylib.intervals import bootstrap_mean
from xraylib.preprocessing import Preprocessing

VIEWS = {
    "original": Preprocessing(),
    "segmented": Preprocessing(region="lungs"),
    "equalised": Preprocessing(equalise="global"),
    "segmented + equalised": Preprocessing(region="lungs", equalise="global"),
    "lungs erased": Preprocessing(region="lungs_erased"),
    "lung box blacked out": Preprocessing(region="lung_box_erased"),
    "silhouette": Preprocessing(region="silhouette"),
}

FACTORS = ("segmentation", "equalisation", "augmentation")


@dataclass(frozen=True)
class Cell:
    """One cell of the factorial: which of the three factors are on."""

    segmentation: bool
    equalisation: bool
    augmentation: bool

    @property
    def name(self) -> str:
        on = [factor for factor in FACTORS if getattr(self, factor)]
        return " + ".join(on) or "none"

    @property
    def experiment(self) -> Experiment:
        """Return the experiment of this cell: training and test views alike."""
        view = Preprocessing(
            region="lungs" if self.segmentation else "whole",
            equalise="global" if self.equalisation else "none",
            transform="table2" if self.augmentation else "none",
        )
        return Experiment(f"factorial {self.name}", view, view.still)


FACTORIAL = [Cell(*on) for on in product((False, True), repeat=3)]


def grid(manifest: pd.DataFrame, config: RunConfig, views: dict | None = None) -> pd.DataFrame:
    """Train on each view, judge on every view, in folds.

    Args:
        manifest: with masks.
        config: `epochs` are the grid's.
        views: name -> Preprocessing; all of `VIEWS` by default.

    Returns:
        predictions of all images under each other, with columns train_view, test_view and fold.
    """
    views = views or VIEWS
    parts = []
    for name, view in views.items():
        experiment = Experiment(f"grid {name}", view, view)
        for fold, part in enumerate(splitting.folds(manifest, config)):
            run = experiments.run(experiment, part, config)
            for other, judged in views.items():
                table = run.judge_on(judged, mismatch="the grid judges every view on purpose")
                parts.append(table.assign(train_view=name, test_view=other, fold=fold))
    return pd.concat(parts, ignore_index=True)


def factorial(manifest: pd.DataFrame, config: RunConfig) -> pd.DataFrame:
    """Run all eight combinations of segmentation, equalisation and augmentation in folds.

    Returns:
        predictions of all images under each other, with a bool column for each factor.
    """
    parts = []
    for cell in FACTORIAL:
        predictions = experiments.cross_validate(cell.experiment, manifest, config)
        factors = {factor: getattr(cell, factor) for factor in FACTORS}
        parts.append(predictions.assign(cell=cell.name, **factors))
    return pd.concat(parts, ignore_index=True)


def summarise(predictions: pd.DataFrame, by: list[str], seed: int = 0) -> pd.DataFrame:
    """Return a row of figures with intervals for each group of predictions."""
    rows = [
        dict(zip(by, names, strict=True)) | evaluation.figures_row(part, seed)
        for names, part in predictions.groupby(by, sort=False)
    ]
    return pd.DataFrame(rows)


def effects(predictions: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Return what each factor, and each pair of factors, does to accuracy and to recall.

    An effect is the mean over the cells with the factor on minus the mean over those with it
    off; of a pair, half the difference that one factor makes to the effect of the other. All
    cells judge the same images, so the interval is a bootstrap of patients over the differences
    within each image.

    Args:
        predictions: of `factorial`.
        seed: of the bootstrap.

    Returns:
        measure (accuracy or COVID-19 recall), factor, effect, low, high (95 %), n images.
    """
    right = predictions.assign(right=predictions.label == predictions.prediction)
    wide = right.pivot_table(index=["path", "patient_id", "label"], columns="cell", values="right")
    rows = []
    for measure, table in (
        ("accuracy", wide),
        (f"{CLASS_NAMES[2]} recall", wide.xs(CLASS_NAMES[2], level="label", drop_level=False)),
    ):
        patients = table.index.get_level_values("patient_id").to_numpy()
        for name, signs in _contrasts().items():
            values = table[list(signs)].to_numpy(float) @ np.array(list(signs.values()))
            mean = bootstrap_mean(values, patients, seed=seed)
            rows.append((measure, name, mean.value, mean.low, mean.high, mean.n))
    return pd.DataFrame(rows, columns=["measure", "factor", "effect", "low", "high", "n"])


def confounding_sweep(
    config: RunConfig,
    levels=(0.0, 1.0),
    views=("original", "segmented", "segmented + equalised"),
) -> pd.DataFrame:
    """Train on phantoms whose source goes with the class, judge on phantoms where it does not.

    Args:
        config: of the phantoms and the training; its confounding and split are replaced. Half
            as many phantoms are drawn, once to train on and once to judge.
        levels: of confounding in the training phantoms.
        views: names in `VIEWS`, for training and test alike.

    Returns:
        predictions on the same unconfounded phantoms, with columns confounding and view.
    """
    half = tuple(count // 2 for count in config.phantom_counts)
    drawn = config.but(dataset="phantom", phantom_counts=half)
    sets = {level: datasets.load(drawn.but(confounding=level)) for level in levels}
    sets["test"] = datasets.load(drawn.but(confounding=0.0, seed=config.seed + 1))
    # one manifest, so that each view of an image is computed once
    manifest = pd.concat([part.assign(of=name) for name, part in sets.items()], ignore_index=True)
    manifest["patient_id"] = manifest.of.astype(str) + " " + manifest.patient_id
    parts = []
    for level, name in product(levels, views):
        split = np.select([manifest.of == level, manifest.of == "test"], ["train", "test"], "")
        experiment = Experiment(f"confounding {level:g} {name}", VIEWS[name], VIEWS[name])
        run = experiments.run(experiment, manifest.assign(split=split), config)
        parts.append(run.predictions.assign(confounding=level, view=name))
    return pd.concat(parts, ignore_index=True)


def _contrasts() -> dict[str, dict[str, float]]:
    """Return the weight of each cell in each main effect and each interaction of two factors."""
    contrasts = {}
    for factors in [(f,) for f in FACTORS] + [FACTORS[:2], FACTORS[::2], FACTORS[1:]]:
        contrasts[" x ".join(factors)] = {
            cell.name: float(np.prod([1 if getattr(cell, f) else -1 for f in factors])) / 4
            for cell in FACTORIAL
        }
    return contrasts
