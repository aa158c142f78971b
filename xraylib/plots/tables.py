"""One look for every table: few columns, whole counts, intervals in one cell, a caption.

The page takes the Markdown, of which Sphinx makes a table with a number; Jupyter takes the HTML.
"""

import html
import re
from functools import partial

import numpy as np
import pandas as pd

from xraylib.report import Shown

MOST_COLUMNS = 6
STAMPS = ("date", "machine", "command")  # `report.table_origin` says these in a line
CONSTANTS = ("n", "seed", "split", "data")  # said once below the table if all rows share them
INTERVAL = re.compile(r"([+-]?[\d.]+)( ?%)? (\[[+-]?[\d.]+%?, [+-]?[\d.]+%?\])")
SPECIAL = re.compile(r"([\\`*_{}\[\]|$~^#])")  # what Markdown would read as a sign of its own
NOTHING = "–"


def show_table(
    table, caption: str, name: str = "", mark=None, digits: int = 3, folded: bool = False
) -> Shown:
    """Return a table as the book shows it.

    A column followed by its `low` and `high` becomes one column with the interval in brackets; if
    it is the only one, and of shares, each cell gets a dot and a line too. Whole numbers are
    written as such, the index only where it says something. What all rows share of n, seed, split
    and data goes below the table.

    Args:
        table: DataFrame or Series.
        caption: what the table shows, a sentence.
        name: to refer to it: `{numref}` and the name, on any page.
        mark: row's label -> name of the column, or names, of the cells to look at.
        digits: decimals of numbers that are no counts.
        folded: whether only a line is shown, which unfolds: for tables to look something up.

    Returns:
        an object that a notebook shows.

    Raises:
        ValueError: more than six columns, or a marked cell that there is not.

    >>> found = pd.DataFrame({"recall": [0.5], "low": [0.25], "high": [0.75]})
    >>> print(show_table(found, "One class.").text)
                  recall
    0.500 [0.250, 0.750]
    """
    table = pd.DataFrame(table).infer_objects()
    marked = _marked_places(table, mark or {})
    table, note = _without_constants(table)
    shown = _with_index(_join_intervals(table, digits))
    if len(shown.columns) > MOST_COLUMNS:
        names = ", ".join(map(str, shown.columns))
        raise ValueError(
            f"{len(shown.columns)} columns, at most {MOST_COLUMNS} can be read: choose of {names}"
        )
    texts = shown.apply(lambda column: _column_texts(column, digits)).astype(str)
    texts.columns = [_heading(column) for column in shown.columns]
    right = [_is_number(shown[column]) for column in shown.columns]
    intervals = [column for column in texts.columns if _intervals(texts[column])]
    is_only_one = len(intervals) == 1 and _is_interval_of_shares(texts[intervals[0]])
    rows = partial(_rows, texts, intervals[0] if is_only_one else None, marked)
    title, caption = caption.rstrip("."), " ".join(part for part in (caption, note) if part)
    plain = texts.to_string(index=False) if len(texts) else "no rows"
    markdown = _markdown(*rows(_for_markdown), right, caption, name)
    page = _html(*rows(html.escape), right, caption)
    if folded:
        markdown = f"::::{{dropdown}} Table: {title}\n{markdown}\n::::"
        page = f"<details><summary>Table: {html.escape(title)}</summary>{page}</details>"
    return Shown(page, plain, markdown)


def _marked_places(table: pd.DataFrame, mark: dict) -> set:
    places = set()
    for label, columns in mark.items():
        for column in [columns] if isinstance(columns, str) else columns:
            if label not in table.index or column not in table.columns:
                raise ValueError(f"no cell to mark at {label!r}, {column!r}")
            places |= {(int(k), _heading(column)) for k in np.flatnonzero(table.index == label)}
    return places


def _without_constants(table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Take away stamps, and what all rows share; return the rest, and a sentence on the latter."""
    table = table.drop(columns=[name for name in STAMPS if name in table])
    said = [name for name in CONSTANTS if name in table and len(set(table[name])) == 1]
    if len(said) == len(table.columns):
        return table, ""
    parts = [f"{name} {'= ' if name == 'n' else ''}{_plain(table[name].iloc[0])}" for name in said]
    note = f"All rows: {', '.join(parts)}." if len(table) > 1 else f"{', '.join(parts)}."
    return table.drop(columns=said), note if said else ""


def _plain(value) -> str:
    return f"{value:g}" if isinstance(value, float) and value < 1e6 else f"{value}".split(".")[0]


def _join_intervals(table: pd.DataFrame, digits: int) -> pd.DataFrame:
    """Write a value and the ends of its interval into one column of texts."""
    table = table.copy()
    for before, name in zip([None, *table.columns], list(table.columns), strict=False):
        ends = [f"{name} low", f"{name} high"], [f"{name}_low", f"{name}_high"]
        found = next((pair for pair in ends if set(pair) <= set(table.columns)), None)
        if name == "low" and before is not None and "high" in table:
            name, found = before, ["low", "high"]
        if found is not None:
            rows = table[[name, *found]].to_numpy(float)
            table[name] = [_interval_text(*row, digits) for row in rows]
            table = table.drop(columns=found)
    return table


def _interval_text(value: float, low: float, high: float, digits: int) -> str:
    if np.isnan([value, low, high]).any():  # a count among shares, or nothing at all
        return _value_text(value, 0 if float(value).is_integer() else digits)
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _with_index(table: pd.DataFrame) -> pd.DataFrame:
    """Make columns of an index that says something; one that only counts the rows is dropped.

    Several levels share one column where they would be one too many.
    """
    index = table.index
    if index.nlevels == 1 and index.name is None and pd.api.types.is_integer_dtype(index):
        return table.reset_index(drop=True)
    names = [name or " " * (k + 1) for k, name in enumerate(index.names)]  # all different
    if index.nlevels + len(table.columns) > MOST_COLUMNS:
        names = [", ".join(name.strip() for name in names).strip(", ") or " "]
        table = table.set_axis([", ".join(map(str, np.atleast_1d(row))) for row in index.tolist()])
    return table.rename_axis(index=names).reset_index()


def _heading(column) -> str:
    words = column if isinstance(column, tuple) else (column,)
    return ", ".join(str(word) for word in words if str(word)).replace("_", " ")


def _is_number(column: pd.Series) -> bool:
    texts = column.astype(str)
    is_number = pd.api.types.is_numeric_dtype(column)
    return is_number or bool(texts.str.match(r"[+-]?[\d.,]+( ?%)?($| \[)|–$").all() and len(texts))


def _intervals(column: pd.Series) -> list[re.Match]:
    """Return the intervals of a column that holds nothing else, or none."""
    found = [INTERVAL.fullmatch(text) for text in column if text != NOTHING]
    return found if all(found) else []


def _is_interval_of_shares(column: pd.Series) -> bool:
    return all(0 <= x <= 1 for one in _intervals(column) for x in _ends(one))


def _ends(found: re.Match) -> tuple[float, float, float]:
    """Return value, low and high of a written interval, as shares where it is in per cent."""
    numbers = re.findall(r"[+-]?[\d.]+", found.group(0))
    value, low, high = (float(number) / (100 if found.group(2) else 1) for number in numbers)
    return value, low, high


def _column_texts(column: pd.Series, digits: int) -> pd.Series:
    """Write the values of one column: counts whole, bools in words, shapes with crosses."""
    known = column.dropna()
    is_bool = pd.api.types.is_bool_dtype(known) or (
        len(known) and all(isinstance(value, bool | np.bool_) for value in known)
    )
    if is_bool:
        return column.map({True: "yes", False: "no"}).fillna(NOTHING)
    numbers = known if pd.api.types.is_numeric_dtype(known) else pd.Series(dtype=float)
    whole = len(numbers) and (numbers == numbers.round()).all()
    is_count = pd.api.types.is_integer_dtype(column) or (whole and numbers.abs().max() > 1)
    return column.map(lambda value: _value_text(value, 0 if is_count else digits)).astype(str)


def _value_text(value, digits: int) -> str:
    if isinstance(value, tuple | list):
        return " x ".join(str(size) for size in value if size is not None)
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return NOTHING
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.number):
        return str(value)
    if isinstance(value, int | np.integer):
        digits = 0  # among words
    if 0 < abs(value) < 0.5 * 10**-digits:
        return f"< {10**-digits:.{digits}f}" if value > 0 else f"> -{10**-digits:.{digits}f}"
    return f"{value:,.{digits}f}"


def _cell(text: str, is_drawn: bool, is_marked: bool, escape) -> str:
    """Return a cell's text with its interval kept together, its dot and line, and its mark."""
    found = INTERVAL.fullmatch(text)
    shown = escape(text)
    if found:
        before = escape(text[: found.start(3)].strip())
        shown = f'{before} <span class="ends">{escape(found.group(3))}</span>'
    if found and is_drawn:
        value, low, high = (f"{end * 100:.1f}%" for end in _ends(found))
        style = f"--value: {value}; --low: {low}; --high: {high}"
        shown += f' <span class="interval" style="{style}"></span>'
    return f'<strong class="marked">{shown}</strong>' if is_marked else shown


def _rows(texts: pd.DataFrame, drawn: str | None, marked: set, escape) -> tuple[list, list]:
    """Return heads and rows of cells; the intervals of the column `drawn` get a dot and a line."""
    heads = [escape(name) for name in texts.columns]
    rows = [
        [
            _cell(text, name == drawn, (place, name.strip()) in marked, escape)
            for name, text in zip(texts.columns, row, strict=True)
        ]
        for place, row in enumerate(texts.to_numpy())
    ]
    return heads, rows


def _for_markdown(text: str) -> str:
    return SPECIAL.sub(r"\\\1", html.escape(text, quote=False))


def _markdown(heads: list, rows: list, right: list, caption: str, name: str) -> str:
    lines = [f":::{{table}} {caption}", *([f":name: {name}"] if name else []), ":class: shown", ""]
    rule = ["--:" if is_right else "---" for is_right in right]
    lines += [f"| {' | '.join(row)} |" for row in (heads, rule, *rows)]
    return "\n".join([*lines, ":::"])


def _html(heads: list, rows: list, right: list, caption: str) -> str:
    sides = [f"text-align: {'right' if is_right else 'left'}" for is_right in right]
    top = "".join(
        f'<th scope="col" style="{side}">{head}</th>'
        for side, head in zip(sides, heads, strict=True)
    )
    lines = [
        "".join(f'<td style="{side}">{cell}</td>' for side, cell in zip(sides, row, strict=True))
        for row in rows
    ]
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    said = f'<caption style="caption-side: top; text-align: left">{html.escape(caption)}</caption>'
    head = f"<thead><tr>{top}</tr></thead>"
    return f'<table class="shown">{said}{head}<tbody>\n{body}\n</tbody></table>'
