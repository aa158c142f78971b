"""Whole files or none, clear errors on full disks and read-only folders, nothing that runs code."""

import ast
import errno
import json
import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from tools import build

from xraylib import config, files, network
from xraylib.network.machinery import weights

PACKAGE = Path(files.__file__).parent
MODULES = sorted([*PACKAGE.rglob("*.py"), *Path(build.__file__).parent.rglob("*.py")])


def test_a_whole_file_takes_its_name_at_the_end(tmp_path):
    target = tmp_path / "head.weights.h5"
    target.write_text("old")
    with files.whole_file(target) as part:
        part.write_text("new")
        assert part.parent == tmp_path and part.name.endswith(".weights.h5")
        assert target.read_text() == "old"
    assert target.read_text() == "new" and os.listdir(tmp_path) == [target.name]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, OSError])
def test_a_failed_write_leaves_what_was_there(tmp_path, error):
    target = tmp_path / "table.csv"
    target.write_text("old")
    with pytest.raises(error), files.whole_file(target) as part:
        part.write_text("half of it")
        raise error
    assert target.read_text() == "old" and os.listdir(tmp_path) == [target.name]


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    target = tmp_path / "table.csv"
    with files.whole_file(target) as one, files.whole_file(target) as other:
        one.write_text("1")
        other.write_text("2")
    assert target.read_text() == "1" and os.listdir(tmp_path) == [target.name]


def test_the_content_is_on_the_disk_before_the_name(tmp_path, monkeypatch):
    order = []
    monkeypatch.setattr(os, "fsync", lambda file: order.append("flushed"))
    monkeypatch.setattr(Path, "replace", lambda part, to: order.append(f"named {to.name}"))
    files.write_text(tmp_path / "a.txt", "a")
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "b.txt").write_text("b")
    files.name_folder(tmp_path / "part", tmp_path / "run")
    assert order == ["flushed", "named a.txt", "flushed", "named run"]


def test_text_and_bytes_come_back(tmp_path):
    files.write_text(tmp_path / "text.txt", "Röntgen\n")
    files.write_bytes(tmp_path / "raw", b"\0\xff")
    assert (tmp_path / "text.txt").read_bytes() == "Röntgen\n".encode()
    assert (tmp_path / "raw").read_bytes() == b"\0\xff"


@pytest.mark.parametrize(
    "number, advice",
    [(errno.ENOSPC, "free some space"), (errno.EROFS, "make it writable"), (None, "make it")],
)
def test_an_error_names_the_file_the_reason_and_the_way_out(number, advice):
    cause = OSError(number, os.strerror(number)) if number else OSError("h5py says no")
    with pytest.raises(files.WriteError) as caught, files.writing("/data/run"):
        raise cause
    assert caught.value.errno == number
    message = str(caught.value)
    assert message.startswith("/data/run: cannot be written (") and advice in message
    assert (cause.strerror or "h5py says no") in message
    assert message.endswith(", or set XRAYLIB_HOME to another folder")


def test_an_error_is_told_once():
    told = pytest.raises(files.WriteError, match="^inner: ")
    with told as caught, files.writing("outer"), files.writing("inner"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert str(caught.value).count("cannot be written") == 1


@pytest.fixture
def read_only(powerless):
    """A folder that everybody may list and nobody may write to."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "home").mkdir()
        (Path(folder) / "home").chmod(0o555)
        Path(folder).chmod(0o555)
        with powerless():
            yield Path(folder) / "home"
        Path(folder).chmod(0o755)
        (Path(folder) / "home").chmod(0o755)


def test_a_read_only_home(read_only, monkeypatch):
    monkeypatch.setenv("XRAYLIB_HOME", str(read_only))
    reason = r"cannot be written \(Permission denied\): make it writable, or set XRAYLIB_HOME"
    with pytest.raises(files.WriteError, match=f"{read_only / 'data'}: {reason}"):
        config.home("data")
    with pytest.raises(files.WriteError, match=reason):
        files.write_text(read_only / "table.csv", "a")
    with pytest.raises(files.WriteError, match=reason), files.locked(read_only / "run"):
        pytest.fail("the lock was given")
    assert os.listdir(read_only) == []


def test_weights_that_are_there_are_read_from_a_read_only_home(
    stand_in_vgg16, monkeypatch, powerless
):
    kept = config.home("weights") / weights.FILE_NAME
    kept.hardlink_to(os.environ["XRAYLIB_VGG16_WEIGHTS"])
    monkeypatch.delenv("XRAYLIB_VGG16_WEIGHTS")
    monkeypatch.setattr(files, "locked", lambda path: pytest.fail("a lock needs a writable folder"))
    assert network.vgg16_weights_path() == kept


def test_a_home_that_is_a_file(tmp_path, monkeypatch):
    (tmp_path / "home").write_text("not a folder")
    monkeypatch.setenv("XRAYLIB_HOME", str(tmp_path / "home"))
    with pytest.raises(files.WriteError, match=r"home/data: .+ set XRAYLIB_HOME to another"):
        config.home("data")


WRITERS = """
import json, os, resource, sys
from pathlib import Path
import keras, numpy as np, pandas as pd
from xraylib import files, lungs, phantoms
from xraylib.network.machinery import weights
from xraylib.report import pages
folder = Path(sys.argv[1])
pages.TRACKED = folder / "home" / "book"
pages.TRACKED.mkdir(parents=True)
table = pd.DataFrame({"value": np.random.default_rng(0).random(5000)})
noise = np.random.default_rng(0).random((300, 300)) > 0.5
model = keras.Sequential([keras.layers.Input((50,)), keras.layers.Dense(500)])
weights._vgg16 = lambda weights: model
vgg16 = folder / "vgg16.weights.h5"
writers = {
    "mask.png": lambda: lungs.write_mask(folder / "mask.png", noise),
    "phantoms": lambda: phantoms.write_phantoms(folder / "phantoms", (2, 0, 0), 0, 0.0),
    "made_up.csv": lambda: pages.save_table(table, "quick", "made_up"),
    "unet.weights.h5": lambda: files.save_weights(model, folder / "unet.weights.h5"),
    "vgg16.weights.h5": lambda: weights._write_weights(model.get_weights(), vgg16),
    "page.html": lambda: files.write_text(folder / "page.html", "x" * 10_000),
}
for limit in (False, True):
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
    said = {}
    for name, write in writers.items():
        try:
            write()
            said[name] = "written"
        except Exception as error:
            said[name] = f"{type(error).__name__} {error}"
    left = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    print(json.dumps([said, left]), flush=True)
    for path in folder.rglob("*.*"):
        if path.is_file():
            path.unlink()
    (folder / "phantoms").rename(folder / "elsewhere") if not limit else None
"""


@pytest.mark.slow
def test_a_full_disk_leaves_nothing_half_written(tmp_path):
    """A limit on the size of files stands for the full disk: writes end with an error half way."""
    run = subprocess.run(
        [sys.executable, "-c", WRITERS, str(tmp_path)],
        capture_output=True,
        text=True,
        env=os.environ | {"XRAYLIB_HOME": str(tmp_path / "home"), "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert run.returncode == 0, run.stderr
    (wrote, there), (failed, left) = map(json.loads, run.stdout.splitlines()[-2:])
    assert set(wrote.values()) == {"written"}
    assert all(any(name in path for path in there) for name in wrote)
    assert left == []
    for name, said in failed.items():
        assert said.startswith("WriteError ") and name in said, said
        assert "cannot be written" in said and "free some space, or set XRAYLIB_HOME" in said


def test_a_really_full_disk(tmp_path):
    size = ["-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)]
    if os.geteuid() or subprocess.run(["mount", *size], capture_output=True).returncode:
        pytest.skip("may not mount a small file system here")
    try:
        files.write_text(tmp_path / "small.txt", "kept")
        with pytest.raises(files.WriteError, match="No space left on device.*free some space"):
            files.write_text(tmp_path / "large.txt", "x" * 100_000)
        assert os.listdir(tmp_path) == ["small.txt"]
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def calls(path: Path):
    """Yield every call of a module: its name, its keywords with literal values, its place."""
    for node in ast.walk(ast.parse(path.read_text("utf8"))):
        if isinstance(node, ast.Call):
            words = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
            yield ast.unparse(node.func), words, f"{path.name}, line {node.lineno}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_no_file_that_is_read_can_run_code(path):
    imported = {"pickle", "dill", "cloudpickle", "shelve", "marshal"}
    for node in ast.walk(ast.parse(path.read_text("utf8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) else []
        assert not imported & set(names), path.name
    never = {"eval", "exec", "read_pickle", "enable_unsafe_deserialization"}
    for name, words, place in calls(path):
        last = name.split(".")[-1]
        assert last not in never, place
        assert name not in ("joblib.load", "yaml.load", "torch.load"), place
        assert not words.get("shell"), place
        if name in ("np.load", "numpy.load", "np.lib.format.open_memmap"):
            assert words.get("allow_pickle", False) is False, place
        if last in ("load_model", "model_from_json") and "keras" in name:
            assert words.get("safe_mode") is True, place


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_archives_are_read_by_the_names_of_their_members(path):
    """So that a member called ../../somewhere leads nowhere."""
    for name, _, place in calls(path):
        assert name.split(".")[-1] not in ("extractall", "unpack_archive", "Unzip", "Untar"), place


def test_keras_is_a_version_without_known_flaws_in_loading():
    project = tomllib.loads((build.ROOT / "pyproject.toml").read_text("utf8"))["project"]
    (keras,) = [r for r in map(Requirement, project["dependencies"]) if r.name == "keras"]
    assert not keras.specifier.contains("3.15.0") and keras.specifier.contains("3.15.1")
    pins = (build.ROOT / "constraints.txt").read_text("utf8").splitlines()
    (pin,) = [line for line in pins if line.startswith("keras==")]
    assert Version(pin.removeprefix("keras==")) >= Version("3.15.1")


WRITING = {"write_text", "write_bytes", "to_csv", "to_json", "save_weights", "savefig", "imwrite"}
GUARDED_OTHERWISE = {  # in a folder that is renamed when whole or thrown away, or for going on
    ("figures", "draw_pdf"),  # into memory
    ("figures", "draw_png"),
    ("figures", "draw_svg"),
    ("pages", "add_typeface"),  # of a page that is being built
    ("pages", "compress_pictures"),
    ("pages", "finish"),
    ("predict", "main"),  # to standard output
    ("provide", "_read_zipped_mask"),
    ("radiographs", "_write_all"),
    ("radiographs", "_write_image"),
    ("runs", "_compute"),
    ("runs", "_write_json"),
    ("slider", "answer"),
    ("slider", "picture"),
    ("storage", "grow_array"),
    ("weights", "read_wheel_member"),
}


def bare_writes(path: Path):
    """Yield the functions that write a file in another way than by `files`."""
    tree = ast.parse(path.read_text("utf8"))
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
    for function in functions:
        guarded = {
            id(inner)
            for block in ast.walk(function)
            if isinstance(block, ast.With)
            and any("whole_file(" in ast.unparse(item.context_expr) for item in block.items)
            for inner in ast.walk(block)
        }
        for node in ast.walk(function):
            if not isinstance(node, ast.Call) or id(node) in guarded:
                continue
            name = ast.unparse(node.func)
            if name.split(".")[-1] in WRITING and not name.startswith("files.") and node.args:
                yield path.stem, function.name


def test_every_write_is_whole():
    found = {place for path in MODULES if path.stem != "files" for place in bare_writes(path)}
    assert found - GUARDED_OTHERWISE == set()
