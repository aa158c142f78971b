"""The baseline in which the end of VGG16 learns too."""

import keras
import numpy as np
import pytest
from conftest import make_manifest

from xraylib import block6, classifier, fine_tuning, recipes, splitting, stacks
from xraylib.config import RunConfig
from xraylib.recipes import FINE, SLICE, SVM, WHOLE

BOTH = pytest.mark.parametrize("recipe", [SLICE, WHOLE], ids=lambda recipe: recipe.name)


@BOTH
def test_before_training_it_computes_what_vgg16_computes(stand_in_vgg16, recipe):
    base = classifier.build_base("vgg16")
    ends = [base.get_layer(name).output for name in (recipe.frozen_end, "block5_pool")]
    grey = np.random.default_rng(0).uniform(0, 255, (2, 224, 224, 1)).astype(np.float32)
    maps, expected = keras.Model(base.input, ends)(grey)
    model = fine_tuning.build(recipe, FINE, 0)
    found = keras.Model(model.inputs[0], model.get_layer("block5_pool").output)(maps)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * np.max(expected))


@BOTH
def test_only_the_end_of_block_5_and_the_linear_layer_learn(stand_in_vgg16, recipe):
    model = fine_tuning.build(recipe, FINE, 0)
    learning = {variable.path.split("/")[-2] for variable in model.trainable_variables}
    assert learning == {
        *("block5_conv1", "block5_conv2", "block5_conv3")[-recipe.unfrozen :],
        "logits",
    }


def test_it_learns_what_sets_classes_apart_and_changes_its_convolution(stand_in_vgg16):
    rng, labels = np.random.default_rng(1), np.arange(24) % 3
    maps = rng.random((24, 1, FINE, FINE, 512), np.float32)
    for label in range(3):
        maps[labels == label, ..., label::8] += 2
    found = {"maps": maps.astype(np.float16), "pooled": np.zeros((24, 0), np.float32)}
    model = stacks.fit(found, labels, SLICE.but(epochs=12, mixup=0.0, dropout=0.0), seed=2)
    assert isinstance(model, block6.Members)
    assert (stacks.predict_probs(model, found).argmax(axis=1) == labels).mean() > 0.9
    (network,) = model.networks
    before = classifier.build_base("vgg16").get_layer("block5_conv3").get_weights()[0]
    after = network.get_layer("block5_conv3").get_weights()[0]
    assert np.abs(after - before).max() > 1e-4


@BOTH
def test_its_inputs_are_the_maps_where_learning_begins(stand_in_vgg16, tmp_path, recipe):
    images = make_manifest(tmp_path / "images", 2)
    found = recipes.inputs(images, recipe)
    assert found["maps"].shape == (2, 1, FINE, FINE, 512) and found["pooled"].shape == (2, 0)
    averaged = recipes.inputs(images, recipes.BLOCK6)["maps"]
    assert averaged.shape[2] < FINE  # kept apart


def test_how_much_is_unfrozen_decides_its_predictions_and_no_one_elses(home, tmp_path):
    images = make_manifest(tmp_path / "images", 12)
    parts = splitting.folds(images, RunConfig(folds=2, seed=1))

    def key(recipe):
        return stacks._key(recipe, images, parts, 1)

    assert key(SLICE) != key(SLICE.but(unfrozen=2))
    assert key(SVM) == key(SVM.but(unfrozen=2))
