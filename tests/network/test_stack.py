import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import random_vgg16_tensors
from tools.pretrained import CARD_ENTRIES, keep

from xraylib import metrics, network, pretrained
from xraylib.network import build_base, build_classifier, build_head
from xraylib.network.machinery.fast import PatchConv2D, dtype_policy

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (2, 224, 224, 1)).astype(np.float32)
MAPS = RNG.gamma(0.4, 1.0, (3, 7, 7, 512)).astype(np.float32)
VGG16_CONVOLUTIONS = [
    f"block{block}_conv{i}"
    for block, n in enumerate((2, 2, 3, 3, 3), start=1)
    for i in range(1, n + 1)
]
FIGURE_2 = {
    "block5_pool": (7, 7, 512),
    "block6_conv1": (5, 5, 512),
    "block6_conv2": (3, 3, 512),
    "block6_pool": (1, 1, 512),
    "flatten": (512,),
    "dense": (64,),
    "dropout": (64,),
    "logits": (3,),
}


@pytest.fixture(scope="module")
def head():
    keras.utils.set_random_seed(0)
    return build_head()


@pytest.fixture(scope="module")
def model(whole_home, head):
    return build_classifier("report", head)


@pytest.fixture(scope="module")
def base(whole_home):
    return build_base("report")


def test_the_stack_is_that_of_figure_2(model):
    shapes = {layer.name: tuple(layer.output.shape[1:]) for layer in model.layers}
    assert {name: shapes[name] for name in FIGURE_2} == FIGURE_2
    assert list(shapes)[-len(FIGURE_2) :] == list(FIGURE_2)  # and in this order
    assert model.input_shape == (None, 224, 224, 1) and model.output_shape == (None, 3)


def test_the_model_is_flat(model):
    assert not any(isinstance(layer, keras.Model) for layer in model.layers)
    names = [layer.name for layer in model.layers]
    assert [name for name in names if name in VGG16_CONVOLUTIONS] == VGG16_CONVOLUTIONS


def test_vgg16_is_frozen_with_its_weights_and_the_head_learns(model):
    learning = {variable.path.split("/")[0] for variable in model.trainable_variables}
    assert learning == {"block6_conv1", "block6_conv2", "dense", "logits"}
    frozen = [array for name in VGG16_CONVOLUTIONS for array in model.get_layer(name).get_weights()]
    for found, meant in zip(frozen, random_vgg16_tensors(), strict=True):
        np.testing.assert_array_equal(found, meant)


def test_a_training_step_moves_the_head_alone(stand_in_vgg16):
    taught = build_classifier("report")
    taught.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
    before = [variable.numpy() for variable in taught.non_trainable_variables[:26]]
    head_before = taught.get_layer("logits").get_weights()[0]
    taught.train_on_batch(GREY[:1], np.eye(3, dtype=np.float32)[:1])
    for one, other in zip(before, taught.non_trainable_variables[:26], strict=True):
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(head_before, taught.get_layer("logits").get_weights()[0])


def test_activations_and_dropout_are_the_reports(head):
    names = ("block6_conv1", "block6_conv2", "dense", "logits")
    activations = [head.get_layer(name).activation.__name__ for name in names]
    assert activations == ["relu", "relu", "relu", "linear"]
    assert head.get_layer("dropout").rate == 0.5
    assert head.get_layer("block6_conv1").padding == "valid"


def test_the_whole_model_is_the_head_on_the_base(model, base, head):
    whole = model(GREY, training=False).numpy()
    assert np.ptp(whole, axis=0).max() > 1e-4  # the two images differ
    np.testing.assert_allclose(whole, head(base(GREY), training=False), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("conv", [keras.layers.Conv2D, PatchConv2D])
@pytest.mark.parametrize("side", [6, 7])
def test_a_head_of_any_kind_goes_into_the_whole_model(stand_in_vgg16, side, conv):
    trained = build_head(side, conv)
    maps = build_base("report")(GREY)
    np.testing.assert_allclose(
        build_classifier("report", trained)(GREY, training=False),
        trained(maps[:, :side, :side], training=False),
        rtol=1e-4,
        atol=1e-5,
    )


def copy_of(head, **kind) -> keras.Model:
    other = build_head(**kind)
    other.set_weights(head.get_weights())
    return other


def gradients(head, maps):
    maps = tf.convert_to_tensor(maps)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(maps)
        score = tf.reduce_sum(head(maps, training=False)[:, 2])
    return tape.gradient(score, maps).numpy(), tape.gradient(score, head.trainable_variables)


def test_patches_compute_the_convolution():
    ours, keras_own = (kind(8, 3, activation="relu") for kind in (PatchConv2D, keras.layers.Conv2D))
    maps = MAPS[..., :16]
    ours.build(maps.shape), keras_own.build(maps.shape)
    ours.set_weights([*keras_own.get_weights()[:1], RNG.normal(size=8)])
    keras_own.set_weights(ours.get_weights())
    assert (keras_own(maps).numpy() > 0).mean() > 0.1
    np.testing.assert_allclose(ours(maps), keras_own(maps), rtol=1e-4, atol=1e-5)


def test_the_fast_head_has_the_logits_and_gradients_of_the_plain_one(head):
    fast = copy_of(head, conv=PatchConv2D)
    np.testing.assert_allclose(fast(MAPS), head(MAPS), rtol=1e-4, atol=1e-5)
    to_maps, to_weights = gradients(head, MAPS)
    to_maps_fast, to_weights_fast = gradients(fast, MAPS)
    np.testing.assert_allclose(to_maps_fast, to_maps, rtol=1e-3, atol=1e-6)
    for one, other in zip(to_weights, to_weights_fast, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-3, atol=1e-4 * np.abs(one).max() + 1e-9)


def test_the_last_row_and_column_of_the_features_reach_nothing(head):
    to_maps, _ = gradients(head, MAPS)
    assert not to_maps[:, 6].any() and not to_maps[:, :, 6].any()  # exactly 0
    assert (np.abs(to_maps).max(axis=(0, 3))[:6, :6] > 0).all()
    changed = MAPS.copy()
    changed[:, 6], changed[:, :, 6] = 1000, -1000
    np.testing.assert_array_equal(head(changed), head(MAPS))


def test_the_fast_head_is_one_of_patches_on_the_crop():
    head = network.fast_head()
    assert head.input_shape == (None, 6, 6, 512) and head.output_shape == (None, 3)
    assert isinstance(head.get_layer("block6_conv1"), PatchConv2D)


@pytest.mark.parametrize("conv", [keras.layers.Conv2D, PatchConv2D])
def test_a_head_on_the_crop_is_the_head_on_the_whole(head, conv):
    """The same cells are computed; only a kernel that blocks sums otherwise could differ."""
    whole, crop = copy_of(head, conv=conv), copy_of(head, side=6, conv=conv)
    np.testing.assert_allclose(crop(MAPS[:, :6, :6]), whole(MAPS), rtol=1e-5, atol=1e-6)
    to_maps, to_weights = gradients(whole, MAPS)
    to_crop, to_crop_weights = gradients(crop, MAPS[:, :6, :6])
    np.testing.assert_allclose(to_crop, to_maps[:, :6, :6], rtol=1e-4, atol=1e-7)
    for one, other in zip(to_weights, to_crop_weights, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-3, atol=1e-4 * np.abs(one).max() + 1e-9)


@pytest.mark.parametrize("scaling", ["report", "vgg16"])
def test_scaling(stand_in_vgg16, scaling):
    model = build_base(scaling)
    scaled = keras.Model(model.input, model.get_layer("block1_conv1").input)(GREY).numpy()
    colour = np.repeat(GREY, 3, axis=-1)
    if scaling == "report":
        expected = colour / 255
    else:
        expected = keras.applications.vgg16.preprocess_input(colour.copy())
    np.testing.assert_allclose(scaled, expected, rtol=1e-5, atol=1e-4)


def test_unknown_scaling():
    with pytest.raises(ValueError, match="no scaling 'zscore': choose report or vgg16"):
        build_base("zscore")


def test_the_logits_stay_float32_in_mixed_precision():
    with dtype_policy("mixed_bfloat16"):
        mixed = network.fast_head()
    assert mixed(MAPS[:, :6, :6]).dtype == tf.float32
    assert all(weight.dtype == np.float32 for weight in mixed.get_weights())
    assert build_head().compute_dtype == "float32"  # the policy was put back


def test_softmax():
    logits = np.array([[0, 0, 0], [1000, 0, -1000], [1, 2, 3]], np.float32)
    probs = metrics.softmax(logits)
    np.testing.assert_allclose(probs, keras.ops.softmax(logits), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(probs.sum(axis=1), 1, rtol=1e-6)


@pytest.mark.slow
def test_pretrained_features_are_vgg16s(pretrained_file):
    """With the pretrained weights, the base gives what Keras' own VGG16 gives."""
    own = keras.applications.VGG16(include_top=False, weights=str(pretrained_file))
    colour = np.repeat(GREY[:1], 3, axis=-1)
    expected = own(keras.applications.vgg16.preprocess_input(colour)).numpy()
    found = build_base("vgg16")(GREY[:1]).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * expected.max())


ENTRIES = dict.fromkeys(CARD_ENTRIES, "made up for a test")


def test_a_head_of_the_package_is_taken_by_its_name(tmp_path, monkeypatch, head):
    arrays = {
        f"{name}/{k}": tensor
        for name in network.LEARNT
        for k, tensor in enumerate(head.get_layer(name).get_weights())
    }
    keep(network.stack.TRAINED["real"], arrays, ENTRIES, tmp_path)
    monkeypatch.setattr(pretrained, "FOLDER", tmp_path)
    taken = build_head(weights="real")
    np.testing.assert_allclose(taken(MAPS), head(MAPS), rtol=0.05, atol=0.05)


@pytest.mark.parametrize("fast", [True, False])
def test_a_head_is_taken_from_the_file_of_a_run(tmp_path, fast):
    kept = network.fast_head() if fast else build_head()
    kept.save_weights(tmp_path / "head.weights.h5")
    taken = build_head(6, weights=tmp_path / "head.weights.h5")
    side = kept.input_shape[1]
    found, meant = taken(MAPS[:, :6, :6]), kept(MAPS[:, :side, :side])
    np.testing.assert_allclose(found, meant, rtol=1e-4, atol=1e-4)


def test_what_is_no_head_is_named(tmp_path):
    with pytest.raises(ValueError, match="'reel': give real, or a head.weights.h5"):
        build_head(weights="reel")
    (tmp_path / "head.weights.h5").write_bytes(b"no weights")
    with pytest.raises(ValueError, match="not the weights of a head"):
        build_head(weights=tmp_path / "head.weights.h5")
