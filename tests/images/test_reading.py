import cv2
import numpy as np
import pytest
from PIL import Image

from xraylib import images
from xraylib.images import ImageError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (20, 30), dtype=np.uint8)
SMOOTH = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (48, 1))


@pytest.fixture
def write(tmp_path):
    def write_image(name, image, **options):
        image = image if isinstance(image, Image.Image) else Image.fromarray(image)
        image.save(tmp_path / name, **options)
        return tmp_path / name

    return write_image


def luminance(rgb) -> np.ndarray:
    return rgb @ np.array([0.299, 0.587, 0.114])


def is_grey_image(image, shape) -> bool:
    return isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.shape == shape


def test_grey_png_keeps_every_value(write):
    np.testing.assert_array_equal(images.read_grey(write("grey.png", GREY)), GREY)


@pytest.mark.parametrize("suffix", ["jpg", "jpeg"])
def test_grey_jpeg_up_to_its_loss(write, suffix):
    image = images.read_grey(write(f"grey.{suffix}", SMOOTH, quality=95))
    assert is_grey_image(image, SMOOTH.shape)
    assert np.abs(image.astype(int) - SMOOTH).max() <= 4


def test_16_bit_grey_png_is_scaled_from_its_full_range(tmp_path):
    wide = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    cv2.imwrite(str(tmp_path / "wide.png"), wide)
    image = images.read_grey(tmp_path / "wide.png")
    assert image.dtype == np.uint8 and (image[0, 0], image[-1, -1]) == (0, 255)
    np.testing.assert_array_equal(image, wide // 257)


def test_16_bit_colour_png(tmp_path):
    rgb = RNG.integers(0, 65536, (20, 30, 3), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "wide.png"), rgb[..., ::-1])
    image = images.read_grey(tmp_path / "wide.png")
    assert np.abs(image - luminance(rgb) / 257).max() < 2


def test_rgb_png_is_weighted_into_luminance(write):
    rgb = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    image = images.read_grey(write("colour.png", rgb))
    assert is_grey_image(image, (20, 30))
    assert np.abs(image - luminance(rgb)).max() <= 1


def test_a_grey_radiograph_saved_as_colour_stays_the_same(write):
    np.testing.assert_array_equal(images.read_grey(write("c.png", np.dstack([GREY] * 3))), GREY)


@pytest.mark.parametrize("colour", [True, False])
def test_transparent_pixels_become_black(write, colour):
    alpha = np.full(GREY.shape, 255, np.uint8)
    alpha[:, :10] = 0
    bands = [GREY] * 3 if colour else [GREY]
    image = images.read_grey(write("alpha.png", np.dstack([*bands, alpha])))
    np.testing.assert_array_equal(image[:, 10:], GREY[:, 10:])
    assert not image[:, :10].any()


def test_palette_png_gives_the_colours_and_not_their_numbers(write):
    picture = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), mode="P")
    picture.putpalette([0, 0, 0, 200, 200, 200, 90, 90, 90])
    image = images.read_grey(write("palette.png", picture))
    np.testing.assert_array_equal(image, [[0, 200], [90, 200]])


def test_palette_with_transparency(write):
    picture = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), mode="P")
    picture.putpalette([50, 50, 50, 200, 200, 200, 90, 90, 90])
    image = images.read_grey(write("palette.png", picture, transparency=1))
    np.testing.assert_array_equal(image, [[50, 0], [90, 0]])


def test_1_bit_png(write):
    bits = GREY > 127
    image = images.read_grey(write("bits.png", Image.fromarray(bits)))
    np.testing.assert_array_equal(image, np.where(bits, 255, 0))


def test_cmyk_jpeg(write):
    cmyk = Image.fromarray(np.dstack([SMOOTH] * 3)).convert("CMYK")
    image = images.read_grey(write("print.jpg", cmyk, quality=95))
    assert is_grey_image(image, SMOOTH.shape)
    assert np.abs(image.astype(int) - SMOOTH).max() <= 6


def test_an_animation_gives_its_first_frame(write):
    frames = [Image.fromarray(np.full((8, 8), value, np.uint8)) for value in (10, 200)]
    path = write("moving.png", frames[0], save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(images.read_grey(path), np.full((8, 8), 10))


def test_mask_is_what_is_brighter_than_half(write):
    path = write("mask.png", np.array([[0, 127, 128, 255]], np.uint8))
    mask = images.read_mask(path, (1, 4))
    assert mask.dtype == bool and mask.tolist() == [[False, False, True, True]]


def test_mask_of_another_size(write):
    with pytest.raises(ImageError, match=r"mask.png: mask of \(20, 30\) .* image of \(30, 20\)"):
        images.read_mask(write("mask.png", GREY), (30, 20))


def test_shrinking_averages_over_areas():
    blocks = RNG.integers(0, 256, (8, 4, 8, 4), dtype=np.uint8)
    shrunk = images.resize(blocks.reshape(32, 32), 8)
    assert is_grey_image(shrunk, (8, 8))
    assert np.abs(shrunk - blocks.mean(axis=(1, 3))).max() <= 0.5 + 1e-6


def test_enlarging_stays_within_the_values():
    small = np.array([[10, 200], [10, 200]], np.uint8)
    large = images.resize(small, 9)
    assert is_grey_image(large, (9, 9)) and (large.min(), large.max()) == (10, 200)
    assert (np.diff(large.astype(int), axis=1) >= 0).all()


def test_resizing_to_the_same_size_changes_nothing():
    square = GREY[:20, :20]
    np.testing.assert_array_equal(images.resize(square, 20), square)


def test_a_resized_mask_stays_a_mask():
    mask = np.zeros((60, 40), bool)
    mask[15:45, 10:30] = True
    small = images.resize(mask, 20)
    expected = np.zeros((20, 20), bool)
    expected[5:15, 5:15] = True
    assert small.dtype == bool
    np.testing.assert_array_equal(small, expected)


def test_global_equalisation_is_opencvs_and_spreads_the_values():
    dull = (GREY // 4 + 90).astype(np.uint8)
    spread = images.equalise(dull)
    np.testing.assert_array_equal(spread, cv2.equalizeHist(dull))
    assert (spread.min(), spread.max()) == (0, 255)


def test_local_equalisation_spreads_a_dull_corner_more_than_global_does():
    image = np.tile(np.linspace(0, 255, 128).astype(np.uint8), (128, 1))
    image[:32, :32] = 100 + RNG.integers(0, 8, (32, 32))
    local, whole = images.equalise(image, "clahe"), images.equalise(image, "global")
    assert is_grey_image(local, image.shape)
    assert np.std(local[:32, :32]) > np.std(image[:32, :32])
    assert not np.array_equal(local, whole)


def test_normalisation_is_a_straight_line_between_the_ends():
    dull = np.arange(100, 151, dtype=np.uint8).repeat(8).reshape(51, 8)
    spread = images.equalise(dull, "normalise")
    assert is_grey_image(spread, dull.shape)
    assert (spread.min(), spread.max()) == (0, 255)
    steps = np.diff(spread[2:-2, 0].astype(int))
    assert steps.min() >= steps.max() - 1 > 0  # equal distances stay equal, to rounding


def test_normalisation_lets_single_pixels_go():
    marked = np.full((40, 40), 100, np.uint8)
    marked[:, 20:], marked[0, :5] = 150, 255  # five bright pixels, as of a letter
    assert set(images.equalise(marked, "normalise").ravel()) == {0, 255}


def test_no_equalisation():
    np.testing.assert_array_equal(images.equalise(GREY, "none"), GREY)


@pytest.mark.parametrize("method", ["none", "normalise", "global"])
def test_an_all_black_image_stays_black(method):
    assert not images.equalise(np.zeros((16, 16), np.uint8), method).any()


def test_unknown_equalisation():
    with pytest.raises(ValueError, match="'local': choose none, normalise, global or clahe"):
        images.equalise(GREY, "local")
