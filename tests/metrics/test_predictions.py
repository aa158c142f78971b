import warnings

import numpy as np
import pandas as pd
import pytest

from xraylib import metrics
from xraylib.config import CLASS_NAMES

# rows true, columns predicted
COUNTS = np.array([[7, 2, 1], [1, 6, 1], [0, 1, 3]])


def predictions_of(counts, patients=None) -> pd.DataFrame:
    pairs = [(t, p) for t in range(3) for p in range(3) for _ in range(counts[t][p])]
    labels, predicted = np.array(CLASS_NAMES)[np.array(pairs)].T
    patients = patients or [f"patient-{i}" for i in range(len(pairs))]
    paths = [f"{i}.png" for i in range(len(pairs))]
    return pd.DataFrame(
        {"path": paths, "patient_id": patients, "label": labels, "prediction": predicted}
    )


def test_figures_of_a_table_counted_by_hand():
    figures = metrics.judge_predictions(predictions_of(COUNTS))
    assert figures["n"] == 22 and figures["confusion"] == COUNTS.tolist()
    accuracy, recall = figures["accuracy"], figures["COVID-19 recall"]
    precision, macro_f1 = figures["COVID-19 precision"], figures["macro F1"]
    assert accuracy["value"] == pytest.approx(16 / 22)
    assert recall["value"] == pytest.approx(3 / 4)
    assert precision["value"] == pytest.approx(3 / 5)
    # F1 = 2 TP / (true + predicted) a class
    assert macro_f1["value"] == pytest.approx((14 / 18 + 12 / 17 + 6 / 9) / 3)
    # Wilson's interval of 3 of 4, from its formula with z = 1.96
    assert (recall["low"], recall["high"]) == pytest.approx((0.3006, 0.9544), abs=1e-3)
    assert (accuracy["low"], accuracy["high"]) == metrics.wilson_interval(16, 22)
    for figure in (accuracy, recall, precision, macro_f1):
        assert 0 <= figure["low"] < figure["value"] < figure["high"] <= 1


def test_images_of_one_patient_widen_the_interval():
    apart = metrics.judge_predictions(predictions_of(COUNTS * 3))["macro F1"]
    together = [f"patient-{i // 6}" for i in range(66)]
    grouped = metrics.judge_predictions(predictions_of(COUNTS * 3, together))["macro F1"]
    assert grouped["value"] == apart["value"]
    assert grouped["high"] - grouped["low"] > 1.2 * (apart["high"] - apart["low"])


def test_images_without_a_patient_count_as_strangers():
    named, nameless = predictions_of(COUNTS), predictions_of(COUNTS, [""] * 22)
    named["patient_id"] = named.path
    assert metrics.judge_predictions(nameless) == metrics.judge_predictions(named)


def test_covid_never_predicted_is_told_and_not_hidden():
    counts = [[5, 1, 0], [1, 5, 0], [1, 2, 0]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the NaN says it; a page of warnings would hide it
        figures = metrics.judge_predictions(predictions_of(counts))
    assert np.isnan(figures["COVID-19 precision"]["value"])
    text = metrics.as_text(
        pd.DataFrame([metrics.figures_row(predictions_of(counts))]), ["COVID-19 precision"]
    )
    assert text["COVID-19 precision"].iloc[0].startswith("nan")
    assert figures["COVID-19 recall"]["value"] == 0


def test_the_seed_decides_the_bootstrap():
    predictions = predictions_of(COUNTS)
    one, two, other = (
        metrics.judge_predictions(predictions, seed)["macro F1"] for seed in (1, 1, 2)
    )
    assert one == two != other


def test_one_flat_row():
    row = metrics.figures_row(predictions_of(COUNTS))
    figures = metrics.judge_predictions(predictions_of(COUNTS))
    assert row["n"] == 22 and len(row) == 1 + 3 * 4
    for name in ("accuracy", "COVID-19 recall", "COVID-19 precision", "macro F1"):
        found = {"value": row[name], "low": row[f"{name} low"], "high": row[f"{name} high"]}
        assert found == figures[name]


def test_predictions_stand_beside_their_rows():
    manifest = pd.DataFrame(
        {
            "path": ["a.png", "b.png"],
            "label": ["normal", "COVID-19"],
            "patient_id": ["1", "2"],
            "source": ["", "x"],
        },
        index=[5, 3],
    )
    logits = np.array([[0, 2, 0], [0, 0, 1]], np.float32)
    table = metrics.predictions_table(manifest, logits)
    assert table.path.tolist() == ["a.png", "b.png"]
    assert table.prediction.tolist() == ["pneumonia", "COVID-19"]
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(table[list(CLASS_NAMES)], probs, rtol=1e-5)


OWN = ("viral", "bacterial", "TB", "clear", "effusion")


def own_predictions(seed: int = 0, n: int = 200) -> tuple[pd.DataFrame, np.ndarray]:
    """Predictions of five classes, by logits, and the confusion matrix counted by hand."""
    rng = np.random.default_rng(seed)
    labels, logits = rng.integers(0, 5, n), rng.normal(size=(n, 5))
    rows = {"path": [f"{i}.png" for i in range(n)], "patient_id": "", "source": ""}
    manifest = pd.DataFrame(rows | {"label": np.array(OWN)[labels]})
    counts = np.zeros((5, 5), int)
    np.add.at(counts, (labels, logits.argmax(axis=1)), 1)
    return metrics.predictions_table(manifest, logits, OWN), counts


def test_figures_of_any_classes():
    predictions, counts = own_predictions()
    np.testing.assert_allclose(predictions[list(OWN)].sum(axis=1), 1)
    figures = metrics.judge_predictions(predictions, class_names=OWN, rare_class="TB")
    assert figures["confusion"] == counts.tolist()
    assert figures["accuracy"]["value"] == pytest.approx(np.trace(counts) / 200)
    assert figures["TB recall"]["value"] == pytest.approx(counts[2, 2] / counts[2].sum())
    by_number = metrics.figures_row(predictions, class_names=OWN, rare_class=2)
    assert by_number["TB precision"] == pytest.approx(counts[2, 2] / counts[:, 2].sum())
    assert "COVID-19 recall" not in metrics.judge_predictions(predictions, class_names=OWN)
    assert list(metrics.per_class_table(counts, OWN).index) == [*OWN, "macro"]


def test_labels_and_logits_that_do_not_fit_the_classes_are_named():
    predictions, _ = own_predictions()
    with pytest.raises(
        ValueError, match="label 'TB', .* is no class: give class_names; now normal"
    ):
        metrics.judge_predictions(predictions)
    with pytest.raises(ValueError, match="rare_class"):
        metrics.judge_predictions(predictions, class_names=OWN, rare_class="flu")
    with pytest.raises(ValueError, match=r"logits \(2, 5\) for 2 images and 3 classes"):
        metrics.predictions_table(predictions[:2], np.zeros((2, 5)))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_none_are_an_error_and_no_class(value):
    predictions, counts = own_predictions(n=4)
    logits = np.zeros((4, 5))
    logits[1, 2] = value
    broken = {
        "logits": [
            lambda: metrics.predictions_table(predictions, logits, OWN),
            lambda: metrics.softmax(logits),
            lambda: metrics.temperature_scale(logits, 2.0),
            lambda: metrics.fit_temperature(logits, [0, 1, 2, 3]),
        ],
        "probs": [lambda: metrics.chance_error(logits)],
        "counts": [lambda: metrics.accuracy(np.where(counts == 1, value, counts))],
        "mask": [lambda: metrics.dice(logits, logits), lambda: metrics.iou(logits, logits)],
    }
    for name, questions in broken.items():
        for question in questions:
            with pytest.raises(ValueError, match=f"{name}: .* values are NaN or infinite"):
                question()


@pytest.mark.parametrize("nobody", [np.nan, None, pd.NA])
def test_missing_patients_are_strangers_or_an_error(nobody):
    predictions, _ = own_predictions()
    named = predictions.assign(patient_id=predictions.path)
    unknown = predictions.assign(patient_id=pd.Series([nobody] * 200, dtype=object))
    settings = {"class_names": OWN, "rare_class": "TB"}
    assert metrics.judge_predictions(unknown, **settings) == metrics.judge_predictions(
        named, **settings
    )
    groups = np.array([nobody, "a", "b"], object)
    for question in (
        lambda: metrics.bootstrap_mean([0.0, 1.0, 1.0], groups),
        lambda: metrics.bootstrap_interval(metrics.accuracy, [0, 1, 2], [0, 1, 1], groups),
    ):
        with pytest.raises(ValueError, match="groups: 1 of 3 patients are missing"):
            question()
