"""Numbers for the prose, and the box at the end of a chapter."""

import pytest

from xraylib import notes


@pytest.fixture
def outputs(monkeypatch) -> list:
    """What is shown while a test runs: pairs of data and metadata."""
    seen = []
    monkeypatch.setattr(
        notes, "display", lambda data, raw, metadata=None: seen.append((data, metadata))
    )
    return seen


def test_a_glued_number_is_kept_and_not_shown(outputs):
    notes.glue(accuracy="80.3 %")
    ((data, metadata),) = outputs
    assert data == {notes.GLUED + "text/plain": "80.3 %"}
    assert metadata["scrapbook"]["name"] == "accuracy"


def test_a_box_shows_its_numbers_and_glues_them(outputs):
    notes.report_box("One, {a}.", "Two < {b}.", a="1 %", b="2 %")
    glued = {metadata["scrapbook"]["name"] for _, metadata in outputs[:-1]}
    box, _ = outputs[-1]
    assert glued == {"a", "b"}
    assert "One, 1 %." in box["text/html"]
    assert "Two &lt; 2 %." in box["text/html"]
    assert "Two < 2 %." in box["text/plain"]


@pytest.mark.parametrize("texts", [{}, {"a": "1", "b": "2"}, {"b": "2"}])
def test_names_and_numbers_must_agree(texts):
    with pytest.raises(ValueError, match="every name"):
        notes.report_box("One, {a}.", "Nothing.", **texts)


def test_a_figure_is_written_with_its_interval():
    row = {"accuracy": 0.8, "accuracy low": 0.75, "accuracy high": 0.85}
    assert notes.figure(row, "accuracy") == "80.0 % [75.0, 85.0]"
