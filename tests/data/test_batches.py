import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xraylib import config, data
from xraylib.config import COVID
from xraylib.network import UpsampledBatches


def labels_of(n_others: int, n_covid: int) -> np.ndarray:
    labels = np.concatenate([np.arange(n_others) % 2, np.full(n_covid, COVID)])
    return np.random.default_rng(0).permutation(labels)


def numbered(labels, n_views: int = 1) -> list[np.ndarray]:
    """Inputs that tell which image (and which view) they are: image + view / 10."""
    return [(np.arange(len(labels)) + view / 10)[:, None] for view in range(n_views)]


def epoch_of(steps) -> list[np.ndarray]:
    """The image numbers of every batch."""
    return [steps[i][0][:, 0].astype(int) for i in range(len(steps))]


LABELS = labels_of(157, 13)


@settings(max_examples=80, deadline=None)
@given(
    st.integers(2, 120),
    st.floats(0, 0.9),
    st.integers(1, 300),
    st.integers(1, 40),
    st.integers(0, 3),
)
def test_share_and_coverage_of_any_epoch(batch_size, rate, n_others, n_covid, epoch):
    n_covid_per_batch = round(rate * batch_size)
    if rate == 0 or not 0 < n_covid_per_batch < batch_size:
        return
    labels = labels_of(n_others, n_covid)
    steps = UpsampledBatches(numbered(labels), labels, batch_size, rate)
    steps.start_epoch(epoch)
    batches = epoch_of(steps)
    for batch in batches[:-1]:
        assert len(batch) == batch_size
        assert (labels[batch] == COVID).sum() == n_covid_per_batch
    last_others = (labels[batches[-1]] != COVID).sum()
    last_covid = (labels[batches[-1]] == COVID).sum()
    assert 0 < last_others <= batch_size - n_covid_per_batch
    if last_others < batch_size - n_covid_per_batch:
        assert abs(last_covid - last_others * rate / (1 - rate)) <= 0.5 + 1e-9
    else:
        assert last_covid == n_covid_per_batch
    uses = np.bincount(np.concatenate(batches), minlength=len(labels))
    assert (uses[labels != COVID] == 1).all()
    assert np.ptp(uses[labels == COVID]) <= 1  # dealt alike


@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_rows_are_those_of_the_textbook_batches(rate):
    steps = UpsampledBatches(numbered(LABELS), LABELS, batch_size=30, rate=rate, seed=11)
    for epoch in range(3):
        steps.start_epoch(epoch)
        rng = np.random.default_rng([11, epoch])
        expected = list(data.upsampled_batches(LABELS, 30, rate, rng))
        assert len(steps) == len(expected)
        for found, rows in zip(epoch_of(steps), expected, strict=True):
            np.testing.assert_array_equal(found, rows)


def test_the_reports_share_is_30_of_100():
    steps = UpsampledBatches(numbered(LABELS), LABELS)
    batches = epoch_of(steps)
    assert [(LABELS[b] == COVID).sum() for b in batches] == [30, 30, round(17 * 3 / 7)]
    assert [len(b) for b in batches] == [100, 100, 17 + 7]


def test_targets_are_one_hot_and_go_with_their_inputs():
    steps = UpsampledBatches(numbered(LABELS), LABELS, batch_size=20)
    for i in range(len(steps)):
        inputs, targets = steps[i]
        assert targets.dtype == np.float32 and targets.shape == (len(inputs), 3)
        np.testing.assert_array_equal(targets.sum(axis=1), 1)
        np.testing.assert_array_equal(targets.argmax(axis=1), LABELS[inputs[:, 0].astype(int)])


def test_covid_is_mixed_into_the_batch():
    steps = UpsampledBatches(numbered(LABELS), LABELS)
    first = LABELS[epoch_of(steps)[0]] == COVID
    assert first[:70].any() and first[-30:].sum() < 30


def test_every_epoch_has_its_own_order():
    steps = UpsampledBatches(numbered(LABELS), LABELS, seed=3)
    orders = []
    for _ in range(3):
        orders.append(np.concatenate(epoch_of(steps)).tolist())
        steps.on_epoch_end()
    assert orders[0] != orders[1] != orders[2]


def test_a_resumed_epoch_is_the_undisturbed_one():
    undisturbed = UpsampledBatches(numbered(LABELS, 3), LABELS, seed=3)
    for _ in range(4):
        undisturbed.on_epoch_end()
    resumed = UpsampledBatches(numbered(LABELS, 3), LABELS, seed=3)
    resumed.start_epoch(4)
    for i in range(len(resumed)):
        np.testing.assert_array_equal(resumed[i][0], undisturbed[i][0])
        np.testing.assert_array_equal(resumed[i][0], resumed[i][0])  # asked twice, given twice
    other = UpsampledBatches(numbered(LABELS, 3), LABELS, seed=4)
    other.start_epoch(4)
    assert not np.array_equal(other[0][0], resumed[0][0])


def test_keras_sees_every_other_image_once_an_epoch():
    seen = []

    class Recorded(UpsampledBatches):
        def __getitem__(self, index):
            inputs, targets = super().__getitem__(index)
            seen.append(inputs[:, 0].astype(int))
            return inputs, targets

    steps = Recorded(numbered(LABELS), LABELS, batch_size=40)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(3)])
    model.compile("sgd", "mse")
    model.fit(steps, epochs=3, verbose=0)
    trained_on = seen[-3 * len(steps) :]  # before that, Keras looks at a few for their shape
    orders = []
    for start in range(0, len(trained_on), len(steps)):
        rows = np.concatenate(trained_on[start : start + len(steps)])
        orders.append(rows[LABELS[rows] != COVID].tolist())
        assert sorted(orders[-1]) == np.flatnonzero(LABELS != COVID).tolist()
    assert orders[0] != orders[1] != orders[2]


def test_rate_0_takes_every_image_once():
    steps = UpsampledBatches(numbered(LABELS), LABELS, batch_size=50, rate=0)
    batches = epoch_of(steps)
    assert [len(batch) for batch in batches] == [50, 50, 50, 20]
    assert sorted(np.concatenate(batches)) == list(range(170))


def test_views_are_drawn_image_by_image():
    steps = UpsampledBatches(numbered(LABELS, 3), LABELS)
    inputs = np.concatenate([steps[i][0][:, 0] for i in range(len(steps))])
    drawn = np.bincount(np.rint(10 * (inputs % 1)).astype(int), minlength=3)
    assert len(drawn) == 3 and drawn.min() > len(inputs) / 5
    steps.on_epoch_end()
    again = np.concatenate([steps[i][0][:, 0] for i in range(len(steps))])
    assert (np.isin(again, inputs)).mean() < 0.9  # the same images in other views


@pytest.mark.parametrize(
    ("shape", "dtype"), [((8, 8, 1), np.uint8), ((7, 7, 16), np.float16), ((), np.float32)]
)
def test_works_over_images_and_over_features(tmp_path, shape, dtype):
    values = np.random.default_rng(0).integers(0, 200, (170, *shape)).astype(dtype)
    np.save(tmp_path / "values.npy", values)
    mapped = np.load(tmp_path / "values.npy", mmap_mode="r")
    held, kept = (UpsampledBatches([v], LABELS, batch_size=30) for v in (values, mapped))
    for i in range(len(held)):
        inputs, _ = held[i]
        assert inputs.dtype == dtype and inputs.shape[1:] == shape
        np.testing.assert_array_equal(inputs, values[held.batches[i][0]])
        np.testing.assert_array_equal(kept[i][0], inputs)


@pytest.mark.parametrize(
    ("labels", "settings", "message"),
    [
        (LABELS[:-1], {}, "as many images as there are labels"),
        (LABELS, {"rate": 1}, "the up-sampling rate is 1; it must be from 0 to below 1"),
        (LABELS, {"rate": -0.1}, "the up-sampling rate is -0.1"),
        (LABELS, {"rate": float("nan")}, "the up-sampling rate is nan"),
        (np.zeros(170, int), {}, "no COVID-19 image to up-sample"),
        (np.full(170, COVID), {}, "no image of the other classes"),
        (LABELS, {"rate": 0.9, "batch_size": 2}, "no image of the other classes fits"),
    ],
)
def test_errors(labels, settings, message):
    with pytest.raises(ValueError, match=message):
        UpsampledBatches(numbered(LABELS), labels, **settings)


def test_a_share_too_small_for_the_batch_is_refused():
    with pytest.raises(ValueError, match="rate 0.01 of 20"):
        UpsampledBatches(numbered(LABELS), LABELS, batch_size=20, rate=0.01)


NAMES = np.array(["TB", "clear", "viral", "bacterial"])


@pytest.mark.parametrize("rare", range(4))
def test_any_class_can_be_the_rare_one_by_number_by_name_and_one_hot(rare):
    ids = np.random.default_rng(0).integers(0, 4, 200)
    ids[:20] = rare
    forms = [(ids, rare), (NAMES[ids], NAMES[rare]), (list(NAMES[ids]), str(NAMES[rare]))]
    forms += [(np.eye(4)[ids], rare), (np.eye(4, dtype=bool)[ids], rare)]
    dealt = [
        list(data.upsampled_batches(labels, 40, 0.5, np.random.default_rng(1), rare_class=of))
        for labels, of in forms
    ]
    for batch in dealt[0][:-1]:
        assert (ids[batch] == rare).sum() == 20 and len(batch) == 40
    for other in dealt[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(dealt[0], other, strict=True))


def test_labels_by_the_reports_names_are_upsampled_as_its_ids():
    names = np.array(config.CLASS_NAMES)[LABELS]
    for rare in (COVID, "COVID-19"):
        found, expected = (
            list(data.upsampled_batches(labels, 30, 0.3, np.random.default_rng(2), rare))
            for labels in (names, LABELS)
        )
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    ("labels", "rare", "message"),
    [
        (NAMES[[0, 1, 2]], "tb", "no tb image to up-sample"),
        ([0, 1, 2], "TB", "rare_class 'TB' for labels that are ids"),
        ([0.5, 1.0], 1, "labels: found float64"),
        (np.ones((3, 2)), 1, r"labels: found float64 \(3, 2\), give ids or names"),
    ],
)
def test_a_rare_class_that_is_none_is_named(labels, rare, message):
    with pytest.raises(ValueError, match=message):
        list(data.upsampled_batches(labels, 2, 0.5, np.random.default_rng(0), rare_class=rare))


def test_keras_gets_batches_of_any_number_of_classes():
    ids = np.arange(60) % 5
    steps = UpsampledBatches(numbered(ids), ids, 10, 0.4, rare_class=4)
    targets = np.concatenate([steps[i][1] for i in range(len(steps))])
    rows = np.concatenate([steps[i][0][:, 0] for i in range(len(steps))]).astype(int)
    assert targets.shape[1] == 5
    np.testing.assert_array_equal(targets.argmax(axis=1), ids[rows])
    assert steps[0][1][:, 4].sum() == 4
