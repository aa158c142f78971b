import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from xraylib import metrics, network, sources
from xraylib.config import CLASS_NAMES, RunConfig
from xraylib.experiments import EXPERIMENTS, Experiment, cross_validate, run, runs
from xraylib.images import Preprocessing, PreprocessingMismatch
from xraylib.network.machinery import fast

CONFIG = RunConfig(dataset="phantom", phantom_counts=(12, 10, 8), epochs=2, batch_size=20, folds=2)
FILES = {
    "config.json",
    "preprocessing.json",
    "manifest.csv",
    "history.csv",
    "predictions.csv",
    "metrics.json",
    "head.weights.h5",
}


# so few test images and epochs leave classes that are never predicted
pytestmark = pytest.mark.filterwarnings("ignore::xraylib.metrics.counts.UndefinedMetricWarning")


@pytest.fixture(scope="module")
def manifest(module_home):
    """Phantoms, every fifth patient of a class in the test set and every seventh in validation."""
    manifest = sources.provide(CONFIG)
    number = manifest.groupby("label").patient_id.transform(lambda ids: pd.factorize(ids)[0])
    side = np.select([number % 5 == 0, number % 7 == 1], ["test", "val"], "train")
    return manifest.assign(split=side)


@pytest.fixture(scope="module")
def finished(manifest):
    return run(EXPERIMENTS[1], manifest, CONFIG)


@pytest.fixture
def no_training(monkeypatch):
    def fit_head(*_):
        raise AssertionError("trained, though a finished run was there")

    monkeypatch.setattr(network, "fit_head", fit_head)


def test_a_run_leaves_a_whole_folder(finished, module_home):
    assert not finished.was_loaded and "computed now" in str(finished)
    assert {file.name for file in finished.folder.iterdir()} == FILES
    assert finished.folder.parent == module_home / "runs"
    assert not list(finished.folder.parent.glob("*.part"))


def test_the_folder_says_what_was_done(finished, manifest):
    config = json.loads((finished.folder / "config.json").read_text())
    assert config["config"]["epochs"] == 2 and config["config"]["seed"] == CONFIG.seed
    assert config["experiment"] == "experiment 1"
    views = json.loads((finished.folder / "preprocessing.json").read_text())
    assert Preprocessing(**views["train"]) == Preprocessing(**views["judge"]) == Preprocessing()
    assert finished.trained_on == Preprocessing() and finished.scaling == CONFIG.scaling
    pd.testing.assert_frame_equal(finished.manifest, manifest)
    assert finished.history.epoch.tolist() == [1, 2]
    assert {"loss", "accuracy", "val_loss", "val_accuracy"} <= set(finished.history)


def test_predictions_are_of_the_test_images_and_the_metrics_follow(finished, manifest):
    predictions = finished.predictions
    test = manifest[manifest.split == "test"]
    for column in ("path", "label", "patient_id", "source"):
        assert predictions[column].tolist() == test[column].tolist()
    probs = predictions[list(CLASS_NAMES)].to_numpy()
    np.testing.assert_allclose(probs.sum(axis=1), 1, rtol=1e-5)
    assert predictions.prediction.tolist() == [CLASS_NAMES[i] for i in probs.argmax(axis=1)]
    assert finished.metrics["n"] == len(test)
    np.testing.assert_equal(finished.metrics, metrics.judge_predictions(predictions, CONFIG.seed))


def test_a_second_call_loads(finished, manifest, no_training):
    again = run(EXPERIMENTS[1], manifest, CONFIG)
    assert again.was_loaded and again.folder == finished.folder
    assert "loaded from an earlier run" in str(again)
    np.testing.assert_equal(again.metrics, finished.metrics)
    pd.testing.assert_frame_equal(again.predictions, finished.predictions)


def test_the_whole_model_gives_the_runs_predictions(finished):
    rows = finished.manifest[finished.manifest.split == "test"]
    views = [network.load_view(row, finished.trained_on) for row in rows.itertuples()]
    logits = finished.load_model()(np.stack(views)[..., None].astype(np.float32), training=False)
    table = metrics.predictions_table(rows, logits.numpy())
    classes = list(CLASS_NAMES)
    # the features of the run were kept as float16
    np.testing.assert_allclose(table[classes], finished.predictions[classes], atol=5e-3)


def test_another_part_of_the_split_can_be_judged(finished):
    judged = finished.judge_on(finished.trained_on, part="train")
    train = finished.manifest[finished.manifest.split == "train"]
    assert judged.path.tolist() == train.path.tolist() != []


def test_the_head_alone_gives_them_too(finished):
    again = finished.judge_on(Preprocessing())
    classes = list(CLASS_NAMES)
    np.testing.assert_allclose(again[classes], finished.predictions[classes], atol=1e-4)
    assert again.path.tolist() == finished.predictions.path.tolist()


def test_another_view_needs_a_reason(finished, monkeypatch):
    erased, asked = Preprocessing("lungs_erased"), []

    def extract(rows, view, scaling, **settings):
        """Note the view, and give some features without the time to compute them."""
        asked.append(view)
        return np.ones((len(rows), 7, 7, 512), np.float16)

    monkeypatch.setattr(network, "extract_features", extract)
    with pytest.raises(PreprocessingMismatch):
        finished.judge_on(erased)
    assert not asked
    probed = finished.judge_on(erased, mismatch="a probe for shortcuts")
    assert asked == [erased] and len(probed) == len(finished.predictions)
    classes = list(CLASS_NAMES)
    assert not np.allclose(probed[classes], finished.predictions[classes], atol=1e-3)


def test_whatever_changes_the_result_is_another_run(finished, manifest):
    def name(experiment=EXPERIMENTS[1], manifest=manifest, config=CONFIG, run_seed=0):
        return runs._run_name(experiment, manifest, config, run_seed)

    swapped = manifest.assign(split=manifest.split.replace({"test": "val", "val": "test"}))
    names = [
        name(),
        name(EXPERIMENTS[2]),
        name(EXPERIMENTS[3]),
        name(config=CONFIG.but(epochs=3)),
        name(config=CONFIG.but(upsampling_rate=0.0)),
        name(config=CONFIG.but(scaling="vgg16")),
        name(config=CONFIG.but(seed=1)),
        name(manifest=swapped),
        name(manifest=manifest[1:]),
        name(manifest=manifest.assign(label=manifest.label.to_numpy()[::-1])),
        name(run_seed=1),
    ]
    assert len(set(names)) == len(names)
    assert finished.folder.name == names[0]


def another(value):
    """Another value of a setting."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return f"other {value}"
    return (*value, value[0]) if isinstance(value, tuple) else value + 1


@pytest.mark.parametrize("setting", [field.name for field in dataclasses.fields(RunConfig)])
def test_a_setting_changes_the_run_unless_it_only_chooses_images(manifest, setting):
    changed = CONFIG.but(**{setting: another(getattr(CONFIG, setting))})
    names = {runs._run_name(EXPERIMENTS[1], manifest, config, 0) for config in (CONFIG, changed)}
    assert len(names) == (1 if setting in runs.CHOOSE_IMAGES else 2)


def test_a_changed_configuration_is_computed(finished, manifest):
    other = run(EXPERIMENTS[1], manifest, CONFIG.but(epochs=1))
    assert not other.was_loaded and other.folder != finished.folder
    assert len(other.history) == 1


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_missing_class_is_told_before_anything_is_computed(manifest, no_training, part):
    moved = manifest.split.where(
        ~((manifest.label == "COVID-19") & (manifest.split == part)), "val"
    )
    with pytest.raises(ValueError, match=f"no COVID-19 among the {part} images"):
        run(EXPERIMENTS[1], manifest.assign(split=moved), CONFIG)


@pytest.mark.slow
def test_a_run_that_died_is_computed_to_its_end(finished, manifest, monkeypatch):
    """The process died after training, before anything was written; its folder was left."""
    config = CONFIG.but(epochs=2, seed=3)
    monkeypatch.setattr(fast, "SAVE_EVERY", 0)
    with monkeypatch.context() as dying:

        def judge(*_):
            raise KeyboardInterrupt

        dying.setattr(metrics, "judge_predictions", judge)
        with pytest.raises(KeyboardInterrupt):
            run(EXPERIMENTS[1], manifest, config)
    (part,) = finished.folder.parent.glob("*.part")
    assert (part / "checkpoints").is_dir()
    resumed = run(EXPERIMENTS[1], manifest, config)
    assert not resumed.was_loaded and not part.exists()
    assert {file.name for file in resumed.folder.iterdir()} == FILES
    assert resumed.history.epoch.tolist() == [1, 2]
    assert resumed.metrics["n"] == finished.metrics["n"]


def test_what_is_computed_alike_is_computed_once_whatever_its_name(finished, manifest, no_training):
    twin = Experiment("another name", EXPERIMENTS[1].train, EXPERIMENTS[1].judge)
    again = run(twin, manifest, CONFIG.but(folds=7, fold_epochs=99))
    assert again.was_loaded and again.folder == finished.folder


def test_without_validation_images(manifest):
    no_validation = manifest.assign(split=manifest.split.replace({"val": "train"}))
    done = run(EXPERIMENTS[1], no_validation, CONFIG.but(epochs=1))
    assert set(done.history) == {"epoch", "loss", "accuracy"}


def test_cross_validation_tests_every_image_once(manifest):
    predictions = cross_validate(EXPERIMENTS[1], manifest, CONFIG.but(epochs=1))
    assert sorted(predictions.path) == sorted(manifest.path)
    assert set(predictions.fold) == {0, 1}
    folds_a_patient = predictions.groupby("patient_id").fold.nunique()
    assert (folds_a_patient == 1).all()
    assert metrics.judge_predictions(predictions)["n"] == len(manifest)


def test_random_views_are_those_of_the_configuration(manifest, monkeypatch):
    asked = []

    def extract(rows, view, scaling, transform_seed=0):
        asked.append((view.transform, transform_seed))
        return np.zeros((len(rows), 7, 7, 512), np.float16)

    monkeypatch.setattr(network, "extract_features", extract)
    rows = np.arange(5)
    views = runs._training_views(EXPERIMENTS[3], manifest, CONFIG, rows)
    assert asked == [("table2", CONFIG.seed + k) for k in range(CONFIG.augmented_views)]
    assert len(views) == 3 and all(len(view) == 5 for view in views)
    assert len(runs._training_views(EXPERIMENTS[1], manifest, CONFIG, rows)) == 1


def test_the_reports_experiments():
    assert EXPERIMENTS[1].train == EXPERIMENTS[1].judge == Preprocessing()
    for number in (2, 3):
        assert EXPERIMENTS[number].train.region == "lungs"
        assert EXPERIMENTS[number].judge == Preprocessing() and EXPERIMENTS[number].mismatch


def test_an_experiment_that_judges_on_other_views_needs_a_reason():
    with pytest.raises(PreprocessingMismatch, match="name the mismatch if it is meant"):
        Experiment("mixed up", Preprocessing("lungs"), Preprocessing())


def test_other_views_are_cut_by_the_callers_masks(finished, manifest, no_training):
    silhouette = Preprocessing(region="silhouette")
    bare = run(EXPERIMENTS[1], manifest.assign(mask_path=""), CONFIG)
    assert bare.was_loaded and bare.folder == finished.folder
    with pytest.raises(ValueError, match="needs a lung mask, and the image has none"):
        bare.judge_on(silhouette, mismatch="on purpose")
    masked = run(EXPERIMENTS[1], manifest, CONFIG)
    assert len(masked.judge_on(silhouette, mismatch="on purpose")) == len(finished.predictions)
