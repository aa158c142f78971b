"""Links from page to page lead somewhere, in the sources as they stand."""

import re
from pathlib import Path

import nbformat
import pytest
from tools import build

PAGES = [
    build.ROOT / "README.md",
    *(build.ROOT / ".github").rglob("*.md"),
    *(build.ROOT / "book").glob("*.md"),
    *(build.ROOT / "book/api").glob("*.md"),
    *(build.ROOT / "notebooks").glob("*.ipynb"),
]
LINK = re.compile(r"\]\(([^)\s#]*)(?:#[^)]*)?\)")
WRITTEN_BY_A_BUILD = re.compile(r"book/notebooks/(\w+\.ipynb)$")


def prose(page: Path) -> str:
    if page.suffix != ".ipynb":
        return page.read_text("utf8")
    cells = nbformat.read(page, as_version=4).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def target(page: Path, link: str) -> Path:
    """Return the source that a link leads to; chapters are rendered in book/notebooks/."""
    folder = build.ROOT / "book/notebooks" if page.suffix == ".ipynb" else page.parent
    path = (folder / link).resolve()
    chapter = WRITTEN_BY_A_BUILD.search(path.as_posix())
    return build.ROOT / "notebooks" / chapter[1] if chapter else path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_a_page(page):
    links = [link for link in LINK.findall(prose(page)) if link and "://" not in link]
    assert not [link for link in links if not target(page, link).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_web_links_are_secure(page):
    assert "](http://" not in prose(page)
