"""A classifier for hospitals that it has never seen: lungs cropped, every source alike.

Frozen VGG16 up to block 4, its maps averaged over what the view shows, and one affine layer on top:
a linear discriminant for which the differences between hospitals count as noise. `CANDIDATES` are
judged on hospitals left out; the table takes too long for a chapter, `make measure` keeps it.
"""

import hashlib
import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

import cv2
import keras
import numpy as np
import pandas as pd
from keras import layers, ops
from scipy.linalg import eigh

from xraylib import data, files, metrics, network
from xraylib.config import CLASS_NAMES, IMAGE_SIZE, RunConfig, home
from xraylib.images import Preprocessing
from xraylib.studies.hospitals import (
    SHORTCUT_VIEWS,
    cell_weights,
    leave_one_out,
    manifest_with_masks,
)

LOGITS = [f"logit {name}" for name in CLASS_NAMES]  # columns of tables


@dataclass(frozen=True)
class LinearHead:
    """The affine layer: logits = pooled features @ weights + bias; probs by the temperature.

    Attributes:
        weights: float32 (D, 3).
        bias: float32 (3,).
        temperature: see `metrics.temperature_scale`.
    """

    weights: np.ndarray
    bias: np.ndarray
    temperature: float = 1.0

    def logits(self, pooled: np.ndarray) -> np.ndarray:
        return pooled @ self.weights + self.bias


def fit_linear_head(
    views: list[np.ndarray],
    manifest: pd.DataFrame,
    shrinkage: float,
    nuisance: float,
    removed: int = 0,
) -> LinearHead:
    """Fit a linear discriminant in which hospitals count as noise.

    Classes weigh alike, and so do the sources of a class. To the covariance within the classes,
    shrunk, comes `nuisance` times the covariance of the means of each class's sites: a direction
    in which the hospitals of a class differ is one to distrust. Where a class comes from one
    source only, that difference cannot be seen, but it is large: so the directions in which all
    images vary most are not looked at.

    Args:
        views: float32 (N, D) each, of the same N images.
        manifest: the N rows, with site.
        shrinkage: 0 to 1, of the covariance towards a multiple of the identity.
        nuisance: weight of the differences between sites.
        removed: leading principal components of all images that the head is blind to, below D.

    Returns:
        the head, at temperature 1. Mu and Viswanath, "All-but-the-top" (2018), for the removal.
    """
    x = np.concatenate(views).astype(np.float32)
    weight = np.tile(cell_weights(manifest), len(views))
    weight = (weight / weight.sum()).astype(np.float32)
    centre = weight @ x
    spread = np.sqrt(weight @ (x - centre) ** 2) + 1e-6
    x = _without_leading((x - centre) / spread, weight, removed)
    labels = np.tile(data.label_ids(manifest), len(views))
    sites = np.tile(manifest.site.to_numpy(), len(views))
    means = np.stack([np.average(x[labels == i], 0, weight[labels == i]) for i in range(3)])
    noise = _noise(x, labels, sites, weight, shrinkage, nuisance)
    weights = np.linalg.solve(noise, means.T.astype(np.float64))
    bias = -0.5 * np.einsum("cd,dc->c", means, weights)
    weights = weights / spread[:, None]
    return LinearHead(weights.astype(np.float32), (bias - centre @ weights).astype(np.float32))


def fit_mean_head(
    views: list[np.ndarray], manifest: pd.DataFrame, shrinkage: float, nuisance: float, removed
) -> LinearHead:
    """Average heads that are blind to more or to less, their logits spread alike.

    The one that sees everything knows the hospitals of its training, and calls what it does not
    know COVID-19, the class of most hospitals. The blind one does so less, and knows less.

    Args:
        views, manifest, shrinkage, nuisance: as in `fit_linear_head`.
        removed: sequence of int, one a head, see `fit_linear_head`.

    Returns:
        the mean of the heads, at temperature 1.
    """
    heads = [fit_linear_head(views, manifest, shrinkage, nuisance, number) for number in removed]
    spreads = [head.logits(views[0]).std() for head in heads]
    weights = [head.weights / spread for head, spread in zip(heads, spreads, strict=True)]
    biases = [head.bias / spread for head, spread in zip(heads, spreads, strict=True)]
    return LinearHead(np.mean(weights, axis=0), np.mean(biases, axis=0))


def _without_leading(x, weight, removed: int) -> np.ndarray:
    """Return centred x (N, D) without its leading principal components; rows count by weight."""
    if removed == 0:
        return x
    last = x.shape[1] - 1
    covariance = ((x * weight[:, None]).T @ x).astype(np.float64)
    _, leading = eigh(covariance, subset_by_index=(last - removed + 1, last))
    leading = leading.astype(np.float32)
    return x - (x @ leading) @ leading.T


def _noise(x, labels, sites, weight, shrinkage: float, nuisance: float) -> np.ndarray:
    """Return the covariance (D, D) that the discriminant divides by."""
    within = np.zeros((x.shape[1],) * 2)
    between = np.zeros_like(within)
    for label in np.unique(labels):
        means = []
        for site in np.unique(sites[labels == label]):
            rows = (labels == label) & (sites == site)
            means.append(x[rows].mean(axis=0))
            offset = x[rows] - means[-1]
            within += offset.T @ (offset * weight[rows][:, None])
        offset = np.stack(means) - np.mean(means, axis=0)
        between += offset.T @ offset / len(means)
    identity = np.eye(len(within)) * np.trace(within) / len(within)
    shrunk = (1 - shrinkage) * within + shrinkage * identity
    return shrunk + nuisance * between


def unseen_logits(views, manifest, shrinkage: float, nuisance: float, removed=(0,)) -> pd.DataFrame:
    """Return logits for each image from heads that saw no image of its hospital.

    Args:
        views, manifest, shrinkage, nuisance, removed: as in `fit_mean_head`.

    Returns:
        one row per tested image and fold: the manifest's columns, left_out, and `LOGITS`.
    """

    def judge(train, test) -> np.ndarray:
        shown = [view[train] for view in views]
        head = fit_mean_head(shown, manifest.iloc[train], shrinkage, nuisance, removed)
        return head.logits(views[0][test])

    return judge_unseen(manifest, judge)


def judge_unseen(manifest: pd.DataFrame, judge) -> pd.DataFrame:
    """Leave hospitals out in turn, and gather what a classifier makes of them.

    Args:
        manifest: N rows, with site.
        judge: fits on the rows `train` and returns logits (M, 3) of the rows `test`, both int.

    Returns:
        as `unseen_logits`.
    """
    parts = []
    for left_out, fold in leave_one_out(manifest):
        train, test = (np.flatnonzero(fold.split == name) for name in ("train", "test"))
        part = manifest.iloc[test].assign(left_out=left_out)
        part[LOGITS] = judge(train, test)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


HEAD_FILE, RECIPE_FILE = "head.npz", "recipe.json"  # in a model's folder
SMALLEST = 1e-6  # added before the square root, whose slope at 0 has no bound


def vary(image: np.ndarray, mask: np.ndarray, rng: np.random.Generator):
    """Take a radiograph anew at random: posture, exposure, sharpness, noise, JPEG.

    Args:
        image: uint8 (H, W).
        mask: bool (H, W), the lungs; it moves with the image.
        rng: the source of chance.

    Returns:
        the image and the mask, of the same shapes.
    """
    image, mask = _move_both(image, mask, rng)
    grey = (image / np.float32(255)) ** np.float32(np.exp(rng.uniform(-0.5, 0.5)))
    grey = (grey - 0.5) * rng.uniform(0.7, 1.3) + 0.5 + rng.uniform(-0.1, 0.1)
    width = rng.uniform(0, 1.2) * max(image.shape) / IMAGE_SIZE
    grey = cv2.GaussianBlur(grey, (0, 0), max(width, 0.1))
    grey += rng.normal(0, rng.uniform(0, 0.03), grey.shape)
    image = (255 * np.clip(grey, 0, 1)).astype(np.uint8)
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 95))]
    return cv2.imdecode(cv2.imencode(".jpg", image, quality)[1], cv2.IMREAD_GRAYSCALE), mask


def _move_both(image, mask, rng):
    """Turn, zoom, shift and mirror image and mask alike."""
    height, width = image.shape
    turn = rng.uniform(-7, 7), rng.uniform(0.9, 1.1)
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), *turn)
    matrix[:, 2] += rng.uniform(-0.05, 0.05, size=2) * (width, height)
    size, edge = (width, height), cv2.BORDER_REFLECT
    image = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=edge)
    moved = cv2.warpAffine(mask.astype(np.uint8), matrix, size, flags=cv2.INTER_NEAREST) > 0
    mask = moved if moved.any() else mask
    return (image[:, ::-1].copy(), mask[:, ::-1].copy()) if rng.random() < 0.5 else (image, mask)


@dataclass(frozen=True)
class VariedView(Preprocessing):
    """A view of a radiograph that is taken anew at random each time, see `vary`."""

    transform: str = "scanner"

    TRANSFORMS: ClassVar = ("none", "scanner")

    @property
    def needs_mask(self) -> bool:
        return True

    def apply(self, image, mask=None, rng: np.random.Generator | None = None) -> np.ndarray:
        """Make the view as `Preprocessing.apply` does, of the image as `vary` changes it."""
        if rng is None or mask is None:
            raise ValueError("a varied view needs a lung mask, and rng, the source of chance")
        return super().apply(*vary(image, mask, rng), rng)


@dataclass(frozen=True)
class HospitalRecipe:
    """What the classifier sees and how its head is fitted.

    Attributes:
        view: the view of every image, without chance.
        varied_views: randomly varied views of each training image beside the plain one.
        taps: VGG16's layers whose maps are averaged over all that is not masked.
        shrinkage: 0 to 1, of the covariance within classes towards a multiple of the identity.
        nuisance: weight of the differences between the sites of a class, as further noise.
        removed: leading principal components to which each of the averaged heads is blind.
        seed: seeds the varied views.
    """

    view: Preprocessing = Preprocessing(equalise="bands", crop=True)
    varied_views: int = 2
    taps: tuple[str, ...] = ("block4_pool",)
    shrinkage: float = 0.5
    nuisance: float = 3.0
    removed: tuple[int, ...] = (0, 8)
    seed: int = 19910806

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @property
    def noise(self) -> tuple[float, float, tuple[int, ...]]:
        """Return what `studies.fit_mean_head` takes beside the views and the manifest."""
        return self.shrinkage, self.nuisance, self.removed

    @property
    def training_views(self) -> list[tuple[Preprocessing, int]]:
        """Return each view that a training image is shown in, with its seed."""
        varied = VariedView(**asdict(self.view) | {"transform": "scanner"})
        return [(self.view, 0)] + [(varied, self.seed + k) for k in range(self.varied_views)]


def pooled_views(manifest: pd.DataFrame, recipe: HospitalRecipe) -> list[np.ndarray]:
    """Return for each training view the square-rooted means of the maps over what is not masked.

    Args:
        manifest: N rows with masks.
        recipe: its views and taps.

    Returns:
        float32 arrays (N, D), the plain view first.
    """
    arrays = []
    for view, seed in recipe.training_views:
        maps = network.extract_features(manifest, view, "vgg16", seed, taps=recipe.taps)
        arrays.append(np.sqrt(_lung_means(maps, _coverage(manifest, view, seed)) + SMALLEST))
    return arrays


def build_external_model(head: LinearHead, taps: tuple[str, ...]) -> keras.Model:
    """Build the whole classifier as one flat model, so that its maps can be asked for.

    Args:
        head: fitted.
        taps: the taps of its recipe.

    Returns:
        a model from views (B, 224, 224, 1), 0 where masked, to logits (B, 3) before the
        temperature.
    """
    with network.fast_policy():
        base = network.build_base("vgg16")
        maps = network.averaged_taps(base, taps)
    shown = ops.average_pool(ops.cast(base.input > 0, "float32"), IMAGE_SIZE // network.SIDE)
    share = shown / (ops.sum(shown, axis=(1, 2), keepdims=True) + SMALLEST)
    means = [ops.sum(ops.cast(x, "float32") * share, axis=(1, 2)) for x in maps]
    pooled = ops.sqrt(ops.concatenate(means, axis=-1) + SMALLEST)
    dense = layers.Dense(len(CLASS_NAMES), name="logits", dtype="float32")
    model = keras.Model(base.input, dense(pooled), name="external_vgg16")
    dense.set_weights([head.weights, head.bias])
    return model


def find_model(name: str, recipe: HospitalRecipe | None = None) -> Path:
    """Return the folder of a profile's classifier, fitting it where the data are at hand.

    Args:
        name: the name of a profile; `quick` is fitted on phantoms, the others on all real sources.
        recipe: the recipe of the classifier.

    Raises:
        FileNotFoundError: none is kept, and the data to fit one on are missing.
    """
    recipe = recipe or HospitalRecipe()
    data = "phantoms" if name == "quick" else "real"
    try:
        manifest = manifest_with_masks(name)
    except OSError as error:  # nothing there, or it could not be downloaded
        kept = sorted(home("models").glob(f"external-{data}-*/{HEAD_FILE}"))
        kept = [p.parent for p in kept if (p.parent / RECIPE_FILE).read_text() == recipe.to_json()]
        if kept:
            return kept[-1]
        raise FileNotFoundError(
            f"no classifier for other hospitals in {home('models')}, and nothing to fit one on: "
            f"{error}"
        ) from error
    folder = home("models") / f"external-{data}-{_external_key(manifest, recipe)}"
    with files.locked(folder):
        if not (folder / HEAD_FILE).is_file():
            folder.mkdir(exist_ok=True)
            files.write_text(folder / RECIPE_FILE, recipe.to_json())
            _save(fit_external(manifest, recipe), folder / HEAD_FILE)
    return folder


def fit_external(manifest: pd.DataFrame, recipe: HospitalRecipe) -> LinearHead:
    """Fit the head on all sources; its temperature is that of hospitals left out in turn."""
    views = pooled_views(manifest, recipe)
    unseen = unseen_logits(views, manifest, *recipe.noise)
    temperature = metrics.fit_temperature(unseen[LOGITS].to_numpy(), data.label_ids(unseen))
    head = fit_mean_head(views, manifest, *recipe.noise)
    return LinearHead(head.weights, head.bias, temperature)


def load_head(folder) -> LinearHead:
    """Return the head kept in a model's folder; nothing in the file can run."""
    with np.load(Path(folder) / HEAD_FILE, allow_pickle=False) as kept:
        return LinearHead(kept["weights"], kept["bias"], float(kept["temperature"]))


def load_recipe(folder) -> HospitalRecipe:
    """Return the recipe of a model's folder."""
    kept = json.loads((Path(folder) / RECIPE_FILE).read_text())
    view = Preprocessing(**kept.pop("view"))
    lists = {name: tuple(kept[name]) for name in ("taps", "removed")}
    return HospitalRecipe(**kept | lists | {"view": view})


def _save(head: LinearHead, path: Path) -> None:
    with files.whole_file(path) as part:
        np.savez(part, weights=head.weights, bias=head.bias, temperature=head.temperature)


def _external_key(manifest: pd.DataFrame, recipe: HospitalRecipe) -> str:
    digest = hashlib.sha256(recipe.to_json().encode())
    for view, seed in recipe.training_views:
        settings = network.FeatureSettings(
            view, "vgg16", seed, network.fastest_precision(), recipe.taps
        )
        digest.update(network.content_key(manifest, settings).encode())
    digest.update(manifest[["label", "source", "site"]].to_csv(index=False).encode())
    return digest.hexdigest()[:16]


def _coverage(manifest: pd.DataFrame, view: Preprocessing, seed: int) -> np.ndarray:
    """Return the share of each cell that is not masked, float32 (N, 7, 7)."""
    side, shares = network.SIDE, []
    for i, row in enumerate(manifest.itertuples()):
        shown = network.load_view(row, view, network.view_rng(seed, i)) > 0
        cells = shown.reshape(side, view.size // side, side, view.size // side)
        shares.append(cells.mean(axis=(1, 3), dtype=np.float32))
    return np.stack(shares)


def _lung_means(maps: np.ndarray, coverage: np.ndarray) -> np.ndarray:
    """Average maps (N, 7, 7, C) over cells weighted by their coverage, float32 (N, C)."""
    share = coverage / (coverage.sum(axis=(1, 2), keepdims=True) + SMALLEST)
    return np.stack(
        [np.einsum("hwc,hw->c", m.astype(np.float32), s) for m, s in zip(maps, share, strict=True)]
    )


ALL_DIRECTIONS = {"removed": (0,)}  # directions are looked at
CANDIDATES = {
    "original": HospitalRecipe(view=SHORTCUT_VIEWS["original"], varied_views=0, **ALL_DIRECTIONS),
    "lungs cropped": HospitalRecipe(
        view=SHORTCUT_VIEWS["lungs cropped"], varied_views=0, **ALL_DIRECTIONS
    ),
    "lungs cropped, varied": HospitalRecipe(
        view=SHORTCUT_VIEWS["lungs cropped"], varied_views=1, **ALL_DIRECTIONS
    ),
    "lungs alone, bands alike": HospitalRecipe(
        view=SHORTCUT_VIEWS["lungs cropped, alone, bands alike"], varied_views=0, **ALL_DIRECTIONS
    ),
    "bands alike": HospitalRecipe(varied_views=0, **ALL_DIRECTIONS),
    "bands alike, hospitals not as noise": HospitalRecipe(
        varied_views=0, nuisance=0.0, **ALL_DIRECTIONS
    ),
    "bands alike, varied": HospitalRecipe(varied_views=1, **ALL_DIRECTIONS),
    "bands alike, varied twice": HospitalRecipe(**ALL_DIRECTIONS),
    "varied twice, blind to 4": HospitalRecipe(removed=(4,)),
    "varied twice, blind to 8": HospitalRecipe(removed=(8,)),
    "varied twice, blind to 16": HospitalRecipe(removed=(16,)),
    "varied twice, mean of all and blind to 8": HospitalRecipe(),
}
REPORT = "the report's head"


def compare_candidates(manifest: pd.DataFrame, recipes: dict, config: RunConfig | None = None):
    """Judge recipes on hospitals that were left out of their training.

    Args:
        manifest: a manifest with site and masks, see `studies.manifest_with_masks`.
        recipes: name -> Recipe.
        config: the settings of the report's head, judged beside them; without, it is left out.

    Returns:
        one row per recipe and left-out source, and one for all of them: recipe, tested on, n,
        macro recall with low and high (95 %, by patient), the recall of each class, and false
        COVID-19, the share of normal lungs that are called so.
    """
    judged = {}
    for name, recipe in recipes.items():
        views = pooled_views(manifest, recipe)
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
    maps, ids = (
        network.extract_features(manifest, Preprocessing(), "report"),
        data.label_ids(manifest),
    )

    def judge(train, test) -> np.ndarray:
        views = [network.LiveMaps(maps, train)]
        with tempfile.TemporaryDirectory() as folder:
            head, _ = network.fit_head(views, ids[train], None, config, folder)
        return network.predict_logits(head, maps[test])

    return judge_unseen(manifest, judge)


def _figures(table: pd.DataFrame, seed: int = 0) -> dict:
    labels, predicted = data.label_ids(table), table[LOGITS].to_numpy().argmax(axis=1)
    matrix = metrics.confusion_matrix(labels, predicted)
    groups = table.patient_id.to_numpy()
    low, high = metrics.bootstrap_interval(_macro_recall, labels, predicted, groups, seed=seed)
    recalls = dict(zip((f"{c} recall" for c in CLASS_NAMES), metrics.recall(matrix), strict=True))
    figures = {"n": len(table), "macro recall": _macro_recall(matrix), "low": low, "high": high}
    return figures | recalls | {"false COVID-19": matrix[0, 2] / max(matrix[0].sum(), 1)}


def _macro_recall(matrix) -> float:
    return float(np.mean(metrics.recall(matrix)))
