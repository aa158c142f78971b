"""What a chapter says of its results: computed numbers for the prose, and the box at its end."""

import html
from string import Formatter

from IPython.display import display

GLUED = "application/papermill.record/"  # MyST-NB keeps such an output and shows none of it
BOX_STYLE = "border-left: 4px solid #0072B2; padding: 0.4em 1em; margin: 1em 0"


def percent(value: float, low: float | None = None, high: float | None = None) -> str:
    """Write a share in per cent, with its interval where there is one.

    Args:
        value: 0 to 1.
        low, high: the ends of its interval, 0 to 1.

    Returns:
        the text.

    >>> percent(0.803), percent(0.803, 0.779, 0.826)
    ('80.3 %', '80.3 % [77.9, 82.6]')
    """
    interval = "" if low is None else f" [{low * 100:.1f}, {high * 100:.1f}]"
    return f"{value * 100:.1f} %{interval}"


def figure(row, name: str) -> str:
    """Write one figure of a results table and its interval, in per cent.

    Args:
        row: with `name`, `name low` and `name high`, as `evaluation.figures_row` gives them.
        name: of the figure, such as `accuracy`.

    Returns:
        the text, as of `percent`.
    """
    return percent(row[name], row[f"{name} low"], row[f"{name} high"])


def glue(**texts: str) -> None:
    """Keep texts under their names, for the prose of any page of the book.

    A page takes one with the role `glue:text`, as `notebooks/04_results.ipynb::name:s`.

    Args:
        texts: name -> what the page shall say.
    """
    for name, text in texts.items():
        scrap = {"name": name, "mime_prefix": GLUED}
        display({f"{GLUED}text/plain": str(text)}, raw=True, metadata={"scrapbook": scrap})


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
