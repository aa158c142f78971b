import gc
import weakref

import numpy as np
import pandas as pd
import pytest

from xraylib import block6, cuts, future_plots, recipes, splitting, stacks
from xraylib.config import CLASS_NAMES, COVID, RunConfig
from xraylib.recipes import BLEND, BLOCK6, LINEAR, LOGISTIC, ORIGINAL, SVM

CONFIG = RunConfig(folds=3, seed=5)
SMALL = {"epochs": 40, "width": 64, "dropout": 0.0, "views": (ORIGINAL,), "learning_rate": 0.002}
KINDS = [LOGISTIC, SVM, BLOCK6.but(**SMALL), BLEND.but(**SMALL)]
labels = np.arange(60) % 3


def draw_inputs(n: int = 60, shift: float = 1.0, seed: int = 0) -> dict:
    """Inputs in which the classes lie apart by a shift in a few of the features."""
    rng = np.random.default_rng(seed)
    ids = np.arange(n) % 3
    maps = 0.2 * rng.random((n, 1, 6, 6, 512), dtype=np.float32)
    pooled = rng.random((n, 12), dtype=np.float32)
    for label in range(3):
        maps[ids == label, ..., label::32] += shift
        pooled[ids == label, label::4] += shift
    return {"maps": maps.astype(np.float16), "pooled": pooled}


@pytest.fixture
def manifest(tmp_path):
    rows = []
    for number in range(60):
        path = tmp_path / f"{number}.png"
        path.write_bytes(bytes([number]))
        rows.append((str(path), CLASS_NAMES[number % 3], f"patient {number // 2}", "", ""))
    return pd.DataFrame(rows, columns=["path", "label", "patient_id", "source", "mask_path"])


@pytest.mark.parametrize("recipe", KINDS, ids=lambda recipe: recipe.kind)
def test_every_kind_learns_what_sets_classes_apart(home, recipe):
    train, test = draw_inputs(seed=0), draw_inputs(seed=1)
    probs = stacks.predict_probs(stacks.fit(train, labels, recipe, seed=3), test)
    assert probs.shape == (60, 3)
    assert np.allclose(probs.sum(axis=1), 1)
    assert (probs.argmax(axis=1) == labels).mean() > 0.9


def test_a_blend_is_the_mean_of_its_parts(home):
    found = draw_inputs()
    recipe = BLEND.but(**SMALL)
    svm, network = (
        stacks.predict_probs(stacks.fit(found, labels, recipe.but(kind=kind), 3), found)
        for kind in ("svm", "block6")
    )
    blend = stacks.predict_probs(stacks.fit(found, labels, recipe, 3), found)
    assert np.allclose(blend, (svm + network) / 2, atol=1e-3)


def test_a_fit_lets_go_of_its_training_images(home):
    found = draw_inputs()
    maps = weakref.ref(found["maps"])
    stacks.fit(found, labels, BLOCK6.but(**SMALL | {"epochs": 1}), seed=1)
    del found
    gc.collect()
    assert maps() is None


def test_block6_ends_alike_for_a_seed_and_averages_its_members(home):
    found = draw_inputs(shift=0.2)
    recipe = BLOCK6.but(**SMALL, members=2)
    first = stacks.fit(found, labels, recipe, seed=1)
    again = stacks.fit(found, labels, recipe, seed=1)
    assert len(first.networks) == 2
    assert np.allclose(stacks.predict_probs(first, found), stacks.predict_probs(again, found))
    alone = [
        block6.predict_probs(block6.Members(first.scale, [network], 1), found)
        for network in first.networks
    ]
    assert not np.allclose(*alone)
    assert np.allclose(stacks.predict_probs(first, found), np.mean(alone, axis=0))


def test_mixup_keeps_targets_shares_and_inputs_between_two_images():
    found = draw_inputs()
    recipe = BLOCK6.but(**SMALL, mixup=1.0)
    batches = block6.MixedBatches(found["maps"], found["pooled"], labels, recipe, seed=0)
    batch, targets = batches[0]
    assert np.allclose(targets.sum(axis=1), 1)
    assert ((targets > 0).sum(axis=1) <= 2).all() and ((targets > 0.01) & (targets < 0.99)).any()
    low, high = found["pooled"].min(axis=0), found["pooled"].max(axis=0)
    assert (batch["pooled"] >= low - 1e-5).all() and (batch["pooled"] <= high + 1e-5).all()


def test_without_mixup_a_batch_holds_an_images_own_maps_in_one_of_its_views():
    rng = np.random.default_rng(0)
    maps = rng.random((60, 3, 1, 1, 1)).astype(np.float16)
    recipe = BLOCK6.but(mixup=0.0)
    pooled = np.arange(60, dtype=np.float32)[:, None]
    batches = block6.MixedBatches(maps, pooled, labels, recipe, seed=0)
    batch, targets = batches[0]
    rows = batch["pooled"][:, 0].astype(int)
    assert sorted(rows) == list(range(60))
    assert (targets.argmax(axis=1) == labels[rows]).all()
    assert (maps[rows].reshape(60, 3) == batch["maps"].reshape(60, 1)).any(axis=1).all()


def test_pooled_features_are_the_statistics_of_the_blocks_asked_for():
    maps = np.random.default_rng(0).random((2, 7, 7, sum(recipes.CHANNELS)), dtype=np.float32)
    recipe = SVM.but(blocks=(2, 5), pooling=("mean", "max"))
    block2, block5 = np.sqrt(maps[..., 64:192]), np.sqrt(maps[..., 960:])
    expected = [pool((1, 2)) for block in (block2, block5) for pool in (block.mean, block.max)]
    assert np.allclose(recipes.pooled(maps, recipe), np.concatenate(expected, axis=1), atol=1e-6)
    whole = recipes.pooled(maps, LINEAR)
    assert whole.shape == (2, 49 * 1024)
    assert np.isclose(np.square(whole).sum(), maps[..., 448:].sum(), rtol=1e-5)


def test_inputs_hold_the_views_and_then_the_random_ones(stand_in_vgg16, tmp_path):
    from conftest import make_manifest

    images = make_manifest(tmp_path / "images", 3)
    recipe = BLOCK6.but(views=(ORIGINAL, recipes.CLAHE), transforms=1)
    found = recipes.inputs(images, recipe)
    assert found["maps"].shape == (3, 3, 6, 6, 512)
    assert found["pooled"].shape == (3, 2 * 3 * (128 + 256 + 512 + 512))
    alone = recipes.inputs(images, BLOCK6.but(views=(ORIGINAL,)))
    assert np.array_equal(found["maps"][:, :1], alone["maps"])
    assert not np.array_equal(found["maps"][:, 0], found["maps"][:, 2])


def test_folds_judge_every_image_once_without_its_patient_and_are_kept(home, manifest, monkeypatch):
    found = draw_inputs()
    monkeypatch.setattr(stacks, "inputs", lambda *_: found)
    seen = []
    plain = stacks.fit

    def noted(part, *rest):
        seen.append(len(part["pooled"]))
        return plain(part, *rest)

    monkeypatch.setattr(stacks, "fit", noted)
    table = stacks.cross_validate_recipe(SVM, manifest, CONFIG)
    assert sorted(table.path) == sorted(manifest.path)
    assert len(table[["patient_id", "fold"]].drop_duplicates()) == 30
    assert np.allclose(table[list(CLASS_NAMES)].sum(axis=1), 1)
    assert seen == [60 - n for n in table.groupby("fold").size()]
    again = stacks.cross_validate_recipe(SVM.but(name="other"), manifest, CONFIG)
    assert len(seen) == 3 and again.equals(table)  # loaded: a name changes nothing
    stacks.cross_validate_recipe(SVM.but(strength=1.0), manifest, CONFIG)
    assert len(seen) == 6


def test_the_folds_table_has_the_columns_and_counts_right_answers(home, manifest, monkeypatch):
    monkeypatch.setattr(stacks, "inputs", lambda *_: draw_inputs())
    table = stacks.folds_table([LOGISTIC, SVM], manifest, CONFIG, n_seeds=2)
    assert list(table) == ["recipe", "folds", "accuracy", "low", "high", "n", "seed"]
    assert len(table) == 8 and (table.n == 60).all()
    assert set(table.folds) == {"image", "patient"} and set(table.seed) == {5, 6}
    one = stacks.cross_validate_recipe(SVM, manifest, CONFIG.but(split_by="image"))
    row = table[(table.recipe == SVM.name) & (table.folds == "image") & (table.seed == 5)]
    assert row.accuracy.item() == (one.label == one.prediction).mean()
    assert ((table.low <= table.accuracy) & (table.accuracy <= table.high)).all()
    figure = future_plots.plot_stacks(table, {"image": 0.87})
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == [
        LOGISTIC.name,
        SVM.name,
    ]


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="no kind 'forest'"):
        stacks.fit(draw_inputs(), labels, SVM.but(kind="forest"))


def test_the_cut_is_the_highest_that_reaches_the_wanted_recall():
    scores = np.array([0.9, 0.8, 0.3, 0.95, 0.1])
    is_covid = np.array([True, True, True, False, True])
    assert cuts.cut_for_recall(scores, is_covid, 0.75) == 0.3
    assert cuts.cut_for_recall(scores, is_covid, 0.76) == 0.1
    assert cuts.cut_for_recall(scores, is_covid, 0.5) == 0.8
    with pytest.raises(ValueError, match="no COVID-19 image"):
        cuts.cut_for_recall(scores, np.zeros(5, bool))


def test_a_cut_comes_from_training_images_alone(home, manifest, monkeypatch):
    found = draw_inputs(shift=0.3)
    monkeypatch.setattr(cuts, "inputs", lambda *_: found)
    judged = cuts.judged_cuts(LOGISTIC.but(strength=1.0), manifest, CONFIG)
    assert len(judged[["fold", "cut", "temperature"]].drop_duplicates()) == 3
    number = 1
    rows = np.flatnonzero(splitting.folds(manifest, CONFIG)[number].split == "test")
    spoilt = {"pooled": found["pooled"].copy()}
    spoilt["pooled"][rows] = 0.0
    part = judged[judged.fold == number]
    monkeypatch.setattr(cuts, "inputs", lambda *_: spoilt)
    monkeypatch.setenv("XRAYLIB_HOME", str(home / "other"))
    again = cuts.judged_cuts(LOGISTIC.but(strength=1.0), manifest, CONFIG)
    assert np.allclose(again[again.fold == number].cut, part.cut)
    assert np.allclose(again[again.fold == number].temperature, part.temperature)


def test_the_cuts_table_counts_by_hand(home):
    probs = np.array([[0.1, 0.1, 0.8], [0.3, 0.3, 0.4], [0.2, 0.2, 0.6], [0.8, 0.1, 0.1]])
    judged = pd.DataFrame(probs, columns=list(CLASS_NAMES))
    judged["label"] = [CLASS_NAMES[i] for i in (COVID, COVID, 0, 0)]
    judged[["scaled 0", "scaled 1", "scaled 2"]] = probs
    table = cuts.cuts_table(judged.assign(cut=0.35))
    assert table.recall.tolist() == [0.5, 1.0]
    assert np.allclose(table.precision, [0.5, 2 / 3])
    assert (table.n == 4).all() and (table.ece_before == table.ece_after).all()
