"""Training the head on frozen features: the report's Table 3, resumable."""

import mmap
import time
from functools import lru_cache
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from xraylib import classifier, files
from xraylib.adam import OnePassAdam
from xraylib.config import CLASS_NAMES, RunConfig
from xraylib.precision import dtype_policy, fast_policy
from xraylib.upsampling import UpsampledBatches

LIVE = 6  # the rows and columns of the features that reach the head, see `build_head`
SAVE_EVERY = 20  # seconds between two checkpoints; a kill loses no more than that


def fit_head(
    views, labels, validation, config: RunConfig, folder, run_seed: int = 0, fast: bool = True
) -> tuple[keras.Model, pd.DataFrame]:
    """Train the report's head on features, going on where an earlier process stopped.

    Adam with 1 / (1 + decay t) decay, categorical cross-entropy, up-sampled batches. Every
    epoch seeds its own chance, so a resumed training ends like an undisturbed one. Within the
    scope of a `tf.distribute` strategy each batch is shared out among its devices.

    Args:
        views: sequence of float16 arrays or `LiveMaps` (N, 7, 7, 512): the training images'
            features, one for each random transform.
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
    with fast_policy() if fast else dtype_policy("float32"):
        keras.utils.set_random_seed(seed % 2**32)
        head = classifier.build_head(LIVE, fast=True)
        policy = keras.config.dtype_policy().name
        strategy = tf.distribute.get_strategy()
        trainer = _trainer(policy, config.learning_rate, config.decay, strategy)
    trainer.set_weights(head.get_weights())
    for variable in trainer.optimizer.variables:
        variable.assign(keras.ops.zeros_like(variable))
    size = config.batch_size
    views = [LiveMaps(view) for view in views]
    steps = UpsampledBatches(views, labels, size, config.upsampling_rate, seed)
    if validation is not None:
        validation = UpsampledBatches([LiveMaps(validation[0])], validation[1], size, rate=0)
    history = _train(trainer, steps, validation, config, folder, seed)
    head.set_weights(trainer.get_weights())
    return head, history


@lru_cache(maxsize=2)
def _trainer(policy: str, learning_rate: float, decay: float, strategy) -> keras.Model:
    """Return a compiled head that every training borrows: tracing one costs seconds."""
    trainer = classifier.build_head(LIVE, fast=True)
    _compile(trainer, learning_rate, decay)
    trainer.optimizer.build(trainer.trainable_variables)
    return trainer


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
    _compile(model, config.learning_rate, config.decay)
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


def _compile(model: keras.Model, learning_rate: float, decay: float) -> None:
    """Give a model the optimizer and the loss of Table 3."""
    rate = keras.optimizers.schedules.InverseTimeDecay(learning_rate, 1, decay)
    model.compile(
        OnePassAdam(rate),
        keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )


def _train(model, steps, validation, config: RunConfig, folder, seed: int) -> pd.DataFrame:
    """Fit a compiled model, from the last checkpoint on; returns the history."""
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


class LiveMaps:
    """The part of features that the head can see, read from their file batch by batch.

    It stands for an array (N, 6, 6, 512) and takes no more memory than the batch asked for.

    Args:
        maps: array or memory map (M, 7, 7, 512), or what stands for one.
        rows: int (N,), the places in `maps` to take; all of them without.
    """

    def __init__(self, maps, rows=None):
        self.maps, self.dtype = maps, maps.dtype
        self.rows = np.arange(len(maps)) if rows is None else np.asarray(rows)
        self.shape = (len(self.rows), LIVE, LIVE, maps.shape[-1])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, places) -> np.ndarray:
        """Return the features at places (B,), (B, 6, 6, 512)."""
        batch = self.maps[self.rows[places]][:, :LIVE, :LIVE]  # a copy: rows are picked
        if isinstance(self.maps, np.memmap):  # the pages stay in the system's cache
            self.maps._mmap.madvise(mmap.MADV_DONTNEED)
        return batch


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
            self.history = history[: int(self.epoch.numpy())].to_dict("records")
        return int(self.epoch.numpy())

    def on_epoch_begin(self, epoch, logs=None):
        if self.steps.epoch != epoch:
            self.steps.start_epoch(epoch)
        self.model.get_layer("dropout").seed_generator.state.assign([self.seed % 2**32, epoch])

    def on_epoch_end(self, epoch, logs=None):
        self.history.append({"epoch": epoch + 1, **logs})
        if time.monotonic() - self.saved_at > SAVE_EVERY:
            self.save(epoch + 1)

    def save(self, epoch: int) -> None:
        with files.whole_file(self.folder / "history.csv") as part:
            pd.DataFrame(self.history).to_csv(part, index=False)
        self.epoch.assign(epoch)
        with files.writing(self.folder):
            self.manager.save()
        self.saved_at = time.monotonic()
