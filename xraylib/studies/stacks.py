"""Better stacks on the frozen VGG16: recipes, fitted and judged in folds.

The tables of all recipes take too long for a chapter: `make measure` keeps them for the book.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from itertools import product

import numpy as np
import pandas as pd
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.svm import SVC

from xraylib import data, experiments, files, metrics, network
from xraylib.config import CLASS_NAMES, RunConfig, home
from xraylib.images import Preprocessing

TAPS = tuple(f"block{number}_pool" for number in range(1, 6))  # one for each block of VGG16
CHANNELS = (64, 128, 256, 512, 512)
ORIGINAL = Preprocessing()
ALL_VIEWS = (ORIGINAL, Preprocessing(equalise="clahe"), Preprocessing(equalise="global"))
FOLD_SEEDS = 3  # fold seeds that a recipe is reported on: the configuration's, and the next ones
FAINT = 1e-6  # added before a logarithm


@dataclass(frozen=True)
class Recipe:
    """One way from frozen features to probabilities.

    Attributes:
        name: in the tables.
        kind: `report_head` (as trained in section 3.4), `svm` or `logistic`.
        views: views of an image, side by side.
        blocks: blocks of VGG16 whose features are pooled, 1 to 5.
        pooling: statistics over the 7 x 7 cells of a channel, of `mean`, `max`, `std`; or
            `("maps",)`: no pooling, all cells side by side.
        root: take the square root first, which tames the few very large activations.
        standardise: each feature to mean 0 and variance 1; else each image to length 1.
        kernel: the kernel of the SVM, `linear` or `rbf` (its width is gamma / number of features).
        gamma: see `kernel`.
        strength: C of the SVM and of the logistic regression: larger fits closer.
    """

    name: str
    kind: str
    views: tuple[Preprocessing, ...] = (ORIGINAL,)
    blocks: tuple[int, ...] = (2, 3, 4, 5)
    pooling: tuple[str, ...] = ("mean", "max", "std")
    root: bool = True
    standardise: bool = True
    kernel: str = "rbf"
    gamma: float = 0.3
    strength: float = 3.0

    def but(self, **changes) -> "Recipe":
        """Return a copy with some settings changed."""
        return replace(self, **changes)


HEAD = Recipe("the report's head", "report_head", views=())
LINEAR = Recipe(
    "linear SVM on the maps of blocks 4 and 5",
    "svm",
    blocks=(4, 5),
    pooling=("maps",),
    standardise=False,
    kernel="linear",
)
LOGISTIC = Recipe("logistic regression on pooled features", "logistic", strength=0.001)
SVM = Recipe("SVM on pooled features", "svm")
SVM_VIEWS = SVM.but(name="SVM on pooled features of three views", views=ALL_VIEWS)
RECIPES = (HEAD, LINEAR, LOGISTIC, SVM, SVM_VIEWS)

MEANS = SVM.but(name="SVM on the means of block 5", blocks=(5,), pooling=("mean",), root=False)
ABLATION = (  # each adds one step to the one before it
    MEANS,
    MEANS.but(name="+ square root", root=True),
    SVM.but(name="+ maxima and spreads", blocks=(5,)),
    SVM.but(name="+ blocks 2 to 4"),
    SVM.but(name="+ locally equalised view", views=ALL_VIEWS[:2]),
    SVM.but(name="+ equalised view", views=ALL_VIEWS),
)


def recipe_features(manifest: pd.DataFrame, recipe: Recipe) -> np.ndarray:
    """Return what a recipe is fitted and judged on, its views side by side, float32 (N, D)."""
    maps = (network.extract_features(manifest, view, "vgg16", taps=TAPS) for view in recipe.views)
    return np.concatenate([pool_blocks(of_view, recipe) for of_view in maps], axis=1)


def pool_blocks(maps: np.ndarray, recipe: Recipe) -> np.ndarray:
    """Return statistics of each channel over the cells of feature maps, as a recipe wants them.

    The maps are float (N, 7, 7, 1472), the five blocks side by side; the statistics float32 (N, D).
    """
    ends = np.cumsum(CHANNELS)
    parts = []
    for block in recipe.blocks:
        cells = np.asarray(maps[..., ends[block - 1] - CHANNELS[block - 1] : ends[block - 1]])
        cells = cells.astype(np.float32).reshape(len(cells), -1, cells.shape[-1])
        cells = np.sqrt(cells) if recipe.root else cells
        if recipe.pooling == ("maps",):
            parts.append(cells.reshape(len(cells), -1))
        else:
            parts += [getattr(cells, statistic)(axis=1) for statistic in recipe.pooling]
    return np.concatenate(parts, axis=1)


def fit_recipe(pooled: np.ndarray, labels, recipe: Recipe):
    """Fit a recipe on pooled features, float (N, D), and class ids, int (N,), of training images.

    Returns a model whose `predict_proba` takes pooled features (M, D) and gives probabilities (M,
    3). A `ValueError` says that there is no such kind of model.
    """
    labels = np.asarray(labels)
    scale = StandardScaler() if recipe.standardise else Normalizer()
    if recipe.kind == "svm":
        return KernelSVM(scale, recipe).fit(pooled, labels)
    if recipe.kind == "logistic":
        logistic = LogisticRegression(C=recipe.strength, max_iter=2000)
        return make_pipeline(scale, logistic).fit(pooled, labels)
    raise ValueError(f"no kind {recipe.kind!r}: choose svm or logistic")


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
    recipe: Recipe,
    manifest: pd.DataFrame,
    config: RunConfig,
    features: Callable[[], np.ndarray] | None = None,
) -> pd.DataFrame:
    """Judge a recipe in folds, or load what an earlier run of the same left.

    Args:
        config: `folds`, `split_by`, `seed`; for the report's head all of its settings.
        features: the features of the manifest, where the caller has them already; they are asked
            for only if the result is not kept yet.

    Returns:
        predictions as of `experiments.cross_validate`, with the column `fold` from 0.
    """
    if recipe.kind == "report_head":
        return experiments.cross_validate(experiments.EXPERIMENTS[1], manifest, config.for_folds())
    parts = data.split_folds(manifest, config)
    target = home("recipes") / f"{_recipe_key(recipe, manifest, parts)}.csv"
    with files.locked(target):
        if not target.exists():
            pooled = features() if features else recipe_features(manifest, recipe)
            tables = [
                judge_fold(recipe, part, pooled).assign(fold=number)
                for number, part in enumerate(parts)
            ]
            with files.whole_file(target) as part:
                pd.concat(tables, ignore_index=True).to_csv(part, index=False)
    text = {"path": str, "patient_id": str, "source": str}
    return pd.read_csv(target, dtype=text, keep_default_na=False)


def judge_fold(recipe: Recipe, part: pd.DataFrame, pooled: np.ndarray) -> pd.DataFrame:
    """Fit a recipe on a fold's `train` images; return the predictions for its `test` images."""
    train, test = (np.flatnonzero(part.split == side) for side in ("train", "test"))
    model = fit_recipe(pooled[train], data.label_ids(part)[train], recipe)
    probs = model.predict_proba(pooled[test])
    return metrics.predictions_table(part.iloc[test], np.log(probs + FAINT))


def _recipe_key(recipe: Recipe, manifest: pd.DataFrame, parts: list) -> str:
    """Return a name that changes with all that decides a recipe's predictions."""
    precision = network.fastest_precision()
    content = {
        "recipe": asdict(recipe.but(name="")),
        "images": [
            network.content_key(
                manifest, network.FeatureSettings(view, "vgg16", 0, precision, TAPS)
            )
            for view in recipe.views
        ],
        "rows": manifest[["path", "label", "patient_id"]].to_numpy().tolist(),
        "folds": [part.split.tolist() for part in parts],
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return f"recipe-{digest[:16]}"


def folds_table(
    recipes, manifest: pd.DataFrame, config: RunConfig, n_seeds: int = FOLD_SEEDS
) -> pd.DataFrame:
    """Return the accuracy of recipes in image-level and patient-level folds.

    Args:
        recipes: sequence of `Recipe`.
        config: `folds` and the first fold seed.
        n_seeds: fold seeds, counted up from the configuration's.

    Returns:
        recipe, folds (`image` or `patient`), accuracy, low, high (95 % Wilson), n, seed.
    """
    rows = []
    for recipe in recipes:
        features = cache(partial(recipe_features, manifest, recipe))  # once for all folds
        for way, seed in product(("image", "patient"), range(config.seed, config.seed + n_seeds)):
            folds = config.but(split_by=way, seed=seed)
            table = cross_validate_recipe(recipe, manifest, folds, features)
            rows.append((recipe.name, way, *accuracy_row(table), seed))
    columns = ["recipe", "folds", "accuracy", "low", "high", "n", "seed"]
    return pd.DataFrame(rows, columns=columns)


def accuracy_row(predictions: pd.DataFrame) -> tuple[float, float, float, int]:
    """Return the share of right predictions, its 95 % Wilson interval, and n."""
    right, n = int((predictions.label == predictions.prediction).sum()), len(predictions)
    return right / n, *metrics.wilson_interval(right, n), n


def probabilities(predictions: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities (N, 3) and label ids (N,) of a table of predictions."""
    labels = predictions.label.map(CLASS_NAMES.index).to_numpy()
    return predictions[list(CLASS_NAMES)].to_numpy(float), labels
