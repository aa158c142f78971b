import numpy as np
import pytest
from conftest import make_manifest

from xraylib import network, plots, studies
from xraylib.images import Preprocessing
from xraylib.studies import HospitalRecipe, external, hospitals
from xraylib.studies.external import (
    LOGITS,
    VariedView,
    fit_linear_head,
    fit_mean_head,
    unseen_logits,
)

# a few images leave classes that a draw of the bootstrap lacks
pytestmark = pytest.mark.filterwarnings("ignore::xraylib.metrics.counts.UndefinedMetricWarning")


@pytest.fixture(scope="module")
def manifest(module_home):
    """Noise of three hospitals; one of them is brighter."""
    manifest = make_manifest(module_home / "noise", 45, with_masks=True)
    manifest["source"] = manifest["site"] = np.repeat(["A", "B", "C"], 15)
    return manifest.assign(height=64, width=64)


def made_up_features(manifest, rng):
    """One column tells the class, one the hospital; the rest is noise."""
    x = rng.standard_normal((len(manifest), 20)).astype(np.float32)
    x[:, 0] += 3 * manifest.label.map({"normal": 0, "pneumonia": 1, "COVID-19": 2}).to_numpy()
    x[:, 1] += 8 * manifest.site.map({"A": 0, "B": 1, "C": 2}).to_numpy()
    return x


def test_each_view_is_asked_each_question(manifest, monkeypatch):
    rng = np.random.default_rng(0)
    told = made_up_features(manifest, rng)
    monkeypatch.setattr(
        network, "extract_features", lambda *_, **__: told[:, None, None, :].repeat(7, 1)
    )
    monkeypatch.setattr(hospitals, "PENALTY", 1.0)  # for two features
    manifest = manifest[manifest.site != "C"].reset_index(drop=True)
    told = told[: len(manifest), :2]
    table = hospitals.measure_shortcuts(manifest, {"told": Preprocessing()}, per_cell=5)
    assert list(table.view.unique()) == [hospitals.NO_PIXELS, "told"]
    assert set(table.question) == set(hospitals.QUESTIONS)
    row = table[(table.view == "told") & (table.question == "hospital")].iloc[0]
    assert row.value > 0.9 and row.n == 10 and row.chance == 0.5
    assert (table.low <= table.value).all() and (table.value <= table.high + 1e-9).all()
    blind = table[(table.view == hospitals.NO_PIXELS) & (table.question == "hospital")].iloc[0]
    assert blind.value <= 0.6  # all files have one size here
    figure = plots.plot_shortcuts(table)
    assert len(figure.axes[0].get_yticklabels()) == 2


def test_hospitals_as_noise_help_where_class_goes_with_hospital(manifest):
    """The hospital's column is a shortcut within the training and misleads elsewhere."""
    rng = np.random.default_rng(1)
    x = made_up_features(manifest, rng)
    lesson = manifest.site.isin(["A", "B"]) & ~(
        (manifest.site == "B") & (manifest.label == "normal")
    )
    train, test = np.flatnonzero(lesson), np.flatnonzero(manifest.site == "C")
    labels = manifest.label.map({"normal": 0, "pneumonia": 1, "COVID-19": 2}).to_numpy()
    right = {}
    for nuisance in (0.0, 100.0):
        head = fit_linear_head([x[train]], manifest.iloc[train], 0.1, nuisance)
        right[nuisance] = (head.logits(x[test]).argmax(axis=1) == labels[test]).mean()
    assert right[100.0] > right[0.0]


def test_taking_away_leading_directions_helps_where_no_class_has_two_hospitals(manifest):
    """All pneumonia comes from A and no other class does; the hospital shows in many features."""
    unseen = manifest.site == "C"
    lesson = ((manifest.site == "A") == (manifest.label == "pneumonia")) & ~unseen
    train, test = np.flatnonzero(lesson), np.flatnonzero(unseen)
    labels = manifest.label.map({"normal": 0, "pneumonia": 1, "COVID-19": 2}).to_numpy()
    right = {0: [], 1: []}
    for seed in range(6):  # few images: one draw alone may mislead
        rng = np.random.default_rng(seed)
        x = made_up_features(manifest, rng)[:, :4]
        louder = x[:, 1:2] + rng.standard_normal((len(x), 10)).astype(np.float32)
        x = np.concatenate([x, louder], axis=1)
        for removed, shares in right.items():
            head = fit_linear_head([x[train]], manifest.iloc[train], 0.5, 3.0, removed)
            shares.append((head.logits(x[test]).argmax(axis=1) == labels[test]).mean())
    assert np.mean(right[1]) > np.mean(right[0]) + 0.15


def test_a_head_is_blind_to_what_was_taken_away(manifest):
    x = made_up_features(manifest, np.random.default_rng(4))
    head = fit_linear_head([x], manifest, 0.5, 3.0, 1)
    moved = head.logits(x + 10 * leading_direction(x, manifest))
    assert np.allclose(moved, head.logits(x), atol=0.01)
    seeing = fit_linear_head([x], manifest, 0.5, 3.0)
    assert not np.allclose(seeing.logits(x + 10 * leading_direction(x, manifest)), seeing.logits(x))


def test_the_mean_of_heads_weighs_them_alike(manifest):
    x = made_up_features(manifest, np.random.default_rng(5))
    parts = [fit_linear_head([x], manifest, 0.5, 3.0, removed).logits(x) for removed in (0, 1)]
    mean = fit_mean_head([x], manifest, 0.5, 3.0, (0, 1)).logits(x)
    by_hand = np.mean([logits / logits.std() for logits in parts], axis=0)
    assert np.allclose(mean, by_hand, atol=1e-4)
    alone = fit_mean_head([x], manifest, 0.5, 3.0, (0,)).logits(x)
    assert (alone.argmax(axis=1) == parts[0].argmax(axis=1)).all()


def leading_direction(x, manifest):
    """Return the first principal component of the weighted images, in units of the features."""
    weight = hospitals.cell_weights(manifest) / len(manifest)
    centre = weight @ x
    spread = np.sqrt(weight @ (x - centre) ** 2)
    scaled = (x - centre) / spread * np.sqrt(weight)[:, None]
    return np.linalg.svd(scaled)[2][0] * spread


def test_logits_of_unseen_hospitals_cover_each_image_once(manifest):
    x = made_up_features(manifest, np.random.default_rng(2))
    table = unseen_logits([x], manifest, 0.3, 3.0)
    assert sorted(table.path) == sorted(manifest.path)
    assert np.isfinite(table[LOGITS].to_numpy()).all()


def test_candidates_are_judged_for_each_source_and_all(manifest, monkeypatch):
    x = made_up_features(manifest, np.random.default_rng(3))
    monkeypatch.setattr(external, "pooled_views", lambda *_: [x])
    table = studies.compare_candidates(manifest, {"made up": HospitalRecipe()})
    assert list(table["tested on"]) == ["all", "A", "B", "C"]
    assert (table["macro recall"].between(table.low, table.high)).all()
    assert table.n.tolist() == [45, 15, 15, 15]


IMAGE = np.random.default_rng(0).integers(0, 256, (64, 48), dtype=np.uint8)
LUNGS = np.zeros((64, 48), bool)
LUNGS[16:48, 8:40] = True


def test_an_image_and_its_mask_are_varied_alike_and_by_the_seed():
    marked = np.where(LUNGS, 220, 30).astype(np.uint8)
    for seed in range(12):
        image, mask = external.vary(marked, LUNGS, np.random.default_rng(seed))
        assert image.shape == mask.shape == LUNGS.shape
        assert image.dtype == np.uint8 and mask.dtype == bool and mask.any()
        assert image[mask].mean() > image[~mask].mean() + 60
    one, same, other = (external.vary(IMAGE, LUNGS, np.random.default_rng(s))[0] for s in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_a_mask_that_would_leave_the_image_stays():
    corner = np.zeros((64, 64), bool)
    corner[0, 0] = True
    masks = [
        external.vary(np.zeros((64, 64), np.uint8), corner, np.random.default_rng(seed))[1]
        for seed in range(20)
    ]
    assert all(mask.any() for mask in masks)


def test_a_varied_view_is_the_view_of_the_varied_image():
    view = VariedView(region="lungs", crop=True, size=32)
    assert view.needs_mask and view.still.transform == "none"
    found = view.apply(IMAGE, LUNGS, np.random.default_rng(3))
    varied = external.vary(IMAGE, LUNGS, np.random.default_rng(3))
    expected = Preprocessing(region="lungs", crop=True, size=32).apply(*varied)
    np.testing.assert_array_equal(found, expected)


def test_a_varied_view_needs_a_mask_and_a_source_of_chance():
    for settings in [(IMAGE,), (IMAGE, LUNGS), (IMAGE, None, np.random.default_rng(0))]:
        with pytest.raises(ValueError, match="needs a lung mask, and rng"):
            VariedView().apply(*settings)


def test_the_transform_of_other_scanners_belongs_to_varied_views_alone():
    with pytest.raises(ValueError, match="no transform 'scanner'"):
        Preprocessing(transform="scanner")
    with pytest.raises(ValueError, match="no transform 'table2'"):
        VariedView(transform="table2")


def test_a_recipe_shows_the_plain_view_and_then_the_varied_ones():
    (plain, _), *varied = HospitalRecipe(varied_views=2, seed=7).training_views
    assert plain == HospitalRecipe().view and [seed for _, seed in varied] == [7, 8]
    assert all(isinstance(view, VariedView) and view.crop for view, _ in varied)
