"""Arrays on disk: they grow, survive a cut, and are joined byte by byte alike."""

import errno
import subprocess
import sys

import numpy as np
import pytest

from xraylib import files
from xraylib.network.machinery import storage

MAPS = np.arange(7 * 3 * 3 * 2).reshape(7, 3, 3, 2).astype(np.float16)


def rest_of(maps, batch):
    return lambda done: (maps[i : i + batch] for i in range(done, len(maps), batch))


def test_an_array_grows_into_what_numpy_reads(tmp_path):
    storage.grow_array(tmp_path / "maps.npy", MAPS.shape, 2, rest_of(MAPS, 2))
    np.testing.assert_array_equal(np.load(tmp_path / "maps.npy"), MAPS)
    assert [file.name for file in tmp_path.iterdir()] == ["maps.npy"]


@pytest.mark.parametrize("kept", [0, 3, 100, 128 + 5, 128 + 2 * 36, 128 + 5 * 36 + 7])
def test_it_goes_on_after_whole_batches_wherever_it_was_cut(tmp_path, kept):
    whole, cut, began = tmp_path / "whole.npy", tmp_path / "cut.npy", []
    storage.grow_array(whole, MAPS.shape, 2, rest_of(MAPS, 2))
    cut.with_suffix(".part").write_bytes(whole.read_bytes()[:kept])

    def rest(done):
        began.append(done)
        return rest_of(MAPS, 2)(done)

    storage.grow_array(cut, MAPS.shape, 2, rest)
    assert cut.read_bytes() == whole.read_bytes()
    assert began == [max(kept - 128, 0) // (2 * 36) * 2]


def test_joined_shards_are_byte_by_byte_the_whole(tmp_path):
    shards = [tmp_path / f"{k}.npy" for k in range(3)]
    for shard, part in zip(shards, (MAPS[:2], MAPS[2:6], MAPS[6:]), strict=True):
        storage.grow_array(shard, part.shape, 2, rest_of(part, 2))
    storage.grow_array(tmp_path / "whole.npy", MAPS.shape, 2, rest_of(MAPS, 2))
    storage.join_arrays(tmp_path / "joined.npy", shards)
    assert (tmp_path / "joined.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()


FULL = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from xraylib import files
from xraylib.network.machinery import storage
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
maps = np.ones((8, 7, 7, 512), np.float16)
try:
    rest = lambda done: (maps[i : i + 2] for i in range(done, 8, 2))
    storage.grow_array(Path(sys.argv[1]), maps.shape, 2, rest)
except files.WriteError as error:
    print(error.errno, error)
"""


def test_a_full_disk_is_told_and_the_next_try_goes_on(tmp_path):
    target = tmp_path / "maps.npy"
    command = [sys.executable, "-c", FULL, str(target)]
    said = subprocess.check_output(command, text=True)
    assert said.startswith(f"{errno.EFBIG} {target}: cannot be written")
    assert not target.exists()
    maps, began = np.ones((8, 7, 7, 512), np.float16), []
    storage.grow_array(
        target, maps.shape, 2, lambda done: began.append(done) or rest_of(maps, 2)(done)
    )
    assert began == [4]
    np.testing.assert_array_equal(np.load(target), maps)


def test_an_error_of_the_computation_is_not_taken_for_a_full_disk(tmp_path):
    def rest(done):
        raise FileNotFoundError("an image")
        yield

    with pytest.raises(FileNotFoundError, match="an image") as raised:
        storage.grow_array(tmp_path / "maps.npy", MAPS.shape, 2, rest)
    assert not isinstance(raised.value, files.WriteError)
