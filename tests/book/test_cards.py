"""The cards of the first page, from made-up chapters."""

import base64
import io

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image
from tools import cards


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
    prose = new_markdown_cell("# 7 A chapter\n\n" + "word " * 700)
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
