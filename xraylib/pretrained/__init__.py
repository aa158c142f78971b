"""Weights that come with the package, each with a card: data, licences, command, figures.

A model's arrays lie in `<name>.npz` as float16. `cards.json` says everything else about them, their
SHA-256 too, which is checked at every reading. `make pretrained` trains them all again.
"""

import hashlib
import io
import json
from pathlib import Path

import numpy as np

from xraylib import files

FOLDER = Path(__file__).parent
CARDS = "cards.json"
CARD_ENTRIES = {  # what every card says
    "what": "one sentence: the model and what it is for",
    "data": "the data sets that taught it, with n images and patients",
    "licences": "the terms of these data",
    "command": "what trains it again",
    "date": "when it was trained, as in 2020-06-01",
    "split": "how training and test images were parted",
    "seed": "of split and training",
    "n": "images that the figures come from",
    "patients": "patients that the figures come from; none of them taught it",
    "figures": "name -> value, low, high: figures of merit with 95 % intervals",
}
__all__ = ["PretrainedError", "card", "fill", "keep", "load", "names"]


class PretrainedError(OSError):
    """Weights of the package are missing or damaged; the message says what to do."""


def names() -> list[str]:
    """Return the names of the models whose weights come with the package."""
    return sorted(_cards(FOLDER))


def card(name: str) -> dict:
    """Return what is known of a model: the entries of `CARD_ENTRIES`, and `sha256`.

    A `ValueError` says that there is no such model, and names those there are.
    """
    known = _cards(FOLDER)
    if name not in known:
        there = ", ".join(sorted(known)) or "none"
        raise ValueError(f"no trained weights {name!r} in this package: there are {there}")
    return known[name]


def load(name: str) -> dict[str, np.ndarray]:
    """Return a model's arrays by name, float32 where they are kept as float16.

    Weights of a Keras layer are named `layer/0`, `layer/1`, in the order of its `get_weights`. A
    `PretrainedError` says that its file is missing, or not the one that the card describes.
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

    The weights are a name, as in `load`, or arrays named as `load` returns them. Layers that are
    not named keep theirs, such as VGG16's. A `ValueError` says that there is no such name, or that
    a layer is missing or of another shape.
    """
    arrays = load(weights) if isinstance(weights, str) else weights
    for layer in dict.fromkeys(key.rpartition("/")[0] for key in arrays):
        tensors = [arrays[key] for key in arrays if key.rpartition("/")[0] == layer]
        model.get_layer(layer).set_weights(tensors)
    return model


def keep(name: str, arrays: dict, entries: dict, folder=FOLDER) -> dict:
    """Keep a model's arrays and its card, whole or not at all; what `make pretrained` ends with.

    Args:
        name: of the model.
        arrays: name -> array; float32 and float64 are kept as float16.
        entries: the card, with every entry of `CARD_ENTRIES`.
        folder: for both files.

    Returns:
        the card, with `sha256` and `bytes` of the file. A `ValueError` says that an entry of the
        card is missing, or a value too large for float16.
    """
    missing = sorted(set(CARD_ENTRIES) - set(entries))
    if missing:
        raise ValueError(f"card of {name}: no {', '.join(missing)}")
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{key: _narrowed(key, array) for key, array in arrays.items()})
    content, folder = buffer.getvalue(), Path(folder)
    whole = {**entries, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    cards = {**_cards(folder), name: whole}
    files.write_bytes(folder / f"{name}.npz", content)
    text = json.dumps(dict(sorted(cards.items())), indent=1, ensure_ascii=False)
    files.write_text(folder / CARDS, text + "\n")
    return whole


def _cards(folder: Path) -> dict:
    path = Path(folder) / CARDS
    return json.loads(path.read_text("utf8")) if path.exists() else {}


def _widened(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype == np.float16 else array


def _narrowed(key: str, array) -> np.ndarray:
    array = np.asarray(array)
    if array.dtype not in (np.float32, np.float64):
        return array
    if np.abs(array).max(initial=0) > np.finfo(np.float16).max:
        raise ValueError(f"{key}: values of {np.abs(array).max():.3g}, too large for float16")
    return array.astype(np.float16)
