"""Fuzz the readers, guided by libFuzzer to new paths through the code: see `plain.py` for more.

    .venv/bin/python -m pip install --constraint constraints.txt --editable ".[fuzz]"
    .venv/bin/python tests/fuzz/fuzz_images.py

A crash, another error, or an input that takes more than 20 seconds ends the run and is kept as
`crash-*` or `timeout-*` in the folder where it ran. Other arguments are libFuzzer's, such as
`-runs=1000000` or the name of a kept file.
"""

import random
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["xraylib", "PIL.PngImagePlugin", "PIL.JpegImagePlugin"]):
    import plain

DEFAULTS = ["-runs=200000", "-timeout=20", "-max_len=16384", "-rss_limit_mb=4000", "-verbosity=1"]
LARGEST_SEED = 16384  # bytes


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """Change some bytes; mend the checksums of every other PNG, or only they would be tried."""
    changed = atheris.Mutate(data, max_size)
    if random.Random(seed).random() < 0.5 and changed.startswith(plain.PNG):
        changed = plain.mend(changed)
    return changed[:max_size]


def read(data: bytes) -> None:
    PATH.write_bytes(data)
    plain.read(PATH)


if __name__ == "__main__":
    plain.quieten()
    with tempfile.TemporaryDirectory() as scratch:
        PATH, corpus = Path(scratch) / "input", Path(scratch) / "seeds"
        corpus.mkdir()
        for number, content in enumerate(plain.seeds(LARGEST_SEED)):
            (corpus / f"seed-{number}").write_bytes(content)
        given = sys.argv[1:]
        corpora = [] if any(Path(name).is_file() for name in given) else [str(corpus)]
        atheris.Setup([sys.argv[0], *DEFAULTS, *given, *corpora], read, custom_mutator=mutate)
        atheris.Fuzz()
