"""Training the head on frozen features: the report's Table 3, resumable."""

import time
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from xraylib import classifier, features
from xraylib.config import CLASS_NAMES, RunConfig
from xraylib.upsampling import UpsampledBatches

LIVE = 6  # the rows and columns of the features that reach the head, see `build_head`
SAVE_EVERY = 20  # seconds between two checkpoints; a kill loses no more than that


def fit_head(
    views, labels, validation, config: RunConfig, folder, run_seed: int = 0, fast: bool = True
) -> tuple[keras.Model, pd.DataFrame]:
    """Train the report's head on features, going on where an earlier process stopped.

    Adam with 1 / (1 + decay t) decay, categorical cross-entropy, up-sampled batches. Every
    epoch seeds its own chance, so a resumed training ends like an undisturbed one.

    Args:
        views: sequence of float16 arrays (N, 7, 7, 512): the training images' features, one
            array for each random transform.
        labels: int (N,), ids.
        validation: (features (M, 7, 7, 512), labels (M,)) looked at after every epoch, or None.
        config: of the run.
        folder: for checkpoints; the caller removes it when the run is whole.
        run_seed: added to the configuration's seed, for repeated trainings.
        fast: mixed bfloat16 where this machine gains by it.

    Returns:
        the trained head, taking (B, 6, 6, 512), and its history: a row an epoch with loss and
        accuracy, and val_loss and val_accuracy where there is a validation set.
    """
    seed = config.seed + run_seed
    keras.utils.set_random_seed(seed % 2**32)
    bf16 = fast and features.fastest_precision() == "bfloat16"
    with features.dtype_policy("mixed_bfloat16" if bf16 else "float32"):
        head = classifier.build_head(LIVE, fast=True)
    steps = UpsampledBatches(
        [live(view) for view in views], labels, config.batch_size, config.upsampling_rate, seed
    )
    maps = None if validation is None else _validation(*validation)
    return head, _train(head, steps, maps, config, folder, seed)


def fit_whole(
    views, labels, validation, config: RunConfig, folder, run_seed: int = 0
) -> tuple[keras.Model, pd.DataFrame]:
    """Train the head inside the whole model, on images and not on kept features.

    The report's way: every epoch sees new random transforms. It needs a GPU to be quick.

    Args:
        views: sequence of arrays, or of what stands for them such as
            `features.FreshViews`, (N, 224, 224, 1), grey values 0..255.
        labels: int (N,), ids.
        validation: (views (M, 224, 224, 1), labels (M,)) looked at after every epoch, or None.
        config, folder, run_seed: as in `fit_head`.

    Returns:
        the trained head, taking (B, 6, 6, 512), and its history as in `fit_head`.
    """
    seed = config.seed + run_seed
    keras.utils.set_random_seed(seed % 2**32)
    model = classifier.build_model(config.scaling)
    size, rate = config.batch_size, config.upsampling_rate
    steps = UpsampledBatches(views, labels, size, rate, seed)
    if validation is not None:
        validation = UpsampledBatches([validation[0]], validation[1], size, rate=0)
    history = _train(model, steps, validation, config, folder, seed)
    head = classifier.build_head(LIVE, fast=True)
    for layer in head.layers:
        if layer.weights:
            layer.set_weights(model.get_layer(layer.name).get_weights())
    return head, history


def _train(model, steps, validation, config: RunConfig, folder, seed: int) -> pd.DataFrame:
    """Compile as Table 3 says and fit, from the last checkpoint on; returns the history."""
    rate = keras.optimizers.schedules.InverseTimeDecay(config.learning_rate, 1, config.decay)
    model.compile(
        keras.optimizers.Adam(rate),
        keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    checkpoint = Checkpoint(Path(folder), steps, seed)
    checkpoint.set_model(model)
    model.fit(
        steps,
        epochs=config.epochs,
        initial_epoch=checkpoint.restore(),
        validation_data=validation,
        callbacks=[checkpoint],
        shuffle=False,  # the batches are shuffled by seed and epoch, the same after a resume
        verbose=0,
    )
    return pd.DataFrame(checkpoint.history)


def live(maps: np.ndarray) -> np.ndarray:
    """Return the part of features (N, 7, 7, 512) that the head can see, in memory."""
    return np.ascontiguousarray(maps[:, :LIVE, :LIVE])


def predict_logits(head: keras.Model, maps: np.ndarray, batch_size: int = 256) -> np.ndarray:
    """Return logits float32 (N, 3) of a trained head for features (N, 7, 7, 512)."""
    side = head.input_shape[1]
    starts = range(0, len(maps), batch_size)
    logits = [head(maps[i : i + batch_size, :side, :side], training=False) for i in starts]
    return np.concatenate(logits) if logits else np.empty((0, len(CLASS_NAMES)), np.float32)


class Checkpoint(keras.callbacks.Callback):
    """Seed every epoch by its number, and keep weights, optimizer and history for a resume."""

    def __init__(self, folder: Path, steps: UpsampledBatches, seed: int):
        super().__init__()
        self.folder, self.steps, self.seed = folder, steps, seed
        self.history, self.saved_at = [], time.monotonic()
        folder.mkdir(parents=True, exist_ok=True)

    def restore(self) -> int:
        """Load the newest checkpoint, if any; return the epoch to go on with."""
        optimizer = self.model.optimizer
        optimizer.build(self.model.trainable_variables)
        self.epoch = tf.Variable(0, dtype=tf.int64)
        state = tf.train.Checkpoint(
            epoch=self.epoch,
            weights=[v.value for v in self.model.variables],
            optimizer=[v.value for v in optimizer.variables],
        )
        self.manager = tf.train.CheckpointManager(state, self.folder, max_to_keep=1)
        if self.manager.restore_or_initialize():
            history = pd.read_csv(self.folder / "history.csv")
            self.history = history[: int(self.epoch)].to_dict("records")
        return int(self.epoch)

    def on_epoch_begin(self, epoch, logs=None):
        if self.steps.epoch != epoch:
            self.steps.start_epoch(epoch)
        self.model.get_layer("dropout").seed_generator.state.assign([self.seed % 2**32, epoch])

    def on_epoch_end(self, epoch, logs=None):
        self.history.append({"epoch": epoch + 1, **logs})
        if time.monotonic() - self.saved_at > SAVE_EVERY:
            self.save(epoch + 1)

    def save(self, epoch: int) -> None:
        part = self.folder / "history.part"
        pd.DataFrame(self.history).to_csv(part, index=False)
        part.replace(self.folder / "history.csv")
        self.epoch.assign(epoch)
        self.manager.save()
        self.saved_at = time.monotonic()


def _validation(maps, labels) -> tf.data.Dataset:
    targets = keras.utils.to_categorical(labels, len(CLASS_NAMES))
    return tf.data.Dataset.from_tensor_slices((live(maps), targets)).batch(256)
