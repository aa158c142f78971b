"""What several test modules share: a home of their own, small images, stand-in weights.

Most tests need *some* VGG16, not the pretrained one. They use random tensors of its shapes in a
file that passes for the real one, so that the whole suite runs where nothing can be downloaded.
"""

import os
import platform
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

from xraylib import features, weights
from xraylib.config import CLASS_NAMES

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


@pytest.fixture(scope="session")
def stand_in_file(tmp_path_factory) -> Path:
    """A weights file of VGG16's shapes with random tensors."""
    model = keras.applications.VGG16(include_top=False, weights=None)
    model.set_weights(random_vgg16_tensors())
    path = tmp_path_factory.mktemp("stand-in") / weights.FILE_NAME
    model.save_weights(path)
    return path


@pytest.fixture(scope="session")
def stand_in_sha256() -> str:
    return weights.tensors_sha256(random_vgg16_tensors())


@pytest.fixture
def pretrained_file(monkeypatch) -> Path:
    """The pretrained weights where they are at hand, and their hash instead of the stand-in's."""
    if not USERS_WEIGHTS.is_file():
        pytest.skip("needs VGG16's pretrained weights in XRAYLIB_HOME/weights")
    monkeypatch.setattr(weights, "TENSORS_SHA256", PRETRAINED_SHA256)
    return USERS_WEIGHTS


def settle_in(monkeypatch, folder: Path) -> Path:
    """Make a folder the home of a test, with the precision chosen, so that runs are alike."""
    monkeypatch.setenv("XRAYLIB_HOME", str(folder))
    (folder / "features").mkdir(parents=True, exist_ok=True)
    (folder / "features" / f"precision-{platform.node()}.txt").write_text("float32")
    features.fastest_precision.cache_clear()
    return folder


def pretend_pretrained(monkeypatch, path: Path, sha256: str) -> None:
    """Let the stand-in file pass for the pretrained one."""
    monkeypatch.setenv("XRAYLIB_VGG16_WEIGHTS", str(path))
    monkeypatch.setattr(weights, "TENSORS_SHA256", sha256)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty XRAYLIB_HOME."""
    monkeypatch.delenv("XRAYLIB_VGG16_WEIGHTS", raising=False)
    yield settle_in(monkeypatch, tmp_path / "home")
    features.fastest_precision.cache_clear()


@pytest.fixture
def stand_in_vgg16(home, monkeypatch, stand_in_file, stand_in_sha256):
    """An XRAYLIB_HOME of the test's own, and random weights that pass for VGG16's."""
    pretend_pretrained(monkeypatch, stand_in_file, stand_in_sha256)
    return home


@pytest.fixture(scope="module")
def module_home(tmp_path_factory, stand_in_file, stand_in_sha256):
    """The same for a whole module, for what is dear to compute."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        folder = settle_in(monkeypatch, tmp_path_factory.mktemp("home"))
        pretend_pretrained(monkeypatch, stand_in_file, stand_in_sha256)
        yield folder
    features.fastest_precision.cache_clear()


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
from xraylib import weights
weights.TENSORS_SHA256 = os.environ["STAND_IN_SHA256"]  # the random tensors pass for VGG16's
def die():
    os.kill(os.getpid(), signal.SIGKILL)
"""


def start_child(code: str, *arguments) -> subprocess.Popen:
    """Start a Python process that shares the test's home and stand-in weights."""
    return subprocess.Popen(
        [sys.executable, "-c", PREAMBLE + code, *map(str, arguments)],
        env=os.environ | {"STAND_IN_SHA256": weights.TENSORS_SHA256, "TF_CPP_MIN_LOG_LEVEL": "3"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
