import json

import numpy as np
import pytest

from xraylib import images, report
from xraylib.images import Preprocessing, PreprocessingMismatch, check_same, random_transform
from xraylib.images.views import REGIONS

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(1, 256, (64, 64), dtype=np.uint8)  # no pixel is black
MASK = np.zeros((64, 64), bool)
MASK[10:50, 8:24] = MASK[14:54, 40:56] = True  # two lungs: the box is rows 10:54, columns 8:56
BOX = np.zeros((64, 64), bool)
BOX[10:54, 8:56] = True


def view(**settings) -> np.ndarray:
    return Preprocessing(size=64, **settings).apply(IMAGE, MASK)


def test_every_region():
    np.testing.assert_array_equal(view(region="whole"), IMAGE)
    np.testing.assert_array_equal(view(region="lungs"), np.where(MASK, IMAGE, 0))
    np.testing.assert_array_equal(view(region="lungs_on_white"), np.where(MASK, IMAGE, 255))
    np.testing.assert_array_equal(view(region="lungs_erased"), np.where(MASK, 0, IMAGE))
    np.testing.assert_array_equal(view(region="lung_box_erased"), np.where(BOX, 0, IMAGE))
    np.testing.assert_array_equal(view(region="silhouette"), np.where(MASK, 255, 0))


def test_a_framed_view_is_the_segmented_one_shrunk_into_a_white_frame():
    framed = view(region="lungs_framed")
    near, inner = 7, 49  # 77 % of 64 pixels, in the middle
    inside = framed[near : near + inner, near : near + inner]
    np.testing.assert_array_equal(inside, images.resize(view(region="lungs"), inner))
    framed[near : near + inner, near : near + inner] = 255
    assert (framed == 255).all()


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("size", [32, 64, 224])
def test_a_view_is_a_grey_square(region, size):
    made = Preprocessing(region, "clahe", crop=True, size=size).apply(IMAGE, MASK)
    assert made.shape == (size, size) and made.dtype == np.uint8


def test_lungs_and_the_rest_make_up_the_whole():
    np.testing.assert_array_equal(view(region="lungs") + view(region="lungs_erased"), IMAGE)


def test_the_originals_stay_as_they_are():
    image, mask = IMAGE.copy(), MASK.copy()
    for region in REGIONS:
        Preprocessing(region, "global", crop=True).apply(image, mask)
    np.testing.assert_array_equal(image, IMAGE)
    np.testing.assert_array_equal(mask, MASK)


def test_equalisation_looks_at_the_whole_image_before_anything_is_erased():
    np.testing.assert_array_equal(
        view(region="lungs", equalise="global"), np.where(MASK, images.equalise(IMAGE), 0)
    )


def test_crop_is_the_lungs_box_with_a_margin():
    # 44 rows and 48 columns: 5 % are 2 pixels on every side
    expected = images.resize(IMAGE[8:56, 6:58], 64)
    np.testing.assert_array_equal(view(crop=True), expected)


def test_crop_ends_at_the_border():
    made = Preprocessing(crop=True, size=64).apply(IMAGE, np.ones((64, 64), bool))
    np.testing.assert_array_equal(made, IMAGE)


@pytest.mark.parametrize("settings", [{"region": r} for r in REGIONS[1:]] + [{"crop": True}])
def test_a_missing_mask(settings):
    assert Preprocessing(**settings).needs_mask
    with pytest.raises(ValueError, match="needs a lung mask"):
        Preprocessing(**settings).apply(IMAGE)


def test_the_whole_image_needs_no_mask():
    assert not Preprocessing(equalise="clahe", transform="table2").needs_mask


@pytest.mark.parametrize("settings", [{"region": r} for r in REGIONS[1:]] + [{"crop": True}])
def test_nothing_is_cut_by_an_empty_mask(settings):
    with pytest.raises(ValueError, match="an empty lung mask: none of its 4,096 pixels"):
        Preprocessing(**settings).apply(IMAGE, np.zeros_like(MASK))


@pytest.mark.parametrize("inside", [1, 255])
def test_a_mask_of_numbers_cuts_as_one_of_bool(inside):
    cut = Preprocessing("lungs_erased", size=64).apply(IMAGE, MASK.astype(np.uint8) * inside)
    np.testing.assert_array_equal(cut, np.where(MASK, 0, IMAGE))
    with pytest.raises(ValueError, match=r"a mask with values \[0, 7\]: give bool"):
        Preprocessing("lungs").apply(IMAGE, MASK * 7)


def test_a_mask_of_another_shape():
    with pytest.raises(ValueError, match=r"mask of \(32, 64\) .* image of \(64, 64\)"):
        Preprocessing("lungs").apply(IMAGE, MASK[:32])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"region": "lung"}, "no region 'lung': choose one of whole, lungs"),
        ({"equalise": "local"}, "no equalisation 'local'"),
        ({"transform": "shear"}, "no transform 'shear'"),
    ],
)
def test_unknown_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        Preprocessing(**settings)


def test_json_brings_the_same_back():
    one = Preprocessing("lungs", "clahe", crop=True, transform="table2", size=96)
    assert Preprocessing(**json.loads(one.to_json())) == one


def test_judging_on_other_views_needs_a_reason():
    original, segmented = Preprocessing(), Preprocessing("lungs")
    with pytest.raises(PreprocessingMismatch, match='"region": "whole".*"region": "lungs"'):
        check_same(original, segmented)
    check_same(original, segmented, mismatch="the report's experiment 2")
    check_same(segmented, Preprocessing("lungs"))


def test_random_transforms_of_the_training_images_are_no_mismatch():
    check_same(Preprocessing(transform="table2"), Preprocessing())
    with pytest.raises(PreprocessingMismatch):
        check_same(Preprocessing(transform="table2"), Preprocessing(equalise="global"))


SIDE = 200
DOTS = (70 + 80j, 130 + 80j, 70 + 120j)  # x + iy in pixels
CENTRE = (SIDE - 1) / 2 * (1 + 1j)


def dot_image(place: complex) -> np.ndarray:
    y, x = np.indices((SIDE, SIDE))
    return np.rint(255 * np.exp(-(np.abs(x + 1j * y - place) ** 2) / 18)).astype(np.uint8)


def centre_of_mass(image) -> complex:
    y, x = np.indices(image.shape)
    return (image * (x + 1j * y)).sum() / image.sum()


def drawn_transform(seed: int) -> tuple[float, float, complex]:
    """Angle in degrees, zoom, and shift as a share of the side, from where three dots went."""
    after = [
        centre_of_mass(random_transform(dot_image(dot), np.random.default_rng(seed)))
        for dot in DOTS
    ]
    # a similarity: after = turn * (before - centre) + centre + shift
    system = np.stack([np.array(DOTS) - CENTRE, np.ones(3)], axis=1)
    (turn, shift), *_ = np.linalg.lstsq(system, np.array(after) - CENTRE)
    return np.degrees(np.angle(turn)), np.abs(turn), shift / SIDE


def test_random_transforms_fill_the_ranges_of_table_2_and_stay_within():
    angles, zooms, shifts = map(np.array, zip(*map(drawn_transform, range(150)), strict=True))
    rotation, zoom = report.TABLE_2["rotation (degrees)"][1], report.TABLE_2["zoom (%)"]
    shift = report.TABLE_2["horizontal shift (%)"][1] / 100
    for values, low, high in (
        (angles, -rotation, rotation),
        (zooms, zoom[0] / 100, zoom[1] / 100),
        (shifts.real, -shift, shift),
        (shifts.imag, -shift, shift),
    ):
        slack = 0.01 * (high - low)
        assert low - slack < values.min() < low + 10 * slack
        assert high - 10 * slack < values.max() < high + slack


def test_shifts_are_shares_of_each_side():
    tall = np.zeros((400, 50), np.uint8)
    tall[180:220, 20:30] = 255
    places = [
        centre_of_mass(random_transform(tall, np.random.default_rng(seed))) - (24.5 + 199.5j)
        for seed in range(40)
    ]
    assert 4 < np.abs(np.real(places)).max() < 5.5
    assert 30 < np.abs(np.imag(places)).max() < 41


def test_what_comes_in_is_black():
    white = np.full((64, 64), 255, np.uint8)
    made = [random_transform(white, np.random.default_rng(seed)) for seed in range(20)]
    assert all(image.shape == (64, 64) and image.dtype == np.uint8 for image in made)
    assert all((image[[0, 0, -1, -1], [0, -1, 0, -1]] == 0).any() for image in made[:5])
    assert all(image[32, 32] == 255 for image in made)


def test_the_seed_decides():
    one, two, other = (
        Preprocessing(transform="table2").apply(IMAGE, rng=np.random.default_rng(seed))
        for seed in (4, 4, 5)
    )
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)


def test_a_random_view_needs_a_source_of_chance():
    with pytest.raises(ValueError, match="rng"):
        Preprocessing(transform="table2").apply(IMAGE)


def test_still_leaves_the_chance_out():
    moving = Preprocessing("lungs", "global", crop=True, transform="table2", size=64)
    np.testing.assert_array_equal(
        moving.still.apply(IMAGE, MASK),
        Preprocessing("lungs", "global", crop=True, size=64).apply(IMAGE, MASK),
    )


def moved(kind: str, seed: int = 3) -> np.ndarray:
    """A bright square off the middle, after one transform."""
    image = np.zeros((101, 101), np.uint8)
    image[20:31, 40:71] = 200
    return random_transform(image, np.random.default_rng(seed), kind)


def centre(image: np.ndarray) -> np.ndarray:
    return np.argwhere(image > 100).mean(axis=0)


def test_each_transform_alone_does_what_its_name_says():
    before = np.array([25.0, 55.0])
    row, column = centre(moved("width shift")) - before
    assert abs(row) < 0.5 < abs(column) <= 10.2
    row, column = centre(moved("height shift")) - before
    assert abs(column) < 0.5 < abs(row) <= 10.2
    size = (moved("zoom") > 100).sum() / (11 * 31)
    assert 0.7 < size < 1.35 and size != 1
    assert np.linalg.norm(centre(moved("rotation")) - 50) == pytest.approx(
        np.linalg.norm(before - 50), abs=0.5
    )
    assert centre(moved("flip")).tolist() == [25, 45]


def test_the_contrast_of_a_mark_is_its_distance_from_what_is_around_it():
    image, mark = np.full((40, 40), 90, np.uint8), np.zeros((40, 40), bool)
    mark[10:14, 10:20] = True
    image[mark] = 60
    image[30:] = 255  # too far away to count
    assert images.contrast(image, mark) == 30
