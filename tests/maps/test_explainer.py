"""Class activation maps: held against NumPy, against CAM, and against what a model can't tell."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from xraylib import maps, network
from xraylib.maps import Explainer, conv_layers, live_cells, upscale
from xraylib.maps import explainer as explainer_file

SIDE, N_CLASSES = 16, 3
CONVS = ["conv1", "conv2", "conv3"]


def build_tiny(last=None, inner=None, policy="float32") -> keras.Model:
    """A flat model whose scores are linear in the mean of each channel: there Grad-CAM is CAM."""
    settings = {"dtype": policy}
    image = keras.Input((SIDE, SIDE, 1))
    x = layers.Rescaling(1 / 255, **settings)(image)
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="conv1", **settings)(x)
    x = layers.Conv2D(5, 3, strides=2, activation="relu", name="conv2", **settings)(x)
    x = inner(x) if inner is not None else x
    x = layers.Conv2D(6, 3, activation="relu", name="conv3", **settings)(x)
    x = layers.GlobalAveragePooling2D(**settings)(x)
    scores = layers.Dense(N_CLASSES, name="logits", dtype="float32", activation=last)(x)
    return keras.Model(image, scores, name="tiny")


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(1)
    return build_tiny()


@pytest.fixture(scope="module")
def explainer(model):
    return Explainer(model)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (10, SIDE, SIDE), np.uint8)


@pytest.fixture
def pair():
    rng = np.random.default_rng(2)
    return rng.random((2, 3, 4, 5), np.float32), rng.normal(size=(2, 3, 4, 5)).astype(np.float32)


def test_grad_cam_is_equations_1_and_2(pair):
    activations, gradients = pair
    for b in range(2):
        alpha = [gradients[b, :, :, k].sum() / 12 for k in range(5)]
        expected = np.maximum(sum(alpha[k] * activations[b, :, :, k] for k in range(5)), 0)
        np.testing.assert_allclose(maps.grad_cam(activations, gradients)[b], expected, atol=1e-6)


def test_grad_cam_plus_plus_is_the_paper_on_the_exponential_score(pair):
    activations, gradients = pair[0], pair[1] / 3
    gradients[:, 0] = 0  # cells whose second derivative is 0 have no weight
    score = np.exp(0.7)
    first, second, third = (score * gradients**power for power in (1, 2, 3))
    below = 2 * second + third * activations.sum(axis=(1, 2), keepdims=True)
    alpha = np.divide(second, below, out=np.zeros_like(below), where=second != 0)
    alpha /= alpha.sum(axis=(1, 2), keepdims=True)
    channel = (alpha * np.maximum(first, 0)).sum(axis=(1, 2), keepdims=True)
    expected = np.maximum((channel * activations).sum(axis=-1), 0)
    found = maps.grad_cam_plus_plus(activations, gradients)
    np.testing.assert_allclose(score * np.asarray(found), expected, rtol=2e-4, atol=1e-5)


def test_grad_cam_plus_plus_survives_tiny_and_zero_gradients(pair):
    activations, gradients = pair
    whole = np.asarray(maps.grad_cam_plus_plus(activations, gradients * 1e-6))
    small = np.asarray(maps.grad_cam_plus_plus(activations, gradients * 1e-25))
    np.testing.assert_allclose(small / small.max(), whole / whole.max(), atol=1e-3)
    assert not np.asarray(maps.grad_cam_plus_plus(activations, gradients * 0)).any()


def test_layer_cam_weights_every_cell_by_itself(pair):
    activations, gradients = pair
    expected = (np.maximum(gradients, 0) * activations).sum(axis=-1)
    found = maps.layer_cam(activations, gradients)
    np.testing.assert_allclose(found, np.maximum(expected, 0), atol=1e-6)


def test_grad_cam_is_cam_where_the_scores_are_linear_in_the_means(model, explainer, images):
    activations = keras.Model(model.input, model.get_layer("conv3").output)(images[..., None])
    kernel = model.get_layer("logits").kernel.numpy()
    n_cells = activations.shape[1] * activations.shape[2]
    cam = np.einsum("bhwk,kc->bchw", activations, kernel) / n_cells
    cells = explainer.explain(images, layers=["conv3"])["conv3"]
    np.testing.assert_allclose(cells, np.maximum(cam, 0), atol=1e-5)
    assert cells.dtype == np.float32 and cells.max() > 0


@pytest.mark.parametrize("method", maps.FORMULAS)
def test_one_pass_over_all_layers_equals_layer_by_layer_and_formula(explainer, images, method):
    together = explainer.explain(images, method=method)
    assert list(together) == CONVS
    for name in CONVS:
        for c in range(N_CLASSES):
            alone = explainer.explain(images, [c], [name], method)[name][:, 0]
            np.testing.assert_allclose(together[name][:, c], alone, rtol=1e-4, atol=1e-6)
            by_hand = maps.FORMULAS[method](*explainer.differentiate(images, c, name))
            np.testing.assert_allclose(alone, by_hand, rtol=1e-4, atol=1e-6)


def textbook(model, images, class_id: int, layer: str) -> np.ndarray:
    """Grad-CAM by the two functions that the book prints."""
    activations, gradients = maps.activations_and_gradients(
        model, images[..., None].astype(np.float32), class_id, layer
    )
    return np.asarray(maps.grad_cam(activations, gradients))


def test_maps_are_those_of_the_textbook(model, explainer, images):
    found = explainer.explain(images)
    for name in CONVS:
        for class_id in range(N_CLASSES):
            expected = textbook(model, images, class_id, name)
            np.testing.assert_allclose(found[name][:, class_id], expected, rtol=1e-4, atol=1e-6)


def test_gradients_are_those_of_the_score_before_the_softmax(model, explainer, images):
    """A step along the gradient changes the logit, not the probability, by its length."""
    activations, gradients = explainer.differentiate(images[:1], 1, "conv3")
    tail = keras.Model(model.get_layer("conv3").output, model.output)
    step = 1e-2 * gradients
    change = (tail(activations + step) - tail(activations)).numpy()[0, 1]
    assert change == pytest.approx((gradients * step).sum(), rel=1e-3)


@pytest.mark.parametrize("method", maps.METHODS)
def test_a_batch_equals_its_images_one_by_one(explainer, images, method):
    assert len(images) > explainer_file.CHUNK
    whole = explainer.explain(images, layers=["conv2"], method=method)["conv2"]
    assert whole.shape == (10, N_CLASSES, 7, 7) and whole.dtype == np.float32
    assert whole.min() >= 0 and np.isfinite(whole).all()
    for k in (0, 9):
        alone = explainer.explain(images[k], layers=["conv2"], method=method)["conv2"]
        assert alone.shape == (1, N_CLASSES, 7, 7)
        np.testing.assert_allclose(alone[0], whole[k], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("method", ["grad_cam", "score_cam"])
def test_each_image_can_have_its_own_class(explainer, images, method):
    every = explainer.explain(images, layers=["conv3"], method=method)["conv3"]
    chosen = np.arange(10) % 3
    own = explainer.explain(images, chosen[:, None], ["conv3"], method)["conv3"]
    assert own.shape == (10, 1, 5, 5)
    np.testing.assert_allclose(own[:, 0], every[np.arange(10), chosen], rtol=1e-4, atol=1e-6)
    one = explainer.explain(images, 2, ["conv3"], method)["conv3"]
    np.testing.assert_allclose(one[:, 0], every[:, 2], rtol=1e-4, atol=1e-6)


def test_passes_are_counted_by_image_and_class_and_not_by_layer(model, images):
    counted = Explainer(model)
    counted.explain(images, [0, 2])
    assert counted.passes == {"forward": len(images), "backward": 2 * len(images)}
    counted.probs(images)
    assert counted.passes["forward"] == 2 * len(images)
    before = counted.passes["forward"]
    counted.explain(images[:2], layers=["conv2"], method="score_cam")
    # the layer, its 5 channels and the black image, for each image
    assert counted.passes["forward"] - before == 2 * (1 + 5 + 1)


def test_score_cam_finds_the_channel_that_brings_the_class():
    """Channel 0 sees the bright square and makes class 1; channel 1 sees another, for nothing."""
    image = np.zeros((8, 8, 1), np.float32)
    image[0:4, 0:4], image[4:8, 4:8] = 1, 1
    activations = np.zeros((4, 4, 2), np.float32)
    activations[0:2, 0:2, 0], activations[2:4, 2:4, 1] = 1, 1

    def probs(seen):
        share = np.asarray(seen)[:, :4, :4].mean(axis=(1, 2, 3))
        return np.stack([1 - share, share], axis=1)

    cells = maps.score_cam(image, activations, probs)
    # Bilinear upscaling lets the second channel see a little of the first square, and no more.
    assert cells[1][0, 0] > 5 * cells[1][3, 3]
    assert not cells[0].any()  # nothing speaks for class 0 that a black image does not
    only = maps.score_cam(image, activations * [2, 1], probs, max_channels=1)
    assert only[1][0, 0] > 0 and only[1][3, 3] == 0


def test_upscaled_maps_are_normalised_and_zeros_stay_zeros():
    cells = np.zeros((2, 3, 4, 4), np.float32)
    cells[0, 0, 1, 2], cells[0, 1] = 5, -1
    shown = upscale(cells, (12, 20))
    assert shown.shape == (2, 3, 12, 20) and shown.dtype == np.float32
    assert shown[0, 0].max() == 1 and shown.min() == 0 and np.isfinite(shown).all()
    assert not shown[0, 1].any() and not shown[1].any()
    row, column = np.unravel_index(shown[0, 0].argmax(), (12, 20))
    assert 3 <= row < 6 and 10 <= column < 15  # inside the cell that it comes from
    np.testing.assert_array_equal(upscale(cells[0, 0], 4), cells[0, 0] / 5)


def test_a_model_without_any_evidence_gives_zeros(images):
    model = build_tiny()
    model.get_layer("logits").set_weights([-np.ones((6, 3)), np.zeros(3)])
    for method in maps.FORMULAS:
        cells = Explainer(model).explain(images[:2], layers=["conv3"], method=method)["conv3"]
        assert not cells.any() and not upscale(cells, SIDE).any()


def test_saving_and_loading_gives_the_same_maps(model, explainer, images, tmp_path):
    model.save(tmp_path / "tiny.keras")
    loaded = Explainer(keras.models.load_model(tmp_path / "tiny.keras"))
    before, after = explainer.explain(images), loaded.explain(images)
    for name in CONVS:
        np.testing.assert_array_equal(before[name], after[name])


def test_training_on_changes_the_maps_of_the_same_explainer(images):
    model = build_tiny()
    explainer = Explainer(model)
    before = explainer.explain(images)["conv3"]
    model.get_layer("logits").set_weights([w[..., ::-1] for w in model.layers[-1].get_weights()])
    np.testing.assert_allclose(explainer.explain(images)["conv3"][:, ::-1], before, atol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_gives_float32_maps_close_to_float32(model, explainer, images, policy):
    mixed = build_tiny(policy=policy)
    mixed.set_weights(model.get_weights())
    for name, cells in Explainer(mixed).explain(images).items():
        assert cells.dtype == np.float32
        exact = explainer.explain(images)[name]
        assert np.corrcoef(cells.ravel(), exact.ravel())[0, 1] > 0.99


def test_a_frozen_base_is_explained_too(model, explainer, images):
    frozen = build_tiny()
    frozen.set_weights(model.get_weights())
    frozen.trainable = False
    np.testing.assert_array_equal(
        Explainer(frozen).explain(images)["conv1"], explainer.explain(images)["conv1"]
    )


def test_cells_that_a_pool_leaves_out_are_dead():
    """On 3 x 3 cells a 2 x 2 pool takes the top left four; the layer below loses an edge too."""
    keras.utils.set_random_seed(0)
    features = keras.Input((7, 7, 8))
    model = keras.Model(features, network.stack_head(features))
    model = Explainer(model)
    alive = np.zeros((3, 3), bool)
    alive[:2, :2] = True
    np.testing.assert_array_equal(live_cells(model, "block6_conv2"), alive)
    below = live_cells(model, "block6_conv1")
    assert below.shape == (5, 5) and below[:4, :4].all() and below.sum() == 16
    noise = np.random.default_rng(1).random((3, 7, 7, 8))
    gradients = model.differentiate(noise, 0, "block6_conv2")[1]
    assert not gradients[:, ~alive].any() and gradients[:, alive].any()
    # Grad-CAM spreads the mean gradient over dead cells too; Layer-CAM cannot
    assert model.explain(noise)["block6_conv2"][..., ~alive].any()
    assert not model.explain(noise, method="layer_cam")["block6_conv2"][..., ~alive].any()


def test_a_wrong_layer_name_lists_the_right_ones(explainer, images):
    for wrong in (["conv4"], [], "conv1", ["logits"]):
        with pytest.raises(ValueError, match="conv1, conv2, conv3"):
            explainer.explain(images, layers=wrong)


@pytest.mark.parametrize("wrong", [3, -1, [0, 7], 1.5, np.zeros((4, 1), int)])
def test_a_wrong_class_is_refused(explainer, images, wrong):
    with pytest.raises(ValueError, match="0 to 2|for 10 images"):
        explainer.explain(images, class_ids=wrong)


@pytest.mark.parametrize("shape", [(0, SIDE, SIDE), (2, 8, 8), (SIDE,), (1, SIDE, SIDE, 3)])
def test_wrong_images_are_refused(explainer, shape):
    with pytest.raises(ValueError, match="this model takes"):
        explainer.explain(np.zeros(shape))


def test_a_wrong_method_lists_the_right_ones(explainer, images):
    with pytest.raises(ValueError, match="grad_cam_plus_plus, layer_cam, hires_cam, score_cam"):
        explainer.explain(images, method="gradcam")


def transfer(inner_end: int | None = None) -> tuple[keras.Model, keras.Model]:
    """A model as the guide to transfer learning builds it, and the same in one flat graph.

    Args:
        inner_end: the inner model's layers; the last convolution is in it or not.
    """
    flat = build_tiny()
    cut = flat.get_layer("conv2").output
    base = keras.Model(flat.input, cut, name="base")
    base.trainable = False
    image = keras.Input((SIDE, SIDE, 1))
    x = base(image, training=False)
    for layer in flat.layers[flat.layers.index(flat.get_layer("conv2")) + 1 :]:
        x = layer(x)
    return keras.Model(image, x), flat


@pytest.mark.parametrize("method", maps.METHODS)
def test_layers_within_an_inner_model_are_explained_as_in_one_flat_model(images, method):
    nested, flat = transfer()
    found = Explainer(nested).explain(images[:3], method=method)
    expected = Explainer(flat).explain(images[:3], method=method)
    assert list(found) == CONVS
    for name in CONVS:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-6)
    again = Explainer(nested)
    gradients = again.differentiate(images, 1, "conv1")[1]
    np.testing.assert_allclose(gradients, Explainer(flat).differentiate(images, 1, "conv1")[1])
    assert live_cells(again, "conv1").shape == (SIDE, SIDE)


@pytest.mark.slow
def test_a_sequential_model_with_a_model_of_keras_in_it(images):
    base = keras.applications.MobileNetV2((32, 32, 3), include_top=False, weights=None)
    model = keras.Sequential(
        [keras.Input((32, 32, 3)), base, layers.GlobalAveragePooling2D(), layers.Dense(2)]
    )
    explainer = Explainer(model, class_names=["clear", "TB"])
    assert "out_relu" in explainer.map_layers and "Conv_1" in explainer.layers
    assert explainer.default_layer == "block_13_pad"  # 3 x 3 cells, then 1
    colour = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3))
    (cells,) = explainer.explain(colour, ["TB"], ["out_relu"]).values()
    assert cells.shape == (2, 1, 1, 1)
    said = repr(explainer)
    assert f"{len(explainer.map_layers)} of {len(explainer._leaves)} layers can be" in said


def one_output(last=None) -> keras.Model:
    keras.utils.set_random_seed(3)
    image = keras.Input((SIDE, SIDE, 1))
    x = layers.Conv2D(4, 3, activation="relu", name="conv1")(layers.Rescaling(1 / 255)(image))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(1, activation=last)(x))


def test_a_single_logit_is_taken_for_two_classes(images):
    model = one_output()
    explainer = Explainer(model, ["clear", "TB"])
    p = 1 / (1 + np.exp(-model(images[..., None]).numpy()))
    np.testing.assert_allclose(explainer.probs(images), np.hstack([1 - p, p]), atol=1e-6)
    for class_id, sign in enumerate((-1, 1)):
        activations, gradients = explainer.differentiate(images, class_id, "conv1")
        expected = maps.grad_cam(*(a.numpy() for a in by_hand(model, images, sign)))
        (cells,) = explainer.explain(images, [class_id], ["conv1"]).values()
        np.testing.assert_allclose(cells[:, 0], expected, atol=1e-6)
        np.testing.assert_allclose(maps.grad_cam(activations, gradients), expected, atol=1e-6)
    assert explainer.explain(images[:1], method="score_cam")["conv1"].any()


def by_hand(model, images, sign: int):
    both = keras.Model(model.input, [model.get_layer("conv1").output, model.output])
    images = tf.constant(images[..., None], tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(images)
        activations, logits = both(images)
        score = tf.reduce_sum(sign * logits)
    return activations, tape.gradient(score, activations)


def ending(*ends, n: int = N_CLASSES, **settings) -> keras.Model:
    """`build_tiny` with other ends."""
    image = keras.Input((SIDE, SIDE, 1))
    x = layers.Conv2D(4, 3, activation="relu", name="conv1")(layers.Rescaling(1 / 255)(image))
    x = layers.Dense(n, name="dense", **settings)(layers.GlobalAveragePooling2D()(x))
    for end in ends:
        x = end(x)
    return keras.Model(image, x)


LINEAR = layers.Activation("linear", dtype="float32")
PROBABILITIES = {
    "softmax in the layer": lambda: ending(activation="softmax"),
    "tf.nn.softmax": lambda: ending(activation=tf.nn.softmax),
    "keras.ops.softmax": lambda: ending(activation=keras.ops.softmax),
    "an operation": lambda: ending(keras.ops.softmax),
    "a Softmax layer": lambda: ending(layers.Softmax()),
    "an Activation": lambda: ending(layers.Activation("softmax")),
    "softmax, then linear": lambda: ending(layers.Activation("softmax"), LINEAR),
    "softmax in the layer, then linear": lambda: ending(LINEAR, activation="softmax"),
    "log softmax": lambda: ending(layers.Activation("log_softmax")),
    "half precision": lambda: ending(activation="softmax", dtype="mixed_float16"),
    "one sigmoid": lambda: ending(activation="sigmoid", n=1),
    "one sigmoid as an operation": lambda: ending(keras.ops.sigmoid, n=1),
    "per cent": lambda: ending(layers.Rescaling(100.0), activation="softmax"),
    "in an inner model": lambda: wrapped(ending(activation="softmax")),
}


def wrapped(inner: keras.Model) -> keras.Model:
    image = keras.Input((SIDE, SIDE, 1))
    return keras.Model(image, inner(image))


@pytest.mark.parametrize("build", PROBABILITIES.values(), ids=PROBABILITIES)
def test_probabilities_are_refused_and_their_scores_explained(images, build):
    model = build()
    with pytest.raises(ValueError, match=r"gives probabilities .*maps.without_softmax\(model\)"):
        Explainer(model)
    explainer = Explainer(maps.without_softmax(model))
    given = model(images[..., None]).numpy().astype(float)
    given = np.exp(given) if (given <= 0).all() else given
    given = given / 100 if given.max() > 1.1 else given
    given = np.hstack([1 - given, given]) if given.shape[1] == 1 else given
    np.testing.assert_allclose(explainer.probs(images), given, atol=2e-3)


SEVERAL_SIGMOIDS = {
    "in the layer": lambda: ending(activation="sigmoid"),
    "as an operation": lambda: ending(keras.ops.sigmoid),
    "in an inner model": lambda: wrapped(ending(activation="sigmoid")),
    "two of them": lambda: ending(activation="sigmoid", n=2),
}


@pytest.mark.parametrize("build", SEVERAL_SIGMOIDS.values(), ids=SEVERAL_SIGMOIDS)
def test_of_independent_sigmoids_one_is_explained_at_a_time(images, build):
    model = build()
    way_out = r"independent probabilities .*maps.without_softmax\(model, class_id=0\)"
    for refused in (Explainer, maps.without_softmax):
        with pytest.raises(ValueError, match=way_out):
            refused(model)
    given = model(images[..., None]).numpy()
    for class_id in range(given.shape[1]):
        explainer = Explainer(maps.without_softmax(model, class_id))
        probs = explainer.probs(images)
        np.testing.assert_allclose(probs[:, 1], given[:, class_id], atol=1e-5)
        assert explainer.explain(images[:1], [1])["conv1"].shape[:2] == (1, 1)
    with pytest.raises(ValueError, match="class_id 7: choose one of 0 to"):
        maps.without_softmax(model, 7)


def test_a_class_id_is_for_independent_sigmoids_only():
    with pytest.raises(ValueError, match="class_id 0: .* leave it out"):
        maps.without_softmax(ending(activation="softmax"), 0)


SCORES = {
    "fresh logits": lambda: ending(),
    "logits of one kernel": lambda: ending(kernel_initializer="zeros", bias_initializer="ones"),
    "one logit": lambda: ending(n=1),
    "logits, then linear": lambda: ending(LINEAR),
    "in an inner model": lambda: wrapped(ending()),
    "one logit in an inner model": lambda: wrapped(ending(n=1)),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("build", list(SCORES.values())[:1] + list(SCORES.values())[2:])
def test_scores_are_not_taken_for_probabilities(images, build, seed):
    keras.utils.set_random_seed(seed)
    assert Explainer(build()).explain(images[:1])["conv1"].shape[0] == 1


def test_any_layer_with_a_map_can_be_asked_for(images):
    image = keras.Input((SIDE, SIDE, 1))
    x = layers.Conv2D(4, 3, padding="same", name="conv")(image)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.Activation("relu", name="relu")(x)
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = layers.Add(name="add")([x, layers.SeparableConv2D(4, 3, padding="same", name="sep")(x)])
    x = layers.MaxPooling2D(4, name="pool")(x)
    x = layers.Conv2D(4, 4, name="one_cell")(x)
    explainer = Explainer(keras.Model(image, layers.Dense(2)(layers.Flatten()(x))))
    names = ["conv", "norm", "relu", "depthwise", "sep", "add", "pool", "one_cell"]
    assert explainer.map_layers == names and explainer.default_layer == "pool"
    assert explainer.layers == ["conv", "depthwise", "sep", "one_cell"]
    for name, cells in explainer.explain(images[:2], layers=names).items():
        textbook_cells = textbook(explainer.model, images[:2], 1, name)
        np.testing.assert_allclose(cells[:, 1], textbook_cells, rtol=1e-4, atol=1e-6)
    assert repr(explainer).endswith(
        "8 of 10 layers can be explained, pool if none is named; 2 classes"
    )


def test_a_layer_that_is_called_twice_has_no_one_map():
    image = keras.Input((SIDE, SIDE, 1))
    shared = layers.Conv2D(1, 3, padding="same", name="shared")
    x = layers.Conv2D(2, 3, name="conv")(shared(shared(image)))
    explainer = Explainer(keras.Model(image, layers.Dense(2)(layers.Flatten()(x))))
    assert explainer.map_layers == ["conv"]


@pytest.mark.parametrize("dtype", ["float64", "mixed_float16", "mixed_bfloat16"])
def test_any_precision_without_an_end_in_float32(images, dtype):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype)
    try:
        model = ending()
    finally:
        keras.config.set_dtype_policy(before)
    exact = ending()
    exact.set_weights(model.get_weights())
    for method in maps.METHODS:
        one, other = (Explainer(m).explain(images[:2], method=method) for m in (model, exact))
        assert one["conv1"].dtype == np.float32
        assert np.corrcoef(one["conv1"].ravel(), other["conv1"].ravel())[0, 1] > 0.98
    np.testing.assert_allclose(
        Explainer(model).probs(images), Explainer(exact).probs(images), atol=0.02
    )


def test_images_of_any_size():
    image = keras.Input((None, None, 1))
    x = layers.Conv2D(4, 3, name="conv1", activation="relu")(image)
    explainer = Explainer(keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(x))))
    assert explainer.size == (224, 224)
    for side in (20, 33):
        cells = explainer.explain(np.ones((1, side, side)))["conv1"]
        assert cells.shape == (1, 3, side - 2, side - 2)
    assert live_cells(explainer, "conv1").all()


def test_an_output_with_a_name_is_taken_and_of_several_one_is_asked_for(model, images):
    named = keras.Model(model.input, {"logits": model.output})
    expected = Explainer(model).explain(images)["conv3"]
    np.testing.assert_allclose(Explainer(named).explain(images)["conv3"], expected, atol=1e-6)
    features = model.get_layer("conv3").output
    several = keras.Model(model.input, {"logits": model.output, "features": features})
    with pytest.raises(ValueError, match=r"'logits': \(None, 3\).*model.output\['logits'\]"):
        Explainer(several)


def test_channels_first_and_models_without_maps_are_refused():
    image = keras.Input((1, SIDE, SIDE))
    x = layers.Conv2D(4, 3, data_format="channels_first", name="conv1")(image)
    with pytest.raises(ValueError, match="channels last; found .*channels_first at conv1"):
        Explainer(keras.Model(image, layers.Dense(3)(layers.Flatten()(x))))
    flat = keras.Input((SIDE, SIDE, 1))
    with pytest.raises(ValueError, match="no layer gives a map"):
        Explainer(keras.Model(flat, layers.Dense(3)(layers.Flatten()(flat))))
    with pytest.raises(ValueError, match=r"begin a Sequential with one"):
        Explainer(keras.Sequential([layers.Conv2D(4, 3)]))


def test_classes_can_be_asked_for_by_name(model, images):
    explainer = Explainer(model, ["clear", "TB", "viral"])
    np.testing.assert_array_equal(
        explainer.explain(images, ["viral", "clear"])["conv3"],
        explainer.explain(images, [2, 0])["conv3"],
    )
    with pytest.raises(ValueError, match="they are 0 to 2 here, for clear, TB, viral"):
        explainer.explain(images, ["normal"])
    with pytest.raises(ValueError, match="2 class_names for 3 classes"):
        Explainer(model, ["clear", "TB"])
    assert Explainer(ending(n=5)).class_names == tuple(f"class {k}" for k in range(5))


def test_nan_is_refused_where_it_comes_in_and_where_it_comes_out(images):
    broken = build_tiny()
    explainer = Explainer(broken)
    with pytest.raises(ValueError, match="images: 1 of 256 values are NaN or infinite"):
        explainer.explain(np.where(np.arange(256).reshape(16, 16) == 7, np.nan, 1))
    broken.get_layer("logits").set_weights([np.full((6, 3), np.nan), np.zeros(3)])
    for question in (explainer.explain, explainer.probs):
        with pytest.raises(ValueError, match="values are NaN or infinite; look for where they"):
            question(images)
    with pytest.raises(ValueError, match="cells: 1 of 4 values are NaN"):
        upscale([[1, np.nan], [0, 1]], 4)


def test_wrong_images_are_told_the_shape_that_was_given(explainer):
    with pytest.raises(ValueError, match=r"found images \(16, 16, 3\): .* of grey images"):
        explainer.explain(np.ones((16, 16, 3)))


def test_other_models_are_refused(model):
    class Own(keras.Model):
        def call(self, inputs):
            return inputs

    with pytest.raises(ValueError, match="not a functional model"):
        Explainer(Own())
    with pytest.raises(ValueError, match="one input and scores"):
        Explainer(keras.Model(model.input, model.get_layer("conv3").output))


def test_a_layer_without_gradient_is_named(images):
    class Stop(layers.Layer):
        def call(self, inputs):
            return tf.stop_gradient(inputs)

    explainer = Explainer(build_tiny(inner=Stop()))
    with pytest.raises(ValueError, match="no gradient at conv1, conv2:"):
        explainer.explain(images)
    assert explainer.explain(images, layers=["conv3"])["conv3"].any()
    assert explainer.explain(images[:1], layers=["conv2"], method="score_cam")["conv2"].any()


@pytest.fixture(scope="module")
def classifier(module_home):
    """The whole stack on the thin twin of VGG16."""
    keras.utils.set_random_seed(0)
    return network.build_classifier("vgg16")


@pytest.mark.parametrize("layer", ["block4_conv3", "block6_conv1", "block6_conv2"])
def test_maps_of_the_classifier_are_those_of_the_textbook(classifier, layer):
    image = np.random.default_rng(3).integers(0, 256, (2, 224, 224), np.uint8)
    found = Explainer(classifier).explain(image, [0, 2], [layer])[layer]
    for place, class_id in enumerate((0, 2)):
        np.testing.assert_allclose(
            found[:, place], textbook(classifier, image, class_id, layer), rtol=1e-3, atol=1e-7
        )


@pytest.mark.slow
def test_maps_of_the_pretrained_classifier_are_those_of_the_textbook(pretrained_file):
    keras.utils.set_random_seed(0)
    model = network.build_classifier("vgg16")
    image = np.random.default_rng(4).integers(0, 256, (1, 224, 224), np.uint8)
    names = ["block4_conv3", "block5_conv3"]
    found = Explainer(model).explain(image, [1], names)
    for name in names:
        expected = textbook(model, image, 1, name)
        assert expected.max() > 0
        np.testing.assert_allclose(
            found[name][:, 0], expected, rtol=1e-3, atol=1e-3 * expected.max()
        )


@pytest.mark.slow
def test_the_whole_classifier_has_15_layers_and_dead_cells_where_the_pool_leaves_them(classifier):
    model, explainer = classifier, Explainer(classifier)
    names = conv_layers(model)
    assert len(names) == 15 and names[0] == "block1_conv1" and names[-1] == "block6_conv2"
    assert live_cells(explainer, "block6_conv2").sum() == 4
    alive = live_cells(explainer, "block5_conv3")  # 7 x 7 after its pool, of which 6 x 6 count
    assert alive.shape == (14, 14) and alive[:12, :12].all() and alive.sum() == 144
    image = np.random.default_rng(0).integers(0, 256, (224, 224), np.uint8)
    cells = explainer.explain(image)
    sides = [cells[name].shape[-1] for name in names]
    assert sides == [224] * 2 + [112] * 2 + [56] * 3 + [28] * 3 + [14] * 3 + [5, 3]
    assert all(np.isfinite(maps).all() for maps in cells.values())


def test_maps_agree_with_tf_keras_vis(model, explainer, images):
    pytest.importorskip("tf_keras_vis", reason="tf-keras-vis is not installed (extra `bench`)")
    from tf_keras_vis.gradcam import Gradcam
    from tf_keras_vis.gradcam_plus_plus import GradcamPlusPlus

    seed = np.float32(images[:2, ..., None])
    for method, rival in {"grad_cam": Gradcam, "grad_cam_plus_plus": GradcamPlusPlus}.items():
        ours = explainer.explain(images[:2], [1], method=method)
        for name in CONVS:
            theirs = rival(model)(lambda s: s[:, 1], seed, name, expand_cam=False)
            for mine, other in zip(ours[name][:, 0], np.asarray(theirs), strict=True):
                if mine.any():
                    assert np.corrcoef(mine.ravel(), other.ravel())[0, 1] > 0.99
