"""Slides show the chapters' own figures, work by key, and ask for nothing outside."""

import re

import nbformat
import pytest
from chromium import chromium, needs_browser
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from tools import build, slides

from xraylib import check

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5E"
PIXEL += "rkJggg=="


def shown(**data):
    return new_output("display_data", {k.replace("_", "/"): v for k, v in data.items()})


@pytest.fixture
def notebook():
    quiz = check.quiz(check.ask("How many?", ["four", "nine"], right="four", why="A secret."))
    figure = {"figure": {"caption": "A `map`.", "name": "fig"}, "image": {"alt": "A small map"}}
    cells = [
        new_markdown_cell("# 3 Maps\n\n[Open](https://example.org)", id="title"),
        new_markdown_cell("**Aims.** You can\n\n- see.\n\n**Time.** long", id="aims"),
        new_markdown_cell(":::{admonition} x\n:class: tip\nWhy {cite:p}`a`?\n:::", id="question"),
        new_markdown_cell("## Cells & maps", id="text"),
        new_code_cell(id="map", metadata={"mystnb": figure}, outputs=[shown(image_png=PIXEL)]),
        new_code_cell(id="other", outputs=[shown(text_plain="3")]),
        new_code_cell(
            id="report-box", outputs=[shown(text_html='<div class="report-box">B</div>')]
        ),
        new_code_cell(id="self-check", outputs=[shown(text_html=quiz.html)]),
    ]
    return new_notebook(cells=cells)


def test_a_chapter_becomes_title_question_figures_box_and_quiz(notebook):
    found = slides.slides_of(notebook)
    titles = ["3 Maps", "A question first", "Cells & maps"]
    titles += ["What the report said, and what we found", "Check yourself"]
    assert [slide.title for slide in found] == titles
    aims, asked, figure, box, quiz = (slide.body for slide in found)
    assert "<li>see.</li>" in aims and "long" not in aims
    assert "Why?" in asked and ":::" not in asked
    assert 'alt="A small map"' in figure and PIXEL in figure and "A map." in figure
    assert "report-box" in box
    assert "<li>nine</li>" in quiz and "secret" not in quiz


def test_the_deck_asks_for_nothing_outside(notebook):
    page = slides.deck({"03": slides.slides_of(notebook)})
    assert not re.search(r"https?://|src=\"(?!data:)|<link", page)
    assert page.count("<section") == 5


def test_slides_need_chapters_that_have_run(tmp_path, capsys, notebook):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "book/notebooks").mkdir(parents=True)
    (tmp_path / "book/_toc.yml").write_text("- file: notebooks/03_maps\n", "utf8")
    nbformat.write(notebook, tmp_path / "notebooks/03_maps.ipynb")
    assert slides.main([], tmp_path) == 1
    assert "make book first" in capsys.readouterr().err
    assert slides.main(["04"], tmp_path) == 1
    assert "no chapter 04" in capsys.readouterr().err
    nbformat.write(notebook, tmp_path / "book/notebooks/03_maps.ipynb")
    assert slides.main(["03_maps"], tmp_path) == 0
    assert "5 slides" in capsys.readouterr().out
    assert (tmp_path / slides.TARGET).read_text("utf8").startswith("<!doctype html>")


@needs_browser
def test_slides_turn_by_key(tmp_path, notebook):
    page = tmp_path / "slides.html"
    page.write_text(slides.deck({"03": slides.slides_of(notebook)}), "utf8")
    at = "return document.activeElement.querySelector('h2')?.textContent"
    with chromium(tmp_path / "browser") as driver:
        driver.get(page.as_uri())
        body = driver.find_element("css selector", "body")
        body.send_keys("\ue014")  # arrow right
        assert driver.execute_script(at) == "A question first"
        driver.switch_to.active_element.send_keys("\ue010")  # end
        assert driver.execute_script(at) == "Check yourself"
        driver.switch_to.active_element.send_keys("\ue012")  # arrow left
        assert driver.execute_script(at).startswith("What the report said")


def test_every_chapter_has_what_slides_need():
    for source in build.sources(build.ROOT):
        found = slides.slides_of(nbformat.read(source, as_version=4))
        assert len(found) == 2, source.name  # not run: its title and its question
        assert found[0].title.startswith((*"123456", "The report")), source.name
