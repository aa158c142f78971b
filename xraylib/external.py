"""A classifier for hospitals that it has never seen: lungs cropped, every source alike.

Frozen VGG16 up to block 4, its maps averaged over what the view shows, and one affine layer on top,
see `discriminant`.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import keras
import numpy as np
import pandas as pd
from keras import layers, ops

from xraylib import calibration, classifier, datasets, features, files, sources
from xraylib.config import CLASS_NAMES, IMAGE_SIZE, home
from xraylib.discriminant import LOGITS, Head, fit_mean_head, unseen_logits
from xraylib.precision import fast_policy, fastest_precision
from xraylib.preprocessing import Preprocessing

HEAD, RECIPE = "head.npz", "recipe.json"  # in a model's folder
SMALLEST = 1e-6  # added before the square root, whose slope at 0 has no bound


@dataclass(frozen=True)
class Recipe:
    """What the classifier sees and how its head is fitted.

    Attributes:
        view: of every image, without chance.
        varied_views: randomly varied views of each training image beside the plain one.
        taps: VGG16's layers whose maps are averaged over all that is not masked.
        shrinkage: 0 to 1, of the covariance within classes towards a multiple of the identity.
        nuisance: weight of the differences between the sites of a class, as further noise.
        removed: leading principal components to which each of the averaged heads is blind.
        seed: of the varied views.
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
        """Return what `discriminant.fit_mean_head` takes beside the views and the manifest."""
        return self.shrinkage, self.nuisance, self.removed

    @property
    def training_views(self) -> list[tuple[Preprocessing, int]]:
        """Return each view that a training image is shown in, with its seed."""
        varied = Preprocessing(**asdict(self.view) | {"transform": "scanner"})
        return [(self.view, 0)] + [(varied, self.seed + k) for k in range(self.varied_views)]


def pooled_views(manifest: pd.DataFrame, recipe: Recipe) -> list[np.ndarray]:
    """Return for each training view the square-rooted means of the maps over what is not masked.

    Args:
        manifest: N rows with masks.
        recipe: its views and taps.

    Returns:
        float32 arrays (N, D), the plain view first.
    """
    arrays = []
    for view, seed in recipe.training_views:
        maps = features.extract(manifest, view, "vgg16", seed, taps=recipe.taps)
        arrays.append(np.sqrt(_lung_means(maps, _coverage(manifest, view, seed)) + SMALLEST))
    return arrays


def build_model(head: Head, taps: tuple[str, ...]) -> keras.Model:
    """Build the whole classifier as one flat model, so that its maps can be asked for.

    Args:
        head: fitted.
        taps: of its recipe.

    Returns:
        a model from views (B, 224, 224, 1), 0 where masked, to logits (B, 3) before the
        temperature.
    """
    with fast_policy():
        base = classifier.build_base("vgg16")
        maps = features.averaged_taps(base, taps)
    shown = ops.average_pool(ops.cast(base.input > 0, "float32"), IMAGE_SIZE // features.SIDE)
    share = shown / (ops.sum(shown, axis=(1, 2), keepdims=True) + SMALLEST)
    means = [ops.sum(ops.cast(x, "float32") * share, axis=(1, 2)) for x in maps]
    pooled = ops.sqrt(ops.concatenate(means, axis=-1) + SMALLEST)
    dense = layers.Dense(len(CLASS_NAMES), name="logits", dtype="float32")
    model = keras.Model(base.input, dense(pooled), name="external_vgg16")
    dense.set_weights([head.weights, head.bias])
    return model


def find_model(name: str, recipe: Recipe | None = None) -> Path:
    """Return the folder of a profile's classifier, fitting it where the data are at hand.

    Args:
        name: of a profile; `quick` is fitted on phantoms, the others on all real sources.
        recipe: of the classifier.

    Raises:
        FileNotFoundError: none is kept, and the data to fit one on are missing.
    """
    recipe = recipe or Recipe()
    data = "phantoms" if name == "quick" else "real"
    try:
        manifest = sources.manifest_with_masks(name)
    except OSError as error:  # nothing there, or it could not be downloaded
        kept = sorted(home("models").glob(f"external-{data}-*/{HEAD}"))
        kept = [p.parent for p in kept if (p.parent / RECIPE).read_text() == recipe.to_json()]
        if kept:
            return kept[-1]
        raise FileNotFoundError(
            f"no classifier for other hospitals in {home('models')}, and nothing to fit one on: "
            f"{error}"
        ) from error
    folder = home("models") / f"external-{data}-{_key(manifest, recipe)}"
    with files.locked(folder):
        if not (folder / HEAD).is_file():
            folder.mkdir(exist_ok=True)
            files.write_text(folder / RECIPE, recipe.to_json())
            _save(fit(manifest, recipe), folder / HEAD)
    return folder


def fit(manifest: pd.DataFrame, recipe: Recipe) -> Head:
    """Fit the head on all sources; its temperature is that of hospitals left out in turn."""
    views = pooled_views(manifest, recipe)
    unseen = unseen_logits(views, manifest, *recipe.noise)
    temperature = calibration.fit_temperature(unseen[LOGITS].to_numpy(), datasets.label_ids(unseen))
    head = fit_mean_head(views, manifest, *recipe.noise)
    return Head(head.weights, head.bias, temperature)


def load_head(folder) -> Head:
    """Return the head kept in a model's folder; nothing in the file can run."""
    with np.load(Path(folder) / HEAD, allow_pickle=False) as kept:
        return Head(kept["weights"], kept["bias"], float(kept["temperature"]))


def load_recipe(folder) -> Recipe:
    """Return the recipe of a model's folder."""
    kept = json.loads((Path(folder) / RECIPE).read_text())
    view = Preprocessing(**kept.pop("view"))
    lists = {name: tuple(kept[name]) for name in ("taps", "removed")}
    return Recipe(**kept | lists | {"view": view})


def _save(head: Head, path: Path) -> None:
    with files.whole_file(path) as part:
        np.savez(part, weights=head.weights, bias=head.bias, temperature=head.temperature)


def _key(manifest: pd.DataFrame, recipe: Recipe) -> str:
    digest = hashlib.sha256(recipe.to_json().encode())
    for view, seed in recipe.training_views:
        settings = (view, "vgg16", seed, fastest_precision(), recipe.taps)
        digest.update(features.content_key(manifest, *settings).encode())
    digest.update(manifest[["label", "source", "site"]].to_csv(index=False).encode())
    return digest.hexdigest()[:16]


def _coverage(manifest: pd.DataFrame, view: Preprocessing, seed: int) -> np.ndarray:
    """Return the share of each cell that is not masked, float32 (N, 7, 7)."""
    side, shares = features.SIDE, []
    for i, row in enumerate(manifest.itertuples()):
        shown = features.load_view(row, view, features.view_rng(seed, i)) > 0
        cells = shown.reshape(side, view.size // side, side, view.size // side)
        shares.append(cells.mean(axis=(1, 3), dtype=np.float32))
    return np.stack(shares)


def _lung_means(maps: np.ndarray, coverage: np.ndarray) -> np.ndarray:
    """Average maps (N, 7, 7, C) over cells weighted by their coverage, float32 (N, C)."""
    share = coverage / (coverage.sum(axis=(1, 2), keepdims=True) + SMALLEST)
    return np.stack(
        [np.einsum("hwc,hw->c", m.astype(np.float32), s) for m, s in zip(maps, share, strict=True)]
    )
