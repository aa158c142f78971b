import numpy as np
import optuna
import pandas as pd
import pytest
from conftest import settle_in

from xraylib import experiments, future_plots, tuning
from xraylib.config import CLASS_NAMES, RunConfig

CONFIG = RunConfig(split_by="image", seed=3)


@pytest.fixture
def manifest():
    names = [CLASS_NAMES[number % 3] for number in range(60)]
    paths = [f"{number}.png" for number in range(60)]
    return pd.DataFrame({"path": paths, "label": names, "patient_id": paths})


@pytest.fixture
def pooled(monkeypatch):
    """Small inputs in place of VGG16's, and a search among small, short networks."""
    rng, labels = np.random.default_rng(0), np.arange(60) % 3
    maps = rng.random((60, 1, 6, 6, 512), dtype=np.float32).astype(np.float16)
    found = {"maps": maps, "pooled": rng.random((60, 9), dtype=np.float32) + labels[:, None]}
    monkeypatch.setattr(tuning, "inputs", lambda *_: found)
    plain = tuning.suggest
    monkeypatch.setattr(
        tuning, "suggest", lambda trial: plain(trial).but(width=8, epochs=2, learning_rate=1e-3)
    )
    return found


def test_a_study_goes_on_where_it_stopped(home, pooled, manifest):
    first = tuning.study(manifest, CONFIG, n_trials=2)
    earlier = [trial.params for trial in first.trials]
    assert len(earlier) == 2
    resumed = tuning.study(manifest, CONFIG, n_trials=3)
    assert len(resumed.trials) == 3
    assert [trial.params for trial in resumed.trials[:2]] == earlier
    assert resumed.trials[2].params not in earlier
    done = tuning.study(manifest, CONFIG, n_trials=3)
    assert len(done.trials) == 3
    table = tuning.best_trials(done)
    complete = table[table.state == "complete"]
    assert complete.loss.is_monotonic_increasing and complete.accuracy.between(0, 1).all()
    assert {"learning_rate", "weight_decay", "dropout", "width", "upsampling_rate"} <= set(table)


def test_a_study_is_the_same_for_a_seed(home, pooled, manifest, monkeypatch):
    first = tuning.study(manifest, CONFIG, n_trials=2)
    settle_in(monkeypatch, home / "other")
    again = tuning.study(manifest, CONFIG, n_trials=2)
    assert [t.params for t in first.trials] == [t.params for t in again.trials]
    assert np.allclose([t.value for t in first.trials], [t.value for t in again.trials], rtol=1e-4)


def test_test_images_have_no_part_in_a_study(home, pooled, manifest, monkeypatch):
    first = tuning.study(manifest, CONFIG, n_trials=1)
    test = np.flatnonzero(tuning.splitting.split(manifest, CONFIG).split == "test")
    pooled["maps"][test] = 0
    pooled["pooled"][test] = 100
    again = tuning.study(manifest, CONFIG, n_trials=1, name="spoilt")
    assert np.isclose(first.best_value, again.best_value, rtol=1e-5)


def test_a_hopeless_trial_is_given_up():
    pruner = optuna.pruners.ThresholdPruner(upper=1.0)
    searched = optuna.create_study(pruner=pruner)

    def objective(trial):
        watch = tuning.Watch(trial)
        watch.on_epoch_end(0, {"val_nll": 0.5 + trial.number, "val_accuracy": 0.5})
        return watch.logs["val_nll"]

    searched.optimize(objective, n_trials=2)
    assert [trial.state.name for trial in searched.trials] == ["COMPLETE", "PRUNED"]
    table = tuning.best_trials(searched)
    assert table.state.tolist() == ["complete", "pruned"] and table.loss.tolist() == [0.5, 1.5]


def test_importance_finds_the_setting_that_matters():
    searched = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    searched.optimize(
        lambda t: t.suggest_float("rate", 0, 1) ** 2 + 0 * t.suggest_float("idle", 0, 1), 40
    )
    shares = tuning.importances(searched)
    assert shares.index[0] == "rate" and np.isclose(shares.sum(), 1)
    figure = future_plots.plot_tuning(tuning.best_trials(searched), shares)
    assert len(figure.axes) == 2


def test_the_upsampling_study_trains_with_each_rate_and_counts(manifest, monkeypatch):
    asked = []

    def judge(experiment, images, config):
        asked.append(config.upsampling_rate)
        covid = (images.label == CLASS_NAMES[2]).to_numpy(float)
        covid[2 : 2 + 3 * len(asked) : 3] = 0  # one missed image more each time
        table = images.assign(source="", fold=0, normal=1 - covid, pneumonia=0.0)
        table[CLASS_NAMES[2]] = covid
        return table.assign(prediction=np.where(covid == 1, CLASS_NAMES[2], "normal"))

    monkeypatch.setattr(experiments, "cross_validate", judge)
    table = tuning.upsampling_study(manifest, CONFIG, rates=(0.0, 0.3))
    assert asked == [0.0, 0.3] and table.rate.tolist() == [0.0, 0.3]
    assert np.allclose(table.recall, [19 / 20, 18 / 20]) and (table.precision == 1).all()
    # a sure answer that is wrong for 1 of 60 and 2 of 60 images
    assert np.allclose(table.ece, [1 / 60, 2 / 60])
    for name in ("recall", "precision", "ece"):
        inside = (table[f"{name}_low"] <= table[name]) & (table[name] <= table[f"{name}_high"])
        assert inside.all()
    assert len(future_plots.plot_upsampling(table).axes) == 3
