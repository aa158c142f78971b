"""The report's block 6 with pooled features of earlier blocks beside it, better trained."""

from dataclasses import dataclass

import keras
import numpy as np
from keras import layers
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from xraylib import classifier, fine_tuning
from xraylib.config import CLASS_NAMES
from xraylib.precision import fast_policy
from xraylib.recipes import Recipe
from xraylib.upsampling import UpsampledBatches

BATCH = 64
COMPONENTS = 256  # principal components of the pooled features that are kept


@dataclass(frozen=True)
class Members:
    """Trained stacks of different seeds, and what brings pooled features into their range."""

    scale: Pipeline | None
    networks: list
    n_views: int


def build(recipe: Recipe, side: int, n_pooled: int) -> keras.Model:
    """Build block 6, its dense layer, and the pooled features beside that.

    Args:
        recipe: `width` and `dropout`.
        side: of block5's maps.
        n_pooled: scaled pooled features of an image; 0 leaves them out.

    Returns:
        a model from block5's maps (B, side, side, 512) and pooled features (B, n_pooled) to
        logits (B, 3) float32. Its layers are the report's (section 3.1) but for the pooled ones.
    """
    maps = keras.Input((side, side, 512), name="maps")
    pooled = keras.Input((n_pooled,), name="pooled")
    x = classifier.stack_block6(maps, classifier.PatchConv2D)
    x = layers.Dense(recipe.width, activation="relu", name="dense")(x)
    if n_pooled:
        beside = layers.Dropout(recipe.dropout / 2, name="dropout_pooled")(pooled)
        beside = layers.Dense(recipe.width, activation="relu", name="dense_pooled")(beside)
        x = layers.Concatenate()([x, beside])
    x = layers.Dropout(recipe.dropout, name="dropout")(x)
    logits = layers.Dense(len(CLASS_NAMES), name="logits", dtype="float32")(x)
    return keras.Model({"maps": maps, "pooled": pooled}, logits, name="block6_stack")


def fit(
    found: dict, labels, recipe: Recipe, seed: int = 0, validation=None, callbacks=()
) -> Members:
    """Train the stacks of a recipe.

    Args:
        found: `maps` float16 (N, V, S, S, 512), views and random views, one of which is drawn
            each time that an image comes; `pooled` float32 (N, D).
        labels: int (N,), ids.
        recipe: how to train, and how many members.
        seed: the first member's.
        validation: (inputs, labels) looked at after every epoch, in their first view, or None.
        callbacks: of Keras, for every member; they are told `val_nll` and `val_accuracy`.

    Returns:
        the trained stacks.
    """
    scale, pooled = None, found["pooled"]
    if pooled.shape[1]:
        scale = _scaler(pooled.shape, seed).fit(pooled)
        pooled = scale.transform(pooled)
    if validation is not None:
        validation = _first_view(*validation, scale)
    networks = []
    for number in range(recipe.members):
        batches = MixedBatches(found["maps"], pooled, labels, recipe, seed + 1000 * number)
        networks.append(_train(batches, recipe, validation, callbacks))
    return Members(scale, networks, len(recipe.views))


def predict_probs(model: Members, found: dict) -> np.ndarray:
    """Return probabilities float64 (N, 3), averaged over members and still views.

    Args:
        model: of `fit`.
        found: inputs of N images as in `fit`; random views are left out.
    """
    pooled = model.scale.transform(found["pooled"]) if model.scale else found["pooled"]
    judged = [
        classifier.softmax(_logits(network, found["maps"][:, view], pooled))
        for network in model.networks
        for view in range(model.n_views)
    ]
    return np.mean(judged, axis=0, dtype=float)


class MixedBatches(keras.utils.PyDataset):
    """Batches of maps and pooled features, each image mixed with another one of its batch.

    Zhang et al., "mixup: Beyond Empirical Risk Minimization" (2018).
    """

    def __init__(self, maps, pooled, labels, recipe: Recipe, seed: int):
        super().__init__()
        self.maps, self.pooled, self.alpha, self.seed = maps, pooled, recipe.mixup, seed
        places = np.arange(maps.shape[0] * maps.shape[1]).reshape(maps.shape[:2])
        self.dealt = UpsampledBatches(places.T, labels, BATCH, recipe.upsampling_rate, seed)

    def __len__(self) -> int:
        return len(self.dealt)

    def __getitem__(self, index: int):
        """Return a batch: maps and pooled features float32, targets float32 (B, 3)."""
        places, targets = self.dealt[index]
        rows, views = np.divmod(places, self.maps.shape[1])
        batch = self.maps[rows, views].astype(np.float32), self.pooled[rows], targets
        if self.alpha:
            rng = np.random.default_rng([self.seed, self.dealt.epoch, index])
            partners = rng.permutation(len(rows))
            share = rng.beta(self.alpha, self.alpha, len(rows)).astype(np.float32)
            batch = [_mix(array, array[partners], share) for array in batch]
        return {"maps": batch[0], "pooled": batch[1]}, batch[2]

    def on_epoch_end(self):
        self.dealt.on_epoch_end()

    def let_go(self):
        """Drop the arrays: TensorFlow keeps every generator that it has ever read from."""
        self.maps = self.pooled = self.dealt = None


def _mix(ours, theirs, share: np.ndarray) -> np.ndarray:
    share = share.reshape(-1, *[1] * (ours.ndim - 1))
    return share * ours + (1 - share) * theirs


def _scaler(shape: tuple[int, int], seed: int) -> Pipeline:
    """Standardise, then keep principal components, all on one scale."""
    n = min(COMPONENTS, *shape)
    components = PCA(n, svd_solver="randomized", iterated_power=2, random_state=seed % 2**32)
    return make_pipeline(StandardScaler(), components, UnitSpread())


class UnitSpread(TransformerMixin, BaseEstimator):
    """Divide all features by one number, so that their mean square is 1."""

    def fit(self, values, labels=None):
        self.spread_ = float(np.sqrt(np.square(values).mean()))
        return self

    def transform(self, values) -> np.ndarray:
        return (values / self.spread_).astype(np.float32)


def _train(batches: MixedBatches, recipe: Recipe, validation, callbacks) -> keras.Model:
    keras.utils.set_random_seed(batches.seed % 2**32)
    with fast_policy():
        make = fine_tuning.build if recipe.kind == "fine_tuned" else build
        network = make(recipe, batches.maps.shape[2], batches.pooled.shape[1])
    steps = recipe.epochs * len(batches)
    rate = keras.optimizers.schedules.CosineDecay(recipe.learning_rate, steps)
    network.compile(
        keras.optimizers.AdamW(rate, weight_decay=recipe.weight_decay),
        keras.losses.CategoricalCrossentropy(True, recipe.smoothing),
        metrics=["accuracy", keras.metrics.CategoricalCrossentropy("nll", from_logits=True)],
    )
    network.fit(
        batches,
        epochs=recipe.epochs,
        validation_data=validation,
        callbacks=[*callbacks],
        shuffle=False,  # the batches are dealt by seed and epoch
        verbose=0,
    )
    batches.let_go()
    return network


def _first_view(found: dict, labels, scale: Pipeline | None) -> tuple[dict, np.ndarray]:
    pooled = scale.transform(found["pooled"]) if scale else found["pooled"]
    maps = found["maps"][:, 0].astype(np.float32)
    return {"maps": maps, "pooled": pooled}, np.eye(len(CLASS_NAMES))[labels]


def _logits(network: keras.Model, maps, pooled, batch_size: int = 256) -> np.ndarray:
    starts = range(0, len(maps), batch_size)
    parts = [slice(start, start + batch_size) for start in starts]
    return np.concatenate(
        [
            network({"maps": maps[p].astype(np.float32), "pooled": pooled[p]}, training=False)
            for p in parts
        ]
    )
