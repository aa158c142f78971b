"""Put the seconds that each chapter took, in the last build, into the README's table.

make times
"""

import os
import platform
import re
from datetime import date
from pathlib import Path

import nbformat

from tools import build
from xraylib import files

ROW = re.compile(r"^(\|.*\(notebooks/(\w+)\.ipynb\).*\|)[^|]*\|$", re.MULTILINE)
NOTE = re.compile(r"^\*Seconds of a first run.*?\*$", re.MULTILINE | re.DOTALL)


def fill(readme: str, seconds: dict[str, float], profile: str) -> str:
    """Return the README with the seconds in the last column of its table of chapters.

    Args:
        readme: its text; a row of the table links `notebooks/<name>.ipynb`.
        seconds: name of a chapter -> what it took.
        profile: that it was run with.
    """
    note = (
        f"*Seconds of a first run with the profile `{profile}` on {os.cpu_count()} cores "
        f"({platform.machine()}), without a GPU,\non {date.today():%d %B %Y}. "
        "Two run at a time, the longest and the last ones first: they compute what several share.*"
    )
    filled = ROW.sub(lambda row: f"{row[1]} {seconds[row[2]]:.0f} |", readme)
    return NOTE.sub(note, filled)


def main(root: Path = build.ROOT) -> None:
    """Read the executed chapters and write the README."""
    seconds, profile = {}, ""
    for source in build.sources(root):
        run = nbformat.read(root / "book/notebooks" / source.name, as_version=4).metadata.papermill
        seconds[source.stem], profile = run.duration, run.parameters.PROFILE
    readme = root / "README.md"
    files.write_text(readme, fill(readme.read_text("utf8"), seconds, profile))


if __name__ == "__main__":
    main()
