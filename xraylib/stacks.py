"""Better stacks on the frozen VGG16: fitted, judged in folds, and kept; tables for the book."""

import argparse
import hashlib
import json
from dataclasses import asdict
from functools import cache, partial
from itertools import product

import numpy as np
import pandas as pd
import tensorflow as tf
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.svm import SVC

from xraylib import block6, datasets, evaluation, experiments, features, files, results, splitting
from xraylib.config import CLASS_NAMES, RunConfig, home, profile
from xraylib.metrics import wilson_interval
from xraylib.recipes import (
    ABLATION,
    OF_FINE_TUNING,
    OF_KERNEL,
    OF_NETWORK,
    RECIPES,
    WHOLE,
    Recipe,
    inputs,
    take,
)

SEEDS = 3  # fold seeds that a recipe is reported on: the configuration's, and the next ones
FAINT = 1e-6  # added before a logarithm
BLENDED = ("svm", "block6")
NETWORKS = ("block6", "fine_tuned")


def fit(found: dict, labels, recipe: Recipe, seed: int = 0):
    """Fit a recipe on training images.

    Args:
        found: of `recipes.inputs`, for N images.
        labels: int (N,), ids.
        recipe: what to fit.
        seed: of first weights, order and mixup, where a network is in it.

    Returns:
        a model for `predict_probs`.
    """
    labels = np.asarray(labels)
    if recipe.kind == "blend":
        return [fit(found, labels, recipe.but(kind=kind), seed) for kind in BLENDED]
    if recipe.kind in NETWORKS:
        return block6.fit(found, labels, recipe, seed)
    if recipe.kind not in ("svm", "logistic"):
        known = ", ".join((*NETWORKS, "svm", "logistic", "blend"))
        raise ValueError(f"no kind {recipe.kind!r}: choose one of {known}")
    scale = StandardScaler() if recipe.standardise else Normalizer()
    if recipe.kind == "svm":
        return KernelSVM(scale, recipe).fit(found["pooled"], labels)
    logistic = LogisticRegression(C=recipe.strength, max_iter=2000)
    return make_pipeline(scale, logistic).fit(found["pooled"], labels)


def predict_probs(model, found: dict) -> np.ndarray:
    """Return probabilities float64 (N, 3) of a model of `fit` for `recipes.inputs` of N images."""
    if isinstance(model, list):
        return np.mean([predict_probs(part, found) for part in model], axis=0)
    if isinstance(model, block6.Members):
        return block6.predict_probs(model, found)
    return model.predict_proba(found["pooled"])


class KernelSVM:
    """An SVM whose kernel is computed once; inner folds turn its margins into probabilities.

    Every inner fold takes its part of the same matrix of products, and one temperature brings
    the margins to probabilities without changing which class is the largest.
    """

    def __init__(self, scale, recipe: Recipe):
        self.scale, self.recipe = scale, recipe
        svm = SVC(C=recipe.strength, kernel="precomputed")
        self.classifier = CalibratedClassifierCV(svm, method="temperature", ensemble=False)

    def fit(self, pooled, labels) -> "KernelSVM":
        """Fit on pooled features float (N, D) and label ids (N,)."""
        self.train = self.scale.fit_transform(np.asarray(pooled, float))
        self.classifier.fit(self._kernel(self.train), labels)
        return self

    def predict_proba(self, pooled) -> np.ndarray:
        """Return probabilities float64 (M, 3) for pooled features float (M, D)."""
        return self.classifier.predict_proba(self._kernel(self.scale.transform(pooled)))

    def _kernel(self, values) -> np.ndarray:
        if self.recipe.kernel == "linear":
            return values @ self.train.T
        return rbf_kernel(values, self.train, gamma=self.recipe.gamma / self.train.shape[1])


def cross_validate_recipe(
    recipe: Recipe, manifest: pd.DataFrame, config: RunConfig, prepare=None
) -> pd.DataFrame:
    """Judge a recipe in folds, or load what an earlier run of the same left.

    Args:
        recipe: what to fit.
        manifest: one row an image.
        config: `folds`, `split_by`, `seed`; for the report's head all of its settings.
        prepare: returns `recipes.inputs` for the manifest, where the caller has them already;
            called only where nothing is kept.

    Returns:
        predictions as of `experiments.cross_validate`, with the column `fold` from 0.
    """
    if recipe.kind == "report_head":
        return experiments.cross_validate(experiments.EXPERIMENTS[1], manifest, config.for_folds())
    prepare = prepare or cache(partial(inputs, manifest, recipe, config.seed))
    if recipe.kind == "blend":
        parts = [recipe.but(kind=kind) for kind in BLENDED]
        return _mean(*(cross_validate_recipe(part, manifest, config, prepare) for part in parts))
    parts = splitting.folds(manifest, config)
    target = home("recipes") / f"{_key(recipe, manifest, parts, config.seed)}.csv"
    with files.locked(target):
        if not target.exists():
            tables = [judge_fold(recipe, part, prepare(), config.seed) for part in parts]
            tables = [table.assign(fold=number) for number, table in enumerate(tables)]
            with files.whole_file(target) as part:
                pd.concat(tables, ignore_index=True).to_csv(part, index=False)
    text = {"path": str, "patient_id": str, "source": str}
    return pd.read_csv(target, dtype=text, keep_default_na=False)


def _mean(table: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """Average the probabilities of two tables of the same images: what a blend predicts."""
    probs = (probabilities(table)[0] + probabilities(other)[0]) / 2
    table = table.assign(prediction=np.array(CLASS_NAMES)[probs.argmax(axis=1)])
    table[list(CLASS_NAMES)] = probs
    return table


def judge_fold(recipe: Recipe, part: pd.DataFrame, found: dict, seed: int) -> pd.DataFrame:
    """Fit a recipe on a fold's `train` images; return the predictions for its `test` images."""
    train, test = (np.flatnonzero(part.split == side) for side in ("train", "test"))
    model = fit(take(found, train), datasets.label_ids(part)[train], recipe, seed)
    probs = predict_probs(model, take(found, test))
    return evaluation.predictions_table(part.iloc[test], np.log(probs + FAINT))


def _key(recipe: Recipe, manifest: pd.DataFrame, parts: list, seed: int) -> str:
    """Return a name that changes with all that decides a recipe's predictions."""
    idle = {"name", *(OF_KERNEL if recipe.kind in NETWORKS else OF_NETWORK)}
    idle |= set() if recipe.kind == "fine_tuned" else set(OF_FINE_TUNING)
    settings = {name: value for name, value in asdict(recipe).items() if name not in idle}
    content = {
        "recipe": settings,
        "seed": seed,
        "images": [
            features.content_key(manifest, view, "vgg16", 0, features.fastest_precision())
            for view in recipe.views
        ],
        "rows": manifest[["path", "label", "patient_id"]].to_numpy().tolist(),
        "folds": [part.split.tolist() for part in parts],
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return f"recipe-{digest[:16]}"


def folds_table(
    recipes, manifest: pd.DataFrame, config: RunConfig, n_seeds: int = SEEDS
) -> pd.DataFrame:
    """Return the accuracy of recipes in image-level and patient-level folds.

    Args:
        recipes: sequence of `Recipe`.
        manifest: one row an image.
        config: `folds` and the first fold seed.
        n_seeds: fold seeds, counted up from the configuration's.

    Returns:
        recipe, folds (`image` or `patient`), accuracy, low, high (95 % Wilson), n, seed.
    """
    rows = []
    for recipe in recipes:
        prepare = cache(partial(inputs, manifest, recipe, config.seed))  # once for all folds
        for way, seed in product(("image", "patient"), range(config.seed, config.seed + n_seeds)):
            judged = config.but(split_by=way, seed=seed)
            table = cross_validate_recipe(recipe, manifest, judged, prepare)
            rows.append((recipe.name, way, *accuracy(table), seed))
    columns = ["recipe", "folds", "accuracy", "low", "high", "n", "seed"]
    return pd.DataFrame(rows, columns=columns)


def accuracy(predictions: pd.DataFrame) -> tuple[float, float, float, int]:
    """Return the share of right predictions, its 95 % Wilson interval, and n."""
    right, n = int((predictions.label == predictions.prediction).sum()), len(predictions)
    return right / n, *wilson_interval(right, n), n


def probabilities(predictions: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities (N, 3) and label ids (N,) of a table of predictions."""
    labels = predictions.label.map(CLASS_NAMES.index).to_numpy()
    return predictions[list(CLASS_NAMES)].to_numpy(float), labels


def main(arguments=None) -> None:
    """Judge every recipe and write `folds` and `ablation` of a profile.

    Where there is a GPU, all of block 5 is fine-tuned too.
    """
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--profile", default="quick")
    name = parser.parse_args(arguments).profile
    config = profile(name)
    manifest = datasets.load(config)
    command = f"python -m xraylib.stacks --profile {name}"
    recipes = RECIPES + ((WHOLE,) if tf.config.list_physical_devices("GPU") else ())
    results.save(folds_table(recipes, manifest, config), name, "folds", command)
    results.save(folds_table(ABLATION, manifest, config), name, "ablation", command)


if __name__ == "__main__":
    main()
