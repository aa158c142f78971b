"""Training the head on kept features, as the report's Table 3 says.

`train_head` is the plain way. `machinery.fast.fit_head` computes the same faster, and goes on where
a killed process stopped.
"""

import keras
import numpy as np

from xraylib import data
from xraylib.config import CLASS_NAMES, RunConfig


def train_head(head: keras.Model, features, labels, config: RunConfig) -> list[dict]:
    """Train a head: Adam, cross-entropy, up-sampled batches (the report's Table 3).

    Args:
        head: what `build_head` returns; its weights change.
        features: float (N, 7, 7, 512), of the training images.
        labels: int (N,), ids into `CLASS_NAMES`.
        config: learning rate and decay, batch size, up-sampling rate, epochs, seed.

    Returns:
        one dict for each epoch: epoch, loss and accuracy, both means over its batches.
    """
    compile_head(head, config)
    targets = np.eye(len(CLASS_NAMES), dtype=np.float32)[labels]  # one-hot
    history = []
    for epoch in range(config.epochs):
        rng = np.random.default_rng([config.seed, epoch])
        batches = data.upsampled_batches(labels, config.batch_size, config.upsampling_rate, rng)
        judged, sizes = [], []
        for rows in batches:
            judged.append(head.train_on_batch(features[rows], targets[rows]))
            sizes.append(len(rows))
        loss, accuracy = np.average(judged, axis=0, weights=sizes)
        history.append({"epoch": epoch + 1, "loss": float(loss), "accuracy": float(accuracy)})
    return history


def compile_head(head: keras.Model, config: RunConfig, adam=keras.optimizers.Adam) -> None:
    """Give a model the optimizer and the loss of Table 3.

    The rate at step t is learning_rate / (1 + decay * t).
    """
    rate = keras.optimizers.schedules.InverseTimeDecay(config.learning_rate, 1, config.decay)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    head.compile(adam(rate), loss, metrics=["accuracy"])


def predict_logits(head: keras.Model, features, batch_size: int = 256) -> np.ndarray:
    """Return logits float32 (N, 3) of a trained head for features (N, 7, 7, 512)."""
    side = head.input_shape[1]
    starts = range(0, len(features), batch_size)
    logits = [head(features[i : i + batch_size, :side, :side], training=False) for i in starts]
    return np.concatenate(logits) if logits else np.empty((0, len(CLASS_NAMES)), np.float32)
