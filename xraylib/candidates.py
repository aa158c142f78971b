"""Candidates for the classifier of unseen hospitals, judged on hospitals left out.

`python -m xraylib.candidates` judges them on the real radiographs and keeps the table.
"""

import tempfile

import numpy as np
import pandas as pd

from xraylib import datasets, external, features, metrics, results, shortcuts, sources, training
from xraylib.config import CLASS_NAMES, RunConfig, profile
from xraylib.discriminant import LOGITS, judge_unseen, unseen_logits
from xraylib.external import Recipe
from xraylib.preprocessing import Preprocessing
from xraylib.shortcuts import VIEWS

ALL = {"removed": (0,)}  # directions are looked at
RECIPES = {
    "original": Recipe(view=VIEWS["original"], varied_views=0, **ALL),
    "lungs cropped": Recipe(view=VIEWS["lungs cropped"], varied_views=0, **ALL),
    "lungs cropped, varied": Recipe(view=VIEWS["lungs cropped"], varied_views=1, **ALL),
    "lungs alone, bands alike": Recipe(
        view=VIEWS["lungs cropped, alone, bands alike"], varied_views=0, **ALL
    ),
    "bands alike": Recipe(varied_views=0, **ALL),
    "bands alike, hospitals not as noise": Recipe(varied_views=0, nuisance=0.0, **ALL),
    "bands alike, varied": Recipe(varied_views=1, **ALL),
    "bands alike, varied twice": Recipe(**ALL),
    "varied twice, blind to 4": Recipe(removed=(4,)),
    "varied twice, blind to 8": Recipe(removed=(8,)),
    "varied twice, blind to 16": Recipe(removed=(16,)),
    "varied twice, mean of all and blind to 8": Recipe(),
}
REPORT = "the report's head"


def compare(manifest: pd.DataFrame, recipes: dict, config: RunConfig | None = None):
    """Judge recipes on hospitals that were left out of their training.

    Args:
        manifest: with site and masks, see `sources.manifest_with_masks`.
        recipes: name -> Recipe.
        config: of the report's head, judged beside them; without, it is left out.

    Returns:
        a row a recipe and left-out source, and one for all of them: recipe, tested on, n,
        macro recall with low and high (95 %, by patient), the recall of each class, and false
        COVID-19, the share of normal lungs that are called so.
    """
    judged = {}
    for name, recipe in recipes.items():
        views = external.pooled_views(manifest, recipe)
        judged[name] = unseen_logits(views, manifest, *recipe.noise)
    if config is not None:
        judged[REPORT] = _report_logits(manifest, config)
    rows = []
    for name, table in judged.items():
        table = table.assign(tested=table.left_out.str.split(" and ").str[0])
        for tested, part in [("all", table), *table.groupby("tested")]:
            rows.append({"recipe": name, "tested on": tested} | _figures(part))
    return pd.DataFrame(rows)


def _report_logits(manifest: pd.DataFrame, config: RunConfig) -> pd.DataFrame:
    """Train the report's head on original images, hospitals left out, as `unseen_logits` does."""
    maps, ids = features.extract(manifest, Preprocessing(), "report"), datasets.label_ids(manifest)

    def judge(train, test) -> np.ndarray:
        views = [training.LiveMaps(maps, train)]
        with tempfile.TemporaryDirectory() as folder:
            head, _ = training.fit_head(views, ids[train], None, config, folder)
        return training.predict_logits(head, maps[test])

    return judge_unseen(manifest, judge)


def _figures(table: pd.DataFrame, seed: int = 0) -> dict:
    labels, predicted = datasets.label_ids(table), table[LOGITS].to_numpy().argmax(axis=1)
    matrix = metrics.confusion_matrix(labels, predicted)
    groups = table.patient_id.to_numpy()
    low, high = metrics.bootstrap_interval(_macro_recall, labels, predicted, groups, seed=seed)
    recalls = dict(zip((f"{c} recall" for c in CLASS_NAMES), metrics.recall(matrix), strict=True))
    figures = {"n": len(table), "macro recall": _macro_recall(matrix), "low": low, "high": high}
    return figures | recalls | {"false COVID-19": matrix[0, 2] / max(matrix[0].sum(), 1)}


def _macro_recall(matrix) -> float:
    return float(np.mean(metrics.recall(matrix)))


if __name__ == "__main__":  # minutes of features; chapter 05 shows the table that this keeps
    settings = profile("real").for_folds()
    images = shortcuts.thin(sources.manifest_with_masks("real"))
    table = compare(images, RECIPES, settings)
    table = table.assign(trained_on="all other hospitals", seed=settings.seed)
    command = "python -m xraylib.candidates"
    results.save(table.assign(data="multisource"), "real", "external", command)
    print(table.round(3).to_string())
