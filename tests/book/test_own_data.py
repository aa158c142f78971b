"""The page on a reader's own data does what it says, and the page of errors is complete."""

import re
from pathlib import Path

import bad_files
import cv2
import numpy as np
import pytest
from tools import errors

from xraylib import images, phantoms

BOOK = Path(__file__).resolve().parents[2] / "book"
OWN = ("TB", "clear", "viral", "bacterial")
BAD = [case for case in bad_files.CASES if case.grey is None]


@pytest.fixture
def folder(tmp_path):
    """Class folders of names that the report does not know."""
    for number, name in enumerate(OWN):
        (tmp_path / "set" / name).mkdir(parents=True)
        for seed in range(12 if name == "TB" else 24):
            image = phantoms.make_phantom(number % 3, 100 * number + seed, "A", 64).image
            cv2.imwrite(str(tmp_path / "set" / name / f"{seed}.png"), image)
    return tmp_path / "set"


@pytest.mark.slow
def test_ten_lines_split_train_judge_and_explain_a_folder_of_any_classes(module_home, folder):
    page = (BOOK / "your_own_data.md").read_text("utf8")
    settings, ten, results = re.findall(r"```python\n(.+?)```", page, re.DOTALL)
    statements = [line for line in ten.splitlines() if line and "import" not in line]
    assert len(statements) == 10
    settings = settings.replace('"my radiographs"', repr(str(folder)))
    assert repr(str(folder)) in settings
    found = {}
    exec(settings.replace("epochs=8", "epochs=2") + ten + results, found)
    assert found["names"] == tuple(sorted(OWN))
    sets = found["manifest"].split.value_counts()
    assert sets.sum() == 84 and set(sets.index) == {"train", "val", "test"}
    assert found["figures"]["n"] == sets["test"] == sum(map(sum, found["figures"]["confusion"]))
    assert "TB recall" in found["figures"]
    assert list(found["table"].index) == [*sorted(OWN), "macro"]
    probs = found["predictions"][list(found["names"])]
    np.testing.assert_allclose(probs.sum(axis=1), 1, rtol=1e-5)
    assert found["slider"].names["class"] == sorted(OWN)
    given = images.read_grey(found["manifest"].path[found["test"][0]])
    shown = found["explainer"].probs(images.resize(given, 224)[None])
    assert shown.shape == (1, 4)


def test_the_page_of_errors_is_the_code():
    assert errors.PAGE.read_text("utf8") == errors.page(), "run python -m tools.errors"


def said() -> list[str]:
    """The texts of the page as patterns, what was found being anything."""
    lines = re.findall(r"^- `+(.+?)`+$", errors.PAGE.read_text("utf8"), re.MULTILINE)
    return [re.escape(line).replace(r"\.\.\.", ".*") for line in lines]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "case", [c for c in bad_files.CASES if c.grey is None], ids=lambda c: c.name
)
def test_what_is_said_of_a_bad_file_is_on_the_page(case, tmp_path):
    (tmp_path / case.name).write_bytes(case.content)
    with pytest.raises(images.ImageError) as caught:
        images.read_grey(tmp_path / case.name)
    reason = " ".join(caught.value.reason.split())
    known = [*said(), "not a PNG or JPEG image: export it as PNG, or download it again"]
    assert any(re.fullmatch(pattern, reason) for pattern in known), reason


ENOUGH = (  # says by itself what to do
    "no such file",
    "a link to a missing file",
    "a palette image without its palette",
    "rescale slope .*",
    "masks of shapes .* and .* cannot be compared",
)


def test_every_error_of_the_doors_says_what_to_do():
    texts = [re.sub(r"\\(.)", r"\1", pattern) for pattern in said()]
    assert len(texts) > 80
    assert [text for text in texts if not re.search("[:;,] ", text) and text not in ENOUGH] == []
