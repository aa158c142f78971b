"""Small tables measured by a run, kept where the book can show them later."""

import os
import platform
from datetime import date
from pathlib import Path

import pandas as pd

from xraylib import files
from xraylib.config import PROFILES, home

BUILD = "make book PROFILE={profile}"
TRACKED = Path(__file__).resolve().parents[1] / "book" / "results"
SHIPPED = Path(__file__).with_name("measured")  # an installation's copy of book/results/real


def folder(profile: str) -> Path:
    """Return where the tables of a profile lie: in the book's clone, else in `XRAYLIB_HOME`."""
    base = TRACKED if TRACKED.parent.is_dir() else home("results")
    path = base / profile
    path.mkdir(parents=True, exist_ok=True)
    return path


def save(table: pd.DataFrame, profile: str, name: str, command: str = "") -> None:
    """Write a table as CSV, whole or not at all, with the day, machine and command of the run.

    Args:
        table: numbers of a run.
        profile, name: which folder and which file, without its ending.
        command: what was typed; without, the book was built.
    """
    stamped = table.assign(
        date=date.today().isoformat(),
        machine=f"{os.cpu_count()} cores, {platform.machine()}",
        command=command or BUILD.format(profile=profile),
    )
    target = folder(profile) / f"{name}.csv"
    with files.whole_file(target) as part:
        stamped.to_csv(part, index=False, float_format="%.6g")


def load(profile: str, name: str) -> pd.DataFrame:
    """Read a table that an earlier run wrote.

    Those of the profile `real` come with the package, so that every reader can see them.

    Raises:
        FileNotFoundError: no run of that profile has written it.
    """
    path = folder(profile) / f"{name}.csv"
    if not path.exists() and profile == "real":
        path = SHIPPED / path.name
    if not path.exists():
        raise FileNotFoundError(f"{path}: run the book with the profile {profile} first")
    return pd.read_csv(path)


def origin(profile: str, name: str) -> str:
    """Say in a line when, where, by what command and on what data a table was measured."""
    row = load(profile, name).iloc[-1]
    command = row.get("command", BUILD.format(profile=profile))
    data = row.get("data", PROFILES[profile].dataset)
    return f"measured on {row['date']}, {row['machine']}; data: {data}; command: {command}"
