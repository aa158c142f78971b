"""Kept views and views made anew: two ways to the same random transforms."""

import numpy as np
import pytest
from scipy import stats

from xraylib import config, experiments, network, sources
from xraylib.images import Preprocessing

TABLE_2 = Preprocessing(transform="table2", size=32)
SMALL = config.RunConfig(
    dataset="phantom", phantom_counts=(6, 6, 6), epochs=1, batch_size=10, folds=2
)


@pytest.fixture
def row(home):
    """One phantom, many times over."""
    manifest = sources.provide(SMALL)
    return manifest.iloc[[0] * 150]


def describe(views: np.ndarray) -> dict[str, np.ndarray]:
    """What turns, shifts and zooms change: mean grey value, and where the light lies."""
    places = np.arange(views.shape[1])
    light = views / views.sum(axis=(1, 2), keepdims=True)
    return {
        "mean": views.mean(axis=(1, 2)),
        "row": (light.sum(axis=2) * places).sum(axis=1),
        "column": (light.sum(axis=1) * places).sum(axis=1),
    }


def test_kept_and_fresh_views_have_the_same_distribution(row):
    rows = enumerate(row.itertuples())
    kept = np.stack([network.load_view(one, TABLE_2, network.view_rng(3, i)) for i, one in rows])
    kept = kept.astype(float)
    fresh = network.FreshViews(row, TABLE_2, seed=4)[range(len(row))][..., 0].astype(float)
    one, other = describe(kept), describe(fresh)
    for name in one:
        assert one[name].std() > 0
        assert stats.ks_2samp(one[name], other[name]).pvalue > 0.001, name


def test_fresh_views_differ_each_time_and_still_ones_do_not(row):
    moving, still = (network.FreshViews(row, view) for view in (TABLE_2, TABLE_2.still))
    assert (moving[[0]] != moving[[0]]).any()
    assert (still[[0]] == still[[0]]).all()
    assert moving.shape == (150, 32, 32, 1) and len(moving) == 150


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::xraylib.metrics.counts.UndefinedMetricWarning")
def test_an_experiment_runs_on_the_fly_and_its_head_loads(stand_in_vgg16):
    settings = SMALL.but(on_the_fly=True)
    manifest = sources.provide(settings)
    number = manifest.groupby("label").cumcount()
    manifest["split"] = np.select([number < 2, number < 3], ["test", "val"], "train")
    view = Preprocessing(transform="table2")
    experiment = experiments.Experiment("on the fly", view, view.still)
    run = experiments.run(experiment, manifest, settings)
    assert {"loss", "val_loss", "val_accuracy"} <= set(run.history.columns)
    again = run.judge_on(view.still)
    columns = list(config.CLASS_NAMES)
    assert np.allclose(again[columns], run.predictions[columns], atol=1e-5)
    kept = experiments.run(experiment, manifest, SMALL)
    assert kept.folder != run.folder


@pytest.mark.filterwarnings("ignore::xraylib.metrics.counts.UndefinedMetricWarning")
def test_what_is_not_transformed_trains_on_kept_features(stand_in_vgg16, monkeypatch):
    manifest = sources.provide(SMALL)
    manifest["split"] = np.where(manifest.groupby("label").cumcount() < 2, "test", "train")
    monkeypatch.setattr(network, "fit_whole", None)
    run = experiments.run(experiments.EXPERIMENTS[1], manifest, SMALL.but(on_the_fly=True))
    assert len(run.history) == 1
