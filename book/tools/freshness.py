"""Which executed chapters still stand: a copy is kept until something it was made from changes."""

import hashlib
from pathlib import Path

import nbformat

import xraylib
from xraylib.config import home

PACKAGE = Path(xraylib.__file__).parent
# what writes into a copy
TOOLS = [Path(__file__).with_name(f"{name}.py") for name in ("build", "links", "pages")]
CODE = (".py", ".csv", ".sha256", ".mplstyle", ".css", ".js")  # files that make up the package
MADE_HERE = "phantom"  # data drawn by the book itself follow from the package's sources


def stamp(source: Path, profile: str, root: Path) -> str:
    """Return a hash of all that decides what a chapter shows.

    That is the notebook, the package, what the builder adds to a chapter, the profile, the tables
    measured with other profiles, and the names, sizes and times of the data in `XRAYLIB_HOME`.

    Args:
        source: the notebook.
        profile: it is run with.
        root: of the repository.
    """
    digest = hashlib.sha256(profile.encode())
    tables = [t for t in (root / "book/results").glob("*/*.csv") if t.parent.name != profile]
    code = [path for path in PACKAGE.rglob("*") if path.suffix in CODE]
    for path in [source, *TOOLS, *sorted(code), *sorted(tables)]:
        digest.update(path.name.encode() + path.read_bytes())
    for path in _data_paths():
        status = path.stat()
        size = status.st_size if path.is_file() else 0
        digest.update(f"{path} {size} {status.st_mtime_ns}".encode())
    return digest.hexdigest()


def keep_stamp(notebook: nbformat.NotebookNode, value: str) -> None:
    """Write the stamp into an executed notebook."""
    notebook.metadata["xraylib"] = {"stamp": value}


def stamp_of(copy: Path) -> str | None:
    """Return the stamp that an executed copy was made with, None when there is no copy."""
    if not copy.exists():
        return None
    return nbformat.read(copy, as_version=4).metadata.get("xraylib", {}).get("stamp")


def _data_paths() -> list[Path]:
    """Return the tables of the data sets and the folders of their images (a new file shows)."""
    sets = [f for f in home("data").iterdir() if f.is_dir() and not f.name.startswith(MADE_HERE)]
    paths = [path for folder in sets for path in (*folder.glob("*"), *folder.glob("images/*/"))]
    return sorted(path for path in paths if path.exists())
