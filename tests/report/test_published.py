import os
import random
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import classification_report

from xraylib import config, data, metrics, report
from xraylib.sources import covidx

EXPERIMENTS = list(report.CONFUSION)
PREDICTIONS = Path(os.environ.get("XRAYLIB_HOME", ""), "data", "report")
MODELS = {"experiment 1": "model6", "experiment 2": "model4", "experiment 3": "model5"}


def images_of(matrix) -> tuple[np.ndarray, np.ndarray]:
    """Undo the counting: one (label, prediction) an image."""
    matrix = np.asarray(matrix)
    pairs = np.repeat(np.arange(matrix.size), matrix.ravel())
    return np.divmod(pairs, len(matrix))


def test_table_1_is_the_rule_but_for_one_image():
    assert tuple(report.TABLE_1) == config.CLASS_NAMES
    differs = {}
    for name, row in report.TABLE_1.items():
        assert row["train"] + row["val"] + row["test"] == row["total"]
        counts = data.report_counts(report.LISTED[name])
        differs |= {(name, part): row[part] - n for part, n in counts.items() if row[part] != n}
    assert differs == {("normal", "train"): 1}
    in_table = sum(row["total"] for row in report.TABLE_1.values())
    used = sum(sum(data.report_counts(n).values()) for n in report.LISTED.values())
    assert (in_table, used) == (15_161, 15_160) and used == report.IMAGES_IN_TEXT


def test_table_1s_percentages_are_rounded_but_for_one_that_is_cut():
    total = sum(row["total"] for row in report.TABLE_1.values())
    counts = {name: row["total"] for name, row in report.TABLE_1.items()}
    for part in data.SPLITS:
        counts[part] = sum(row[part] for row in report.TABLE_1.values())
    shares = {name: 100 * n / total for name, n in counts.items()}
    assert shares.keys() == report.TABLE_1_PERCENT.keys()
    for name, printed in report.TABLE_1_PERCENT.items():
        decimals = 0 if name in data.SPLITS else 1
        if name == "COVID-19":
            assert shares[name] == pytest.approx(1.7545, abs=1e-4) and printed == 1.7
        else:
            assert round(shares[name], decimals) == printed


def test_table_4_as_printed_differs_from_the_counts_in_two_cells():
    differs = {}
    for name, classes in report.TABLE_4.items():
        counted = metrics.class_rows(report.CONFUSION[name], config.CLASS_NAMES)
        for row, (label, printed) in zip(counted, classes.items(), strict=False):
            assert row["class"] == label
            for column, value in zip(report.TABLE_4_COLUMNS, printed, strict=True):
                if round(row[column], 2) != value:
                    differs[name, label, column] = (value, round(row[column], 3))
    assert differs == {
        ("experiment 1", "normal", "f2"): (0.93, 0.936),
        ("experiment 2", "pneumonia", "f2"): (0.51, 0.518),
    }


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


def test_leaked_images_are_a_part_of_the_test_images():
    for name, (leaked, test_images) in report.LEAKED_TEST_IMAGES.items():
        assert 0 <= leaked <= test_images == report.TABLE_1[name]["test"]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_confusion_is_counted_from_the_authors_predictions(name):
    files = [PREDICTIONS / f"{MODELS[name]}{kind}.npy" for kind in ("true", "pred")]
    if not all(file.is_file() for file in files):
        pytest.skip("the authors' saved predictions are not in data/report below XRAYLIB_HOME")
    labels, predictions = (np.load(file) for file in files)
    counted = metrics.confusion_matrix(labels, predictions)
    np.testing.assert_array_equal(counted, report.CONFUSION[name])


def saved_predictions(name: str) -> np.ndarray:
    file = PREDICTIONS / f"{MODELS[name]}pred.npy"
    if not file.is_file():
        pytest.skip("the authors' saved predictions are not in data/report below XRAYLIB_HOME")
    n_covid = report.TABLE_1["COVID-19"]["test"]
    return np.load(file)[-n_covid:] == config.COVID  # their labels are sorted


@pytest.mark.parametrize("pair", report.COVID_FOUND_BY_ONE)
def test_images_that_one_of_two_experiments_finds(pair):
    first, second = map(saved_predictions, pair)
    counted = int((first & ~second).sum()), int((~first & second).sum())
    assert counted == report.COVID_FOUND_BY_ONE[pair]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_images_found_of_known_and_of_strange_patients(name):
    found = saved_predictions(name)
    images = covidx.read_lists()
    covid = images[images.label == "COVID-19"].reset_index(drop=True)
    order = list(range(len(covid)))
    random.Random(19910806).shuffle(order)
    known = set(covid.patient_id[order[:192]])
    leaks = covid.patient_id[order[192 + 48 :][:26]].isin(known).to_numpy()
    among = {
        "patient in training": (int(found[leaks].sum()), int(leaks.sum())),
        "stranger": (int(found[~leaks].sum()), int((~leaks).sum())),
    }
    assert among == report.COVID_FOUND_AMONG[name]


def test_figure_6_rises_and_falls():
    """Read off a picture: the two epochs agree with what curves of a training can do."""
    for name in EXPERIMENTS:
        assert report.FIGURE_6["accuracy"][40][name] <= report.FIGURE_6["accuracy"][49][name] < 1
        assert report.FIGURE_6["loss"][40][name] > report.FIGURE_6["loss"][49][name] > 0
