"""What the first page shows: real radiographs, and the chapters as cards.

A card has a thumbnail, the finding in a line, and the time to read.
"""

import base64
import io
import re
from pathlib import Path

import nbformat
import numpy as np
from PIL import Image

from xraylib import files, images, sources

THUMBNAIL = (480, 270)  # pixels
SENTENCE_END = re.compile(r"(?<=[.?!])\s+(?=[A-Z])")
SPECIAL = re.compile(r"([\\`*_{}\[\]$])")  # what Markdown would read as a sign of its own
CARD = """:::{{grid-item-card}} {title}
:link: notebooks/{name}
:link-type: doc
:img-top: {picture}
:img-alt: {alt}

{finding}

*{minutes} min to read*
:::"""

STRIP = """:::{{div}} real-radiographs
{pictures}
:::

The patients above are drawn by a program. These are real, from left to right {labels}, as
their source labels them. {credits} The [page on data](data.md) says how they were chosen.
"""
NO_STRIP = "The patients above are drawn by a program. No real radiograph could be fetched.\n"
SIDE = 224  # pixels of a radiograph in the strip


def write_strip(folder: Path) -> str:
    """Return the open radiographs as Markdown, and write their pictures.

    Args:
        folder: of the executed notebooks; `cards` in it is for the pictures.
    """
    rows, pictures = sources.open_radiographs(), []
    if rows.empty:
        return NO_STRIP
    (folder / "cards").mkdir(exist_ok=True)
    for number, row in enumerate(rows.itertuples()):
        small, name = images.resize(images.read_grey(row.path), SIDE), f"cards/real-{number}.png"
        with files.whole_file(folder / name) as part:
            Image.fromarray(small).save(part, "PNG")
        pictures.append(f"![A real radiograph, labelled {row.label}](notebooks/{name})")
    labels = [f"{n} {label}" for label, n in rows.label.value_counts(sort=False).items()]
    listed = " and ".join(", ".join(labels).rsplit(", ", 1))
    told = {"labels": listed, "credits": sources.credits_of(rows)}
    return STRIP.format(pictures="\n".join(pictures), **told)


def write_cards(chapters: dict, folder: Path) -> str:
    """Return the cards as Markdown, and write their pictures.

    Args:
        chapters: name -> executed notebook.
        folder: of the executed notebooks; `cards` in it is for the pictures.
    """
    (folder / "cards").mkdir(exist_ok=True)
    shown = [
        CARD.format(
            name=name,
            title=title(chapter),
            picture=f"notebooks/{picture}" if picture else "assets/cover.png",
            alt="" if picture else "A drawn radiograph in four views",
            finding=finding(chapter),
            minutes=minutes(chapter),
        )
        for name, chapter in chapters.items()
        for picture in [write_picture(chapter, folder, name)]
    ]
    head = "::::{grid} 1 2 2 3\n:gutter: 3\n:class-container: chapter-cards\n\n"
    return head + "\n\n".join(shown) + "\n::::\n"


def title(chapter: nbformat.NotebookNode) -> str:
    """Return a chapter's title."""
    return chapter.cells[0].source.splitlines()[0].removeprefix("# ")


def minutes(chapter: nbformat.NotebookNode) -> int:
    """Return how long a chapter takes to read, as it says itself; 1 where it does not."""
    said = re.search(r"(\d+) minutes to read", "".join(cell.source for cell in chapter.cells))
    return int(said[1]) if said else 1


def finding(chapter: nbformat.NotebookNode) -> str:
    """Return the first sentence of what a chapter's box says that this book found.

    >>> box = {"text/plain": "The report. It says so.\\nThis book. Half of 26 [0.3]. More."}
    >>> output = nbformat.v4.new_output("display_data", box)
    >>> finding(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(outputs=[output])]))
    'Half of 26 \\\\[0.3\\\\].'
    """
    for data in outputs(chapter):
        found = re.search(r"^This book\. (.+)", data.get("text/plain", ""), re.M | re.S)
        if found:
            return SPECIAL.sub(r"\\\1", SENTENCE_END.split(" ".join(found[1].split()))[0])
    return ""


def outputs(chapter: nbformat.NotebookNode):
    """Give the data of a chapter's outputs, in order."""
    for cell in chapter.cells:
        for output in cell.get("outputs", []):
            yield output.get("data", {})


def last_gap(grey: np.ndarray, most: int = THUMBNAIL[1]) -> int:
    """Return where to end a figure uint8 (H, W) that is too tall: in its last gap between rows.

    >>> rows = np.array([0, 0, 255, 0, 0, 255, 0, 0, 0], np.uint8)
    >>> last_gap(np.tile(rows[:, None], 4), most=7)
    5
    """
    if len(grey) <= most:
        return len(grey)
    white = (grey[: most + 1] > 250).mean(axis=1) > 0.97  # a colour bar may cross a gap
    gaps = np.flatnonzero(white[most // 3 :])
    return int(most // 3 + gaps[-1]) if len(gaps) else most


def write_picture(chapter: nbformat.NotebookNode, folder: Path, name: str) -> str:
    """Write the thumbnail of a chapter: its first figure with radiographs, else its first figure.

    Returns:
        its path in the folder; nothing for a chapter without a figure.
    """
    shown = list(outputs(chapter))
    png = next((data["image/png"] for data in shown if "image/png" in data), None)
    svg = next((data["image/svg+xml"] for data in shown if "image/svg+xml" in data), None)
    if png is not None:
        image = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
        image.thumbnail((THUMBNAIL[0], 4 * THUMBNAIL[0]))
        image = image.crop((0, 0, image.width, last_gap(np.asarray(image.convert("L")))))
        with files.whole_file(folder / f"cards/{name}.png") as part:
            image.save(part, "PNG")
        return f"cards/{name}.png"
    if svg is not None:
        files.write_text(folder / f"cards/{name}.svg", svg)
        return f"cards/{name}.svg"
    return ""
