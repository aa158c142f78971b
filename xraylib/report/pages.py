"""What a chapter shows of its results: kept tables, numbers for the prose, the box at its end."""

import html
import inspect
import os
import platform
import textwrap
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from string import Formatter

import pandas as pd
from IPython.display import Markdown, display

from xraylib import files
from xraylib.config import PROFILES, home

BUILD = "make book PROFILE={profile}"
TRACKED = Path(__file__).resolve().parents[2] / "book" / "results"
# an installation's copy of book/results/real
SHIPPED = Path(__file__).resolve().parents[1] / "measured"


def tables_folder(profile: str) -> Path:
    """Return where the tables of a profile lie: in the book's clone, else in `XRAYLIB_HOME`."""
    base = TRACKED if TRACKED.parent.is_dir() else home("results")
    path = base / profile
    path.mkdir(parents=True, exist_ok=True)
    return path


def save_table(table: pd.DataFrame, profile: str, name: str, command: str = "") -> None:
    """Write a table as CSV, whole or not at all, with the day, machine and command of the run.

    Args:
        command: what was typed; without, the book was built.
    """
    stamped = table.assign(
        date=date.today().isoformat(),
        machine=f"{os.cpu_count()} cores, {platform.machine()}",
        command=command or BUILD.format(profile=profile),
    )
    target = tables_folder(profile) / f"{name}.csv"
    with files.whole_file(target) as part:
        stamped.to_csv(part, index=False, float_format="%.6g")


def load_table(profile: str, name: str) -> pd.DataFrame:
    """Read a table that an earlier run wrote.

    Those of the profile `real` come with the package, so that every reader can see them.

    Raises:
        FileNotFoundError: no run of that profile has written it.
    """
    path = tables_folder(profile) / f"{name}.csv"
    if not path.exists() and profile == "real":
        path = SHIPPED / path.name
    if not path.exists():
        raise FileNotFoundError(f"{path}: run the book with the profile {profile} first")
    return pd.read_csv(path)


def table_origin(profile: str, name: str) -> str:
    """Say in a line when, where, by what command and on what data a table was measured."""
    row = load_table(profile, name).iloc[-1]
    command = row.get("command", BUILD.format(profile=profile))
    data = row.get("data", PROFILES[profile].dataset)
    return f"measured on {row['date']}, {row['machine']}; data: {data}; command: {command}"


GLUED = "application/papermill.record/"  # MyST-NB keeps such an output and shows none of it
BOX_STYLE = "border-left: 4px solid #0072B2; padding: 0.4em 1em; margin: 1em 0"


@dataclass(frozen=True)
class Shown:
    """What a cell shows; a notebook takes from it the kind that it can draw."""

    html: str
    text: str
    markdown: str = ""

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        kinds = {"text/html": self.html, "text/markdown": self.markdown, "text/plain": self.text}
        return {kind: content for kind, content in kinds.items() if content}


def percent(value: float, low: float | None = None, high: float | None = None) -> str:
    """Write a share in per cent, with its interval where there is one.

    Args:
        value: 0 to 1.
        low, high: the ends of its interval, 0 to 1.

    >>> percent(0.803), percent(0.803, 0.779, 0.826)
    ('80.3 %', '80.3 % [77.9, 82.6]')
    """
    interval = "" if low is None else f" [{low * 100:.1f}, {high * 100:.1f}]"
    return f"{value * 100:.1f} %{interval}"


def figure_text(row, name: str) -> str:
    """Write one figure of a results table and its interval, in per cent.

    Args:
        row: a row with `name`, `name low` and `name high`, as `metrics.figures_row` gives them.
        name: the name of the figure, such as `accuracy`.
    """
    return percent(row[name], row[f"{name} low"], row[f"{name} high"])


def effects_text(table: pd.DataFrame) -> str:
    """Write effects, with factor, effect, low and high (shares), in points with their intervals."""
    rows = table[["factor", "effect", "low", "high"]].itertuples(index=False)
    return "; ".join(
        f"{name} {100 * effect:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
        for name, effect, low, high in rows
    )


def shown_effects(table: pd.DataFrame) -> tuple[str, str]:
    """Name the factors whose interval lies below zero, and those above; "none" where none does."""
    below, above = table.factor[table.high < 0], table.factor[table.low > 0]
    return "; ".join(below) or "none", "; ".join(above) or "none"


def change_text(name: str, change: float, low: float, high: float) -> str:
    """Say in words what a change does to a figure of merit, in points (per cent of all images).

    Args:
        name: the figure, such as `accuracy`.
        change: the difference of two shares, -1 to 1.
        low, high: the ends of its interval. If 0 lies between them, no direction is claimed.

    >>> change_text("accuracy", -0.026, -0.048, -0.005)
    'accuracy falls by 2.6 points [0.5, 4.8]'
    >>> change_text("recall", 0.008, -0.046, 0.060)
    'no change of recall can be seen: +0.8 points [-4.6, +6.0]'
    """
    if low > 0 or high < 0:
        near, far = sorted((abs(low), abs(high)))
        way = "rises" if change > 0 else "falls"
        size = f"{abs(change) * 100:.1f} points [{near * 100:.1f}, {far * 100:.1f}]"
        return f"{name} {way} by {size}"
    ends = f"{change * 100:+.1f} points [{low * 100:+.1f}, {high * 100:+.1f}]"
    return f"no change of {name} can be seen: {ends}"


def glue(**texts: str) -> None:
    """Keep texts under their names, for the prose of any page of the book.

    A page takes one with the role `glue:text`, as `notebooks/04_results.ipynb::name:s`.

    Args:
        texts: name -> what the page shall say.
    """
    for name, text in texts.items():
        scrap = {"name": name, "mime_prefix": GLUED}
        display({f"{GLUED}text/plain": str(text)}, raw=True, metadata={"scrapbook": scrap})


def say(text: str) -> None:
    """Show a conclusion whose words and numbers its cell has computed.

    Args:
        text: Markdown, a sentence or two.
    """
    display(Markdown(text))


def report_box(said: str, found: str, **texts: str) -> None:
    """Show what the report said beside what this run found, and glue the numbers.

    It is an output and not prose, so that the numbers stand in it wherever the notebook runs.

    Args:
        said: what the report said, with the names of numbers in braces.
        found: what this run found, likewise.
        texts: name -> number as text, each of them used.

    Raises:
        ValueError: a name without a number, or a number that is not used.
    """
    wanted = {name for part in (said, found) for _, name, _, _ in Formatter().parse(part) if name}
    if wanted != set(texts):
        wrong = ", ".join(sorted(wanted ^ set(texts)))
        raise ValueError(f"{wrong}: every name in the text needs a number, and every number a name")
    glue(**texts)
    plain = [part.format(**texts) for part in (said, found)]
    shown = [html.escape(text, quote=False) for text in plain]
    box = (
        f'<div class="report-box" style="{BOX_STYLE}">'
        f"<p><strong>The report.</strong> {shown[0]}</p>"
        f"<p><strong>This book.</strong> {shown[1]}</p></div>"
    )
    text = f"The report. {plain[0]}\nThis book. {plain[1]}"
    display({"text/html": box, "text/plain": text}, raw=True)


def show_source(function) -> None:
    """Show how a function is written, below the sentence that teaches it.

    Of its docstring the first line is shown: the rest stands on the function's own page.
    """
    code = textwrap.dedent(inspect.getsource(function)).rstrip()
    docstring = inspect.getdoc(function)
    if docstring:
        first, last = (code.index('"""'), code.index('"""', code.index('"""') + 3) + 3)
        code = f'{code[:first]}"""{docstring.splitlines()[0]}"""{code[last:]}'
    place = function.__module__.replace(".", "/")
    display(Markdown(f"```python\n# defined in {place}.py\n{code}\n```"))
