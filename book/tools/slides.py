"""Make slides of the chapters' own figures, questions and boxes: one file, which asks for nothing.

make book && make slides
"""

import base64
import html
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import nbformat
from markdown_it import MarkdownIt

from tools import build
from xraylib import files

TARGET = Path("book/_build/slides.html")
DIRECTIVE = re.compile(r"^:::.*$|^:class:.*$", re.MULTILINE)
ROLE = re.compile(r"\s*\{cite:\w\}`[^`]*`|\{\w+(?::\w+)?\}(`[^`]*`)")
LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")  # a slide leads nowhere else
STYLE = """
* { box-sizing: border-box; }
html { scroll-snap-type: y mandatory; font: 1.5rem/1.4 system-ui, sans-serif; color: #111; }
body { margin: 0; background: #fff; }
section { min-height: 100vh; scroll-snap-align: start; padding: 4vh 6vw; display: flex;
  flex-direction: column; justify-content: center; gap: 2vh; break-after: page; }
h1, h2 { margin: 0; } h2 { font-size: 1.8rem; }
figure { margin: 0; } figure img, figure svg { display: block; max-width: 100%; max-height: 66vh;
  width: auto; height: auto; margin: 0 auto; }
figcaption, .source { font-size: 1rem; color: #444; }
:focus { outline: 3px solid #0072B2; outline-offset: -6px; }
@page { size: A4 landscape; margin: 8mm; }
@media print { html { font-size: .8rem; } section { min-height: 0; height: 180mm; } }
"""
SCRIPT = """
const slides = [...document.querySelectorAll("section")];
const steps = { ArrowRight: 1, ArrowDown: 1, PageDown: 1, " ": 1,
  ArrowLeft: -1, ArrowUp: -1, PageUp: -1, Home: -1e9, End: 1e9 };
addEventListener("keydown", (event) => {
  if (!(event.key in steps) || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  const middle = innerHeight / 2;
  const at = slides.findIndex((slide) => slide.getBoundingClientRect().bottom > middle);
  const to = Math.min(Math.max(at + steps[event.key], 0), slides.length - 1);
  slides[to].scrollIntoView(); slides[to].focus({ preventScroll: true });
});
"""


@dataclass(frozen=True)
class Slide:
    """One slide: its heading and what is below it, as HTML."""

    title: str
    body: str


def as_html(markdown: str) -> str:
    """Return prose of a chapter as HTML, without directives, citations and links."""
    plain = ROLE.sub(lambda role: role[1] or "", DIRECTIVE.sub("", markdown))
    return MarkdownIt("commonmark").render(LINK.sub(r"\1", plain))


def picture(output, alt: str) -> str:
    """Return the picture of an output as HTML that needs no other file; "" where there is none."""
    data = output.get("data", {})
    if "image/svg+xml" in data:
        code = base64.b64encode(data["image/svg+xml"].encode()).decode()
        return f'<img alt="{html.escape(alt)}" src="data:image/svg+xml;base64,{code}">'
    if "image/png" in data:
        code = data["image/png"].replace("\n", "")
        return f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{code}">'
    return ""


def slides_of(notebook) -> list[Slide]:
    """Return the slides of an executed chapter.

    Its title with its aims, its question, each figure below the heading that it belongs to, the box
    of what the report said and what was found, and the questions at its end.

    Args:
        notebook: as papermill has left it.
    """
    cells = {cell.id: cell for cell in notebook.cells}
    title = heading(cells["title"].source, 1) or "Chapter"
    aims = cells["aims"].source.split("**Time.**")[0]
    slides = [Slide(title, as_html(aims)), Slide("A question first", as_html(question(cells)))]
    above = title
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            above = heading(cell.source, 2) or heading(cell.source, 3) or above
            continue
        shown = cell.metadata.get("mystnb", {})
        caption = shown.get("figure", {}).get("caption", "")
        pictures = [picture(o, shown.get("image", {}).get("alt", "")) for o in cell.outputs]
        for found in filter(None, pictures if caption else []):
            text = html.escape(re.sub(r"`", "", caption))
            figure = f"<figure>{found}<figcaption>{text}</figcaption></figure>"
            slides.append(Slide(above, figure))
        if cell.id == "report-box":
            slides += [Slide("What the report said, and what we found", b) for b in boxes(cell)]
        if cell.id == "self-check":
            slides += [Slide("Check yourself", q) for q in quiz_texts(cell)]
    return slides


def heading(markdown: str, level: int) -> str:
    """Return the first heading of a level, or ""."""
    found = re.search(rf"^{'#' * level} (.+)$", markdown, re.MULTILINE)
    return LINK.sub(r"\1", found[1]) if found else ""


def question(cells: dict) -> str:
    """Return what a chapter asks before it runs."""
    return cells["question"].source


def boxes(cell) -> list[str]:
    """Return the HTML of the box at a chapter's end."""
    shown = [output.get("data", {}).get("text/html", "") for output in cell.outputs]
    return [text for text in shown if "report-box" in text]


def quiz_texts(cell) -> list[str]:
    """Return the questions of a quiz with their choices, without the answers."""
    found = []
    for output in cell.outputs:
        page = output.get("data", {}).get("text/html", "")
        for field in re.findall(r"<fieldset.*?</fieldset>", page, re.DOTALL):
            legend = re.search(r"<legend>(.*?)</legend>", field, re.DOTALL)[1]
            options = re.findall(r"<label><input[^>]*> (.*?)</label>", field, re.DOTALL)
            found.append(f"<p>{legend}</p><ul>{''.join(f'<li>{o}</li>' for o in options)}</ul>")
    return found


def deck(chapters: dict[str, list[Slide]]) -> str:
    """Return the slides of several chapters, by their names, as one page."""
    sections = "\n".join(
        f'<section tabindex="-1"><h2>{html.escape(slide.title)}</h2>{slide.body}'
        f'<p class="source">{name}</p></section>'
        for name, slides in chapters.items()
        for slide in slides
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<title>Slides: explaining a chest X-ray classifier</title>"
        f"<style>{STYLE}</style><main>{sections}</main><script>{SCRIPT}</script></html>"
    )


def main(arguments: list[str] | None = None, root: Path = build.ROOT) -> int:
    """Write the slides of the chapters that are named, or of all, and return the exit code."""
    wanted = sys.argv[1:] if arguments is None else arguments
    copies = {source.stem: root / "book/notebooks" / source.name for source in build.sources(root)}
    unknown = sorted(set(wanted) - set(copies))
    if unknown:
        print(f"error: no chapter {', '.join(unknown)}: {', '.join(copies)}", file=sys.stderr)
        return 1
    chosen = {name: path for name, path in copies.items() if name in wanted or not wanted}
    missing = [name for name, path in chosen.items() if not path.exists()]
    if missing:
        print(f"error: {', '.join(missing)} not run yet: make book first", file=sys.stderr)
        return 1
    chapters = {n: slides_of(nbformat.read(path, as_version=4)) for n, path in chosen.items()}
    target = root / TARGET
    target.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(target, deck(chapters))
    print(f"{sum(map(len, chapters.values()))} slides: {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
