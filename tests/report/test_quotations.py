"""The report's words: a passage in quotation marks is one that was compared with its text."""

import hashlib
import re

import nbformat
from tools import build

# Of each passage of three words or more that stands in the report: its letters and digits, hashed.
FOUND = """
    02d38e272c 06533bdf57 09944f442f 0e0e14ad07 182a02e4c0 1e0f658ded 2ab21af099 34f04b7714
    37ed0907d3 44db0045a5 4d6977f6a3 4f09b50a4d 51fe71f2c1 569cf5e7f2 5af5b61da8 69ae48a25e
    745546760a 7f6c31d3e3 95fe3f6c57 9aef1c6a3e 9b58cac2a8 9ed61a6086 a17875a90c aaa622626d
    b419340584 b8b5108024 bcbcf58aae bd76edd592 c9b4133a80 ccc9ea42ce da3036ed5b e8ed98616d
    ea633f0569 ecf232b763 f4fba50177 fd76379ae6 ffc1028003
"""
QUOTED = re.compile(r'["“]([^"“”]+)["”]')


def marks(passage: str) -> set[str]:
    """Hash the parts of a passage, which `...` separates; short ones may be plain words."""
    parts = [re.sub(r"[^a-z0-9]+", " ", part.lower()).strip() for part in passage.split("...")]
    long = [part for part in parts if part.count(" ") >= 2]
    return {hashlib.sha256(part.encode()).hexdigest()[:10] for part in long}


def quoted() -> dict[str, str]:
    """Return every long passage in quotation marks of the chapters, by its hash."""
    found = {}
    for path in sorted((build.ROOT / "notebooks").glob("*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "markdown":
                for passage in QUOTED.findall(cell.source):
                    found |= dict.fromkeys(marks(passage), f"{path.stem}, {cell.id}: {passage}")
    return found


def test_the_reports_words_are_quoted_as_they_stand():
    strange = [where for mark, where in quoted().items() if mark not in FOUND.split()]
    assert not strange, f"compare with the report, mend, and add the hash: {strange}"


def test_a_changed_word_is_seen():
    assert marks("hyper parameters can be tuned further") != marks(
        "hyper parameters can be further tuned"
    )
    assert marks("One, two\nTHREE") == marks("one two three") and not marks("two words")
