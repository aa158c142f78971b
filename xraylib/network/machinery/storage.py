"""Arrays larger than memory: grown on disk batch by batch, by one machine or by a Dask cluster."""

import io
import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from xraylib import files


def grow_array(target: Path, shape: tuple[int, ...], batch: int, rest) -> None:
    """Append to an array under a temporary name what it still lacks, then give it its name.

    A killed process loses one batch at most.

    Args:
        target: ends in `.npy`.
        shape: the shape of the whole array, float16.
        batch: rows that are computed at once. A file is gone on with after whole batches only:
            a kill may have cut one, and a row's last bit depends on its batch.
        rest: called with the number of rows that are there; yields the others, in batches.

    Raises:
        WriteError: the disk is full or the folder read-only; what is there stays for the next try.
    """
    part, header = target.with_suffix(".part"), _header(shape)
    row_bytes = 2 * int(np.prod(shape[1:]))
    with files.writing(target):
        if not part.exists() or part.stat().st_size < len(header):
            part.write_bytes(header)
        done = (part.stat().st_size - len(header)) // row_bytes // batch * batch
        os.truncate(part, len(header) + done * row_bytes)
    for rows in rest(done):
        with files.writing(target), open(part, "ab") as file:
            file.write(rows.tobytes())
    with files.writing(target):
        files.flush(part)
        part.replace(target)


def join_arrays(target: Path, shards: list[Path]) -> None:
    """Write the rows of several float16 `.npy` files under each other as one, whole or not at all.

    The result is byte by byte what `grow_array` writes at one go. The shards stay.
    """
    arrays = [np.load(shard, mmap_mode="r") for shard in shards]
    part = target.with_suffix(".part")
    with files.writing(target):
        with open(part, "wb") as file:
            file.write(_header((sum(map(len, arrays)), *arrays[0].shape[1:])))
            for rows in arrays:
                file.write(rows.data)
        files.flush(part)
        part.replace(target)


def _header(shape: tuple[int, ...]) -> bytes:
    header, stream = {"descr": "<f2", "fortran_order": False, "shape": shape}, io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue()


def spans(start: int, stop: int, size: int) -> list[range]:
    """Cut the places from start to stop into ranges of a size; the last may be shorter.

    >>> spans(4, 9, 2)
    [range(4, 6), range(6, 8), range(8, 9)]
    """
    return [range(begin, min(begin + size, stop)) for begin in range(start, stop, size)]


def read_ahead(work, items, depth: int = 2):
    """Yield `work(item)` for each item in order, done on a thread while the caller computes.

    Args:
        work: a function of one item, such as the reading of a batch.
        depth: results held in memory beside the one that the caller has.

    Raises:
        Exception: whatever the work raised, when its turn comes.
    """
    with ThreadPoolExecutor(1) as pool:
        waiting = deque()
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


ADDRESS = "XRAYLIB_DASK"  # names the scheduler, such as tcp://10.0.0.1:8786


def connect_cluster(client=None):
    """Return the Dask client to compute with, or None where one machine does the work.

    Args:
        client: a `dask.distributed.Client`; None for the cluster that the environment variable
            `XRAYLIB_DASK` names, if it names one.

    Raises:
        ImportError: a cluster is named and `dask.distributed` is not installed.
        ConnectionError: no scheduler answers at the address.
    """
    address = os.environ.get(ADDRESS)
    return _client_at(address) if client is None and address else client


@cache
def _client_at(address: str):
    try:
        from dask.distributed import Client
    except ImportError as error:
        raise ImportError(
            f'{ADDRESS}={address} needs dask: pip install "xraylib-book[cluster]", or unset it'
        ) from error
    try:
        return Client(address, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConnectionError(
            f"{ADDRESS}={address}: no Dask scheduler answers there ({error}); start one with "
            "`dask scheduler`, or unset the variable to compute on this machine"
        ) from error


def map_shards(client, work, manifest: pd.DataFrame, size: int, *settings, title: str) -> list:
    """Return `work(shard, start, *settings)` for every shard of a manifest, in order.

    A shard whose worker dies is done again by another one. A shard that takes several workers
    with it (`distributed.scheduler.allowed-failures`) ends in Dask's `KilledWorker`.

    Args:
        client: a `dask.distributed.Client`. Its workers have this package, and see the same
            files under the same names.
        work: a function of a module, of a part of the manifest and the place where it starts.

    Raises:
        Exception: the first one that a shard raised; the others are then cancelled.
    """
    from dask.distributed import as_completed

    cuts = spans(0, len(manifest), size)
    shards = [(manifest.iloc[cut.start : cut.stop], cut.start) for cut in cuts]
    futures = [client.submit(work, *shard, *settings, pure=False) for shard in shards]
    images = {future.key: len(cut) for future, cut in zip(futures, cuts, strict=True)}
    try:
        with tqdm(total=len(manifest), desc=title, unit=" images") as bar:
            for future in as_completed(futures, loop=client.loop):
                future.result()
                bar.update(images[future.key])
        return client.gather(futures)
    finally:
        client.cancel(futures)


def check_shared(paths: list[Path]) -> None:
    """Check that what the workers wrote can be read here.

    Raises:
        FileNotFoundError: a file is missing: the machines do not share the folder.
    """
    missing = [str(path) for path in paths if not Path(path).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} files that the cluster wrote are not seen here (first: {missing[0]}): "
            "XRAYLIB_HOME must be a folder that all machines share, under the same name"
        )
