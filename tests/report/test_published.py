import os
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import classification_report

from xraylib import config, metrics, report

EXPERIMENTS = list(report.CONFUSION)
PREDICTIONS = Path(os.environ.get("XRAYLIB_HOME", ""), "data", "report")
MODELS = {"experiment 1": "model6", "experiment 2": "model4", "experiment 3": "model5"}


def images_of(matrix) -> tuple[np.ndarray, np.ndarray]:
    """Undo the counting: one (label, prediction) an image."""
    matrix = np.asarray(matrix)
    pairs = np.repeat(np.arange(matrix.size), matrix.ravel())
    return np.divmod(pairs, len(matrix))


def test_table_1_follows_its_own_rule():
    assert tuple(report.TABLE_1) == config.CLASS_NAMES
    for row in report.TABLE_1.values():
        assert row["train"] + row["val"] + row["test"] == row["total"]
        assert row["test"] == row["total"] // 10
        assert row["val"] == round(0.18 * row["total"])
    assert sum(row["total"] for row in report.TABLE_1.values()) == 15_161


def test_table_3_is_the_default_training():
    defaults = config.RunConfig()
    assert report.TABLE_3["learning rate"] == defaults.learning_rate
    assert report.TABLE_3["decay"] == defaults.decay
    assert report.TABLE_3["epochs"] == defaults.epochs
    assert report.TABLE_3["batch size"] == defaults.batch_size
    assert report.TABLE_3["up-sampling of COVID-19 (%)"] == 100 * defaults.upsampling_rate


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_confusion_rows_are_table_1s_test_column(name):
    test_column = [row["test"] for row in report.TABLE_1.values()]
    assert np.sum(report.CONFUSION[name], axis=1).tolist() == test_column


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_published_accuracy_is_that_of_the_counts(name):
    assert round(metrics.accuracy(report.CONFUSION[name]), 2) == report.ACCURACY[name]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_table_4_agrees_with_scikit_learn(name):
    labels, predictions = images_of(report.CONFUSION[name])
    expected = classification_report(
        labels, predictions, target_names=config.CLASS_NAMES, output_dict=True
    )
    expected["macro"] = expected["macro avg"]
    rows = metrics.class_rows(report.CONFUSION[name], config.CLASS_NAMES)
    assert [row["class"] for row in rows] == [*config.CLASS_NAMES, "macro"]
    for row in rows:
        theirs = expected[row["class"]]
        assert row["n"] == theirs["support"]
        for ours, name_there in (("precision",) * 2, ("recall",) * 2, ("f1", "f1-score")):
            assert row[ours] == pytest.approx(theirs[name_there], abs=1e-12)


def test_covid_row_of_experiment_1_by_hand():
    """17 of 26 found, 17 of 19 alarms right; F2 = 5 TP / (5 TP + 4 FN + FP)."""
    covid = metrics.class_rows(report.CONFUSION["experiment 1"], config.CLASS_NAMES)[config.COVID]
    assert covid["recall"] == pytest.approx(17 / 26)
    assert covid["precision"] == pytest.approx(17 / 19)
    assert covid["f1"] == pytest.approx(34 / 45)
    assert covid["f2"] == pytest.approx(85 / 123)
    assert covid["specificity"] == pytest.approx(1 - 2 / 1489)


def test_leaked_images_are_a_part_of_the_covid_test_images():
    leaked, covid_test_images = report.LEAKED_COVID_TEST_IMAGES
    assert 0 < leaked <= covid_test_images == report.TABLE_1["COVID-19"]["test"]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_confusion_is_counted_from_the_authors_predictions(name):
    files = [PREDICTIONS / f"{MODELS[name]}{kind}.npy" for kind in ("true", "pred")]
    if not all(file.is_file() for file in files):
        pytest.skip("the authors' saved predictions are not in data/report below XRAYLIB_HOME")
    labels, predictions = (np.load(file) for file in files)
    counted = metrics.confusion_matrix(labels, predictions)
    np.testing.assert_array_equal(counted, report.CONFUSION[name])
