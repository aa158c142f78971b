"""The README's table of run times."""

from tools import times

README = """| chapter | asks | seconds |
|---|---|--:|
| [01 One](notebooks/01_one.ipynb) | what? | 7 |
| [02 Two](notebooks/02_two.ipynb) | who? | 8 |

*Seconds of a first run,
long ago.*

| profile | `quick` |
"""


def test_seconds_and_their_origin_are_put_in_and_nothing_else_changes():
    filled = times.fill(README, {"01_one": 12.4, "02_two": 3.6}, "quick")
    assert "| [01 One](notebooks/01_one.ipynb) | what? | 12 |\n" in filled
    assert "| [02 Two](notebooks/02_two.ipynb) | who? | 4 |\n" in filled
    assert "profile `quick`" in filled
    assert "long ago" not in filled
    assert filled.splitlines()[-1] == "| profile | `quick` |"
    assert times.fill(filled, {"01_one": 12.4, "02_two": 3.6}, "quick") == filled
