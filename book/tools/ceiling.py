"""How much is left for better stacks: what more images buy, and what all recipes get wrong."""

import numpy as np
import pandas as pd

from xraylib import data, metrics
from xraylib.config import RunConfig
from xraylib.studies.stacks import (
    HEAD,
    LINEAR,
    LOGISTIC,
    SVM_VIEWS,
    Recipe,
    accuracy_row,
    judge_fold,
    recipe_features,
)

SHARES = (0.1, 0.2, 0.4, 0.7, 1.0)  # of the training patients of each class
ALL_CLASSES = "all classes"
ERROR_RECIPES = (HEAD, LINEAR, LOGISTIC, SVM_VIEWS)  # of different kinds, for `shared_errors`


def learning_curve(
    recipe: Recipe, manifest: pd.DataFrame, config: RunConfig, shares=SHARES
) -> pd.DataFrame:
    """Judge a recipe in folds when it is fitted on some of the training patients.

    The shares are of each class's training patients, 0 to 1; a larger one holds the patients of a
    smaller one. The configuration says `folds`, `split_by` and `seed` of the folds, and of the
    choice of patients. Returns one row per share: share, images (trained on, mean over the folds),
    accuracy, low, high (95 % Wilson), n, recipe, folds, seed.
    """
    pooled, rows = recipe_features(manifest, recipe), []
    parts = data.split_folds(manifest, config)
    for share in shares:
        judged, trained = [], 0
        for number, part in enumerate(parts):
            train, split = np.flatnonzero(part.split == "train"), part.split.to_numpy(copy=True)
            kept = some_patients(part.iloc[train], share, config.seed + number)
            split[train[~kept]] = ""
            judged.append(judge_fold(recipe, part.assign(split=split), pooled))
            trained += int(kept.sum())
        rows.append((share, trained / len(parts), *accuracy_row(pd.concat(judged))))
    table = pd.DataFrame(rows, columns=["share", "images", "accuracy", "low", "high", "n"])
    return table.assign(recipe=recipe.name, folds=config.split_by, seed=config.seed)


def some_patients(manifest: pd.DataFrame, share: float, seed: int) -> np.ndarray:
    """Return which rows belong to a share, 0 to 1, of each class's patients, bool (N,).

    At least one patient of a class is taken.
    """
    chosen = np.zeros(len(manifest), bool)
    for label, part in manifest.groupby("label"):
        patients = np.random.default_rng(seed).permutation(np.unique(part.patient_id))
        first = patients[: max(1, round(share * len(patients)))]
        chosen |= ((manifest.label == label) & manifest.patient_id.isin(first)).to_numpy()
    return chosen


def shared_errors(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Count the images that several recipes get wrong alike.

    Where recipes of different kinds call an image by the same wrong name, its label is in doubt, or
    nothing in the features that all of them read tells it. Both bound what they can reach. The
    tables are name -> predictions of the same images, as of `studies.cross_validate_recipe`.

    Returns one row per class, and one for all: class, n, wrong (the mean share over the recipes),
    shared (the share that all call by the same wrong class) with low and high (95 % Wilson), and by
    chance (the share that all would get wrong, were their errors independent).
    """
    called = pd.DataFrame(
        {name: table.set_index("path").prediction for name, table in tables.items()}
    )
    labels = next(iter(tables.values())).set_index("path").label
    wrong = called.ne(labels, axis=0)
    alike = wrong.all(axis=1) & called.eq(called.iloc[:, 0], axis=0).all(axis=1)
    rows = []
    for name in [*labels.unique(), ALL_CLASSES]:
        rows_of = (labels == name) | (name == ALL_CLASSES)
        errors, n = wrong[rows_of].mean(), int(rows_of.sum())
        count = int(alike[rows_of].sum())
        ends = metrics.wilson_interval(count, n)
        rows.append((name, n, errors.mean(), count / n, *ends, errors.prod()))
    columns = ["class", "n", "wrong", "shared", "low", "high", "by chance"]
    return pd.DataFrame(rows, columns=columns)
