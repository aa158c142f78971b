"""Chapter 06 as a reader runs it who starts with it: what each section of its parts costs."""

import os
import shutil
import tempfile
from pathlib import Path

import papermill
from common import real_manifest

from xraylib import config

ROOT = Path(__file__).resolve().parents[2]
PARTS = sorted((ROOT / "notebooks").glob("06_*.ipynb"))


def chapter_stages() -> None:
    """(h) Chapter 06 on the real set, with nothing computed before: its sections by the clock."""
    _, data = real_manifest()
    profile = "real" if data == "darkcovidnet" else "quick"
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for part in ("xraylib", "notebooks", "book/results"):  # a copy: its tables are not kept
            shutil.copytree(ROOT / part, copy / part)
        link_inputs(copy / "home")
        os.environ |= {"XRAYLIB_HOME": str(copy / "home"), "PYTHONPATH": folder}
        took = {}
        for part in PARTS:
            notebook = papermill.execute_notebook(
                copy / "notebooks" / part.name,
                copy / "executed.ipynb",
                {"PROFILE": profile},
                kernel_name="python3",
                cwd=copy / "notebooks",
                progress_bar=False,
            )
            took |= {f"{part.stem}: {name}": s for name, s in section_seconds(notebook).items()}
    print(f"(h) chapter 06, profile {profile}: {sum(took.values()) / 60:.1f} minutes, the sum of")
    for section, seconds in took.items():
        print(f"    {seconds:6.0f} s  {section}")


def link_inputs(home: Path) -> None:
    """Make a home with the real data and the weights of the user's own, and nothing computed."""
    for part in ("data", "weights"):
        (home / part).mkdir(parents=True)
        for path in config.home(part).iterdir():
            if not path.name.startswith("phantom-"):
                (home / part / path.name).symlink_to(path.resolve())


def section_seconds(notebook) -> dict[str, float]:
    """Return the run time of each section, by its heading."""
    took, section = {}, "set-up"
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and cell.source.startswith("## "):
            section = cell.source.splitlines()[0].removeprefix("## ")
        duration = cell.metadata.get("papermill", {}).get("duration")
        took[section] = took.get(section, 0) + (duration or 0)
    return {section: seconds for section, seconds in took.items() if seconds >= 1}
