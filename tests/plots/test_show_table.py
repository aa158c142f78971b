import numpy as np
import pandas as pd
import pytest

from xraylib import plots

SHARES = pd.DataFrame(
    {"accuracy": [0.5, 0.75], "accuracy low": [0.25, 0.5], "accuracy high": [0.75, 1.0]},
    index=["one", "other"],
)


def rows(shown) -> list[list[str]]:
    """Return the cells of the Markdown, its heads first."""
    lines = [line for line in shown.markdown.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in lines]


def test_counts_are_whole_and_numbers_have_their_decimals():
    table = pd.DataFrame(
        {"images": [1515.0, 26.0], "share": [0.98284, 0.0001], "ok": [True, False]}
    )
    heads, _, first, second = rows(plots.show_table(table, "Made up."))
    assert heads == ["images", "share", "ok"]  # and no column that counts the rows
    assert first == ["1,515", "0.983", "yes"]
    assert second == ["26", "&lt; 0.001", "no"]


def test_a_value_and_its_ends_share_a_cell():
    heads, rule, first, _ = rows(plots.show_table(SHARES, "Made up."))
    assert heads == ["", "accuracy"] and rule == ["---", "--:"]
    assert first[1].startswith('0.500 <span class="ends">\\[0.250, 0.750\\]</span>')
    assert "--value: 50.0%; --low: 25.0%; --high: 75.0%" in first[1]


@pytest.mark.parametrize("ends", [("low", "high"), ("dice_low", "dice_high")])
def test_ends_are_found_by_their_names(ends):
    table = pd.DataFrame({"dice": [0.9], ends[0]: [0.8], ends[1]: [0.95]})
    assert rows(plots.show_table(table, "c"))[2][0].startswith("0.900 <span")


def test_no_line_is_drawn_for_what_is_no_share_and_where_there_are_two():
    both = SHARES.assign(recall=[0.2, 0.1], low=[0.1, 0.0], high=[0.5, 0.2])
    assert "interval" not in plots.show_table(both, "c").markdown
    effects = pd.DataFrame({"effect": [-0.2], "low": [-0.3], "high": [0.0]})
    assert "interval" not in plots.show_table(effects, "c").markdown


def test_no_line_is_drawn_for_one_column_of_per_cent_that_looks_like_shares():
    grid = pd.DataFrame({"network": ["7.9 [4.8, 11.6]"], "random map": ["0.5 [0.5, 0.6]"]})
    assert 'class="interval"' not in plots.show_table(grid, "c").markdown


def test_a_folded_table_shows_a_line_that_unfolds():
    shown = plots.show_table(SHARES, "Made up.", "tab-made-up", folded=True)
    lines = shown.markdown.splitlines()
    assert lines[0] == "::::{dropdown} Table: Made up" and lines[-1] == "::::"
    assert "\n".join(lines[1:-1]) == plots.show_table(SHARES, "Made up.", "tab-made-up").markdown
    assert shown.html.startswith("<details><summary>Table: Made up</summary><table")


@pytest.mark.parametrize("text", ["80.0 % [70.0, 90.0]", "80% [70%, 90%]"])
def test_text_with_intervals_counts_as_numbers(text):
    table = pd.DataFrame({"accuracy": [text, "50.0 % [40.0, 60.0]"]})
    shown = rows(plots.show_table(table, "c"))
    assert shown[1] == ["--:"]
    assert "--value: 80.0%; --low: 70.0%; --high: 90.0%" in shown[2][0]


def test_a_count_among_intervals_stays_a_count():
    table = pd.DataFrame({"found": [108.0, 0.555], "low": [np.nan, 0.515], "high": [np.nan, 0.598]})
    found = [row[0] for row in rows(plots.show_table(table, "c"))[2:]]
    assert found[0] == "108" and found[1].startswith("0.555 <span")


def test_what_all_rows_share_is_said_once_and_stamps_are_left_out():
    table = SHARES.assign(n=[40, 40], seed=19910806, split=["image", "patient"], date="2020-01-01")
    shown = plots.show_table(table, "Made up.")
    assert shown.markdown.startswith(":::{table} Made up. All rows: n = 40, seed 19910806.")
    assert rows(shown)[0] == ["", "accuracy", "split"]


def test_a_table_of_constants_alone_keeps_them():
    shown = plots.show_table(pd.DataFrame({"n": [3], "seed": [1]}), "c")
    assert rows(shown)[2] == ["3", "1"]


def test_the_marked_cell_and_no_other():
    shown = rows(plots.show_table(SHARES, "c", mark={"other": "accuracy"}))
    assert "marked" not in shown[2][1] and shown[3][1].startswith('<strong class="marked">0.750')
    with pytest.raises(ValueError, match="no cell to mark at 'third'"):
        plots.show_table(SHARES, "c", mark={"third": "accuracy"})


def test_seven_columns_are_too_many():
    table = pd.DataFrame(np.eye(2, 7), columns=list("abcdefg"))
    with pytest.raises(ValueError, match="7 columns, at most 6 can be read: choose of a, b"):
        plots.show_table(table, "c")


def test_levels_of_an_index_share_a_column_where_there_is_no_room():
    index = pd.MultiIndex.from_product([["one", "other"], ["normal", "COVID-19"]])
    table = pd.DataFrame(np.eye(4, 5), index=index, columns=list("abcde"))
    shown = rows(plots.show_table(table, "c", mark={("one", "COVID-19"): "b"}))
    assert [row[0] for row in shown[2:]][:2] == ["one, normal", "one, COVID-19"]
    assert "marked" in shown[3][2]
    assert rows(plots.show_table(table[["a"]], "c"))[0] == ["", "", "a"]


def test_signs_of_markdown_stay_signs():
    table = pd.DataFrame({"path": ["a_b|c*`$<d>"], "shape": [(None, 3, 64)]})
    cell, shape = plots.show_table(table, "c").markdown.splitlines()[-2][2:-2].split(" | ")
    assert cell == r"a\_b\|c\*\`\$&lt;d&gt;" and shape == "3 x 64"


def test_jupyter_gets_html_with_the_same_cells():
    shown = plots.show_table(SHARES, "A <caption>.", name="made-up")
    bundle = shown._repr_mimebundle_()
    assert set(bundle) == {"text/html", "text/markdown", "text/plain"}
    assert "A &lt;caption&gt;." in bundle["text/html"]
    assert bundle["text/html"].count("<td") == 4 and "[0.250, 0.750]" in bundle["text/html"]
    assert ":name: made-up" in bundle["text/markdown"]


def test_an_empty_table_is_shown():
    assert rows(plots.show_table(SHARES[:0], "Nothing found."))[0] == ["", "accuracy"]
