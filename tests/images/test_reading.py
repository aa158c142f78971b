import struct

import cv2
import numpy as np
import pytest
from bad_files import chunk
from bad_files import png as images_png
from PIL import Image

from xraylib import images, phantoms
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


def wide_png(kind: int, values: np.ndarray, before=b"") -> bytes:
    """Return a PNG of 16 bits; kinds: 0 grey, 2 RGB, 4 grey with alpha, 6 RGB with alpha."""
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return images_png(width, height, depth=16, colour=kind, rows=rows, before=before)


@pytest.mark.parametrize("kind, bands", [(2, 3), (4, 1), (6, 3)])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_fewer_bits_in_a_16_bit_colour_png_fill_the_range_as_in_grey(tmp_path, kind, bands, bits):
    values = RNG.integers(0, 2**bits, (20, 30, bands), dtype=np.uint16)
    values[0, 0] = 2**bits - 1
    alpha = [np.full((20, 30, 1), 65535)] * (kind in (4, 6))
    (tmp_path / "wide.png").write_bytes(wide_png(kind, np.concatenate([values, *alpha], axis=2)))
    image = images.read_grey(tmp_path / "wide.png")
    grey = luminance(values) if bands == 3 else values[..., 0]
    assert is_grey_image(image, (20, 30)) and image[0, 0] == 255
    assert np.abs(image - grey * (255 / (2**bits - 1))).max() < 1.1


def test_what_is_transparent_in_16_bits_is_black(tmp_path):
    grey = RNG.integers(1, 4096, (20, 30, 1), dtype=np.uint16)
    hidden = int(grey[3, 4, 0])
    alpha = np.where(grey == hidden, 0, 65535)
    named = struct.pack(">H", hidden)
    for content in (
        wide_png(4, np.dstack([grey, alpha])),
        wide_png(6, np.dstack([grey, grey, grey, alpha])),
        wide_png(0, grey, chunk(b"tRNS", named)),
        wide_png(2, np.dstack([grey] * 3), chunk(b"tRNS", named * 3)),
    ):
        (tmp_path / "wide.png").write_bytes(content)
        image = images.read_grey(tmp_path / "wide.png")
        expected = np.where(grey == hidden, 0, grey)[..., 0] * (255 / 4095)
        assert image[3, 4] == 0 and np.abs(image - expected).max() < 1.1


def test_a_dim_colour_of_16_bits_stays_dim(tmp_path):
    blue = np.zeros((20, 30, 3), np.uint16)
    blue[..., 2] = np.linspace(0, 65535, 30)
    (tmp_path / "blue.png").write_bytes(wide_png(2, blue))
    assert images.read_grey(tmp_path / "blue.png").max() == 29  # 0.114 x 255, as in 8 bits


def test_a_16_bit_colour_png_is_turned_as_its_camera_says(tmp_path):
    rgb = RNG.integers(0, 4096, (20, 30, 3), dtype=np.uint16)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to the right
    content = wide_png(2, rgb, chunk(b"eXIf", exif.tobytes()[6:]))
    (tmp_path / "wide.png").write_bytes(content)
    image = images.read_grey(tmp_path / "wide.png")
    expected = np.rot90(luminance(rgb), -1) * (255 / 4095)
    assert is_grey_image(image, (30, 20)) and np.abs(image - expected).max() < 1.1


def test_a_damaged_16_bit_colour_png(tmp_path):
    content = wide_png(2, np.zeros((20, 30, 3), np.uint16))
    half = wide_png(2, np.zeros((10, 30, 3), np.uint16))
    (tmp_path / "half.png").write_bytes(content[:41] + half[41:])
    with pytest.raises(ImageError, match="half.png: damaged image"):
        images.read_grey(tmp_path / "half.png")


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


LUNGS = np.zeros((40, 60), bool)
LUNGS[8:32, 6:26], LUNGS[8:32, 34:54] = True, True
TWO_LEVELS = {
    "0 and 255": (0, 255),
    "0 and 1": (0, 1),
    "1 and 2": (1, 2),
    "0 and 127": (0, 127),
    "100 and 140": (100, 140),
}


@pytest.mark.parametrize("low, high", TWO_LEVELS.values(), ids=TWO_LEVELS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_of_two_values_in_a_mask_the_higher_is_inside(write, low, high, dtype):
    path = write("mask.png", np.where(LUNGS, high, low).astype(dtype))
    mask = images.read_mask(path, LUNGS.shape, empty=False)
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, LUNGS)


TURNED_INSIDE_OUT = {
    "lungs black on white": np.where(LUNGS, 0, 255),
    "lungs 1, outside 2": np.where(LUNGS, 1, 2),
    "red lungs on white": np.where(LUNGS[..., None], (255, 0, 0), 255),
}


@pytest.mark.parametrize("pixels", TURNED_INSIDE_OUT.values(), ids=TURNED_INSIDE_OUT)
def test_a_mask_that_is_turned_inside_out_is_refused(write, pixels):
    path = write("mask.png", pixels.astype(np.uint8))
    with pytest.raises(ImageError, match=r"mask.png: .* all round \(.* pixels .*\): .* higher"):
        images.read_mask(path, LUNGS.shape, empty=False)


def test_a_mask_may_be_cut_by_an_edge(write):
    lungs = LUNGS[8:, 6:54]  # cropped: the lungs touch three edges
    np.testing.assert_array_equal(images.read_mask(write("mask.png", lungs)), lungs)


@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 0, 255), (1, 1, 1), (128, 0, 0)])
def test_a_mask_in_colour(tmp_path, colour):
    rgb = LUNGS[..., None] * np.array(colour, np.uint8)
    palette = Image.fromarray(LUNGS.astype(np.uint8), mode="P")
    palette.putpalette([0, 0, 0, *colour])
    for image in (Image.fromarray(rgb), palette):
        image.save(tmp_path / "mask.png")
        np.testing.assert_array_equal(images.read_mask(tmp_path / "mask.png"), LUNGS)


def test_a_mask_of_jpeg_or_with_soft_edges_is_what_is_brighter_than_half(tmp_path):
    lungs = np.kron(LUNGS, np.ones((8, 8), bool))
    whole = lungs.astype(np.uint8) * 255
    cv2.imwrite(str(tmp_path / "mask.jpg"), whole, [cv2.IMWRITE_JPEG_QUALITY, 75])
    cv2.imwrite(str(tmp_path / "soft.png"), cv2.GaussianBlur(whole, (0, 0), 1.5))
    for name in ("mask.jpg", "soft.png"):
        wrong = images.read_mask(tmp_path / name) != lungs
        assert wrong.mean() < 0.002, name


AMBIGUOUS = {
    "left and right": np.where(np.arange(60) < 30, 1, 2) * LUNGS,
    "a third region": np.where(LUNGS, 255, 0) + np.where(np.arange(60) > 56, 127, 0),
    "a radiograph": np.arange(2400).reshape(40, 60) % 251,
    "all of 1": np.ones((40, 60)),
    "probabilities": np.where(LUNGS, 160, 0) + np.arange(60) % 30,
}


@pytest.mark.parametrize("values", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_a_mask_that_can_be_read_in_two_ways_is_refused(write, values):
    path = write("mask.png", values.astype(np.uint8))
    with pytest.raises(ImageError, match=r"mask.png: a mask of \d+ grey values .* pixels of "):
        images.read_mask(path)


def test_an_empty_mask_is_refused_where_something_is_cut_by_it(write):
    path = write("mask.png", np.zeros((40, 60), np.uint8))
    assert not images.read_mask(path).any()
    with pytest.raises(ImageError, match=r"mask.png: an empty mask \(2,400 pixels of 0\): "):
        images.read_mask(path, empty=False)
    assert images.read_mask(write("full.png", np.full((4, 6), 255, np.uint8)), empty=False).all()


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_fewer_bits_in_a_16_bit_png_are_spread_over_all_grey_values(write, bits):
    radiograph = phantoms.make_phantom(0, 5, "A", 224).image
    top = 2**bits - 1
    stored = (radiograph.astype(np.int64) * top // 255).astype(np.uint16)
    stored[0, 0] = top
    found = images.read_grey(write("wide.png", stored))
    assert np.abs(found.astype(int) - radiograph)[1:].max() <= 1
    assert images.flag_image(found) == ""


def test_doubtful_images_are_flagged():
    radiograph = phantoms.make_phantom(0, 5, "A", 224).image
    assert images.flag_image(radiograph) == ""
    assert images.flag_image(radiograph // 16) == "nearly black, 16 grey values"
    assert images.flag_image(radiograph // 16 * 16).endswith("16 grey values")
    assert images.flag_image(255 - radiograph // 12).startswith("nearly white")


def test_an_image_of_one_grey_value_is_no_radiograph(write):
    path = write("night.png", np.zeros((20, 30), np.uint8))
    with pytest.raises(ImageError, match=r"night.png: all pixels are alike"):
        images.read_radiograph(path)


def test_the_files_of_a_folder(tmp_path):
    """Endings in any case and none, links, numbers for names; files of the system and masks."""
    png = images_png()
    taken = ["A/x.PNG", "A/x.jpeg", "A/y.JFIF", "B/images/z.dcm", "r.DICOM"]
    taken += ["B/plain", "B/1.2.840.10008"]  # known by how they begin
    passed = ["A/._x.png", ".DS_Store", "A/Thumbs.db", "__MACOSX/A/x.png"]
    masks = ["B/masks/z.png", "Masks/x.png", "B/lesions/z.png"]
    others = ["notes.txt", "table", "A/x.csv"]
    for name in (*taken, *passed, *masks, *others):
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"text" if name in others else png)
    (tmp_path / "set" / "A" / "loop").symlink_to(tmp_path / "set")
    found = images.find_images(tmp_path / "set")
    names = [[str(p.relative_to(tmp_path / "set")) for p in part] for part in found[:2]]
    assert names == [sorted(taken), sorted(others)]
    assert found.left_out == {"of the system": len(passed), "that are masks": len(masks)}


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "x.png").write_bytes(images_png())
    with pytest.raises(NotADirectoryError, match="x.png: is a file; name the folder"):
        images.find_images(tmp_path / "x.png")
    with pytest.raises(FileNotFoundError, match="gone: no such folder"):
        images.find_images(tmp_path / "gone")


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
