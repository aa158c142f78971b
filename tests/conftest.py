"""What several test modules share: a home of their own, small images, stand-in weights.

Most tests need *some* VGG16, not the pretrained one, and not one that takes a second an image. They
use a thin twin with random tensors, in a file that passes for the real one. So the whole suite runs
where nothing can be downloaded. What is said of VGG16's own shapes is tested on all of it, with
random tensors (`whole_home`), and with the pretrained ones where they are at hand.
"""

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import cv2
import keras
import numpy as np
import pandas as pd
import pytest

from xraylib import network
from xraylib.config import CLASS_NAMES
from xraylib.network.machinery import weights

# as the tests were called, before any fixture changes them
USERS_WEIGHTS = Path(
    os.environ.get("XRAYLIB_VGG16_WEIGHTS")
    or Path(os.environ.get("XRAYLIB_HOME") or "none") / "weights" / weights.FILE_NAME
)
PRETRAINED_SHA256 = weights.TENSORS_SHA256


def random_vgg16_tensors(seed: int = 0) -> list[np.ndarray]:
    """Kernels and biases of VGG16's shapes, scaled so that signals keep their size."""
    rng = np.random.default_rng(seed)
    tensors, channels = [], 3
    for filters in (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512):
        kernel = rng.standard_normal((3, 3, channels, filters), dtype=np.float32)
        tensors.append(kernel * np.float32(np.sqrt(2 / (9 * channels))))
        tensors.append(rng.uniform(0, 0.1, filters).astype(np.float32))
        channels = filters
    return tensors


WHOLE_VGG16 = keras.applications.VGG16
BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))  # convolutions, channels of the last
THIN = 4  # channels of the others


def thin_vgg16(include_top=False, weights=None, input_tensor=None) -> keras.Model:
    """Build VGG16 with few channels within its blocks: same layers, same pools, a fiftieth of work.

    Args:
        include_top, weights, input_tensor: as `keras.applications.VGG16` takes them.
    """
    if weights == "imagenet":  # Keras' own download: there is no thin one
        return WHOLE_VGG16(include_top=include_top, weights=weights)
    x = keras.Input((None, None, 3)) if input_tensor is None else input_tensor
    start = keras.utils.get_source_inputs(x)[0]
    for block, (n, channels) in enumerate(BLOCKS, start=1):
        for i in range(1, n + 1):
            filters, name = channels if i == n else THIN, f"block{block}_conv{i}"
            x = keras.layers.Conv2D(filters, 3, padding="same", activation="relu", name=name)(x)
        x = keras.layers.MaxPooling2D(2, name=f"block{block}_pool")(x)
    model = keras.Model(start, x, name="vgg16")
    if weights is not None:
        model.load_weights(weights)
    return model


def thin_tensors(seed: int = 0) -> list[np.ndarray]:
    """Random kernels and biases of the thin twin, scaled so that signals keep their size."""
    rng = np.random.default_rng(seed)
    tensors = []
    for variable in thin_vgg16().weights:
        if len(variable.shape) == 4:
            scale = np.sqrt(2 / np.prod(variable.shape[:3]))
            tensors.append((scale * rng.standard_normal(variable.shape)).astype(np.float32))
        else:
            tensors.append(rng.uniform(0, 0.1, variable.shape).astype(np.float32))
    return tensors


def write_weights(folder: Path, model: keras.Model, tensors) -> Path:
    model.set_weights(tensors)
    model.save_weights(folder / weights.FILE_NAME)
    return folder / weights.FILE_NAME


@pytest.fixture(scope="session")
def whole_file(tmp_path_factory) -> Path:
    """A weights file of VGG16's shapes with random tensors."""
    model = WHOLE_VGG16(include_top=False, weights=None)
    return write_weights(tmp_path_factory.mktemp("whole"), model, random_vgg16_tensors())


@pytest.fixture(scope="session")
def whole_sha256() -> str:
    return weights.tensors_sha256(random_vgg16_tensors())


@pytest.fixture(scope="session")
def thin_file(tmp_path_factory) -> Path:
    """A weights file of the thin twin."""
    return write_weights(tmp_path_factory.mktemp("thin"), thin_vgg16(), thin_tensors())


@pytest.fixture(scope="session")
def thin_sha256() -> str:
    return weights.tensors_sha256(thin_tensors())


@pytest.fixture
def pretrained_file(monkeypatch) -> Path:
    """The pretrained weights where they are at hand, and their hash instead of the stand-in's."""
    if not USERS_WEIGHTS.is_file():
        pytest.skip("needs VGG16's pretrained weights in XRAYLIB_HOME/weights")
    pretend_pretrained(monkeypatch, USERS_WEIGHTS, PRETRAINED_SHA256, WHOLE_VGG16)
    return USERS_WEIGHTS


def settle_in(monkeypatch, folder: Path) -> Path:
    """Make a folder the home of a test, with the precision chosen, so that runs are alike."""
    monkeypatch.setenv("XRAYLIB_HOME", str(folder))
    monkeypatch.setenv("XRAYLIB_PRECISION", "float32")
    folder.mkdir(parents=True, exist_ok=True)
    network.fastest_precision.cache_clear()
    return folder


def pretend_pretrained(monkeypatch, path: Path, sha256: str, build) -> None:
    """Let a stand-in file pass for the pretrained one, and a function for VGG16's builder."""
    monkeypatch.setenv("XRAYLIB_VGG16_WEIGHTS", str(path))
    monkeypatch.setattr(weights, "TENSORS_SHA256", sha256)
    monkeypatch.setattr(keras.applications, "VGG16", build)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty XRAYLIB_HOME."""
    monkeypatch.delenv("XRAYLIB_VGG16_WEIGHTS", raising=False)
    yield settle_in(monkeypatch, tmp_path / "home")
    network.fastest_precision.cache_clear()


@pytest.fixture
def stand_in_vgg16(home, monkeypatch, thin_file, thin_sha256):
    """An XRAYLIB_HOME of the test's own, and the thin twin in VGG16's place."""
    pretend_pretrained(monkeypatch, thin_file, thin_sha256, thin_vgg16)
    return home


@pytest.fixture(scope="module")
def module_home(tmp_path_factory, thin_file, thin_sha256):
    """The same for a whole module, for what is dear to compute."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        folder = settle_in(monkeypatch, tmp_path_factory.mktemp("home"))
        pretend_pretrained(monkeypatch, thin_file, thin_sha256, thin_vgg16)
        yield folder
    network.fastest_precision.cache_clear()


@pytest.fixture(scope="module")
def whole_home(tmp_path_factory, whole_file, whole_sha256):
    """A home for a whole module, and VGG16 of its own shapes with random tensors."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        folder = settle_in(monkeypatch, tmp_path_factory.mktemp("home"))
        pretend_pretrained(monkeypatch, whole_file, whole_sha256, WHOLE_VGG16)
        yield folder
    network.fastest_precision.cache_clear()


def make_manifest(folder: Path, n: int, with_masks: bool = False, side: int = 64) -> pd.DataFrame:
    """Write n images of noise, in turn of each class, and return their manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(n)
    rows = []
    for i in range(n):
        path, mask_path = folder / f"{i}.png", folder / f"{i}-mask.png"
        cv2.imwrite(str(path), rng.integers(0, 256, (side, side), dtype=np.uint8))
        if with_masks:
            mask = np.zeros((side, side), np.uint8)
            mask[side // 4 : side // 2 + i, side // 4 : 3 * side // 4] = 255
            cv2.imwrite(str(mask_path), mask)
        rows.append(
            {
                "path": str(path),
                "label": CLASS_NAMES[i % 3],
                "patient_id": f"patient-{i}",
                "source": "",
                "view": "PA",
                "mask_path": str(mask_path) if with_masks else "",
                "split": "",
            }
        )
    return pd.DataFrame(rows)


@pytest.fixture
def powerless():
    """A context without the rights of the superuser, for whom no file is read-only."""

    @contextmanager
    def dropped():
        before = os.geteuid()
        if before == 0:
            os.seteuid(65534)  # nobody
        try:
            yield
        finally:
            os.seteuid(before)

    return dropped


PREAMBLE = """
import os, signal, sys
import keras
import pandas as pd
from conftest import thin_vgg16
from xraylib.network.machinery import weights
keras.applications.VGG16 = thin_vgg16
weights.TENSORS_SHA256 = os.environ["STAND_IN_SHA256"]  # the random tensors pass for VGG16's
def die():
    os.kill(os.getpid(), signal.SIGKILL)
def manifest_at(path):
    return pd.read_csv(path, dtype=str, keep_default_na=False)
"""


def start_child(code: str, *arguments) -> subprocess.Popen:
    """Start a Python process that shares the test's home and its thin VGG16."""
    shared = {
        "STAND_IN_SHA256": weights.TENSORS_SHA256,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    return subprocess.Popen(
        [sys.executable, "-c", PREAMBLE + code, *map(str, arguments)],
        env=os.environ | shared,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
