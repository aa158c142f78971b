"""Training a U-Net: what it learns, what it keeps, how it goes on after a kill."""

import json
import os
import signal

import numpy as np
import pandas as pd
import pytest
from conftest import make_manifest, start_child

from xraylib import datasets, masks, phantoms, segmentation
from xraylib.config import RunConfig
from xraylib.unet import UNetConfig

USERS_HOME = os.environ.get("XRAYLIB_HOME")  # before any fixture changes it
TINY = UNetConfig(size=32, filters=4, levels=2, encoder="scratch", epochs=3, steps=2, batch_size=2)


@pytest.fixture(scope="module")
def pairs(module_home):
    return make_manifest(module_home / "pairs", 8, with_masks=True)


@pytest.fixture(scope="module")
def run(pairs):
    return segmentation.train_unet(pairs, TINY)


def test_a_run_folder_is_whole_and_found_again(run, pairs, monkeypatch):
    files = {path.name for path in run.iterdir()}
    expected = {"config.json", "split.csv", "history.csv", "metrics.json", masks.WEIGHTS}
    assert files == expected
    assert len(pd.read_csv(run / "history.csv")) == 3
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["test"]["patients"] == 2
    assert 0 <= metrics["test"]["iou"] <= metrics["test"]["dice"] <= 1
    monkeypatch.setattr(segmentation, "_fit", lambda *_: pytest.fail("trained again"))
    assert segmentation.train_unet(pairs, TINY) == run


def test_other_settings_are_another_run(pairs):
    folders = {
        segmentation.run_folder(pairs, TINY),
        segmentation.run_folder(pairs, TINY.but(steps=3)),
        segmentation.run_folder(pairs.iloc[1:], TINY),
    }
    assert len(folders) == 3


def test_patience_ends_the_training(pairs, tmp_path):
    settings = TINY.but(epochs=5, patience=1, learning_rate=0.0)
    folder = segmentation.train_unet(pairs, settings, tmp_path / "run")
    assert len(pd.read_csv(folder / "history.csv")) == 2  # the first is the best of equals


INTERRUPTED = """
from xraylib import datasets, files, segmentation
from xraylib.unet import UNetConfig
write = files.save_weights
def die_in_the_second_epoch(model, path):
    write(model, path)
    if path.name == "epoch1.weights.h5":
        die()
files.save_weights = die_in_the_second_epoch
manifest, folder, settings = sys.argv[1:]
segmentation.train_unet(datasets.read(manifest), UNetConfig(**eval(settings)), folder)
"""


def test_a_killed_training_ends_like_an_undisturbed_one(run, pairs, tmp_path):
    datasets.write(pairs, tmp_path / "pairs.csv")
    settings = {name: getattr(TINY, name) for name in TINY.__dataclass_fields__}
    child = start_child(INTERRUPTED, tmp_path / "pairs.csv", tmp_path / "killed", settings)
    said, _ = child.communicate()
    assert child.returncode == -signal.SIGKILL, said
    assert not (tmp_path / "killed").exists()
    part = tmp_path / "killed.part"
    assert len(pd.read_csv(part / "history.csv")) == 1
    killed = segmentation.train_unet(pairs, TINY, tmp_path / "killed")
    weights = [masks.load_unet(folder).get_weights() for folder in (killed, run)]
    for ours, theirs in zip(*weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    assert not part.exists()


def test_the_interval_draws_patients_again():
    judged = pd.DataFrame({"patient_id": list("aaabbc"), "dice": [1, 1, 1, 0, 0, 1.0]})
    judged["iou"] = judged.dice
    summary = segmentation.summarise(judged)
    assert (summary["n"], summary["patients"]) == (6, 3)
    assert summary["dice"] == pytest.approx(4 / 6)
    # three patients: the worst draws take b alone, the best never take it
    assert (summary["dice_low"], summary["dice_high"]) == (0, 1)


def test_a_small_network_learns_phantoms_and_the_three_ways_are_compared(module_home, tmp_path):
    folders = [tmp_path / name for name in ("real", "drawn")]
    for seed, folder in enumerate(folders):
        phantoms.write_phantoms(folder, (10, 6, 4), seed, 0.0, size=64)
    real, drawn = map(datasets.from_metadata, folders)
    settings = TINY.but(filters=8, epochs=2, steps=30, batch_size=4, learning_rate=0.01)
    table = segmentation.compare_training(real, drawn, settings)
    assert table.trained_on.tolist() == ["phantoms", "real", "phantoms, then real"]
    assert (table.n == table.n[0]).all()
    assert (table.dice_low <= table.dice).all()
    assert (table.dice <= table.dice_high).all()
    assert table.dice.max() > 0.6  # everything called lung scores below 0.5


def test_unseen_patients_of_the_real_pairs(monkeypatch):
    if not USERS_HOME:
        pytest.skip("needs XRAYLIB_HOME with the real pairs and the trained U-Net")
    monkeypatch.setenv("XRAYLIB_HOME", USERS_HOME)
    try:
        manifest = datasets.load(RunConfig())
    except FileNotFoundError as error:
        pytest.skip(f"needs the real pairs: {error}")
    real = segmentation.UNET_PROFILES["real"]
    metrics = segmentation.run_folder(manifest, real) / "metrics.json"
    if not metrics.is_file():
        pytest.skip("needs the trained U-Net: run the book with the profile real first")
    test = json.loads(metrics.read_text())["test"]
    assert test["dice"] >= 0.92
    assert test["iou"] >= 0.86
