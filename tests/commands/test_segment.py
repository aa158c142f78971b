"""The command that segments a folder."""

import csv
import io

import cv2
import numpy as np
import pytest

from xraylib import segment


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "radiographs"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, shape in {"a.png": (40, 60), "b.jpg": (70, 50)}.items():
        cv2.imwrite(str(folder / name), rng.integers(0, 256, shape, dtype=np.uint8))
    (folder / "notes.txt").write_text("no image")
    return folder


def rows(capsys):
    return list(csv.DictReader(io.StringIO(capsys.readouterr().out)))


def test_every_image_gets_a_mask_of_its_size_and_a_row(folder, tmp_path, capsys):
    out = tmp_path / "new" / "masks"
    assert segment.main([str(folder), str(out)]) == 0
    assert [row["file"] for row in rows(capsys)] == ["a.png", "b.jpg"]
    assert sorted(path.name for path in out.iterdir()) == ["a.png", "b.png"]
    for name, shape in {"a.png": (40, 60), "b.png": (70, 50)}.items():
        mask = cv2.imread(str(out / name), cv2.IMREAD_UNCHANGED)
        assert mask.shape == shape
        assert set(np.unique(mask)) <= {0, 255}


def test_a_bad_file_is_a_row_and_the_exit_code_says_so(folder, tmp_path, capsys):
    (folder / "broken.png").write_bytes(b"not an image")
    cv2.imwrite(str(folder / "night.png"), np.zeros((30, 30), np.uint8))
    assert segment.main([str(folder), str(tmp_path / "masks")]) == 1
    found = {row["file"]: row for row in rows(capsys)}
    assert "not a PNG or JPEG image" in found["broken.png"]["error"]
    assert found["broken.png"]["lung_share"] == ""
    assert found["night.png"]["error"].endswith(
        "night.png: all pixels are alike: it shows nothing, export it again"
    )
    assert not (tmp_path / "masks" / "broken.png").exists()
    assert found["a.png"]["error"] == ""


def test_what_was_left_out_is_counted_in_the_words_of_the_audit(folder, tmp_path, capsys):
    from xraylib import audit

    (folder / "masks").mkdir()
    for name in ("masks/a.png", "._a.png", ".DS_Store"):
        (folder / name).write_bytes((folder / "a.png").read_bytes())
    assert segment.main([str(folder), str(tmp_path / "out")]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "left out: 4 files (2 of the system, 1 that are masks, 1 with .txt)"
    audit.main([str(folder)])
    assert line in capsys.readouterr().out.splitlines()


def test_out_mirrors_the_folders_and_two_files_of_one_stem_get_a_mask_each(
    folder, tmp_path, capsys
):
    (folder / "ward 3").mkdir()
    (folder / "ward 3" / "a.JFIF").write_bytes((folder / "b.jpg").read_bytes())
    (folder / "a.jpeg").write_bytes((folder / "b.jpg").read_bytes())
    (folder / "._a.png").write_bytes(b"of the system")
    out = tmp_path / "masks"
    assert segment.main([str(folder), str(out)]) == 0
    masks = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.png"))
    assert masks == ["a.jpeg.png", "a.png.png", "b.png", "ward 3/a.png"]
    assert [row["file"] for row in rows(capsys)] == ["a.jpeg", "a.png", "b.jpg", "ward 3/a.JFIF"]


def test_masks_of_one_name_stop_it_before_anything_is_written(folder, tmp_path, capsys):
    for name in ("a.jpeg", "a.png.jpg"):
        (folder / name).write_bytes((folder / "b.jpg").read_bytes())
    assert segment.main([str(folder), str(tmp_path / "masks")]) == 2
    captured = capsys.readouterr()
    assert "a.png.png: two images would write this mask; rename one" in captured.err
    assert captured.out == "" and not (tmp_path / "masks").exists()


def test_a_doubtful_image_is_flagged(folder, tmp_path, capsys):
    image = cv2.imread(str(folder / "a.png"), cv2.IMREAD_UNCHANGED)
    cv2.imwrite(str(folder / "a.png"), image // 16)
    segment.main([str(folder), str(tmp_path / "masks")])
    flags = {row["file"]: row["flag"] for row in rows(capsys)}
    assert "nearly black, 16 grey values" in flags["a.png"] and "grey" not in flags["b.jpg"]


@pytest.mark.parametrize("name", ["missing", "pairs"])
def test_a_folder_without_images_is_an_error(tmp_path, capsys, name):
    (tmp_path / "pairs").mkdir()
    assert segment.main([str(tmp_path / name), str(tmp_path / "masks")]) == 2
    assert name in capsys.readouterr().err


def test_masks_never_replace_the_images(folder, capsys):
    assert segment.main([str(folder), str(folder)]) == 2
    assert "replace the images" in capsys.readouterr().err
    assert segment.main([str(folder), str(folder / "out")]) == 2
    assert "would be taken for images" in capsys.readouterr().err


def test_it_answers_without_any_data_set_or_network(home, folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XRAYLIB_OFFLINE", "1")
    assert segment.main([str(folder), str(tmp_path / "masks")]) == 0
    assert len(rows(capsys)) == 2
    assert not list(home.rglob("*.h5"))


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        (["--weights", "nowhere"], "no unet.weights.h5"),
        (["--heart", "left"], "choose one of drawn"),
    ],
)
def test_weights_and_ways_that_there_are_not(folder, tmp_path, capsys, extra, reason):
    assert segment.main([str(folder), str(tmp_path / "masks"), *extra]) == 2
    assert reason in capsys.readouterr().err
