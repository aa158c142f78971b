"""Arrays on disk, whole or not at all: grown batch by batch, or joined from shards."""

import io
import os
import shutil
from pathlib import Path

import numpy as np

from xraylib import files


def grow(target: Path, shape: tuple[int, ...], batch: int, rest) -> None:
    """Append to an array under a temporary name what it still lacks, then give it its name.

    A killed process loses one batch at most.

    Args:
        target: ends in `.npy`.
        shape: of the whole array, float16.
        batch: rows that are computed at once. A file is gone on with after whole batches only:
            a kill may have cut one, and a row's last bit depends on its batch.
        rest: called with the number of rows that are there; yields the others, in batches.

    Raises:
        WriteError: the disk is full or the folder read-only; what is there stays for the next try.
    """
    part, row_bytes = target.with_suffix(".part"), 2 * int(np.prod(shape[1:]))
    with files.writing(target):
        if not part.exists() or part.stat().st_size < len(_header(shape)):
            part.write_bytes(_header(shape))
        done = (part.stat().st_size - len(_header(shape))) // row_bytes // batch * batch
        os.truncate(part, len(_header(shape)) + done * row_bytes)
    for rows in rest(done):
        with files.writing(target), open(part, "ab") as file:
            file.write(rows.tobytes())
    with files.writing(target):
        files.flush(part)
        part.replace(target)


def join(target: Path, shards: list[Path]) -> None:
    """Write the rows of several arrays under each other as one, whole or not at all.

    The result is byte by byte what `grow` writes at one go. The shards stay.

    Args:
        target: ends in `.npy`.
        shards: in order; `.npy` files of float16 arrays that differ in their first length only.

    Raises:
        WriteError: the disk is full or the folder read-only.
    """
    shapes = [np.load(shard, mmap_mode="r").shape for shard in shards]
    part = target.with_suffix(".part")
    with files.writing(target):
        with open(part, "wb") as file:
            file.write(_header((sum(shape[0] for shape in shapes), *shapes[0][1:])))
            for shard in shards:
                with open(shard, "rb") as rows:
                    rows.seek(header_bytes(shard))
                    shutil.copyfileobj(rows, file)
        files.flush(part)
        part.replace(target)


def _header(shape: tuple[int, ...]) -> bytes:
    header, stream = {"descr": "<f2", "fortran_order": False, "shape": shape}, io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue()


def header_bytes(path: Path) -> int:
    """Return where the rows of a `.npy` file begin."""
    with open(path, "rb") as file:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        return file.tell()
