import subprocess
import sys
import warnings

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from xraylib import metrics
from xraylib.metrics import UndefinedMetricWarning

pairs = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=60)
quick = settings(max_examples=60, deadline=None)
ALL = (0, 1, 2)


def undefined_is_zero(values):
    return np.nan_to_num(values, nan=0.0)


@quick
@given(pairs)
def test_counts_agree_with_scikit_learn(drawn):
    labels, predictions = np.array(drawn).T
    matrix = metrics.confusion_matrix(labels, predictions)
    assert matrix.dtype == np.int64
    theirs = sklearn.metrics.confusion_matrix(labels, predictions, labels=ALL)
    np.testing.assert_array_equal(matrix, theirs)
    assert metrics.accuracy(matrix) == pytest.approx((labels == predictions).mean())


@quick
@given(pairs, st.floats(0.2, 5))
@pytest.mark.filterwarnings("ignore::xraylib.metrics.counts.UndefinedMetricWarning")
def test_shares_agree_with_scikit_learn(drawn, beta):
    labels, predictions = np.array(drawn).T
    matrix = metrics.confusion_matrix(labels, predictions)
    precision, recall, f_beta, _ = sklearn.metrics.precision_recall_fscore_support(
        labels, predictions, beta=beta, labels=ALL, zero_division=np.nan
    )
    np.testing.assert_allclose(metrics.precision(matrix), precision)
    np.testing.assert_allclose(metrics.recall(matrix), recall)
    # scikit-learn calls F 0 where precision or recall is undefined; here it is undefined, too.
    ours = metrics.f_beta(matrix, beta)
    np.testing.assert_array_equal(np.isnan(ours), np.isnan(precision) | np.isnan(recall))
    np.testing.assert_allclose(undefined_is_zero(ours), undefined_is_zero(f_beta), atol=1e-12)
    for k in ALL:
        others = labels != k
        if others.any():
            assert metrics.specificity(matrix)[k] == pytest.approx(
                (predictions != k)[others].mean()
            )


@quick
@given(pairs)
@pytest.mark.filterwarnings("ignore::xraylib.metrics.counts.UndefinedMetricWarning")
def test_macro_row_is_scikit_learns_over_the_classes_among_the_labels(drawn):
    labels, predictions = np.array(drawn).T
    macro = metrics.class_rows(metrics.confusion_matrix(labels, predictions), "abc")[-1]
    present = np.unique(labels)
    for name, beta in (("f1", 1), ("f2", 2)):
        precision, recall, f_beta, _ = sklearn.metrics.precision_recall_fscore_support(
            labels, predictions, beta=beta, labels=present, average="macro", zero_division=0
        )
        expected = {"precision": precision, "recall": recall, name: f_beta}
        assert {k: macro[k] for k in expected} == pytest.approx(expected)
    assert macro["n"] == len(labels)


def test_never_predicted_class_is_nan_with_a_warning_and_counts_zero_in_the_macro():
    matrix = [[5, 1, 0], [2, 4, 0], [3, 0, 0]]
    with pytest.warns(UndefinedMetricWarning, match=r"never predicted.*\[2\]"):
        precision = metrics.precision(matrix)
    assert np.isnan(precision).tolist() == [False, False, True]
    with pytest.warns(UndefinedMetricWarning):
        assert np.isnan(metrics.f_beta(matrix, 2)[2])
    assert metrics.recall(matrix)[2] == 0
    assert metrics.macro_average(precision, matrix) == pytest.approx((5 / 10 + 4 / 5 + 0) / 3)


def test_absent_class_is_nan_with_a_warning_and_left_out_of_the_macro():
    matrix = [[5, 1, 1], [2, 4, 0], [0, 0, 0]]
    with pytest.warns(UndefinedMetricWarning, match=r"not among the labels.*\[2\]"):
        recall = metrics.recall(matrix)
    assert np.isnan(recall[2])
    assert metrics.macro_average(recall, matrix) == pytest.approx((5 / 7 + 4 / 6) / 2)


def test_no_images_have_no_accuracy():
    with pytest.warns(UndefinedMetricWarning, match="accuracy"):
        assert np.isnan(metrics.accuracy(metrics.confusion_matrix([], [])))


def test_no_warning_where_all_is_defined():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = metrics.class_rows([[5, 1, 0], [2, 4, 1], [0, 0, 3]], ("a", "b", "c"))
    assert all(np.isfinite(v) for row in rows for v in row.values() if not isinstance(v, str))


@pytest.mark.parametrize(
    ("labels", "predictions", "found"),
    [
        ([0, 1], [0], "'labels': 2, 'predictions': 1"),
        ([0, 3], [0, 1], r"labels\[1\] is 3"),
        ([0, 1], [-1, 1], r"predictions\[0\] is -1"),
        (["normal"], [0], "class ids"),
        ([0.0, 1.0], [0, 1], "float64"),
        ([[1, 0, 0]], [0], r"\(1, 3\)"),
    ],
)
def test_wrong_inputs_are_named(labels, predictions, found):
    with pytest.raises(ValueError, match=found):
        metrics.confusion_matrix(labels, predictions)


@pytest.mark.parametrize("matrix", [[1, 2, 3], [[1, 2, 3]], [[1, -1], [0, 1]]])
def test_wrong_matrices_are_refused(matrix):
    with pytest.raises(ValueError, match="give counts"):
        metrics.recall(matrix)


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match="beta"):
        metrics.f_beta(np.eye(3), 0)
    with pytest.raises(ValueError, match="level"):
        metrics.wilson_interval(1, 2, level=95)
    with pytest.raises(ValueError, match="3 successes of 2"):
        metrics.wilson_interval(3, 2)
    with pytest.raises(ValueError, match="lengths differ"):
        metrics.class_rows(np.eye(3), ("a", "b"))


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [  # Newcombe, Statistics in Medicine 17 (1998), table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_agrees_with_published_intervals(successes, n, low, high):
    assert metrics.wilson_interval(successes, n) == pytest.approx((low, high), abs=5e-5)


@quick
@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_ends_solve_their_equation(drawn):
    """At either end p, the observed share lies z standard errors of p away."""
    successes, n = drawn
    low, high = metrics.wilson_interval(successes, n)
    assert 0 <= low <= successes / n <= high <= 1
    for p in (low, high):
        if 0 < p < 1:
            assert abs(successes / n - p) == pytest.approx(1.959964 * (p * (1 - p) / n) ** 0.5)


def test_wilson_of_nothing_is_unknown():
    assert np.isnan(metrics.wilson_interval(0, 0)).all()


def predictions_of_patients(n_patients, images_each, seed=0):
    """Patients who are right or wrong in all of their images alike."""
    right = np.random.default_rng(seed).random(n_patients) < 0.7
    groups = np.repeat(np.arange(n_patients), images_each)
    labels = groups % 3
    return labels, np.where(right[groups], labels, (labels + 1) % 3), groups


def test_bootstrap_draws_patients_not_images():
    labels, predictions, groups = predictions_of_patients(60, images_each=10)
    low, high = metrics.bootstrap_interval(metrics.accuracy, labels, predictions, groups)
    right = (labels == predictions).mean()
    assert low < right < high
    half = 1.96 * (right * (1 - right) / 60) ** 0.5  # 60 independent patients
    assert (high - low) / 2 == pytest.approx(half, rel=0.15)
    images = np.arange(len(labels))
    narrow = metrics.bootstrap_interval(metrics.accuracy, labels, predictions, images)
    assert narrow[1] - narrow[0] < (high - low) / 2


def test_bootstrap_repeats_and_names_of_patients_do_not_matter():
    labels, predictions, groups = predictions_of_patients(997, images_each=2)
    names = [f"patient {g:03d}" for g in groups]
    first = metrics.bootstrap_interval(metrics.accuracy, labels, predictions, groups, seed=3)
    again = metrics.bootstrap_interval(metrics.accuracy, labels, predictions, names, seed=3)
    other = metrics.bootstrap_interval(metrics.accuracy, labels, predictions, groups, seed=4)
    assert first == again != other


def test_bootstrap_says_how_often_a_statistic_was_undefined():
    labels, groups = [0, 0, 0, 2], [0, 1, 2, 3]  # one patient has COVID-19: often not drawn
    with pytest.warns(UndefinedMetricWarning, match="of 200 resamples"):
        interval = metrics.bootstrap_interval(
            lambda matrix: metrics.recall(matrix)[2], labels, labels, groups, n_resamples=200
        )
    assert interval == (1.0, 1.0)
    with pytest.warns(UndefinedMetricWarning, match="200 of 200"):
        nothing = metrics.bootstrap_interval(
            lambda matrix: metrics.recall(matrix)[1], labels, labels, groups, n_resamples=200
        )
    assert np.isnan(nothing).all()


def test_bootstrap_needs_two_patients_and_a_patient_an_image():
    with pytest.raises(ValueError, match="two patients"):
        metrics.bootstrap_interval(metrics.accuracy, [0, 1], [0, 1], ["a", "a"])
    with pytest.raises(ValueError, match="empty group"):
        metrics.bootstrap_interval(metrics.accuracy, [0, 1, 1], [0, 1, 1], ["a", "", "b"])
    with pytest.raises(ValueError, match="'groups': 1"):
        metrics.bootstrap_interval(metrics.accuracy, [0, 1], [0, 1], ["a"])


@quick
@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_is_a_fair_coin(one, other):
    p = metrics.mcnemar(one, other)
    n = one + other
    expected = scipy.stats.binomtest(one, n).pvalue if n else 1.0
    assert p == pytest.approx(expected)
    assert p == metrics.mcnemar(other, one)


def test_mcnemar_takes_counts():
    with pytest.raises(ValueError, match="none below 0"):
        metrics.mcnemar(3, -1)


def test_an_interval_needs_nothing_but_numpy():
    code = "import sys, xraylib; xraylib.wilson_interval(1, 2); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"pandas", "scipy", "sklearn", "keras", "tensorflow"}
    assert not heavy & set(done.stdout.split())
