"""Settings chosen by validation images: searched, cut for a recall, calibrated."""

import numpy as np
import optuna
import pandas as pd
import pytest
from conftest import settle_in
from test_stacks import draw_manifest

from xraylib import data, experiments, metrics, network, plots
from xraylib.config import CLASS_NAMES, COVID, PROFILES, RunConfig, profile
from xraylib.studies import stacks, tuning
from xraylib.studies.stacks import LOGISTIC

CONFIG = RunConfig(split_by="image", seed=3, epochs=5, batch_size=50)
FOLDS = RunConfig(folds=3, seed=5)
SEARCHED = {"learning_rate", "decay", "batch_size", "upsampling_rate", "epochs"}
FEW = LOGISTIC.but(strength=1.0, blocks=(5,), pooling=("mean",))

# so few test images leave classes that are never predicted
pytestmark = pytest.mark.filterwarnings("ignore::xraylib.metrics.counts.UndefinedMetricWarning")


@pytest.fixture(scope="module")
def manifest(module_home):
    return draw_manifest(module_home / "patterns")


@pytest.fixture
def one_rate(monkeypatch):
    """A search whose trainings share one compiled head: the proposed rates are not used."""
    plain = tuning.suggest

    def suggest(trial, config):
        kept = {"learning_rate": config.learning_rate, "decay": config.decay}
        return plain(trial, config).but(**kept)

    monkeypatch.setattr(tuning, "suggest", suggest)


@pytest.mark.parametrize("name", PROFILES)
def test_the_settings_of_every_profile_are_within_its_search(name):
    config = profile(name)
    study = optuna.create_study()
    study.enqueue_trial(tuning._searched(config))
    assert tuning._searched(tuning.suggest(study.ask(), config)) == tuning._searched(config)


@pytest.mark.slow
def test_a_study_begins_with_table_3_goes_on_and_its_best_is_judged(manifest, one_rate):
    first = tuning.run_study(manifest, CONFIG, n_trials=2)
    earlier = [trial.params for trial in first.trials]
    assert len(earlier) == 2
    assert earlier[0] == {name: getattr(CONFIG, name) for name in SEARCHED}
    resumed = tuning.run_study(manifest, CONFIG, n_trials=3)
    assert [trial.params for trial in resumed.trials[:2]] == earlier
    assert len(resumed.trials) == 3 and resumed.trials[2].params not in earlier
    done = tuning.run_study(manifest, CONFIG, n_trials=3)
    assert len(done.trials) == 3
    table = tuning.best_trials(done)
    complete = table[table.state == "complete"]
    assert complete.loss.is_monotonic_increasing and complete.accuracy.between(0, 1).all()
    assert set(table) == {"trial", "state", "loss", "accuracy"} | SEARCHED

    judged = tuning.judge_best(done, manifest, CONFIG)
    part = data.split_manifest(manifest, CONFIG)
    assert judged.settings.tolist() == ["Table 3", "tuned"]
    assert (judged.n == (part.split == "test").sum()).all() and (judged.seed == CONFIG.seed).all()
    assert (judged.low <= judged.accuracy).all() and (judged.accuracy <= judged.high).all()
    run = experiments.run(experiments.EXPERIMENTS[1], part, CONFIG.but(**done.best_params))
    assert run.was_loaded
    assert judged.accuracy[1] == (run.predictions.label == run.predictions.prediction).mean()
    assert np.isnan(judged.p[0]) and 0 < judged.p[1] <= 1


@pytest.mark.parametrize("epochs", [5, 6, 25, 50])
def test_the_settings_of_a_profile_can_be_proposed(epochs, recwarn):
    config = CONFIG.but(epochs=epochs)
    study = optuna.create_study()
    study.enqueue_trial({name: getattr(config, name) for name in SEARCHED})
    proposed = tuning.suggest(study.ask(), config)
    assert proposed == config
    assert not [w for w in recwarn if "range" in str(w.message) or "divisible" in str(w.message)]


def test_two_networks_are_compared_on_the_same_images():
    one = pd.Series([True, True, True, False], index=list("abcd"))
    other = pd.Series([False, True, False, False], index=list("dcba"))  # another order
    assert tuning.paired_p(one, other) == metrics.mcnemar(2, 0)


def test_a_study_is_the_same_for_a_seed(manifest, module_home, monkeypatch):
    def fit_head(images, labels, validation, config, folder, told):
        """Give a loss that the settings decide, without the time to train."""
        loss = abs(np.log(config.learning_rate / 3e-4)) + config.upsampling_rate
        row = {"epoch": 1, "val_loss": loss, "val_accuracy": 0.5}
        told(row)
        return None, pd.DataFrame([row])

    monkeypatch.setattr(network, "fit_head", fit_head)
    first = tuning.run_study(manifest, CONFIG, n_trials=5, name="same")
    settle_in(monkeypatch, module_home / "other")
    again = tuning.run_study(manifest, CONFIG, n_trials=5, name="same")
    assert [t.params for t in first.trials] == [t.params for t in again.trials]
    other = tuning.run_study(manifest, CONFIG.but(seed=4), n_trials=5, name="same")
    assert [t.params for t in first.trials[1:]] != [t.params for t in other.trials[1:]]


@pytest.mark.slow
def test_test_images_have_no_part_in_a_study(manifest, one_rate, monkeypatch):
    first = tuning.run_study(manifest, CONFIG, n_trials=1, name="whole")
    maps = np.array(network.extract_features(manifest, stacks.ORIGINAL, CONFIG.scaling))
    maps[np.flatnonzero(data.split_manifest(manifest, CONFIG).split == "test")] = 100
    monkeypatch.setattr(network, "extract_features", lambda *_: maps)
    again = tuning.run_study(manifest, CONFIG, n_trials=1, name="spoilt")
    assert np.isclose(first.best_value, again.best_value, rtol=1e-5)


def test_other_images_or_settings_are_another_study(manifest):
    part = data.split_manifest(manifest, CONFIG)
    names = [
        tuning._fingerprint(part, CONFIG),
        tuning._fingerprint(part[1:], CONFIG),
        tuning._fingerprint(part, CONFIG.but(scaling="vgg16")),
        tuning._fingerprint(data.split_manifest(manifest, CONFIG.but(seed=4)), CONFIG),
    ]
    assert len(set(names)) == len(names)


def test_a_hopeless_trial_is_given_up():
    pruner = optuna.pruners.ThresholdPruner(upper=1.0)
    searched = optuna.create_study(pruner=pruner)

    def objective(trial):
        loss = 0.5 + trial.number
        tuning.tell(trial, {"epoch": 1, "val_loss": loss})
        return loss

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
    figure = plots.plot_tuning(tuning.best_trials(searched), shares)
    assert len(figure.axes) == 2


def test_the_upsampling_study_trains_with_each_rate_and_counts(manifest, monkeypatch):
    asked, n = [], len(manifest)
    covid_rows = np.flatnonzero(manifest.label == CLASS_NAMES[COVID])

    def judge(experiment, images, config):
        asked.append(config)
        covid = (images.label == CLASS_NAMES[COVID]).to_numpy(float)
        covid[covid_rows[: len(asked)]] = 0  # one missed image more each time
        table = images.assign(source="", fold=0, normal=1 - covid, pneumonia=0.0)
        table[CLASS_NAMES[COVID]] = covid
        return table.assign(prediction=np.where(covid == 1, CLASS_NAMES[COVID], "normal"))

    monkeypatch.setattr(experiments, "cross_validate", judge)
    table = tuning.upsampling_study(manifest, CONFIG, rates=(0.0, 0.3))
    assert [config.upsampling_rate for config in asked] == [0.0, 0.3] == table.rate.tolist()
    assert all(config.epochs == CONFIG.fold_epochs for config in asked)
    assert np.isnan(table.p[0]) and table.p[1] == metrics.mcnemar(1, 0)
    assert np.allclose(table.recall, [11 / 12, 10 / 12]) and (table.precision == 1).all()
    # a sure answer that is wrong for one and for two of the images
    assert np.allclose(table.ece, [1 / n, 2 / n])
    for name in ("recall", "precision", "ece"):
        inside = (table[f"{name}_low"] <= table[name]) & (table[name] <= table[f"{name}_high"])
        assert inside.all()
    assert len(plots.plot_upsampling(table).axes) == 3


def test_a_class_is_made_rare_and_judged_on_patients_that_nobody_saw(manifest, monkeypatch):
    part = data.split_manifest(manifest, CONFIG)
    labels, trained = data.label_ids(part), []

    def train_head(head, features, of_training, config):
        trained.append((config.upsampling_rate, np.bincount(of_training, minlength=3)))
        head["finds"] = config.upsampling_rate > 0

    def predict_logits(head, features):
        return features if head["finds"] else np.tile([1.0, 0.0, 0.0], (len(features), 1))

    monkeypatch.setattr(network, "extract_features", lambda *_: np.eye(3)[labels])
    monkeypatch.setattr(network, "build_head", dict)
    monkeypatch.setattr(network, "train_head", train_head)
    monkeypatch.setattr(network, "predict_logits", predict_logits)
    table = tuning.rare_class_study(part, CONFIG, n_rare=2)
    counted = np.bincount(labels[part.split == "train"])
    for rate, counts in trained:
        assert counts.tolist() == [*counted[:COVID], 2], rate
    assert [rate for rate, _ in trained] == [0.0, 0.3] == table.rate.tolist()
    assert table.recall.tolist() == [0, 1] and table.alarms.tolist() == [0, 0]
    assert (table.rare == 2).all() and (table.others == counted[:COVID].sum()).all()
    assert (table.n == len(part) - table.rare - table.others).all()
    assert (table.recall_low <= table.recall).all() and table.recall_high[0] > 0
    with pytest.raises(ValueError, match="give 1 or more"):
        tuning.rare_class_study(part, CONFIG, n_rare=0)


def test_the_cut_is_the_highest_that_reaches_the_wanted_recall():
    scores = np.array([0.9, 0.8, 0.3, 0.95, 0.1])
    is_covid = np.array([True, True, True, False, True])
    assert tuning.cut_for_recall(scores, is_covid, 0.75) == 0.3
    assert tuning.cut_for_recall(scores, is_covid, 0.76) == 0.1
    assert tuning.cut_for_recall(scores, is_covid, 0.5) == 0.8
    with pytest.raises(ValueError, match="no COVID-19 image"):
        tuning.cut_for_recall(scores, np.zeros(5, bool))


def test_a_cut_comes_from_training_images_alone(manifest, module_home, monkeypatch):
    judged = tuning.judged_cuts(FEW, manifest, FOLDS)
    assert len(judged[["fold", "cut", "temperature"]].drop_duplicates()) == 3
    assert sorted(judged.path) == sorted(manifest.path)
    number = 1
    rows = np.flatnonzero(data.split_folds(manifest, FOLDS)[number].split == "test")
    spoilt = stacks.recipe_features(manifest, FEW)
    spoilt[rows] = 0.0
    monkeypatch.setattr(tuning, "recipe_features", lambda manifest, recipe: spoilt)
    settle_in(monkeypatch, module_home / "spoilt")
    again = tuning.judged_cuts(FEW, manifest, FOLDS)
    kept, part = again[again.fold == number], judged[judged.fold == number]
    assert np.allclose(kept.cut, part.cut)
    assert np.allclose(kept.temperature, part.temperature)
    assert not np.allclose(kept[list(CLASS_NAMES)], part[list(CLASS_NAMES)])


def test_the_cuts_table_counts_by_hand():
    probs = np.array([[0.1, 0.1, 0.8], [0.3, 0.3, 0.4], [0.2, 0.2, 0.6], [0.8, 0.1, 0.1]])
    judged = pd.DataFrame(probs, columns=list(CLASS_NAMES))
    judged["label"] = [CLASS_NAMES[i] for i in (COVID, COVID, 0, 0)]
    judged[["scaled 0", "scaled 1", "scaled 2"]] = probs
    table = tuning.cuts_table(judged.assign(cut=0.35))
    assert table.recall.tolist() == [0.5, 1.0]
    assert np.allclose(table.precision, [0.5, 2 / 3])
    assert (table.n == 4).all() and (table.ece_before == table.ece_after).all()
