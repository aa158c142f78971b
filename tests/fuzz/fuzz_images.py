"""Fuzz the readers: whatever the bytes, a file gives grey values, a mask, a table or a named error.

    .venv/bin/python -m pip install --constraint constraints.txt --editable ".[fuzz]"
    .venv/bin/python tests/fuzz/fuzz_images.py

A crash, another error, or an input that takes more than 20 seconds ends the run and is kept as
`crash-*` or `timeout-*` in the folder where it ran. Other arguments are libFuzzer's, such as
`-runs=1000000` or the name of a kept file. The seeds are the bad files of the tests and the DICOM
files that come with pydicom.
"""

import logging
import random
import struct
import sys
import tempfile
import warnings
import zlib
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["xraylib", "PIL.PngImagePlugin", "PIL.JpegImagePlugin"]):
    from xraylib.data import ManifestError, read_table
    from xraylib.images.reading import PNG, ImageError, read_grey, read_mask

import numpy as np
import pydicom

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import bad_files

DEFAULTS = ["-runs=200000", "-timeout=20", "-max_len=16384", "-rss_limit_mb=4000", "-verbosity=1"]
LARGEST_SEED = 16384  # bytes
DICOMS = Path(pydicom.__file__).parent / "data" / "test_files"
TABLE = b"filename;label;patient_id\r\na.png;normal;007\r\nb.png;T\xfcr;8\r\n"


def write_seeds(folder: Path) -> None:
    """Write small valid and odd files to start from."""
    contents = [TABLE, *(case.content for case in bad_files.CASES)]
    contents += [path.read_bytes() for path in sorted(DICOMS.glob("*.dcm"))]
    for number, content in enumerate(contents):
        if len(content) <= LARGEST_SEED:
            (folder / f"seed-{number}").write_bytes(content)


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """Change some bytes; mend the checksums of every other PNG, or only they would be tried."""
    changed = atheris.Mutate(data, max_size)
    if random.Random(seed).random() < 0.5 and changed.startswith(PNG):
        changed = mend(changed)
    return changed[:max_size]


def mend(png: bytes) -> bytes:
    """Return a PNG with the checksum of every chunk put right."""
    mended, place = bytearray(png), len(PNG)
    while place + 12 <= len(png):
        end = place + 8 + struct.unpack_from(">I", png, place)[0]
        if end + 4 > len(png):
            break
        struct.pack_into(">I", mended, end, zlib.crc32(png[place + 4 : end]))
        place = end + 4
    return bytes(mended)


def read(data: bytes) -> None:
    """Read bytes as a file would be read, as an image and as a mask, or else as a table."""
    PATH.write_bytes(data)
    try:
        image = read_grey(PATH)
        assert image.dtype == np.uint8 and image.ndim == 2 and image.size > 0
        mask = read_mask(PATH, image.shape, empty=False)
        assert mask.dtype == bool and mask.any()
    except ImageError as error:
        assert str(error) == f"{PATH}: {error.reason}" and error.reason
        read_as_table()


def read_as_table() -> None:
    try:
        table = read_table(PATH)
        assert table.columns.size > 0
    except ManifestError as error:
        assert str(error).startswith(f"{PATH}: ")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)  # pydicom tells of every damaged element
    with tempfile.TemporaryDirectory() as scratch:
        PATH, seeds = Path(scratch) / "input", Path(scratch) / "seeds"
        seeds.mkdir()
        write_seeds(seeds)
        given = sys.argv[1:]
        corpus = [] if any(Path(name).is_file() for name in given) else [str(seeds)]
        atheris.Setup([sys.argv[0], *DEFAULTS, *given, *corpus], read, custom_mutator=mutate)
        atheris.Fuzz()
