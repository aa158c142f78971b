"""Shards of a manifest on a Dask cluster: many machines in place of one."""

import os
from functools import cache
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from xraylib.streaming import spans

ADDRESS = "XRAYLIB_DASK"  # names the scheduler, such as tcp://10.0.0.1:8786


def connect(client=None):
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
        manifest: one row an image.
        size: images in a shard.
        settings: passed on to every call.
        title: of the progress bar.

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
