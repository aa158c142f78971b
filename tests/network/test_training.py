import signal

import keras
import numpy as np
import pandas as pd
import pytest
from conftest import start_child

from xraylib import network
from xraylib.config import COVID, RunConfig
from xraylib.network import stack
from xraylib.network.machinery import fast

CONFIG = RunConfig(batch_size=20, epochs=4, seed=7, learning_rate=1e-4)


def separable(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features in which every class has channels of its own, and their labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    maps = rng.gamma(0.5, 0.3, (n, 7, 7, 512)).astype(np.float16)
    for label in range(3):
        maps[labels == label, ..., 100 * label : 100 * label + 100] += np.float16(0.5)
    return maps, labels


MAPS, LABELS = separable(48, seed=0)
VALIDATION = separable(15, seed=1)


@pytest.fixture(scope="module")
def undisturbed(module_home, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    return fast.fit_head([MAPS], LABELS, VALIDATION, CONFIG, folder / "checkpoints")


def test_the_history_has_a_row_an_epoch_with_validation(undisturbed):
    _, history = undisturbed
    assert history.epoch.tolist() == [1, 2, 3, 4]
    assert set(history) == {"epoch", "loss", "accuracy", "val_loss", "val_accuracy"}
    assert np.isfinite(history.to_numpy()).all()
    assert history.val_accuracy.between(0, 1).all()


def test_the_loss_falls_and_the_classes_are_told_apart(undisturbed):
    head, history = undisturbed
    assert history.loss.iloc[-1] < 0.5 * history.loss.iloc[0]
    assert history.val_loss.iloc[-1] < history.val_loss.iloc[0]
    predicted = stack.predict_logits(head, VALIDATION[0]).argmax(axis=1)
    assert (predicted == VALIDATION[1]).mean() > 0.9


def test_the_history_is_what_the_head_does(undisturbed):
    head, history = undisturbed
    logits = stack.predict_logits(head, VALIDATION[0])
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)(np.eye(3)[VALIDATION[1]], logits)
    last = history.iloc[-1]
    assert last.val_loss == pytest.approx(float(loss), rel=1e-4)
    assert last.val_accuracy == pytest.approx((logits.argmax(axis=1) == VALIDATION[1]).mean())


def borrowed(config: RunConfig) -> keras.Model:
    """The compiled head that trainings with these settings borrow."""
    policy = fast.POLICIES[network.fastest_precision()]
    return fast._compiled_head(policy, config.learning_rate, config.decay)


@pytest.mark.slow
def test_one_epoch_is_that_of_the_textbook_loop(module_home, tmp_path):
    """`fit_head` computes what `train_head` does, the plain way, from the same seed."""
    config = CONFIG.but(epochs=1)
    ours, history = fast.fit_head([MAPS], LABELS, None, config, tmp_path)
    keras.utils.set_random_seed(config.seed % 2**32)
    plain = network.build_head()
    before = plain.get_weights()
    plain.get_layer("dropout").seed_generator.state.assign([config.seed % 2**32, 0])
    (row,) = network.train_head(plain, MAPS, LABELS, config)
    assert row["epoch"] == 1 and row["loss"] == pytest.approx(history.loss[0], rel=1e-5)
    assert row["accuracy"] == pytest.approx(history.accuracy[0], rel=1e-5)
    for first, one, other in zip(before, plain.get_weights(), ours.get_weights(), strict=True):
        moved = np.linalg.norm(one - first)
        assert moved > 0 and np.linalg.norm(other - one) < 1e-3 * moved
    logits = stack.predict_logits(plain, VALIDATION[0])
    np.testing.assert_allclose(
        stack.predict_logits(ours, VALIDATION[0]), logits, rtol=1e-3, atol=1e-4
    )


@pytest.mark.slow
def test_the_textbook_loop_has_an_entry_for_each_epoch(module_home):
    history = network.train_head(network.build_head(), MAPS, LABELS, CONFIG.but(epochs=2))
    assert [row["epoch"] for row in history] == [1, 2]
    assert history[1]["loss"] < history[0]["loss"]


def test_adam_takes_the_steps_that_table_3_asks_for(module_home, tmp_path):
    fast.fit_head([MAPS], LABELS, None, CONFIG, tmp_path)
    optimizer = borrowed(CONFIG).optimizer
    assert isinstance(optimizer, keras.optimizers.Adam)
    others = (LABELS != COVID).sum()
    assert int(optimizer.iterations) == 4 * -(-others // 14)  # 6 of 20 are COVID-19


@pytest.mark.parametrize("step", [0, 1, 100, 7500])
def test_the_learning_rate_at_a_step(module_home, step):
    """Table 3: 0.001, divided by 1 + decay x step, decay a tenth of it."""
    trainer = borrowed(RunConfig())
    assert trainer.loss.name == "categorical_crossentropy"
    trainer.optimizer.iterations.assign(step)
    rate = float(trainer.optimizer.learning_rate)
    assert rate == pytest.approx(0.001 / (1 + 0.0001 * step), rel=1e-5)


def test_without_validation(module_home, tmp_path):
    _, history = fast.fit_head([MAPS], LABELS, None, CONFIG.but(epochs=1), tmp_path)
    assert set(history) == {"epoch", "loss", "accuracy"} and len(history) == 1


@pytest.mark.slow
def test_the_same_seed_trains_the_same_head_and_another_another(undisturbed, tmp_path):
    head, history = undisturbed
    validation = VALIDATION[0][:4], VALIDATION[1][:4]
    kwargs = dict(validation=validation, config=CONFIG)
    again, history_again = fast.fit_head([MAPS], LABELS, folder=tmp_path / "again", **kwargs)
    pd.testing.assert_series_equal(history_again.loss, history.loss)
    other, _ = fast.fit_head([MAPS], LABELS, folder=tmp_path / "o", run_seed=1, **kwargs)
    expected = stack.predict_logits(head, VALIDATION[0])
    np.testing.assert_allclose(
        stack.predict_logits(again, VALIDATION[0]), expected, rtol=1e-4, atol=1e-5
    )
    assert not np.allclose(stack.predict_logits(other, VALIDATION[0]), expected, atol=1e-3)


@pytest.mark.slow
def test_several_views_are_all_trained_on(module_home, tmp_path):
    """Nothing but the second view tells the classes apart, so it must have been seen."""
    blank = np.zeros_like(MAPS)
    config = CONFIG.but(epochs=2)
    _, alone = fast.fit_head([blank], LABELS, VALIDATION, config, tmp_path / "1")
    _, both = fast.fit_head([blank, MAPS], LABELS, VALIDATION, config, tmp_path / "2")
    assert both.val_loss.iloc[-1] < alone.val_loss.iloc[-1] - 0.05


def assert_goes_on(folder, undisturbed, monkeypatch) -> None:
    """Train on from two epochs' checkpoint, and hold the end against an undisturbed stack."""
    assert pd.read_csv(folder / "history.csv").epoch.tolist() == [1, 2]
    trained = []

    class Steps(fast.UpsampledBatches):
        def start_epoch(self, epoch):
            trained.append(epoch)
            super().start_epoch(epoch)

    monkeypatch.setattr(fast, "UpsampledBatches", Steps)
    head, history = fast.fit_head([MAPS], LABELS, VALIDATION, CONFIG, folder)
    assert 2 in trained and 3 in trained
    head_before, history_before = undisturbed
    assert history.epoch.tolist() == [1, 2, 3, 4]
    pd.testing.assert_frame_equal(history, history_before, check_dtype=False, rtol=1e-5)
    np.testing.assert_allclose(
        stack.predict_logits(head, VALIDATION[0]),
        stack.predict_logits(head_before, VALIDATION[0]),
        rtol=1e-4,
        atol=1e-5,
    )


def test_an_interrupted_training_goes_on_and_ends_like_an_undisturbed_one(
    undisturbed, tmp_path, monkeypatch
):
    save = fast.Checkpoint.save

    def interrupted(self, epoch):
        save(self, epoch)
        if epoch == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(fast, "SAVE_EVERY", 0)
        patch.setattr(fast.Checkpoint, "save", interrupted)
        fast.fit_head([MAPS], LABELS, VALIDATION, CONFIG, tmp_path)
    assert_goes_on(tmp_path, undisturbed, monkeypatch)


KILLED_AT_THE_SECOND_CHECKPOINT = """
import numpy as np
from pathlib import Path
from xraylib.config import RunConfig
from xraylib.network.machinery import fast
fast.SAVE_EVERY = 0
save = fast.Checkpoint.save
def killing(self, epoch):
    save(self, epoch)
    if epoch == 2:
        die()
fast.Checkpoint.save = killing
data = np.load(sys.argv[1])
config = RunConfig(batch_size=20, epochs=4, seed=7, learning_rate=1e-4)
validation = (data["val_maps"], data["val_labels"])
fast.fit_head([data["maps"]], data["labels"], validation, config, Path(sys.argv[2]))
"""


@pytest.mark.slow
def test_a_killed_training_goes_on_and_ends_like_an_undisturbed_one(
    undisturbed, tmp_path, monkeypatch
):
    arrays = dict(maps=MAPS, labels=LABELS, val_maps=VALIDATION[0], val_labels=VALIDATION[1])
    np.savez(tmp_path / "data.npz", **arrays)
    folder = tmp_path / "checkpoints"
    child = start_child(KILLED_AT_THE_SECOND_CHECKPOINT, tmp_path / "data.npz", folder)
    said, _ = child.communicate(timeout=120)
    assert child.returncode == -signal.SIGKILL, said
    assert_goes_on(folder, undisturbed, monkeypatch)


def test_a_training_that_was_whole_is_not_gone_on_with(module_home, tmp_path, monkeypatch):
    monkeypatch.setattr(fast, "SAVE_EVERY", 0)
    config = CONFIG.but(epochs=1)
    head, history = fast.fit_head([MAPS], LABELS, None, config, tmp_path)
    again, history_again = fast.fit_head([MAPS], LABELS, None, config, tmp_path)
    pd.testing.assert_frame_equal(history_again, history, check_dtype=False, rtol=1e-12)
    for one, other in zip(head.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_logits_for_any_number_of_features(undisturbed):
    head, _ = undisturbed
    logits = stack.predict_logits(head, MAPS)
    assert logits.shape == (48, 3) and logits.dtype == np.float32
    np.testing.assert_allclose(
        stack.predict_logits(head, MAPS, batch_size=7), logits, rtol=1e-4, atol=1e-5
    )
    assert stack.predict_logits(head, MAPS[:0]).shape == (0, 3)


def test_the_live_part_is_read_row_by_row():
    live = fast.LiveMaps(MAPS, [5, 3, 11])
    assert len(live) == 3 and live.shape == (3, 6, 6, 512) and live.dtype == np.float16
    np.testing.assert_array_equal(live[np.array([2, 0])], MAPS[[11, 5], :6, :6])
    np.testing.assert_array_equal(fast.LiveMaps(live)[[1]], MAPS[[3], :6, :6])
