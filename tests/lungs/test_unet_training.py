"""Training a U-Net: what it learns, what it keeps, how it goes on after a kill."""

import json
import os
import signal

import numpy as np
import pandas as pd
import pytest
from conftest import make_manifest, start_child
from tools import unets

from xraylib import data, files, lungs, phantoms, sources
from xraylib.config import RunConfig
from xraylib.lungs import UNetConfig, masks, training

USERS_HOME = os.environ.get("XRAYLIB_HOME")  # before any fixture changes it
TINY = UNetConfig(size=32, filters=4, levels=2, encoder="scratch", epochs=3, steps=2, batch_size=2)


@pytest.fixture(scope="module")
def pairs(module_home):
    return make_manifest(module_home / "pairs", 8, with_masks=True)


@pytest.fixture(scope="module")
def run(pairs):
    return training.train_unet(pairs, TINY)


def test_a_run_folder_is_whole_and_found_again(run, pairs, monkeypatch):
    names = {path.name for path in run.iterdir()}
    assert names == {"config.json", "split.csv", "history.csv", "metrics.json", masks.UNET_WEIGHTS}
    assert len(pd.read_csv(run / "history.csv")) == 3
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["test"]["patients"] == 2
    assert 0 <= metrics["test"]["iou"] <= metrics["test"]["dice"] <= 1
    monkeypatch.setattr(training, "_fit_unet", lambda *_: pytest.fail("trained again"))
    assert training.train_unet(pairs, TINY) == run


def test_other_settings_are_another_run(pairs):
    folders = {
        training.run_folder(pairs, TINY),
        training.run_folder(pairs, TINY.but(steps=3)),
        training.run_folder(pairs.iloc[1:], TINY),
    }
    assert len(folders) == 3


@pytest.mark.slow
def test_patience_ends_the_training(pairs, tmp_path):
    settings = TINY.but(epochs=5, patience=1, learning_rate=0.0)
    folder = training.train_unet(pairs, settings, tmp_path / "run")
    assert len(pd.read_csv(folder / "history.csv")) == 2  # the first is the best of equals


def assert_goes_on(folder, run, pairs) -> None:
    """Train on after one epoch, and hold the end against an undisturbed training."""
    assert not folder.exists()
    part = folder.with_name(f"{folder.name}.part")
    assert len(pd.read_csv(part / "history.csv")) == 1
    resumed = training.train_unet(pairs, TINY, folder)
    weights = [lungs.load_unet(folder).get_weights() for folder in (resumed, run)]
    for ours, theirs in zip(*weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    assert not part.exists()


@pytest.mark.slow
def test_an_interrupted_training_ends_like_an_undisturbed_one(run, pairs, tmp_path, monkeypatch):
    write = files.save_weights

    def interrupted(model, path):
        write(model, path)
        if path.name == "epoch1.weights.h5":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(files, "save_weights", interrupted)
        training.train_unet(pairs, TINY, tmp_path / "interrupted")
    assert_goes_on(tmp_path / "interrupted", run, pairs)


KILLED_IN_THE_SECOND_EPOCH = """
from xraylib import files, lungs
write = files.save_weights
def killing(model, path):
    write(model, path)
    if path.name == "epoch1.weights.h5":
        die()
files.save_weights = killing
manifest, folder, settings = sys.argv[1:]
lungs.train_unet(manifest_at(manifest), lungs.UNetConfig(**eval(settings)), folder)
"""


@pytest.mark.slow
def test_a_killed_training_ends_like_an_undisturbed_one(run, pairs, tmp_path):
    pairs.to_csv(tmp_path / "pairs.csv", index=False)
    settings = {name: getattr(TINY, name) for name in TINY.__dataclass_fields__}
    folder = tmp_path / "killed"
    child = start_child(KILLED_IN_THE_SECOND_EPOCH, tmp_path / "pairs.csv", folder, settings)
    said, _ = child.communicate()
    assert child.returncode == -signal.SIGKILL, said
    assert_goes_on(folder, run, pairs)


def test_the_interval_draws_patients_again():
    judged = pd.DataFrame({"patient_id": list("aaabbc"), "dice": [1, 1, 1, 0, 0, 1.0]})
    judged["iou"] = judged.dice
    summary = training.summarise_overlap(judged)
    assert (summary["n"], summary["patients"]) == (6, 3)
    assert summary["dice"] == pytest.approx(4 / 6)
    # three patients: the worst draws take b alone, the best never take it
    assert (summary["dice_low"], summary["dice_high"]) == (0, 1)


@pytest.mark.slow
def test_a_small_network_learns_phantoms_and_the_three_ways_are_compared(module_home, tmp_path):
    folders = [tmp_path / name for name in ("real", "drawn")]
    for seed, folder in enumerate(folders):
        phantoms.write_phantoms(folder, (6, 4, 4), seed, 0.0, size=64)
    real, drawn = map(data.from_metadata, folders)
    settings = TINY.but(filters=8, epochs=1, steps=50, batch_size=4, learning_rate=0.01)
    table = unets.compare_training(real, drawn, settings)
    assert table.trained_on.tolist() == ["phantoms", "real", "phantoms, then real"]
    assert (table.n == table.n[0]).all()
    assert (table.dice_low <= table.dice).all()
    assert (table.dice <= table.dice_high).all()
    assert table.dice.max() > 0.6  # everything called lung scores below 0.5


@pytest.fixture
def profiles(home, monkeypatch):
    """Profiles whose data sets are not there."""
    profiles = {name: TINY.but(dataset=f"data of {name}") for name in ("quick", "real")}
    monkeypatch.setattr(training, "UNET_PROFILES", profiles)
    return profiles


def test_a_profiles_unet_is_trained_on_its_pairs(profiles, monkeypatch):
    monkeypatch.setattr(sources, "provide", lambda config: f"pairs of {config.dataset}")
    monkeypatch.setattr(training, "train_unet", lambda *asked: asked)
    assert lungs.train_profile_unet("real") == ("pairs of data of real", profiles["real"])


def test_where_the_pairs_are_missing_a_kept_unet_of_the_same_data_will_do(profiles, home):
    for name in ("older", "newer"):
        kept = home / "runs" / f"unet-{name}"
        kept.mkdir(parents=True)
        (kept / masks.UNET_WEIGHTS).touch()
        (kept / "config.json").write_text('{"dataset": "data of real"}')
    os.utime(home / "runs" / "unet-older" / masks.UNET_WEIGHTS, (0, 0))
    assert lungs.train_profile_unet("real") == home / "runs" / "unet-newer"
    with pytest.raises(FileNotFoundError, match="nothing to train one on: no data set at"):
        lungs.train_profile_unet("quick")


def test_unseen_patients_of_the_real_pairs(monkeypatch):
    if not USERS_HOME:
        pytest.skip("needs XRAYLIB_HOME with the real pairs and the trained U-Net")
    monkeypatch.setenv("XRAYLIB_HOME", USERS_HOME)
    try:
        manifest = sources.provide(RunConfig())
    except FileNotFoundError as error:
        pytest.skip(f"needs the real pairs: {error}")
    real = training.UNET_PROFILES["real"]
    metrics = training.run_folder(manifest, real) / "metrics.json"
    if not metrics.is_file():
        pytest.skip("needs the trained U-Net: run the book with the profile real first")
    test = json.loads(metrics.read_text())["test"]
    assert test["dice"] >= 0.92
    assert test["iou"] >= 0.86
