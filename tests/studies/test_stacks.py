"""Recipes on frozen features: what they learn, how they are judged, what is kept."""

import cv2
import numpy as np
import pandas as pd
import pytest
from sklearn.svm import SVC

from xraylib import data, experiments, metrics, network, plots, studies
from xraylib.config import CLASS_NAMES, RunConfig
from xraylib.studies import stacks
from xraylib.studies.stacks import HEAD, LINEAR, LOGISTIC, SVM, Recipe, recipe_features

CONFIG = RunConfig(folds=3, seed=5)
FEW = SVM.but(blocks=(4, 5))  # two of the blocks, so that fits are quick
labels = np.arange(60) % 3


def draw_pooled(n: int = 60, shift: float = 1.0, seed: int = 0) -> np.ndarray:
    """Pooled features in which the classes lie apart by a shift in a few of them."""
    pooled = np.random.default_rng(seed).random((n, 12), dtype=np.float32)
    for label in range(3):
        pooled[np.arange(n) % 3 == label, label::4] += shift
    return pooled


def draw_manifest(folder, n: int = 36) -> pd.DataFrame:
    """Write n images, two of each patient: even grey, stripes, and a chequered pattern in noise."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, rows = np.random.default_rng(0), []
    stripes = np.where(np.arange(64) % 8 < 4, 60, 0)
    for number in range(n):
        label = number // 2 % 3
        pattern = [np.zeros((64, 64)), np.tile(stripes, (64, 1)), stripes ^ stripes[:, None]][label]
        path = folder / f"{number}.png"
        grey = 90 + pattern + rng.normal(0, 25, (64, 64))
        cv2.imwrite(str(path), grey.clip(0, 255).astype(np.uint8))
        rows.append((str(path), CLASS_NAMES[label], f"patient {number // 2}"))
    table = pd.DataFrame(rows, columns=["path", "label", "patient_id"])
    return table.assign(source="", view="", mask_path="", split="")


@pytest.fixture(scope="module")
def manifest(module_home):
    return draw_manifest(module_home / "patterns")


@pytest.mark.parametrize("recipe", [LOGISTIC, SVM, LINEAR], ids=lambda recipe: recipe.name)
def test_every_kind_learns_what_sets_classes_apart(recipe):
    model = stacks.fit_recipe(draw_pooled(seed=0), labels, recipe)
    probs = model.predict_proba(draw_pooled(seed=1))
    assert probs.shape == (60, 3)
    assert np.allclose(probs.sum(axis=1), 1)
    assert (probs.argmax(axis=1) == labels).mean() > 0.9


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="no kind 'forest': choose svm or logistic"):
        stacks.fit_recipe(draw_pooled(), labels, SVM.but(kind="forest"))


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_probabilities_of_an_svm_keep_the_classes_of_its_margins(kernel):
    train, test = draw_pooled(shift=0.3), draw_pooled(shift=0.3, seed=1)
    recipe = SVM.but(kernel=kernel, gamma=0.5)
    found = stacks.fit_recipe(train, labels, recipe).predict_proba(test)
    centre, spread = train.mean(axis=0), train.std(axis=0)
    plain = SVC(C=recipe.strength, kernel=kernel, gamma=0.5 / 12)
    plain.fit((train - centre) / spread, labels)
    expected = plain.decision_function((test - centre) / spread).argmax(axis=1)
    np.testing.assert_array_equal(found.argmax(axis=1), expected)


def test_a_recipe_of_length_one_does_not_see_how_bright_an_image_is():
    model = stacks.fit_recipe(draw_pooled(), labels, SVM.but(standardise=False))
    test = draw_pooled(seed=1)
    np.testing.assert_allclose(
        model.predict_proba(test), model.predict_proba(3 * test), rtol=1e-4, atol=1e-6
    )


def test_a_recipe_has_ten_settings_and_another_one_is_a_copy():
    other = SVM.but(strength=1.0)
    assert (SVM.strength, other.strength, other.name) == (3.0, 1.0, SVM.name)
    assert len(Recipe.__dataclass_fields__) == 10


def test_each_step_of_the_ablation_adds_one_thing():
    last = studies.ABLATION[-1]
    assert last.but(name="") == studies.SVM_VIEWS.but(name="")
    assert len({recipe.name for recipe in (*studies.RECIPES, *studies.ABLATION)}) == 11


def test_pooled_features_are_the_statistics_of_the_blocks_asked_for():
    maps = np.random.default_rng(0).random((2, 7, 7, sum(stacks.CHANNELS)), dtype=np.float32)
    recipe = SVM.but(blocks=(2, 5), pooling=("mean", "max"))
    block2, block5 = np.sqrt(maps[..., 64:192]), np.sqrt(maps[..., 960:])
    expected = [pool((1, 2)) for block in (block2, block5) for pool in (block.mean, block.max)]
    assert np.allclose(
        stacks.pool_blocks(maps, recipe), np.concatenate(expected, axis=1), atol=1e-6
    )
    whole = stacks.pool_blocks(maps, LINEAR)
    assert whole.shape == (2, 49 * 1024)
    assert np.isclose(np.square(whole).sum(), maps[..., 448:].sum(), rtol=1e-5)


def test_features_are_the_views_side_by_side(manifest):
    recipe = SVM.but(views=stacks.ALL_VIEWS[:2])
    features = recipe_features(manifest[:4], recipe)
    alone = [
        stacks.pool_blocks(
            network.extract_features(manifest[:4], view, "vgg16", taps=stacks.TAPS), recipe
        )
        for view in recipe.views
    ]
    np.testing.assert_array_equal(features, np.concatenate(alone, axis=1))
    assert features.shape == (4, 2 * 3 * (128 + 256 + 512 + 512))


def test_folds_judge_every_image_once_without_its_patient_and_are_kept(manifest, monkeypatch):
    seen, plain = [], stacks.fit_recipe

    def noted(pooled, *rest):
        seen.append(len(pooled))
        return plain(pooled, *rest)

    monkeypatch.setattr(stacks, "fit_recipe", noted)
    table = studies.cross_validate_recipe(FEW, manifest, CONFIG)
    assert sorted(table.path) == sorted(manifest.path)
    assert len(table[["patient_id", "fold"]].drop_duplicates()) == 18
    assert np.allclose(table[list(CLASS_NAMES)].sum(axis=1), 1, atol=1e-5)
    assert (table.label == table.prediction).mean() > 0.8  # the patterns are not alike
    assert seen == [36 - n for n in table.groupby("fold").size()]
    again = studies.cross_validate_recipe(FEW.but(name="other"), manifest, CONFIG)
    assert len(seen) == 3 and again.equals(table)  # loaded: a name changes nothing
    studies.cross_validate_recipe(FEW.but(strength=1.0), manifest, CONFIG)
    assert len(seen) == 6


def test_kept_folds_ask_for_no_features(manifest, monkeypatch):
    table = studies.cross_validate_recipe(FEW, manifest, CONFIG)
    monkeypatch.setattr(network, "extract_features", lambda *_, **__: pytest.fail("computed again"))
    assert studies.cross_validate_recipe(FEW, manifest, CONFIG).equals(table)


def test_a_fold_is_fitted_on_train_and_judged_on_test(manifest):
    pooled = recipe_features(manifest, FEW)
    part = data.split_folds(manifest, CONFIG)[0]
    train, test = (np.flatnonzero(part.split == side) for side in ("train", "test"))
    table = stacks.judge_fold(FEW, part, pooled)
    model = stacks.fit_recipe(pooled[train], data.label_ids(part)[train], FEW)
    assert table.path.tolist() == part.path.iloc[test].tolist()
    found, _ = stacks.probabilities(table)
    np.testing.assert_allclose(found, model.predict_proba(pooled[test]), atol=1e-5)


def test_the_reports_head_is_the_reports_experiment(manifest, monkeypatch):
    asked = []
    monkeypatch.setattr(experiments, "cross_validate", lambda *settings: asked.append(settings))
    studies.cross_validate_recipe(HEAD, manifest, CONFIG)
    assert asked == [(experiments.EXPERIMENTS[1], manifest, CONFIG.for_folds())]


def test_the_folds_table_has_the_columns_and_counts_right_answers(manifest):
    recipes = [LOGISTIC.but(blocks=(5,), pooling=("mean",)), FEW]
    table = studies.folds_table(recipes, manifest, CONFIG, n_seeds=2)
    assert list(table) == ["recipe", "folds", "accuracy", "low", "high", "n", "seed"]
    assert len(table) == 8 and (table.n == 36).all()
    assert set(table.folds) == {"image", "patient"} and set(table.seed) == {5, 6}
    one = studies.cross_validate_recipe(FEW, manifest, CONFIG.but(split_by="image"))
    row = table[(table.recipe == FEW.name) & (table.folds == "image") & (table.seed == 5)]
    assert row.accuracy.item() == (one.label == one.prediction).mean()
    assert ((table.low <= table.accuracy) & (table.accuracy <= table.high)).all()
    figure = plots.plot_stacks(table, {"image": 0.87})
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == [
        LOGISTIC.name,
        SVM.name,
    ]


def test_the_accuracy_comes_with_its_interval():
    predictions = pd.DataFrame({"label": list("aabb"), "prediction": list("aaba")})
    assert stacks.accuracy_row(predictions) == (0.75, *metrics.wilson_interval(3, 4), 4)
