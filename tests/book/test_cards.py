"""The cards of the first page, from made-up chapters."""

import base64
import io

import cv2
import nbformat
import numpy as np
import pandas as pd
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image
from tools import cards

from xraylib import sources


def chapter(*kinds) -> nbformat.NotebookNode:
    """Return an executed chapter with a figure of each kind, and a box."""
    picture = io.BytesIO()
    Image.new("L", (1000, 2000), 90).save(picture, "PNG")
    shown = {
        "png": {"image/png": base64.b64encode(picture.getvalue()).decode()},
        "svg": {"image/svg+xml": "<svg/>"},
    }
    box = {
        "text/plain": "The report. So.\nThis book. Right on 12.5 % [3.1, 40.2] of 26. And so on."
    }
    outputs = [new_output("display_data", data) for data in (*map(shown.get, kinds), box)]
    prose = new_markdown_cell("# 7 A chapter\n\n**Time.** 4 minutes to read, one to run.")
    return new_notebook(cells=[prose, new_code_cell("code", outputs=outputs)])


def test_a_card_says_title_finding_and_time_and_leads_to_its_chapter(tmp_path):
    text = cards.write_cards({"07_chapter": chapter("png")}, tmp_path)
    assert ":::{grid-item-card} 7 A chapter\n:link: notebooks/07_chapter\n" in text
    assert "Right on 12.5 % \\[3.1, 40.2\\] of 26.\n" in text and "And so on" not in text
    assert "*4 min to read*" in text
    assert ":img-top: notebooks/cards/07_chapter.png" in text


def test_radiographs_come_before_lines_and_are_small(tmp_path):
    (tmp_path / "cards").mkdir()
    assert cards.write_picture(chapter("svg", "png"), tmp_path, "a") == "cards/a.png"
    assert Image.open(tmp_path / "cards/a.png").size == cards.THUMBNAIL
    assert cards.write_picture(chapter("svg"), tmp_path, "b") == "cards/b.svg"
    assert (tmp_path / "cards/b.svg").read_text() == "<svg/>"


def test_a_chapter_without_a_figure_gets_the_books_picture(tmp_path):
    assert ":img-top: assets/cover.png" in cards.write_cards({"a": chapter()}, tmp_path)


def test_the_strip_shows_the_radiographs_at_hand_with_their_credit(tmp_path, monkeypatch):
    rng, rows = np.random.default_rng(0), []
    for i, label in enumerate(("normal", "pneumonia", "pneumonia")):
        cv2.imwrite(str(tmp_path / f"{i}.png"), rng.integers(0, 256, (300, 256), dtype=np.uint8))
        rows.append((str(tmp_path / f"{i}.png"), label, "A clinic", "CC BY 4.0"))
    table = pd.DataFrame(rows, columns=["path", "label", "credit", "licence"])
    monkeypatch.setattr(sources, "open_radiographs", lambda: table)
    text = cards.write_strip(tmp_path)
    assert "1 normal and 2 pneumonia" in text
    assert "Credit: A clinic, CC BY 4.0." in text
    for i, label in enumerate(table.label):
        assert f"![A real radiograph, labelled {label}](notebooks/cards/real-{i}.png)" in text
        assert Image.open(tmp_path / f"cards/real-{i}.png").size == (cards.SIDE, cards.SIDE)


def test_without_radiographs_the_page_says_so(tmp_path, monkeypatch):
    empty = pd.DataFrame(columns=["path", "label", "credit", "licence"])
    monkeypatch.setattr(sources, "open_radiographs", lambda: empty)
    assert cards.write_strip(tmp_path) == cards.NO_STRIP and not any(tmp_path.iterdir())
