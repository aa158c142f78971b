import cv2
import numpy as np
import pytest

from xraylib import images, sources
from xraylib.images import ImageError
from xraylib.sources import arrivals


@pytest.fixture
def original(tmp_path):
    grey = cv2.resize(np.random.default_rng(0).integers(0, 256, (9, 9), np.uint8), (400, 300))
    cv2.imwrite(str(tmp_path / "original.png"), grey)
    return tmp_path / "original.png"


def test_a_small_image_remembers_its_original(original, tmp_path):
    target = tmp_path / "new" / "small.png"
    assert sources.keep_small(original, target) == (300, 400)
    assert images.read_grey(target).shape == (256, 341)
    assert arrivals.size_of_original(target, arrivals.sha256(original)) == (300, 400)
    assert arrivals.size_of_original(target, "0" * 64) is None
    assert [path.name for path in target.parent.iterdir()] == ["small.png"]


@pytest.mark.parametrize("place", [30, -60, -20])
def test_a_damaged_small_image_does_not_count(original, tmp_path, place):
    target = tmp_path / "small.png"
    sources.keep_small(original, target)
    content = bytearray(target.read_bytes())
    content[place] ^= 255
    target.write_bytes(content)
    assert arrivals.size_of_original(target, arrivals.sha256(original)) is None
    assert arrivals.size_of_original(tmp_path / "gone.png", "") is None
    assert arrivals.size_of_original(original, arrivals.sha256(original)) is None, "no note in it"


def test_an_unreadable_original_leaves_nothing(tmp_path):
    (tmp_path / "bad.png").write_text("no image")
    with pytest.raises(ImageError, match="bad.png"):
        sources.keep_small(tmp_path / "bad.png", tmp_path / "small.png")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.png"]


@pytest.mark.parametrize("shape", [(300, 400), (400, 300), (100, 200), (256, 256), (257, 3000)])
def test_the_shorter_side_becomes_256(shape):
    small = arrivals.shrink(np.zeros(shape, np.uint8))
    assert min(small.shape) == 256
    assert small.shape[1] / small.shape[0] == pytest.approx(shape[1] / shape[0], rel=0.004)


def test_a_mask_stays_a_mask():
    mask = np.zeros((40, 60), bool)
    mask[:, 30:] = True
    for shape in ((20, 30), (80, 120), (40, 60)):
        fitted = arrivals.fit_mask(mask, shape)
        assert fitted.dtype == bool and fitted.shape == shape
        assert fitted[:, shape[1] // 2 :].all() and not fitted[:, : shape[1] // 2].any()
