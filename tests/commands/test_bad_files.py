"""Bad and odd files: each gives a documented conversion or an error that names it."""

import csv
import io
import os
import re

import bad_files
import numpy as np
import pytest
from bad_files import CASES, FLAT, GREY
from hypothesis import given, settings
from hypothesis import strategies as st

from xraylib import data, images, lungs, segment
from xraylib.images import ImageError
from xraylib.images.reading import JPEG

pytestmark = pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")


def error_of(path) -> ImageError:
    with pytest.raises(ImageError) as caught:
        images.read_grey(path)
    assert str(caught.value) == f"{path}: {caught.value.reason}"
    return caught.value


def test_the_corpus_is_large():
    assert len(CASES) >= 60 and len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: repr(case.name))
def test_file(case, tmp_path):
    path = tmp_path / case.name
    path.write_bytes(case.content)
    if case.grey is None:
        assert re.fullmatch(case.reason, error_of(path).reason)
        return
    image = images.read_grey(path)
    assert image.dtype == np.uint8 and image.shape == case.grey.shape
    loss = 4 if case.content.startswith(JPEG) else 0
    assert np.abs(image.astype(int) - case.grey).max() <= loss


def test_what_is_no_file(tmp_path):
    for path, reason in bad_files.make_no_file(tmp_path).items():
        assert re.fullmatch(reason, error_of(path).reason), path


def test_a_file_that_may_not_be_read(tmp_path, powerless):
    path = tmp_path / "secret.png"
    path.write_bytes(bad_files.png())
    path.chmod(0)
    with powerless():
        reason = error_of(path).reason
    assert reason == "cannot be read (Permission denied): check its name, place and permissions"


@pytest.fixture
def stand_in_unet(monkeypatch):
    """Masks by a threshold, so that the command needs no trained network."""
    monkeypatch.setattr(lungs, "load_unet", lambda *_: None)
    monkeypatch.setattr(
        lungs, "segment_images", lambda model, images: [image > 127 for image in images]
    )


def test_segmenting_a_folder_names_every_bad_file(tmp_path, capsys, stand_in_unet):
    folder, out = tmp_path / "radiographs", tmp_path / "masks"
    folder.mkdir()
    named = [case for case in CASES if case.name.lower().endswith(images.SUFFIXES)]
    stems = {case.name.rsplit(".", 1)[0]: case for case in named}  # a mask is called by the stem
    for case in stems.values():
        (folder / case.name).write_bytes(case.content)
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    assert segment.main([str(folder), str(out)]) == 1
    rows = {row["file"]: row for row in csv.DictReader(io.StringIO(capsys.readouterr().out))}
    assert set(rows) == {case.name for case in stems.values()} | {"gone.png"}
    for case in stems.values():
        shows_something = case.grey is not None and case.grey.min() < case.grey.max()
        assert bool(rows[case.name]["error"]) == (not shows_something), case.name
        assert (out / f"{case.name.rsplit('.', 1)[0]}.png").is_file() == shows_something


def test_a_name_that_is_no_text(tmp_path, capsys, stand_in_unet):
    path = tmp_path / os.fsdecode(b"not \xff UTF-8.png")
    try:
        path.write_bytes(bad_files.png())
    except OSError:
        pytest.skip("this file system takes names in UTF-8 only")
    assert segment.main([str(tmp_path), str(tmp_path / "masks")]) == 0
    assert "not \\udcff UTF-8.png,0." in capsys.readouterr().out
    assert (tmp_path / "masks" / path.name).is_file()


def test_a_manifest_lists_what_is_no_file(tmp_path):
    (tmp_path / "normal").mkdir()
    bad = bad_files.make_no_file(tmp_path / "normal")
    with pytest.raises(data.ManifestError) as caught:
        data.from_class_folders(tmp_path)
    named = ("dangling.png", "loop.png", "pipe.png", "socket.png", "device.png")
    assert [f"{path}: no such file" in str(caught.value) for path in bad if path.name in named] == [
        True
    ] * len(named)


SEEDS = {
    "PNG": bad_files.png(),
    "JPEG": bad_files.saved(GREY, "JPEG"),
    "palette": bad_files.saved(bad_files.Image.fromarray(GREY, mode="P"), "PNG"),
    "EXIF": bad_files.turned("JPEG", FLAT, 6),
}


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(SEEDS)), st.data())
def test_any_damage_gives_an_image_or_an_error_with_the_name(tmp_path_factory, seed, data):
    path = tmp_path_factory.getbasetemp() / "damaged.img"
    content = bytearray(SEEDS[seed])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    try:
        image = images.read_grey(path)
    except ImageError as error:
        assert str(error).startswith(f"{path}: ")
    else:
        assert image.dtype == np.uint8 and image.ndim == 2 and image.size > 0


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_bytes_without_meaning_are_never_an_image(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "noise.img"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"noise\.img: "):
        images.read_grey(path)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_any_png_turned_by_exif_is_seen_upright(tmp_path_factory, height, width, way, seed):
    grey = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    path = tmp_path_factory.getbasetemp() / "turned.png"
    path.write_bytes(bad_files.turned("PNG", grey, way))
    np.testing.assert_array_equal(images.read_grey(path), bad_files.TURNED[way](grey))
