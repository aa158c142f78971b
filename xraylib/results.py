"""Small tables measured by a run, kept where the book can show them later."""

import os
import platform
from datetime import date
from pathlib import Path

import pandas as pd

from xraylib.config import home

TRACKED = Path(__file__).resolve().parents[1] / "book" / "results"


def folder(profile: str) -> Path:
    """Return where the tables of a profile lie: in the book's clone, else in `XRAYLIB_HOME`."""
    base = TRACKED if TRACKED.parent.is_dir() else home("results")
    path = base / profile
    path.mkdir(parents=True, exist_ok=True)
    return path


def save(table: pd.DataFrame, profile: str, name: str) -> None:
    """Write a table as CSV, whole or not at all, with the day and the machine of the run."""
    stamped = table.assign(
        date=date.today().isoformat(),
        machine=f"{os.cpu_count()} cores, {platform.machine()}",
    )
    target = folder(profile) / f"{name}.csv"
    part = target.with_suffix(".part")
    stamped.to_csv(part, index=False, float_format="%.6g")
    part.replace(target)


def load(profile: str, name: str) -> pd.DataFrame:
    """Read a table that an earlier run wrote.

    Raises:
        FileNotFoundError: no run of that profile has written it.
    """
    path = folder(profile) / f"{name}.csv"
    if not path.exists():
        raise FileNotFoundError(f"{path}: run the book with the profile {profile} first")
    return pd.read_csv(path)
