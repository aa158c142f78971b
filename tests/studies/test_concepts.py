"""Concepts: planted ones are found and significant, random ones are not."""

import keras
import numpy as np
import pandas as pd
import pytest

from xraylib import config, plots, sources, studies
from xraylib.maps import Explainer
from xraylib.network import build_base, build_classifier
from xraylib.studies import concepts

SIDE = 64
GREY, STRIPES = 0, 1  # what the two classes of images hold


@pytest.fixture(scope="module")
def images():
    """Ten images of noise, and ten with a striped square in it; uint8 (20, 64, 64)."""
    rng = np.random.default_rng(0)
    made = rng.normal(110, 12, (20, SIDE, SIDE))
    for k in range(10, 20):
        top, left = rng.integers(8, 32, 2)
        made[k, top : top + 24, left : left + 24] = np.where(np.arange(24) % 4 < 2, 220, 30)
    return made.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def masks(images):
    """Where the stripes are, bool (20, 64, 64)."""
    smooth = np.abs(images.astype(float) - 125) > 60
    smooth[:10] = False
    found = np.zeros_like(smooth)
    for k in range(10, 20):
        rows, columns = np.nonzero(smooth[k])
        found[k, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
    return found


@pytest.fixture(scope="module")
def cut(images):
    return studies.cut_patches(images, (6, 20))


@pytest.fixture(scope="module")
def network():
    """A model whose score for `STRIPES` is the strength of vertical edges."""
    keras.utils.set_random_seed(3)
    image = keras.Input((SIDE, SIDE, 1))
    maps = keras.layers.Conv2D(16, 5, padding="same", activation="relu", name="conv")(image)
    mean = keras.layers.GlobalAveragePooling2D()(maps)
    model = keras.Model(image, keras.layers.Dense(2, name="scores")(mean))
    kernel, bias = model.get_layer("conv").get_weights()
    kernel -= kernel.mean(axis=(0, 1), keepdims=True)
    kernel[..., 0] = kernel[..., 0] * 0 + np.array([1, 1, 0, -1, -1])[None, :, None] / 10
    model.get_layer("conv").set_weights([kernel, bias])
    weights = np.random.default_rng(0).normal(0, 0.02, (16, 2))
    weights[0, STRIPES] = 1
    model.get_layer("scores").set_weights([weights, np.zeros(2)])
    return model


@pytest.fixture(scope="module")
def acts(network, cut):
    return concepts.patch_activations(concepts.tap(network, "conv"), cut)


@pytest.fixture(scope="module")
def found(acts, cut):
    places = np.flatnonzero(cut.image_ids >= 10)
    return studies.find_concepts(acts, cut.image_ids, places, "striped", 6, least=8, most=20)


@pytest.fixture(scope="module")
def gradients(network, images):
    return Explainer(network).differentiate(images[10:], STRIPES, "conv")[1].sum(axis=(1, 2))


def random_concept(cut, seed: int, n: int = 20) -> studies.Concept:
    members = np.random.default_rng(seed).choice(len(cut), n, replace=False)
    return studies.Concept(f"random {seed}", members, np.arange(len(cut)), n, n)


def test_superpixels_tile_every_image_at_every_scale(cut, images):
    coarse = cut.table[cut.table.scale == 0]
    for k in range(len(images)):
        places = coarse.index[coarse.image == k]
        assert np.all(sum(cut.region(i).astype(int) for i in places) == 1)


def test_what_a_coarser_scale_has_given_is_left_out(images):
    once, twice = studies.cut_patches(images, (20,)), studies.cut_patches(images, (20, 20))
    assert len(once) == len(twice)


def test_picture_shows_the_superpixel_alone(cut, images):
    i = len(cut) - 1
    region, shown = cut.region(i), cut.picture(i, 32)
    rows, columns = np.nonzero(region)
    assert shown.shape == (32, 32) and shown.dtype == np.uint8
    assert region.any() and not region.all()
    box = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    expected = np.where(region, images[cut.image_ids[i]], np.rint(images.mean()))[box]
    assert shown.mean() == pytest.approx(expected.mean(), abs=4)


def test_share_inside_counts_pixels(cut, images):
    half = np.zeros(images.shape, bool)
    half[:, :, : SIDE // 2] = True
    shares = cut.share_inside(half)
    i = int(np.argmin(np.abs(shares - 0.5)))
    assert shares[i] == half[0][cut.region(i)].mean()
    coarse = (cut.table.scale == 0) & (cut.table.image == 0)
    sizes = np.array([cut.region(i).sum() for i in np.flatnonzero(coarse)])
    assert np.average(shares[coarse], weights=sizes) == pytest.approx(0.5)


def test_share_inside_wants_a_mask_an_image(cut):
    with pytest.raises(ValueError, match=r"found masks \(1, 64, 64\) for images \(20, 64, 64\)"):
        cut.share_inside(np.zeros((1, SIDE, SIDE), bool))


@pytest.mark.parametrize("wrong", [np.zeros((4, 4), np.uint8), np.zeros((1, 4, 4), np.float32)])
def test_cutting_wants_grey_images(wrong):
    with pytest.raises(ValueError, match=r"give uint8 \(N, H, W\)"):
        studies.cut_patches(wrong)


def test_activations_are_the_mean_of_the_cells(network, cut, acts):
    picture = cut.picture(3, SIDE)[None, ..., None].astype(np.float32)
    maps = keras.Model(network.input, network.get_layer("conv").output)(picture)
    np.testing.assert_allclose(acts[3], np.mean(maps, axis=(0, 1, 2)), rtol=1e-4, atol=1e-4)
    assert acts.shape == (len(cut), 16)


def test_tap_names_the_layers_there_are(network):
    with pytest.raises(ValueError, match="No such layer: conv9. Existing layers are: .*conv"):
        concepts.tap(network, "conv9")


def test_vgg16_is_tapped_at_the_patches_size(stand_in_vgg16):
    tapped = concepts.build_tap("block1_conv2", side=32)
    whole = build_base()
    assert tapped.input_shape == (None, 32, 32, 1) and tapped.output_shape == (None, 64)
    mine = [w.mean() for w in tapped.get_weights()]
    np.testing.assert_allclose(mine, [w.mean() for w in whole.get_weights()[: len(mine)]])


@pytest.mark.parametrize(
    ("size", "n_images", "is_kept"),
    [
        (10, 6, True),  # more than half a patch an image
        (10, 3, False),  # a patch in three, but of too few images
        (20, 6, True),  # a patch in three, in more than a quarter of the images
        (60, 11, True),  # a patch in five or six, in more than half of the images
        (60, 9, False),
        (300, 20, False),  # fifteen patches an image are no part of it
    ],
)
def test_a_concept_belongs_to_several_images(size, n_images, is_kept):
    assert concepts.is_shared(size, n_images, n_all=20) == is_kept


def test_the_planted_concept_is_found(found, cut, masks):
    table = studies.region_overlaps(found, cut, {"stripes": masks})
    best = table.loc[table.share.idxmax()]
    assert best.found and best.low > best.base_high
    assert best.share > 0.5
    assert (table.low <= table.share).all() and (table.share <= table.high).all()


def test_the_planted_concept_is_what_the_score_owes_most_to(found, cut, masks, acts, gradients):
    table = studies.region_overlaps(found, cut, {"stripes": masks})
    planted = set(table.concept[table.found])
    assert planted and planted != set(table.concept)
    directions = concepts.fit_directions(found, acts)
    scores = concepts.score_concepts(directions, gradients).set_index("concept")
    top = scores.iloc[0]
    assert top.name in planted
    assert top.tcav == 1
    assert top.p_corrected < 0.01
    assert top.accuracy > 0.9
    low, high = concepts.random_range(directions, gradients)
    assert low < high < top.sensitivity


@pytest.mark.slow
def test_random_concepts_are_not_significant(cut, acts, gradients):
    drawn = [random_concept(cut, seed) for seed in range(12)]
    directions = concepts.fit_directions(drawn, acts, seed=1)
    scores = concepts.score_concepts(directions, gradients)
    assert (scores.p < 0.05).sum() <= 2
    assert (scores.p_corrected > 0.05).all()
    assert np.allclose(scores.sort_values("p").p_corrected.iloc[0], min(1, 12 * scores.p.min()))


@pytest.mark.slow
def test_the_test_over_splits_alone_raises_false_alarms(found, acts, gradients):
    directions = concepts.fit_directions(found, acts, n_random=40)
    alarms = concepts.false_alarms(directions, gradients)
    assert alarms["p"] <= 0.15
    assert alarms["p_splits"] > 2 * alarms["p"]


def test_the_seed_decides_everything(cut, acts, found, gradients):
    again = studies.find_concepts(acts, cut.image_ids, found[0].drawn_from, "striped", 6, 8, 20)
    assert [c.members.tolist() for c in again] == [c.members.tolist() for c in found]

    def scores(seed):
        directions = concepts.fit_directions(found[:2], acts, n_random=8, seed=seed)
        return concepts.score_concepts(directions, gradients, seed=seed)

    one, same, other = map(scores, (0, 0, 1))
    assert one.equals(same)
    assert not one.sensitivity.equals(other.sensitivity)


def test_too_few_patches_say_so(acts, cut):
    with pytest.raises(ValueError, match="striped: found 5 patches for 4 clusters of at least 8"):
        studies.find_concepts(acts, cut.image_ids, np.arange(5), "striped", 4, least=8)
    with pytest.raises(ValueError, match="random 0: found 4 patches .* at least 8"):
        concepts.fit_directions([random_concept(cut, 0, n=4)], acts)
    with pytest.raises(ValueError, match="found no concept"):
        concepts.fit_directions([], acts)


def test_one_against_many_is_exact_for_normal_values():
    rng = np.random.default_rng(0)
    p = [concepts.one_against_many(row[0], row[1:]) for row in rng.normal(size=(2000, 11))]
    assert np.mean(np.less(p, 0.05)) == pytest.approx(0.05, abs=0.015)


def test_figures(found, cut, acts, gradients):
    figure = plots.plot_patches([("one", found[0]), ("two", found[1])], cut, n=4)
    shown = [axis for axis in figure.axes if axis.images]
    assert len(figure.axes) == 8 and len(shown) >= 4
    assert figure.axes[0].get_ylabel() == "one"
    directions = concepts.fit_directions(found, acts)
    table = concepts.score_concepts(directions, gradients)
    low, high = concepts.random_range(directions, gradients)
    table = table.assign(network="a network", random_low=low, random_high=high)
    figure = plots.plot_sensitivity(table, {table.concept[0]: "stripes"})
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels == [*table.concept[:0:-1], f"{table.concept[0]}: stripes"]
    drawn = figure.axes[0].lines[0].get_xdata()
    np.testing.assert_allclose(drawn, table.sensitivity[::-1])


@pytest.fixture
def phantoms(stand_in_vgg16):
    drawn = config.profile("quick").but(phantom_counts=(0, 3, 3), confounding=1.0)
    return sources.provide(drawn)


@pytest.mark.slow
def test_tables_of_a_whole_set(phantoms):
    layer = "block2_conv2"
    found = studies.discover_concepts(phantoms, layer, "report", (12, 40), n_clusters=4, least=8)
    assert list(found.concepts) == [1, 2]
    assert found.acts.shape == (len(found.patches), 128)
    columns = {"lesion": "lesion_path", "marker": "marker_path"}
    overlaps = studies.compare_with_regions(found, columns)
    names = [concept.name for part in found.concepts.values() for concept in part]
    assert set(overlaps.concept) == set(names)
    explainer = Explainer(build_classifier("report"))
    table = studies.score_networks(found, {"untrained": explainer})
    assert sorted(table.concept) == sorted(names)
    assert table.groupby("class").size().to_dict() == {
        config.CLASS_NAMES[k]: len(part) for k, part in found.concepts.items()
    }
    assert ((table.low <= table.tcav) & (table.tcav <= table.high)).all()
    assert (table.p_corrected >= table.p).all()


def test_a_concept_is_named_by_its_greatest_lift():
    overlaps = pd.DataFrame(
        {
            "concept": ["a", "a", "b", "b"],
            "region": ["lungs", "marker", "lungs", "marker"],
            "share": [0.6, 0.1, 0.1, 0.0],
            "base": [0.3, 0.01, 0.3, 0.01],
            "found": [True, True, False, False],
        }
    )
    assert studies.name_concepts(overlaps) == {"a": "marker", "b": "other"}
