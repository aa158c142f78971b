"""A real cluster of two worker processes: the same files as from one process, even after a kill."""

import ast
import os
import signal
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import make_manifest, thin_vgg16

from xraylib import config, lungs, network
from xraylib.images import ImageError, Preprocessing
from xraylib.lungs import UNetConfig, masks
from xraylib.network import features
from xraylib.network.machinery import storage, weights

dask = pytest.importorskip("dask", reason="needs the extra `cluster`")
distributed = pytest.importorskip("distributed", reason="needs the extra `cluster`")
BATCH, SHARD = 2, 2  # small, so that a few images make many shards
MOVING = Preprocessing("lungs", transform="table2")
TINY = UNetConfig(size=32, filters=4, levels=2, encoder="scratch", epochs=1, steps=1, batch_size=2)


class Worker(distributed.WorkerPlugin):
    """What the tests' own process has of other constants, in every worker process."""

    name = "tests"

    def __init__(self, sha256: str):
        self.sha256 = sha256

    def setup(self, worker):
        weights.TENSORS_SHA256, features.BATCH = self.sha256, BATCH
        keras.applications.VGG16 = thin_vgg16


class Killer(distributed.WorkerPlugin):
    """The first worker to read a certain image kills its own process."""

    name = "killer"

    def __init__(self, victim: str, note: Path):
        self.victim, self.note = victim, note

    def setup(self, worker):
        kept = features.load_view

        def load_view(row, *rest):
            if row.path == self.victim and not self.note.exists():
                self.note.write_text(str(os.getpid()))
                os.kill(os.getpid(), signal.SIGKILL)
            return kept(row, *rest)

        features.load_view = load_view


@pytest.fixture(scope="module")
def client(module_home):
    """Two worker processes that share the home of these tests."""
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as local,
        distributed.Client(local, set_as_default=False) as client,
    ):
        client.register_plugin(Worker(weights.TENSORS_SHA256))
        yield client


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(features, "BATCH", BATCH)
    monkeypatch.setattr(features, "SHARD", SHARD)
    monkeypatch.setattr(masks, "SHARD", 4)
    monkeypatch.delenv(storage.ADDRESS, raising=False)


def extract(manifest, **settings) -> bytes:
    """Compute features and return the bytes of their file, which is removed again."""
    maps = features.extract_features(manifest, MOVING, "report", transform_seed=5, **settings)
    file = Path(maps.filename)
    content = file.read_bytes()
    assert [kept.name for kept in file.parent.glob(f"{file.stem}*.npy")] == [file.name]
    assert not list(file.parent.glob("*.part"))
    file.unlink()
    return content


@pytest.mark.slow
def test_a_worker_killed_half_way_leaves_the_same_bytes(client, tmp_path):
    manifest = make_manifest(tmp_path / "images", 11, with_masks=True)
    note = tmp_path / "killed"
    before = client.run(os.getpid)
    client.register_plugin(Killer(manifest.path[6], note))
    spread = extract(manifest, client=client)
    assert int(note.read_text()) in before.values()
    assert int(note.read_text()) not in client.run(os.getpid).values()
    assert spread == extract(manifest)


@pytest.mark.slow
def test_a_shard_that_is_there_is_not_computed_again(client, tmp_path):
    manifest = make_manifest(tmp_path / "images", 8, with_masks=True)
    settings = features.FeatureSettings(MOVING, "report", 5, "float32")
    whole = config.home("features") / f"{features.content_key(manifest, settings)}.npy"
    shard = features._write_shard(manifest[4:], 4, whole, settings)
    marked = np.load(shard)
    marked[:] = 7
    np.save(shard, marked)
    maps = features.extract_features(manifest, MOVING, "report", transform_seed=5, client=client)
    assert (maps[4:] == 7).all() and not (maps[:4] == 7).any()


@pytest.mark.slow
def test_the_address_in_the_environment_names_the_cluster(client, tmp_path, monkeypatch):
    assert network.connect_cluster() is None
    monkeypatch.setenv(storage.ADDRESS, client.scheduler.address)
    found = network.connect_cluster()
    assert (
        found.scheduler.address == client.scheduler.address and network.connect_cluster() is found
    )
    computed = []
    monkeypatch.setattr(features, "_write_features", lambda *settings: computed.append(settings))
    extract(make_manifest(tmp_path / "images", 5, with_masks=True))
    assert not computed  # not in this process
    found.close()
    storage._client_at.cache_clear()


@pytest.mark.slow
def test_a_damaged_image_is_named(client, tmp_path):
    manifest = make_manifest(tmp_path / "images", 9, with_masks=True)
    whole = Path(manifest.path[7]).read_bytes()
    Path(manifest.path[7]).write_bytes(whole[:200])
    with pytest.raises(ImageError, match="7.png: damaged image"):
        features.extract_features(manifest, MOVING, "report", client=client)


@pytest.mark.slow
def test_masks_are_the_same_files_with_the_same_content(client, tmp_path, module_home, monkeypatch):
    manifest = make_manifest(module_home / "pairs", 4, with_masks=True)
    folder = lungs.train_unet(manifest, TINY)
    manifest = make_manifest(tmp_path / "images", 10)
    spread = masks.predict_masks(manifest, folder, client=client)
    contents = [Path(path).read_bytes() for path in spread.mask_path]
    for path in spread.mask_path:
        Path(path).unlink()
    alone = masks.predict_masks(manifest, folder)
    assert alone.equals(spread)
    assert contents == [Path(path).read_bytes() for path in alone.mask_path]


def test_a_folder_that_is_not_shared_is_named(tmp_path):
    (tmp_path / "here.npy").touch()
    with pytest.raises(FileNotFoundError, match="1 files .*gone.npy.*XRAYLIB_HOME"):
        network.check_shared([tmp_path / "here.npy", tmp_path / "gone.npy"])


def test_an_address_where_nobody_answers_is_named(monkeypatch):
    monkeypatch.setenv(storage.ADDRESS, "tcp://127.0.0.1:1")
    soon = dask.config.set({"distributed.comm.timeouts.connect": "1s"})
    with soon, pytest.raises(ConnectionError, match="127.0.0.1:1: no Dask scheduler answers"):
        network.connect_cluster()


def test_without_dask_a_named_cluster_says_how_to_get_it(monkeypatch):
    monkeypatch.setenv(storage.ADDRESS, "tcp://127.0.0.1:2")
    monkeypatch.setitem(sys.modules, "dask.distributed", None)
    with pytest.raises(ImportError, match=r"xraylib-book\[cluster\]"):
        network.connect_cluster()


@pytest.mark.slow
def test_dask_is_imported_by_functions_alone():
    """So that nothing of it is loaded where no cluster is named."""
    found = []
    for path in Path(network.__file__).parents[1].rglob("*.py"):
        module = ast.parse(path.read_text("utf8"))
        inside = [ast.walk(node) for node in ast.walk(module) if isinstance(node, ast.FunctionDef)]
        deferred = {id(node) for nodes in inside for node in nodes}
        for node in ast.walk(module):
            if isinstance(node, ast.Import | ast.ImportFrom) and "dask" in ast.unparse(node):
                found.append(id(node) in deferred)
    assert found and all(found)
