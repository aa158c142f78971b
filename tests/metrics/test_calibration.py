import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from xraylib import metrics

quick = settings(max_examples=40, deadline=None)
seeds = st.integers(0, 2**32 - 1)


def draw(seed, n=200, sharpness=2.0):
    """Draw logits, and labels that follow softmax(logits): calibrated at temperature 1."""
    rng = np.random.default_rng(seed)
    logits = sharpness * rng.normal(size=(n, 3))
    probs = metrics.temperature_scale(logits, 1.0)
    labels = (rng.random((n, 1)) > probs.cumsum(axis=1)).sum(axis=1).clip(max=2)
    return logits, probs, labels


@quick
@given(seeds)
def test_likelihood_agrees_with_scikit_learn(seed):
    _, probs, labels = draw(seed)
    theirs = sklearn.metrics.log_loss(labels, probs, labels=(0, 1, 2))
    assert metrics.negative_log_likelihood(probs, labels) == pytest.approx(theirs)


def test_likelihood_stays_finite_for_a_wrong_certainty():
    assert np.isfinite(metrics.negative_log_likelihood(np.eye(3, dtype="float32"), [1, 2, 0]))


@quick
@given(seeds, st.integers(1, 20))
def test_curve_agrees_with_scikit_learn(seed, n_bins):
    _, probs, labels = draw(seed)
    confidence, accuracy, counts = metrics.reliability_curve(probs, labels, n_bins)
    right = probs.argmax(axis=1) == labels
    theirs = calibration_curve(right, probs.max(axis=1), n_bins=n_bins)
    filled = counts > 0
    np.testing.assert_allclose(accuracy[filled], theirs[0])
    np.testing.assert_allclose(confidence[filled], theirs[1])
    assert counts.sum() == len(labels) and np.isnan(accuracy[~filled]).all()


def test_calibration_error_by_hand():
    probs = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6]])
    labels = [0, 1, 1, 1]  # at 0.9: half right; at 0.6: all right
    error = metrics.expected_calibration_error(probs, labels, n_bins=10)
    assert error == pytest.approx(0.5 * 0.4 + 0.5 * 0.4)


def test_temperature_finds_what_was_done_to_calibrated_logits():
    logits, _, labels = draw(seed=1, n=20_000)
    for factor in (0.5, 1.0, 3.0):
        found = metrics.fit_temperature(factor * logits, labels)
        assert found == pytest.approx(factor, rel=0.05)


@quick
@given(seeds)
def test_fitted_temperature_is_the_best_and_keeps_the_classes(seed):
    logits, _, labels = draw(seed, sharpness=5.0)
    logits = 2 * logits

    def loss(temperature):
        probs = metrics.temperature_scale(logits, temperature)
        return metrics.negative_log_likelihood(probs, labels)

    best = metrics.fit_temperature(logits, labels)
    assert loss(best) <= min(map(loss, np.geomspace(0.05, 20, 60))) + 1e-9
    scaled = metrics.temperature_scale(logits, best)
    np.testing.assert_array_equal(scaled.argmax(axis=1), logits.argmax(axis=1))


@pytest.mark.parametrize(
    ("probs", "labels", "found"),
    [
        ([[0.5, 0.5], [2.0, -1.0]], [0, 1], r"probs\[1\]"),
        ([[0.5, 0.6]], [0], "not logits"),
        ([[np.nan, 1.0]], [0], r"probs\[0\]"),
        ([[0.5, 0.5]], [0, 1], "lengths differ"),
        ([[0.5, 0.5]], [2], r"labels\[0\] is 2"),
        (np.empty((0, 3)), [], "N above 0"),
    ],
)
def test_wrong_inputs_are_named(probs, labels, found):
    with pytest.raises(ValueError, match=found):
        metrics.expected_calibration_error(probs, labels)


def test_chance_error_is_what_true_probabilities_give():
    rng = np.random.default_rng(3)
    probs = rng.dirichlet(np.ones(3), 60)
    floor = metrics.chance_error(probs, n_bins=10)
    measured = [
        metrics.expected_calibration_error(
            probs, [rng.choice(3, p=row) for row in probs], n_bins=10
        )
        for _ in range(100)
    ]
    assert floor == pytest.approx(np.mean(measured), abs=0.01)
    assert floor > metrics.chance_error(np.repeat(probs, 100, axis=0), n_bins=10) > 0


def test_chance_error_of_certain_predictions_is_zero():
    assert metrics.chance_error(np.eye(3)) == 0


def test_judgement_holds_each_figure():
    found = metrics.judge_probabilities(np.array([[0.9, 0.1], [0.6, 0.4]]), [0, 1], n_bins=10)
    assert found["n"] == 2
    assert found["calibration error"] == pytest.approx((0.1 + 0.6) / 2)
    assert found["log loss"] == pytest.approx(-np.log([0.9, 0.4]).mean())
    assert 0 < found["by chance"] < 1
