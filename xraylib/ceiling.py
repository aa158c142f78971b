"""How much is left: what more images would bring, and which images no recipe gets right.

`python -m xraylib.ceiling --profile real` measures both on kept features and keeps the tables.
"""

import argparse

import numpy as np
import pandas as pd

from xraylib import datasets, results, splitting, stacks
from xraylib.config import RunConfig, profile
from xraylib.metrics import wilson_interval
from xraylib.recipes import BLOCK6, HEAD, LINEAR, LOGISTIC, SVM_VIEWS, Recipe, inputs

SHARES = (0.1, 0.2, 0.4, 0.7, 1.0)  # of the training patients of each class
ASKED = (HEAD, LINEAR, LOGISTIC, SVM_VIEWS, BLOCK6)  # recipes of different kinds
ALL = "all classes"


def learning_curve(
    recipe: Recipe, manifest: pd.DataFrame, config: RunConfig, shares=SHARES
) -> pd.DataFrame:
    """Judge a recipe in folds when it is fitted on some of the training patients.

    Args:
        recipe: what to fit.
        manifest: one row an image.
        config: `folds`, `split_by` and `seed` of the folds, and of the choice of patients. A
            larger share holds the patients of a smaller one.
        shares: of each class's training patients, 0 to 1.

    Returns:
        a row a share: share, images (trained on, mean over the folds), accuracy, low, high (95 %
        Wilson), n, recipe, folds, seed.
    """
    found, rows = inputs(manifest, recipe, config.seed), []
    parts = splitting.folds(manifest, config)
    for share in shares:
        judged, trained = [], 0
        for number, part in enumerate(parts):
            train, split = np.flatnonzero(part.split == "train"), part.split.to_numpy(copy=True)
            kept = some_patients(part.iloc[train], share, config.seed + number)
            split[train[~kept]] = ""
            judged.append(stacks.judge_fold(recipe, part.assign(split=split), found, config.seed))
            trained += int(kept.sum())
        rows.append((share, trained / len(parts), *stacks.accuracy(pd.concat(judged))))
    table = pd.DataFrame(rows, columns=["share", "images", "accuracy", "low", "high", "n"])
    return table.assign(recipe=recipe.name, folds=config.split_by, seed=config.seed)


def some_patients(manifest: pd.DataFrame, share: float, seed: int) -> np.ndarray:
    """Return which rows belong to a share of each class's patients, bool (N,).

    Args:
        manifest: N rows.
        share: 0 to 1; at least one patient of a class is taken.
        seed: of the order in which patients are taken.
    """
    chosen = np.zeros(len(manifest), bool)
    for label, part in manifest.groupby("label"):
        patients = np.random.default_rng(seed).permutation(np.unique(part.patient_id))
        first = patients[: max(1, round(share * len(patients)))]
        chosen |= ((manifest.label == label) & manifest.patient_id.isin(first)).to_numpy()
    return chosen


def shared_errors(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Count the images that several recipes get wrong alike.

    Where recipes of different kinds call an image by the same wrong name, its label is in doubt,
    or nothing in the features that all of them read tells it. Both bound what they can reach.

    Args:
        tables: name -> predictions of the same images, as of `stacks.cross_validate_recipe`.

    Returns:
        a row a class, and one for all: class, n, wrong (the mean share over the recipes), shared
        (the share that all call by the same wrong class) with low and high (95 % Wilson), and by
        chance (the share that all would get wrong, were their errors independent).
    """
    called = pd.DataFrame(
        {name: table.set_index("path").prediction for name, table in tables.items()}
    )
    labels = next(iter(tables.values())).set_index("path").label
    wrong = called.ne(labels, axis=0)
    alike = wrong.all(axis=1) & called.eq(called.iloc[:, 0], axis=0).all(axis=1)
    rows = []
    for name in [*labels.unique(), ALL]:
        rows_of = (labels == name) | (name == ALL)
        errors, n = wrong[rows_of].mean(), int(rows_of.sum())
        count = int(alike[rows_of].sum())
        ends = wilson_interval(count, n)
        rows.append((name, n, errors.mean(), count / n, *ends, errors.prod()))
    columns = ["class", "n", "wrong", "shared", "low", "high", "by chance"]
    return pd.DataFrame(rows, columns=columns)


def main(arguments=None) -> None:
    """Measure `learning_curve` and `shared_errors` of a profile, in folds by patient."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--profile", default="quick")
    name = parser.parse_args(arguments).profile
    command = f"python -m xraylib.ceiling --profile {name}"
    config = profile(name).but(split_by="patient")
    manifest = datasets.load(config)
    curve = learning_curve(SVM_VIEWS, manifest, config)
    results.save(curve, name, "learning_curve", command)
    tables = {r.name: stacks.cross_validate_recipe(r, manifest, config) for r in ASKED}
    errors = shared_errors(tables).assign(recipes=", ".join(tables), seed=config.seed)
    results.save(errors, name, "shared_errors", command)
    print(curve.round(3).to_string(), errors.round(3).to_string(), sep="\n")


if __name__ == "__main__":
    main()
