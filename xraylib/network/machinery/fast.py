"""The fast, resumable twin of `stack.train_head`: same mathematics, several times as quick."""

import mmap
import os
import threading
import time
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path

import archspec.cpu.detect
import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from keras import layers

from xraylib import data, files
from xraylib.config import CLASS_NAMES, COVID, RunConfig
from xraylib.network.machinery.storage import read_ahead
from xraylib.network.stack import build_classifier, build_head, compile_head, copy_weights

PRECISION = "XRAYLIB_PRECISION"  # the variable that overrules what the processor declares
POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}  # precision -> Keras' policy
BFLOAT16_UNITS = ("avx512_bf16", "amx_bf16")  # what processors call theirs
BFLOAT16_GPU = (8, 0)  # compute capability from which a GPU has them
LIVE = 6  # rows and columns of the features that reach the head, see `build_head`
SAVE_EVERY = 20  # seconds between two checkpoints; a kill loses no more than that
BUILDING = threading.RLock()  # a policy is the process's: of several threads one builds at a time


@cache
def fastest_precision() -> str:
    """Return the number format for long computations: what the hardware declares, not a clock.

    Returns:
        `bfloat16` where the device that computes has units for it, else `float32`; or what the
        variable `XRAYLIB_PRECISION` names.

    Raises:
        ValueError: the variable names another format.
    """
    asked = os.environ.get(PRECISION)
    if asked:
        if asked not in POLICIES:
            raise ValueError(f"{PRECISION}={asked}: choose {' or '.join(POLICIES)}")
        return asked
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details = tf.config.experimental.get_device_details(gpus[0])
        has_units = details.get("compute_capability", (0, 0)) >= BFLOAT16_GPU
    else:
        # not `host()`: a virtual machine that hides one small feature is no known model to it
        declared = archspec.cpu.detect.detected_info().features
        has_units = not declared.isdisjoint(BFLOAT16_UNITS)
    return "bfloat16" if has_units else "float32"


@contextmanager
def dtype_policy(name: str):
    """Set Keras' dtype policy for the layers built in a `with` block."""
    with BUILDING:
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(name)
        try:
            yield
        finally:
            keras.config.set_dtype_policy(before)


def fast_policy():
    """Return a `dtype_policy` for layers in the format of `fastest_precision`."""
    return dtype_policy(POLICIES[fastest_precision()])


class PatchConv2D(layers.Conv2D):
    """A valid 3 x 3 convolution computed as one matrix product over unfolded patches.

    The mathematics and the weights are `Conv2D`'s. On small maps with many channels the matrix
    product is several times as fast on a CPU, above all in bfloat16.
    """

    def call(self, inputs):
        size = self.kernel_size[0]
        height, width = inputs.shape[1] - size + 1, inputs.shape[2] - size + 1
        shifted = [
            inputs[:, i : i + height, j : j + width] for i in range(size) for j in range(size)
        ]
        depth = size * size * inputs.shape[-1]
        patches = tf.reshape(tf.concat(shifted, axis=-1), (-1, depth))
        products = patches @ tf.reshape(self.kernel, (depth, self.filters))
        maps = tf.reshape(products, (-1, height, width, self.filters))
        return self.activation(maps + self.bias)


class OnePassAdam(keras.optimizers.Adam):
    """Keras' Adam, the same to rounding, by TensorFlow's own kernel for it.

    The head has 4.8 million weights and little else to compute: where Keras multiplies, adds and
    assigns term by term, a fifth of a training step on a CPU goes into reading and writing them.
    """

    def update_step(self, gradient, variable, learning_rate):
        """Move a variable, and its two moments, by one step."""
        place = self._get_variable_index(variable)
        step = tf.cast(self.iterations.value + 1, tf.float32)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[place].value.handle,
            v=self._velocities[place].value.handle,
            beta1_power=self.beta_1**step,
            beta2_power=self.beta_2**step,
            lr=tf.cast(learning_rate, tf.float32),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=tf.cast(gradient, tf.float32),
        )


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


class UpsampledBatches(keras.utils.PyDataset):
    """The batches of `data.upsampled_batches` as Keras' `fit` takes them, with their images.

    Order depends on seed and epoch alone: a resumed training sees what an undisturbed one sees.

    Args:
        transformed: sequence of arrays (N, ...), or of what stands for them: the same images in
            different random transforms. Each time an image comes, one of them is drawn. Images
            that are not transformed are a list of one array.
        labels: int (N,), class ids.
        batch_size, rate, rare_class: as in `data.upsampled_batches`.
        n_classes: C, the report's three unless there are more.

    Raises:
        ValueError: lengths differ, the rate is out of range, or the images that it needs are not
            there.
    """

    def __init__(self, transformed, labels, batch_size=100, rate=0.30, seed=0, rare_class=COVID):
        super().__init__()
        self.transformed, self.labels = list(transformed), np.asarray(labels)
        if any(len(images) != len(self.labels) for images in self.transformed):
            raise ValueError("every transform needs as many images as there are labels")
        self.batch_size, self.rate, self.seed = batch_size, rate, seed
        self.rare_class = rare_class
        self.n_classes = max(int(self.labels.max(initial=0)) + 1, len(CLASS_NAMES))
        self.start_epoch(0)

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int):
        """Return a batch: inputs (B, ...), targets float32 (B, C) one-hot."""
        rows, which = self.batches[index]
        first = self.transformed[0]
        inputs = np.empty((len(rows), *first.shape[1:]), first.dtype)
        for number, images in enumerate(self.transformed):
            here = np.flatnonzero(which == number)
            inputs[here] = images[rows[here]]
        return inputs, np.eye(self.n_classes, dtype=np.float32)[self.labels[rows]]

    def on_epoch_end(self):
        self.start_epoch(self.epoch + 1)

    def start_epoch(self, epoch: int) -> None:
        """Deal the batches of an epoch, counted from 0."""
        self.epoch, n = epoch, len(self.transformed)
        rng = np.random.default_rng([self.seed, epoch])
        batches = data.upsampled_batches(
            self.labels, self.batch_size, self.rate, rng, self.rare_class
        )
        self.batches = [(rows, rng.integers(n, size=len(rows))) for rows in batches]


def fast_head() -> keras.Model:
    """Build the head as `fit_head` trains it, from the live part of features, (B, 6, 6, 512)."""
    return build_head(LIVE, PatchConv2D)


def fit_head(
    transformed, labels, validation, config: RunConfig, folder, run_seed=0, told=None
) -> tuple[keras.Model, pd.DataFrame]:
    """Train the head on kept features, and go on where an earlier process stopped.

    The mathematics is that of `stack.train_head`, in the format of `fastest_precision`. Every
    epoch draws its own random numbers, so a resumed training ends like an undisturbed one.

    Args:
        transformed: sequence of float16 arrays or `LiveMaps` (N, 7, 7, 512): the training images'
            features, one for each random transform.
        labels: int (N,), ids.
        validation: (features (M, 7, 7, 512), labels (M,)), judged after every epoch, or None.
        folder: for checkpoints; the caller removes it when the run is whole.
        run_seed: added to the configuration's seed, for repeated trainings.
        told: called after every epoch with its row of the history.

    Returns:
        the trained head, taking (B, 6, 6, 512), and its history: one row for each epoch with loss
        and accuracy, and val_loss and val_accuracy where there is a validation set.
    """
    seed = config.seed + run_seed
    with fast_policy():
        keras.utils.set_random_seed(seed % 2**32)
        head = fast_head()
        policy = keras.config.dtype_policy().name
        trainer = _compiled_head(policy, config.learning_rate, config.decay)
    trainer.set_weights(head.get_weights())
    for variable in trainer.optimizer.variables:
        variable.assign(keras.ops.zeros_like(variable))
    maps = [LiveMaps(images) for images in transformed]
    if validation is not None:
        validation = LiveMaps(validation[0]), validation[1]
    history = _fit(trainer, maps, labels, validation, config, folder, seed, told)
    head.set_weights(trainer.get_weights())
    return head, history


@lru_cache(maxsize=2)
def _compiled_head(policy: str, learning_rate: float, decay: float) -> keras.Model:
    """Return a compiled head that every training borrows: compiling one takes seconds."""
    trainer = fast_head()
    compile_head(trainer, RunConfig(learning_rate=learning_rate, decay=decay), OnePassAdam)
    trainer.optimizer.build(trainer.trainable_variables)
    return trainer


def fit_whole(
    transformed, labels, validation, config: RunConfig, folder, run_seed: int = 0
) -> tuple[keras.Model, pd.DataFrame]:
    """Train the head inside the whole model, on images and not on kept features.

    The report's way: every epoch sees new random transforms. It needs a GPU to be quick.

    Args:
        transformed: sequence of arrays, or of what stands for them such as
            `network.FreshViews`, (N, 224, 224, 1), grey values 0..255.
        labels: int (N,), ids.
        validation: (images (M, 224, 224, 1), labels (M,)), judged after every epoch, or None.
        config, folder, run_seed: as in `fit_head`.

    Returns:
        the trained head, taking (B, 6, 6, 512), and its history as in `fit_head`.
    """
    seed = config.seed + run_seed
    keras.utils.set_random_seed(seed % 2**32)
    model = build_classifier(config.scaling)
    compile_head(model, config, OnePassAdam)
    history = _fit(model, transformed, labels, validation, config, folder, seed)
    head = fast_head()
    copy_weights(model, head)
    return head, history


def _fit(model, transformed, labels, validation, config, folder, seed: int, told=None):
    """Train a compiled model, from the last checkpoint on; return its history.

    The loop is that of `stack.train_head`. Keras' own `fit` reads through `tf.data`, and waits for
    its threads between two epochs: on one core, up to half of the time (`make bench ONLY=loop`).
    """
    steps = UpsampledBatches(transformed, labels, config.batch_size, config.upsampling_rate, seed)
    if validation is not None:
        images, ids = validation
        validation = UpsampledBatches([images], ids, config.batch_size, rate=0)
    checkpoint = Checkpoint(model, Path(folder))
    for epoch in range(checkpoint.restore(), config.epochs):
        steps.start_epoch(epoch)
        model.get_layer("dropout").seed_generator.state.assign([seed % 2**32, epoch])
        row = {"epoch": epoch + 1} | train_epoch(model, steps, validation)
        checkpoint.add(row)
        if told is not None:
            told(row)
    return pd.DataFrame(checkpoint.history)


def train_epoch(model: keras.Model, batches, validation=None) -> dict[str, float]:
    """Train a compiled model on every batch once, and judge it where there is a validation set.

    Args:
        batches, validation: sequences of (inputs, targets); the next are read while one is
            computed.

    Returns:
        means over the images: the loss and each metric by its name, and those of the validation
        set as `val_loss` and so on.
    """
    row = _mean_over(batches, model.train_on_batch)
    judged = {} if validation is None else _mean_over(validation, model.test_on_batch)
    return row | {f"val_{name}": value for name, value in judged.items()}


def _mean_over(batches, step) -> dict[str, float]:
    rows, sizes = [], []
    for inputs, targets in read_ahead(batches.__getitem__, range(len(batches))):
        rows.append(step(inputs, targets, return_dict=True))
        sizes.append(len(inputs))
    return {name: float(np.average([row[name] for row in rows], weights=sizes)) for name in rows[0]}


class Checkpoint:
    """Weights, optimizer and history of a training, kept for a resume."""

    def __init__(self, model: keras.Model, folder: Path):
        self.model, self.folder = model, folder
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

    def add(self, row: dict) -> None:
        """Add an epoch's row to the history, and save now and then."""
        self.history.append(row)
        if time.monotonic() - self.saved_at > SAVE_EVERY:
            self.save(row["epoch"])

    def save(self, epoch: int) -> None:
        """Write history and state after so many epochs."""
        history = pd.DataFrame(self.history)
        files.write_text(self.folder / "history.csv", history.to_csv(index=False))
        self.epoch.assign(epoch)
        with files.writing(self.folder):
            self.manager.save()
        self.saved_at = time.monotonic()
