"""Comparison of methods: on stand-ins that look at a known place, and on a tiny network."""

import keras
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from keras import layers

from xraylib import network, plots
from xraylib.config import IMAGE_SIZE
from xraylib.maps import EDGES, METHODS, RANDOM, Cases, Explainer, comparison, random_maps

CHANNELS = 6
PLACE = slice(20, 70), slice(30, 90)


@pytest.fixture
def cases():
    """Noise with a bright region that is known."""
    rng = np.random.default_rng(0)
    masks = np.zeros((4, IMAGE_SIZE, IMAGE_SIZE), bool)
    masks[:, *PLACE] = True
    images = np.where(masks, 230, rng.integers(0, 90, masks.shape)).astype(np.uint8)
    patients = [f"patient-{k}" for k in range(4)]
    return Cases(pd.DataFrame({"patient_id": patients, "label": "pneumonia"}), images, masks)


@pytest.fixture
def model():
    keras.utils.set_random_seed(1)
    image = keras.Input((IMAGE_SIZE, IMAGE_SIZE, 1))
    x = layers.Rescaling(1 / 255)(image)
    x = layers.Conv2D(CHANNELS, 9, strides=16, activation="relu", name="conv")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(3, name="logits")(x))


class LooksAtThePlace:
    """Stands in for an explainer: class 1 is as probable as the place is bright."""

    def probs(self, images):
        share = np.asarray(images, float)[:, *PLACE].mean(axis=(1, 2)) / 255
        return np.stack([1 - share, share, 0 * share], axis=1)


class Remembers:
    """Stands in for an explainer that gives fixed cells."""

    def __init__(self, cells):
        self.cells = cells

    def explain(self, images, class_ids, names):
        return {name: self.cells[:, None] for name in names}


def test_costs_are_counted_in_passes(model, cases):
    cells, costs = comparison.explain_with(Explainer(model), cases, "conv")
    assert list(cells) == list(costs.index) == list(METHODS)
    assert all(maps.shape == (4, 14, 14) for maps in cells.values())
    for method in METHODS[:3]:
        assert list(costs.loc[method]) == [1, 1]
    # its channels, one pass for each of them and one for the black image
    assert list(costs.loc["score_cam"]) == [1 + CHANNELS + 1, 0]


BETTER = {"insertion": 1, "deletion": -1, "ROAD": -1, "energy inside": 1}


def test_a_map_of_what_the_network_sees_beats_a_random_one(cases):
    heatmaps = {"good": cases.masks.astype(np.float32), "bad": (~cases.masks).astype(np.float32)}
    heatmaps[RANDOM] = random_maps(len(cases), (14, 14), IMAGE_SIZE)
    drawn = comparison.draw_curves(LooksAtThePlace(), cases, heatmaps)
    table = comparison.summarise_methods(cases, heatmaps, drawn).set_index(["maps", "check"])
    assert (table.n == 4).all()
    for check, better in BETTER.items():
        for name, sign in (("good", better), ("bad", -better)):
            row = table.loc[name, check]
            assert sign * row.gain > 0, (name, check)
            assert row.gain == pytest.approx(row.value - table.loc[RANDOM, check].value)
            assert row.gain_low <= row.gain <= row.gain_high
        assert (table.loc[RANDOM, check][["gain", "gain_low", "gain_high"]] == 0).all()
    assert table.loc["good", "pointing game"].value == 1


def test_floors_have_the_methods_cells(cases):
    cells = {"a": np.random.default_rng(0).random((4, 3, 5))}
    heatmaps = comparison.with_floors(cells, cases)
    assert list(heatmaps) == ["a", RANDOM, EDGES]
    np.testing.assert_array_equal(heatmaps[RANDOM], random_maps(4, (3, 5), IMAGE_SIZE))
    assert all(maps.shape == cases.masks.shape for maps in heatmaps.values())


def test_only_images_called_right_are_taken(cases):
    mixed = Cases(cases.rows.assign(label=["pneumonia", "normal"] * 2), cases.images, cases.masks)
    right = comparison.called_right(LooksAtThePlace(), mixed, n=5)
    assert right.rows.patient_id.tolist() == ["patient-0", "patient-2"]
    np.testing.assert_array_equal(right.images, mixed.images[[0, 2]])
    assert len(comparison.called_right(LooksAtThePlace(), mixed, n=1)) == 1


@pytest.mark.slow
def test_everything_for_one_run(model, cases, monkeypatch):
    monkeypatch.setattr(comparison, "fast_explainer", lambda run: Explainer(run.load_model()))

    class Run:
        def load_model(self):
            return model

    found = comparison.compare_methods(Run(), cases.take([0, 1]), "conv", seed=3)
    assert set(found.table.maps) == {*METHODS, RANDOM, EDGES}
    assert found.table.check.nunique() == 5
    assert list(found.costs.index) == list(found.cells) == list(METHODS)

    names = {name: name.upper() for name in (*METHODS, RANDOM, EDGES)}
    figure = plots.plot_curves(found.drawn, names)
    for axis, check in zip(figure.axes, ("insertion", "deletion"), strict=True):
        assert axis.get_title() == check
        mean = np.mean([curve.probs for curve in found.drawn["grad_cam", check]], axis=0)
        np.testing.assert_array_equal(axis.lines[0].get_ydata(), mean)
        assert axis.get_legend_handles_labels()[1][0].startswith("GRAD_CAM: ")
    plt.close("all")


def test_the_fast_explainer_has_the_runs_network(stand_in_vgg16):
    class Run:
        scaling = "report"
        head = network.fast_head()

    images = np.random.default_rng(0).integers(0, 256, (2, IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    whole = Explainer(network.build_classifier("report", Run.head))
    fast = comparison.fast_explainer(Run())
    assert fast.layers == whole.layers
    np.testing.assert_allclose(fast.probs(images), whole.probs(images), atol=0.02)


def test_trainings_agree_or_do_not(cases):
    rng = np.random.default_rng(2)
    one, other = rng.random((2, 4, 14, 14))
    table = comparison.seed_agreement(
        [Remembers(one), Remembers(2 * one), Remembers(one)], cases, ["conv"]
    ).set_index("maps")
    assert table.value["same image"] == pytest.approx(1)
    assert abs(table.value["another image"]) < 0.2
    assert abs(table.value[RANDOM]) < 0.2
    strangers = comparison.seed_agreement([Remembers(one), Remembers(other)], cases, ["conv"])
    assert abs(strangers.value[0]) < 0.2
    habit = np.broadcast_to(one[:1], one.shape)  # looks at one place whatever it is shown
    table = comparison.seed_agreement([Remembers(habit)] * 2, cases, ["conv"])
    assert table.value[1] == pytest.approx(1)


def test_flat_maps_are_left_out_of_the_agreement(cases):
    cells = np.random.default_rng(3).random((4, 14, 14))
    empty = cells.copy()
    empty[0] = 0
    table = comparison.seed_agreement([Remembers(cells), Remembers(empty)], cases, ["conv"])
    assert table.n[0] == 3 and table.value[0] == pytest.approx(1)
    three = [Remembers(cells), Remembers(empty), Remembers(cells)]
    assert comparison.seed_agreement(three, cases, ["conv"]).n[0] == 4
