"""Weights that come with the package: kept, read, checked, refused."""

import datetime
import os

import numpy as np
import pytest
from tools import pretrained as training

from xraylib import pretrained

ENTRIES = {
    "what": "a model made up for this test",
    "data": ["none"],
    "licences": "none",
    "command": "pytest",
    "date": "2020-06-01",
    "split": "patient",
    "seed": 1,
    "n": 2,
    "patients": 2,
    "figures": {"accuracy": {"value": 0.5, "low": 0.1, "high": 0.9}},
}
WEIGHT = np.array([[0.1, 2.0]], np.float32)
ARRAYS = {"dense/0": WEIGHT, "dense/1": np.zeros(2), "ids": np.arange(3)}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "FOLDER", tmp_path)
    training.keep("made_up", ARRAYS, ENTRIES, tmp_path)
    return tmp_path


def test_what_is_kept_is_read(folder):
    arrays = pretrained.load("made_up")
    assert {key: array.dtype for key, array in arrays.items()} == {
        "dense/0": np.float32, "dense/1": np.float32, "ids": np.arange(3).dtype,
    }  # fmt: skip
    np.testing.assert_allclose(arrays["dense/0"], ARRAYS["dense/0"], rtol=1e-3)
    assert pretrained.names() == ["made_up"]
    card = pretrained.card("made_up")
    assert card["what"] == ENTRIES["what"]
    assert card["bytes"] == (folder / "made_up.npz").stat().st_size


def test_the_same_arrays_give_the_same_file(folder):
    before = pretrained.card("made_up")["sha256"]
    assert training.keep("made_up", ARRAYS, ENTRIES, folder)["sha256"] == before


def test_a_model_is_filled_by_the_names_of_its_layers(folder):
    import keras

    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2, name="dense")])
    training.keep("dense", {k: v for k, v in ARRAYS.items() if k != "ids"}, ENTRIES, folder)
    pretrained.fill(model, "dense")
    np.testing.assert_allclose(model.get_layer("dense").kernel, ARRAYS["dense/0"], rtol=1e-3)


def test_errors_name_the_reason_and_the_way_out(folder):
    with pytest.raises(ValueError, match="there are made_up"):
        pretrained.load("other")
    path = folder / "made_up.npz"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(pretrained.PretrainedError, match="SHA-256 .* again"):
        pretrained.load("made_up")
    path.unlink()
    with pytest.raises(pretrained.PretrainedError, match=r"made_up\.npz: cannot be read .* again"):
        pretrained.load("made_up")
    with pytest.raises(ValueError, match="no seed"):
        training.keep("other", {}, {k: v for k, v in ENTRIES.items() if k != "seed"}, folder)
    with pytest.raises(ValueError, match="big: .*float16"):
        training.keep("other", {"big": np.array([1e6])}, ENTRIES, folder)
    assert pretrained.names() == ["made_up"]


def test_every_card_of_the_package_is_whole():
    total = 0
    for name in pretrained.names():
        card = pretrained.card(name)
        assert set(training.CARD_ENTRIES) <= set(card), name
        datetime.date.fromisoformat(card["date"])
        for figure in card["figures"].values():
            assert figure["low"] <= figure["value"] <= figure["high"]
        assert all(np.isfinite(array).all() for array in pretrained.load(name).values())
        total += card["bytes"]
    assert total <= 15_000_000


def test_every_file_has_a_card():
    kept = {path.stem for path in pretrained.FOLDER.glob("*.npz")}
    assert kept == set(pretrained.names())


USERS_HOME = os.environ.get("XRAYLIB_HOME")  # as the tests were called


def test_the_head_gives_the_figures_on_its_card():
    """Where the features of its data set are kept: to compute them takes minutes."""
    from xraylib import metrics, network
    from xraylib.config import home, profile
    from xraylib.images import Preprocessing

    config = profile("real")
    if not (USERS_HOME and (home("data") / config.dataset / "metadata.csv").exists()):
        pytest.skip("needs darkcovidnet in XRAYLIB_HOME/data")
    manifest = training.some_of_each(config)
    precision = network.fastest_precision()
    settings = network.FeatureSettings(Preprocessing(), config.scaling, precision=precision)
    kept = home("features") / f"{network.content_key(manifest, settings)}.npy"
    if not kept.exists():
        pytest.skip("needs kept features of darkcovidnet: make pretrained ONLY=head")
    rows = np.flatnonzero(manifest.split != "train")
    head = network.build_head(6, weights="real")
    logits = network.predict_logits(head, np.load(kept, mmap_mode="r")[rows])
    table = metrics.predictions_table(manifest.iloc[rows], logits)
    figures, card = metrics.judge_predictions(table, config.seed), pretrained.card("head")
    for name in training.FIGURES:
        assert figures[name]["value"] == pytest.approx(card["figures"][name]["value"], abs=5e-4)
    assert (len(table), table.patient_id.nunique()) == (card["n"], card["patients"])
