"""Checks by layer: on made-up maps that lie in the region, or nowhere near it."""

import cv2
import matplotlib.pyplot as plt
import numpy as np
import pytest
from conftest import make_manifest

from xraylib import maps, metrics, plots
from xraylib.config import CLASS_NAMES
from xraylib.maps import EDGES, RANDOM, TRAINED


class Pointer:
    """Stands in for an explainer: `good` points into the mask, `bad` beside it, `none` nowhere."""

    def __init__(self, masks):
        self.masks = masks

    def explain(self, images, class_ids, layers, method):
        assert class_ids.shape == (len(images), 1)
        inside = np.stack([cv2.erode(m.astype(np.uint8), np.ones((9, 9))) for m in self.masks])
        outside = np.stack([cv2.erode(1 - m.astype(np.uint8), np.ones((9, 9))) for m in self.masks])
        maps = {"good": inside, "bad": outside, "none": inside * 0}
        return {layer: maps[layer][:, None].astype(np.float32) for layer in layers}


@pytest.fixture
def manifest(tmp_path):
    table = make_manifest(tmp_path, 12, with_masks=True)
    table["split"] = ["train", "val", "test", "test"] * 3
    empty = tmp_path / "empty.png"
    cv2.imwrite(str(empty), np.zeros((64, 64), np.uint8))
    table.loc[1, "mask_path"] = str(empty)
    table.loc[2, "mask_path"] = ""
    return table


@pytest.fixture
def cases(manifest):
    return maps.unseen_cases(manifest, "mask_path", n=20)


@pytest.fixture
def table(cases):
    return maps.layer_checks(Pointer(cases.masks), cases, ["good", "bad", "none"])


def value(table, layer, maps, check):
    (row,) = table[
        (table.layer == layer) & (table.maps == maps) & (table.check == check)
    ].itertuples()
    return row


def test_the_lesion_is_better_known_than_the_lungs(manifest):
    assert maps.known_region(manifest) == "mask_path"
    assert maps.known_region(manifest.assign(lesion_path="")) == "lesion_path"


def test_what_is_known_of_an_image_leaves_out_what_is_empty(manifest):
    row = manifest.iloc[3]
    assert list(maps.known_regions(row)) == ["lungs"]
    assert maps.known_regions(row)["lungs"].shape == (224, 224)
    drawn = row.copy()
    drawn["lesion_path"], drawn["marker_path"] = manifest.mask_path[1], row.mask_path
    assert list(maps.known_regions(drawn)) == ["marker"], "the lesion's mask is empty"
    assert maps.known_regions(manifest.iloc[2]) == {}


def test_the_surest_calls_are_one_of_each_class_and_one_wrong(manifest):
    probs = np.full((12, 3), 0.1)
    labels = np.array([CLASS_NAMES.index(name) for name in manifest.label])
    called = labels.copy()
    called[[4, 8]] = (labels[[4, 8]] + 1) % 3
    probs[np.arange(12), called] = 0.5 + np.arange(12) / 50
    predictions = manifest[["path", "label"]].assign(prediction=np.take(CLASS_NAMES, called))
    predictions = predictions.assign(**dict(zip(CLASS_NAMES, probs.T, strict=True)))
    found = maps.surest_calls(predictions.sample(frac=1, random_state=0), manifest)
    right = np.flatnonzero(called == labels)
    last = [max(k for k in right if labels[k] == c) for c in (2, 1, 0)]
    assert list(found.path) == list(manifest.path[[*last, 8]])
    assert found.title[0] == "COVID-19, called right" and "mask_path" in found
    assert found.title[3] == f"{CLASS_NAMES[labels[8]]}, called {CLASS_NAMES[called[8]]}"
    assert len(maps.surest_calls(predictions.iloc[right], manifest)) == 3


def test_training_images_and_empty_regions_are_left_out(manifest, cases):
    assert sorted(cases.rows.path) == sorted(manifest.path[[3, 5, 6, 7, 9, 10, 11]])
    assert cases.images.shape == cases.masks.shape == (7, 224, 224)
    assert cases.masks.any(axis=(1, 2)).all()
    for row, image in zip(cases.rows.itertuples(), cases.images, strict=True):
        stored = cv2.imread(row.path, cv2.IMREAD_GRAYSCALE)
        assert abs(image.mean() - stored.mean()) < 2


def test_the_draw_is_limited_and_repeats(manifest):
    draws = [maps.unseen_cases(manifest, "mask_path", n=3, seed=s) for s in (0, 0, 1)]
    assert [len(draw) for draw in draws] == [3, 3, 3]
    assert list(draws[0].rows.path) == list(draws[1].rows.path) != list(draws[2].rows.path)


def test_nothing_to_check_is_an_error(manifest):
    with pytest.raises(ValueError, match="mask_path"):
        maps.unseen_cases(manifest.assign(split="train"), "mask_path", n=3)


def test_maps_inside_score_one_and_maps_beside_it_score_zero(table, cases):
    for check in maps.CHECKS:
        assert value(table, "good", TRAINED, check).value == 1
        assert value(table, "bad", TRAINED, check).value == 0
        assert value(table, "good", TRAINED, check).n == len(cases)


def test_empty_maps_are_not_counted(table):
    row = value(table, "none", TRAINED, "energy inside")
    assert row.n == 0
    assert np.isnan(row.value)


def test_floors_get_about_the_regions_share_of_the_image(table, cases):
    area = cases.masks.mean()
    for floor in (RANDOM, EDGES):  # the images are noise, so edges are everywhere
        row = value(table, "good", floor, "energy inside")
        assert row.value == pytest.approx(area, rel=0.15)
        assert row.low <= row.value <= row.high


def test_a_table_to_read(table):
    grid = maps.as_grid(table, "energy inside")
    assert list(grid.index) == ["good", "bad", "none"]
    assert list(grid.columns) == [TRAINED, RANDOM, EDGES, "n"]
    assert grid.loc["good", TRAINED] == "100.0 [100.0, 100.0]"


def test_some_of_the_cases(cases):
    for places in ([2, 0], np.arange(len(cases)) == 1):
        some = cases.take(places)
        np.testing.assert_array_equal(some.images, cases.images[places])
        np.testing.assert_array_equal(some.masks, cases.masks[places])
        assert some.rows.path.tolist() == cases.rows.path.to_numpy()[places].tolist()
        assert some.class_ids.tolist() == cases.class_ids[places].tolist()


def test_class_by_class(manifest):
    class Everywhere:
        def explain(self, images, class_ids, layers, method):
            return {layer: np.ones((len(images), 1, 2, 2), np.float32) for layer in layers}

    found = maps.class_checks(Everywhere(), manifest, "mask_path", ["a", "b"], n=2)
    assert list(found["class"].unique()) == list(CLASS_NAMES)
    rows = found[(found.check == "energy inside") & (found.maps == TRAINED) & (found.layer == "b")]
    for row, name in zip(rows.itertuples(), CLASS_NAMES, strict=True):
        part = manifest[manifest.label == name]
        masks = maps.unseen_cases(part, "mask_path", n=2).masks
        assert row.value == pytest.approx(masks.mean())
        assert row.n == len(masks) <= 2
    grid = maps.as_grid(found, "energy inside", ["layer", "class"])
    assert list(grid.index) == [(layer, name) for layer in "ab" for name in CLASS_NAMES]


def test_numbers_that_are_no_shares_are_written_as_they_are(table):
    grid = maps.as_grid(table, "energy inside", percent=False)
    assert grid.loc["good", TRAINED] == "1.00 [1.00, 1.00]"


def test_a_grid_of_maps_shows_every_kind_for_every_image(cases):
    cells = {"one": np.eye(3)[None].repeat(2, 0), "two": np.ones((2, 2, 2))}
    texts = {"one": ["a", "b"], "two": ["c", "d"]}
    figure = plots.plot_map_grid(
        cases.images[:2], ["x", "y"], cells, texts, outlines=cases.masks[:2]
    )
    axes = np.array(figure.axes[:10]).reshape(2, 5)
    assert [line[0].get_ylabel() for line in axes] == ["x", "y"]
    for i, line in enumerate(axes):
        np.testing.assert_array_equal(line[0].images[0].get_array(), cases.images[i])
        np.testing.assert_array_equal(line[1].images[0].get_array(), np.eye(3))
        assert [line[k].get_xlabel() for k in (2, 4)] == [texts["one"][i], texts["two"][i]]
        assert len(line[2].images) == len(line[4].images) == 2
    plt.close("all")


def test_figures_show_what_they_are_given(table, cases):
    figure = plots.plot_layer_checks(table, "energy inside", "lungs")
    lines = figure.axes[0].get_legend_handles_labels()[1]
    assert lines == [TRAINED, RANDOM, EDGES]

    cells = np.array([[0, 1], [2, 4]], np.float32)
    figure = plots.plot_maps([("a", cases.images[0], cells)], cases.masks[:1])
    shown = [axis.images for axis in figure.axes[:3]]
    np.testing.assert_array_equal(shown[0][0].get_array(), cases.images[0])
    np.testing.assert_array_equal(shown[1][0].get_array(), cells / 4)
    assert shown[2][1].get_array().shape == cases.images[0].shape
    assert {image[-1].get_cmap().name for image in shown[1:]} == {"inferno"}

    correlations = {"logits": np.array([0.9, 0.8]), "dense": np.array([0.1, np.nan])}
    figure = plots.plot_randomisation(correlations, "conv")
    assert list(figure.axes[0].lines[1].get_ydata()[:2]) == [1, 0.8]
    plt.close("all")


def test_a_game_that_none_wins_has_an_interval(table, cases):
    bad, good = (value(table, layer, TRAINED, "pointing game") for layer in ("bad", "good"))
    n = cases.rows.patient_id.nunique()
    assert (bad.low, bad.high) == metrics.wilson_interval(0, n)
    assert (good.low, good.high) == metrics.wilson_interval(n, n)
    assert value(table, "bad", TRAINED, "energy inside").high == 0


def test_a_game_that_some_win_keeps_its_draws():
    hits, patients = np.array([1, 0, 1, 1, 0]), np.arange(5)
    mean = maps.mean_of_check("pointing game", hits, patients)
    assert mean == metrics.bootstrap_mean(hits, patients)


def test_games_that_nothing_tells_apart():
    none, patients = np.zeros(10), np.arange(10)
    gain, low, high = maps.gain_of_check("pointing game", none, none, patients)
    assert (gain, low, high) == (0, -high, metrics.wilson_interval(0, 10)[1])
    assert maps.gain_of_check("energy inside", none, none, patients) == (0, 0, 0)


def test_the_network_is_held_against_the_stronger_floor(table):
    good = value(table, "good", TRAINED, "pointing game")
    floors = [value(table, "good", name, "pointing game").value for name in (RANDOM, EDGES)]
    assert good.gain == pytest.approx(1 - max(floors))
    assert good.gain_low > 0
    assert good.p == metrics.mcnemar(round(good.gain * good.n), 0)
    assert np.isnan(value(table, "good", RANDOM, "pointing game").gain)
    assert np.isnan(value(table, "good", TRAINED, "energy inside").p)


def test_two_scales_of_colours_and_the_dead_cells(cases):
    live = np.array([[True, False], [False, False]])
    figure = plots.plot_colour_scales(cases.images[0], np.eye(2), live)
    used = [axis.images[-1].get_cmap().name for axis in figure.axes]
    assert used == ["jet", "inferno", "inferno"]
    assert len(figure.axes[2].patches) == 3
    plt.close("all")
