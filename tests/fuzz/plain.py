"""Read files with random changes: each gives grey values, a mask, a table or a named error.

    .venv/bin/python tests/fuzz/plain.py 200000 1

The arguments are how many inputs, and a seed. It needs no other library and tries several times
as many inputs a second as `fuzz_images.py`, which looks for new paths through the code. Whatever
ends in another error, or takes longer than 20 seconds, is counted and kept as `crash-*` in the
folder where it ran; what ends the process is left as `input-*` in the folder for temporary files.
The seeds are the bad files of the tests and the DICOM files that come with pydicom.
"""

import logging
import random
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom

from xraylib.data import ManifestError, read_table
from xraylib.images.reading import PNG, ImageError, read_grey, read_mask

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import bad_files

DICOMS = Path(pydicom.__file__).parent / "data" / "test_files"
TABLE = b"filename;label;patient_id\r\na.png;normal;007\r\nb.png;T\xfcr;8\r\n"
LARGEST_SEED = 40_000  # bytes
LONGEST = 20  # seconds
EXTREME = (0, 1, 255, 65535, 2**31, 2**32 - 1)  # lengths and sizes


def seeds(largest: int = LARGEST_SEED) -> list[bytes]:
    """Return small valid and odd files to start from."""
    contents = [TABLE, *(case.content for case in bad_files.CASES)]
    contents += [path.read_bytes() for path in sorted(DICOMS.rglob("*")) if path.is_file()]
    return [content for content in contents if len(content) <= largest]


def mend(png: bytes) -> bytes:
    """Return a PNG with the checksum of every chunk put right, or only they would be tried."""
    mended, place = bytearray(png), len(PNG)
    while place + 12 <= len(png):
        end = place + 8 + struct.unpack_from(">I", png, place)[0]
        if end + 4 > len(png):
            break
        struct.pack_into(">I", mended, end, zlib.crc32(png[place + 4 : end]))
        place = end + 4
    return bytes(mended)


def change(content: bytes, rng: random.Random) -> bytes:
    """Return a file with some bytes set, taken away or put in, mostly near its beginning."""
    changed = bytearray(content or b"\0")
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        place = rng.randrange(min(len(changed), rng.choice((400, 2000, len(changed)))))
        way = rng.choice(("byte", "byte", "byte", "number", "cut", "insert"))
        if way == "byte":
            changed[place] = rng.randrange(256)
        elif way == "number":
            changed[place : place + 4] = struct.pack(rng.choice("<>") + "I", rng.choice(EXTREME))
        elif way == "cut":
            del changed[place : place + rng.randrange(1, 40)]
        else:
            changed[place:place] = changed[: rng.randrange(1, 60)]
        changed = changed or bytearray(b"\0")
    changed = bytes(changed)
    return mend(changed) if changed.startswith(PNG) and rng.random() < 0.7 else changed


def read(path: Path) -> str:
    """Read a file as an image, as a mask of its shape, and as a table; return what it can be."""
    found = []
    try:
        image = read_grey(path)
        assert image.dtype == np.uint8 and image.ndim == 2 and image.size > 0
        found.append("image")
        mask = read_mask(path, image.shape, empty=False)
        assert mask.dtype == bool and mask.any()
        found.append("mask")
    except ImageError as error:
        assert str(error) == f"{path}: {error.reason}" and error.reason
    try:
        assert read_table(path).columns.size > 0
        found.append("table")
    except ManifestError as error:
        assert str(error).startswith(f"{path}: ")
    return " and ".join(found) or "named error"


def quieten() -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)  # pydicom tells of every damaged element


class TooLong(BaseException):  # which no reader catches
    """An input took too much time of the processor."""


def _too_long(*_) -> None:
    raise TooLong(f"more than {LONGEST} s")


def main(arguments: list[str]) -> int:
    """Try many inputs; returns 1 if one of them ended in an error without a name."""
    count, seed = (int(text) for text in arguments)
    quieten()
    signal.signal(signal.SIGPROF, _too_long)
    rng, start, slowest = random.Random(seed), time.perf_counter(), 0.0
    found, path = Counter(), Path(tempfile.gettempdir(), f"input-{seed}")
    contents = seeds()
    for number in range(count):
        path.write_bytes(change(rng.choice(contents), rng))
        begun = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, LONGEST)
        try:
            found[read(path)] += 1
        except (Exception, TooLong):
            traceback.print_exc()
            found["NO NAMED ERROR"] += 1
            Path(f"crash-{seed}-{number}").write_bytes(path.read_bytes())
        signal.setitimer(signal.ITIMER_PROF, 0)
        slowest = max(slowest, time.process_time() - begun)
        if (number + 1) % 2000 == 0 or number + 1 == count:
            speed = (number + 1) / (time.perf_counter() - start)
            print(f"{number + 1} {dict(found)}; {speed:.0f} a second; slowest {slowest:.1f} s")
            sys.stdout.flush()
    path.unlink()
    return int(found["NO NAMED ERROR"] > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
