"""Weights that come with the package, each with a card: data, licences, command, figures.

A model's arrays lie in `<name>.npz` as float16. `cards.json` says everything else about them, their
SHA-256 too, which is checked at every reading. `make pretrained` trains them all again.
"""

import hashlib
import io
import json
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent
CARDS = "cards.json"
__all__ = ["PretrainedError", "card", "fill", "load", "names"]


class PretrainedError(OSError):
    """Weights of the package are missing or damaged; the message says what to do."""


def names() -> list[str]:
    """Return the names of the models whose weights come with the package."""
    return sorted(_cards())


def card(name: str) -> dict:
    """Return what is known of a model: what taught it, its terms, its figures, `sha256` and more.

    Raises:
        ValueError: there is no such model; names those there are.
    """
    if name not in names():
        there = ", ".join(names()) or "none"
        raise ValueError(f"no trained weights {name!r} in this package: there are {there}")
    return _cards()[name]


def load(name: str) -> dict[str, np.ndarray]:
    """Return a model's arrays by name, float32 where they are kept as float16.

    Weights of a Keras layer are named `layer/0`, `layer/1`, in the order of its `get_weights`.

    Raises:
        ValueError: there is no such model.
        PretrainedError: its file is missing, or not the one that the card describes.
    """
    meant, path = card(name)["sha256"], FOLDER / f"{name}.npz"
    again = "install the package again, or check out this file again"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PretrainedError(f"{path}: cannot be read ({error.strerror}): {again}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != meant:
        raise PretrainedError(
            f"{path}: SHA-256 {found[:12]}..., and its card says {meant[:12]}...: {again}"
        )
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return {key: _widened(arrays[key]) for key in arrays.files}


def fill(model, weights):
    """Give the layers of a Keras model trained weights, and return the model.

    Layers that are not named keep their weights, such as VGG16's.

    Args:
        model: has every layer that is named.
        weights: a name, as in `load`; or arrays named as `load` returns them.

    Raises:
        ValueError: there is no such model; or a layer is missing or of another shape.
    """
    arrays = load(weights) if isinstance(weights, str) else weights
    for layer in dict.fromkeys(key.rpartition("/")[0] for key in arrays):
        tensors = [arrays[key] for key in arrays if key.rpartition("/")[0] == layer]
        model.get_layer(layer).set_weights(tensors)
    return model


def _cards() -> dict:
    path = FOLDER / CARDS
    return json.loads(path.read_text("utf8")) if path.exists() else {}


def _widened(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype == np.float16 else array
