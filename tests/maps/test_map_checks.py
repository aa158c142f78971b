"""Checks of maps: on maps whose answer is known, and on models that do or do not look."""

import keras
import numpy as np
import pytest
from keras import layers

from xraylib import maps
from xraylib.maps import Explainer, agreement, checks, energy_inside, points_inside, random_maps
from xraylib.metrics import bootstrap_mean

SIDE = 12


@pytest.fixture
def mask():
    mask = np.zeros((SIDE, SIDE), bool)
    mask[2:5, 3:9] = True
    return mask


def looks_at(mask):
    """A model whose probability of class 1 is the brightness inside a mask."""

    def probs(images):
        share = (np.asarray(images) * mask).sum(axis=(1, 2)) / mask.sum() / 255
        return np.stack([1 - share, share], axis=1)

    return probs


def build_tiny() -> keras.Model:
    image = keras.Input((SIDE, SIDE, 1))
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="conv1")(image)
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="conv2")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(3, name="logits")(x))


def test_energy_is_the_share_inside(mask):
    flat = np.ones((SIDE, SIDE))
    assert energy_inside(flat, mask) == pytest.approx(mask.mean())
    assert energy_inside(mask * 0.3, mask) == 1
    assert energy_inside(~mask * 0.3, mask) == 0
    half = mask * 3.0 / mask.sum() + ~mask * 1.0 / (~mask).sum()
    assert energy_inside(half, mask) == pytest.approx(0.75)


def test_energy_and_pointing_take_batches_and_leave_out_what_has_no_answer(mask):
    shown = np.stack([mask * 1.0, np.zeros_like(mask, float), ~mask * 1.0, mask * 1.0])
    masks = np.stack([mask, mask, mask, np.zeros_like(mask)])
    for check in (energy_inside, points_inside):
        np.testing.assert_array_equal(check(shown, masks), [1, np.nan, 0, np.nan])
    with pytest.raises(ValueError, match="same"):
        energy_inside(shown, mask)


def test_the_highest_point_counts_and_not_the_energy(mask):
    heatmap = np.where(mask, 0.1, 0.5)
    heatmap[3, 4] = 0.6
    assert points_inside(heatmap, mask) == 1
    heatmap[9, 9] = 0.6  # a tie: half of the highest points are inside
    assert points_inside(heatmap, mask) == 0.5
    heatmap[9, 10] = 0.7
    assert points_inside(heatmap, mask) == 0


def test_curves_tell_a_right_map_from_a_wrong_one(mask):
    image = np.where(mask, 250, 10).astype(np.uint8)
    probs = looks_at(mask)
    right, wrong = mask * 1.0, ~mask * 1.0
    best = maps.deletion(probs, image, right, 1)
    worst = maps.deletion(probs, image, wrong, 1)
    assert best.area < worst.area - 0.3
    assert best.probs[0] == pytest.approx(250 / 255)
    assert best.probs[-1] == pytest.approx(image.mean() / 255, rel=1e-5)
    # everything that matters is gone after the mask's share of the pixels
    gone = best.shares >= mask.mean() + 1 / 32
    np.testing.assert_allclose(best.probs[gone], image.mean() / 255, rtol=1e-5)
    best = maps.insertion(probs, image, right, 1)
    worst = maps.insertion(probs, image, wrong, 1)
    assert best.area > worst.area + 0.05
    assert best.probs[-1] == worst.probs[-1] == pytest.approx(250 / 255)
    assert best.probs[0] < 0.9  # blurred
    assert best.shares[0] == 0 and best.shares[-1] == 1 and len(best.probs) == 33


def test_road_fills_what_it_removes_from_the_neighbours(mask):
    image = np.where(mask, 250, 10).astype(np.uint8)
    right = maps.road(looks_at(mask), image, mask * 1.0, 1)
    wrong = maps.road(looks_at(mask), image, ~mask * 1.0, 1)
    assert right.area < wrong.area - 0.3
    assert right.probs[0] == pytest.approx(250 / 255) and len(right.probs) == 33
    whole = np.argmax(right.shares >= mask.mean())
    assert right.probs[whole + 1] < 0.2  # the dark ground has grown into the hole
    assert right.probs[-1] == pytest.approx(image.mean() / 255, rel=1e-5)


def test_a_hole_in_a_slope_is_filled_with_the_slope():
    slope = np.add.outer(np.arange(64), 2 * np.arange(48)).astype(np.float32)
    hole = np.zeros(slope.shape, bool)
    hole[20:40, 10:30] = True
    filled = checks.fill_in(np.where(hole, -1000, slope), hole)
    np.testing.assert_array_equal(filled[~hole], slope[~hole])
    assert np.abs(filled - slope).max() < 0.02 * np.ptp(slope)


def test_the_area_is_the_mean_height_of_the_curve():
    assert maps.Curve(np.array([0, 0.5, 1]), np.array([1, 0, 0])).area == 0.25
    assert maps.Curve(np.linspace(0, 1, 9), np.full(9, 0.7)).area == pytest.approx(0.7)


def test_a_flat_map_takes_pixels_from_everywhere(mask):
    """Ties in reading order would take the mask, which lies at the top, much too early."""
    image = np.where(mask, 250, 10).astype(np.uint8)
    curve = maps.deletion(looks_at(mask), image, np.zeros((SIDE, SIDE)), 1, steps=8)
    straight = np.interp(curve.shares, [0, 1], curve.probs[[0, -1]])
    assert abs(curve.probs - straight).max() < 0.25


def test_curves_refuse_other_shapes(mask):
    for image, steps in ((np.zeros((4, 4)), 8), (np.zeros((SIDE, SIDE)), 0)):
        with pytest.raises(ValueError, match="give"):
            maps.deletion(looks_at(mask), image, mask * 1.0, 1, steps)


def test_agreement_is_of_ranks():
    rng = np.random.default_rng(0)
    cells = rng.random((2, 3, 7, 7))
    np.testing.assert_allclose(agreement(cells, np.exp(5 * cells)), np.ones((2, 3)))
    np.testing.assert_allclose(agreement(cells, -cells), -np.ones((2, 3)))
    assert np.isnan(agreement(cells, cells * 0)).all()
    strangers = agreement(rng.random((200, 7, 7)), rng.random((200, 7, 7)))
    assert abs(strangers.mean()) < 0.05


def test_randomising_goes_from_the_top_and_leaves_the_model_alone():
    keras.utils.set_random_seed(3)
    model = build_tiny()
    before = [w.copy() for w in model.get_weights()]
    images = np.random.default_rng(0).integers(0, 256, (4, SIDE, SIDE), np.uint8)
    found = maps.randomise_from_top(model, images, [0, 1, 2, 0], "conv2", "layer_cam")
    assert list(found) == ["logits", "conv2", "conv1"]
    assert all(values.shape == (4,) for values in found.values())
    assert np.nanmean(found["conv1"]) < 0.9
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    again = maps.randomise_from_top(model, images, [0, 1, 2, 0], "conv2", "layer_cam")
    np.testing.assert_array_equal(np.stack([*found.values()]), np.stack([*again.values()]))


def test_a_map_that_ignores_the_model_does_not_change():
    """Shuffling equal values changes nothing: the check must say 1, not merely something high."""
    model = build_tiny()
    image = np.random.default_rng(1).integers(0, 256, (1, SIDE, SIDE), np.uint8)
    model.set_weights([np.full_like(w, 0.1) for w in model.get_weights()])
    found = maps.randomise_from_top(model, image, [1], "conv2")
    np.testing.assert_allclose(np.concatenate([*found.values()]), 1)


def test_random_maps_are_as_coarse_as_asked_and_their_energy_is_by_chance(mask):
    drawn = random_maps(400, (3, 3), SIDE, seed=1)
    assert drawn.shape == (400, SIDE, SIDE) and drawn.min() >= 0 and drawn.max() == 1
    np.testing.assert_array_equal(drawn, random_maps(400, (3, 3), SIDE, seed=1))
    energy = energy_inside(drawn, np.broadcast_to(mask, drawn.shape))
    assert energy.mean() == pytest.approx(mask.mean(), abs=0.02)
    steps = np.abs(np.diff(drawn, axis=2)).max()
    assert steps < np.abs(np.diff(random_maps(400, (12, 12), SIDE), axis=2)).max()


def test_edge_maps_are_bright_at_edges_and_zero_where_nothing_changes(mask):
    image = np.where(mask, 200, 50).astype(np.uint8)
    edges = maps.edge_maps(np.stack([image, np.full_like(image, 7)]))
    assert edges.shape == (2, SIDE, SIDE) and edges[0].max() == 1
    assert edges[0, 2, 5] > 0.5 and edges[0, 8, 5] == 0
    assert not edges[1].any()


def test_bootstrap_mean_covers_the_true_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(60):
        mean = bootstrap_mean(rng.normal(2, 1, 40), seed=seed)
        hits += mean.low <= 2 <= mean.high
    assert 50 <= hits <= 60


def test_bootstrap_mean_draws_patients_and_leaves_out_what_is_undefined():
    values = np.repeat(np.random.default_rng(0).random(20), 5)
    alone, grouped = bootstrap_mean(values), bootstrap_mean(values, np.repeat(np.arange(20), 5))
    assert alone.value == grouped.value == pytest.approx(values.mean())
    assert grouped.high - grouped.low > 1.6 * (alone.high - alone.low)
    mean = bootstrap_mean([0.2, np.nan, 0.4, np.nan])
    assert (mean.value, mean.n) == (pytest.approx(0.3), 2) and 0.2 <= mean.low <= mean.high <= 0.4
    single = bootstrap_mean([0.2, 0.4], ["p", "p"])
    assert single.value == pytest.approx(0.3) and np.isnan(single.low)
    assert np.isnan(bootstrap_mean([np.nan]).value)
    with pytest.raises(ValueError, match="groups"):
        bootstrap_mean([1.0, 2.0], ["p"])


def test_the_checks_work_together_on_a_model_that_looks_at_one_place(mask):
    """The score is the brightness of a channel that only a bright square excites."""
    image = keras.Input((SIDE, SIDE, 1))
    x = layers.Rescaling(1 / 255)(image)
    x = layers.Conv2D(1, 1, activation="relu", name="conv")(x)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(image, layers.Dense(2, name="logits")(x))
    model.get_layer("conv").set_weights([np.ones((1, 1, 1, 1)), np.array([-0.5])])
    model.get_layer("logits").set_weights([np.array([[-40.0, 40.0]]), np.zeros(2)])
    explainer = Explainer(model)
    picture = np.where(mask, 250, 40).astype(np.uint8)
    heatmap = explainer.explain(picture, [1])["conv"][0, 0]
    assert energy_inside(heatmap, mask) == points_inside(heatmap, mask) == 1
    random = maps.random_maps(1, heatmap.shape, SIDE)[0]
    curves = [
        [check(explainer.probs, picture, shown, 1).area for shown in (heatmap, random)]
        for check in (maps.deletion, maps.insertion, maps.road)
    ]
    assert curves[0][0] < curves[0][1] and curves[1][0] > curves[1][1]
    assert curves[2][0] < curves[2][1]
