"""The network's shape, its loss and the two measures of overlap."""

import keras
import numpy as np
import pytest

from xraylib import lungs, metrics


def kinds(model):
    return [type(layer).__name__ for layer in model.layers]


def test_output_has_the_inputs_size_and_is_float32():
    model = lungs.build_unet(size=48, filters=4, levels=3, encoder="scratch")
    logits = model(np.zeros((2, 48, 48, 1), np.float32))
    assert logits.shape == (2, 48, 48, 1)
    assert logits.dtype == "float32"


def test_it_is_made_as_figure_3_draws_it():
    model = lungs.build_unet(size=32, filters=4, levels=2, encoder="scratch")
    names = kinds(model)
    assert names.count("MaxPooling2D") == names.count("Conv2DTranspose") == 2
    assert names.count("Concatenate") == 2
    convolutions = [layer for layer in model.layers if type(layer) is keras.layers.Conv2D]
    sizes = [layer.kernel_size for layer in convolutions]
    assert sizes == [(3, 3)] * 10 + [(1, 1)]
    assert [layer.filters for layer in convolutions] == [4, 4, 8, 8, 16, 16, 8, 8, 4, 4, 1]
    assert all(layer.activation.__name__ == "relu" for layer in convolutions[:-1])


def test_vgg16_path_is_pretrained_and_frozen_and_the_default(whole_home):
    model = lungs.build_unet(size=32, filters=4, levels=2, encoder="vgg16")
    layer = model.get_layer("block3_conv3")
    assert not layer.trainable
    assert layer.kernel.shape == (3, 3, 256, 256)
    again = lungs.build_unet(size=32, filters=4, levels=2)
    np.testing.assert_array_equal(layer.kernel, again.get_layer("block3_conv3").kernel)
    assert "block4_conv1" not in [layer.name for layer in model.layers]
    assert model(np.zeros((1, 32, 32, 1), np.float32)).shape == (1, 32, 32, 1)


def test_a_size_that_cannot_be_halved_is_refused():
    with pytest.raises(ValueError, match="size 40 is not divisible by 16"):
        lungs.build_unet(size=40, filters=4, levels=4, encoder="scratch")


def test_an_unknown_encoder_is_refused():
    with pytest.raises(ValueError, match="choose scratch or vgg16"):
        lungs.build_unet(size=32, encoder="resnet")


def square(first, last, side=10):
    mask = np.zeros((side, side), bool)
    mask[first:last, first:last] = True
    return mask


@pytest.mark.parametrize(
    ("mask_a", "mask_b", "expected_dice", "expected_iou"),
    [
        (square(2, 6), square(2, 6), 1, 1),
        (square(0, 2), square(5, 7), 0, 0),
        (square(0, 0), square(0, 0), 1, 1),
        (square(0, 0), square(2, 6), 0, 0),
        (square(0, 4), square(2, 6), 2 * 4 / 32, 4 / 28),
    ],
)
def test_overlap_of_known_squares(mask_a, mask_b, expected_dice, expected_iou):
    assert metrics.dice(mask_a, mask_b) == pytest.approx(expected_dice)
    assert metrics.iou(mask_a, mask_b) == pytest.approx(expected_iou)
    logits = np.where(mask_b, 5.0, -5.0)[None, ..., None].astype(np.float32)
    masks = mask_a[None, ..., None]
    assert float(lungs.dice_metric(masks, logits)[0]) == pytest.approx(expected_dice)
    assert float(lungs.iou_metric(masks, logits)[0]) == pytest.approx(expected_iou)


@pytest.mark.parametrize("measure", [metrics.dice, metrics.iou])
def test_masks_of_two_sizes_cannot_be_compared(measure):
    with pytest.raises(ValueError, match=r"\(10, 10\) and \(9, 9\)"):
        measure(square(2, 6), square(2, 6, side=9))


def test_loss_is_nothing_when_certain_and_right_and_grows_with_the_error():
    mask = square(2, 6)[None, ..., None]
    right = np.where(mask, 50.0, -50.0).astype(np.float32)
    losses = [float(lungs.bce_dice_loss(mask, logits)[0]) for logits in (right, right * 0, -right)]
    assert losses[0] == pytest.approx(0, abs=1e-5)
    assert losses[0] < losses[1] < losses[2]
    # unsure everywhere: cross-entropy ln 2, soft Dice (2 * 8 + 1) / (16 + 50 + 1)
    assert losses[1] == pytest.approx(np.log(2) + 1 - 17 / 67, rel=1e-5)


def test_a_map_that_nobody_has_drawn_does_not_count():
    drawn = square(2, 6)[..., None].astype(np.int8)
    unknown = np.full_like(drawn, -1)
    masks = np.concatenate([drawn, unknown, drawn], axis=-1)[None]
    logits = np.random.default_rng(0).normal(size=masks.shape).astype(np.float32)
    alone = [
        float(lungs.bce_dice_loss(masks[..., k : k + 1], logits[..., k : k + 1])[0]) for k in (0, 2)
    ]
    assert float(lungs.bce_dice_loss(masks, logits)[0]) == pytest.approx(np.mean(alone), rel=1e-5)
    other = logits.copy()
    other[..., 1] = 99
    assert float(lungs.bce_dice_loss(masks, other)[0]) == pytest.approx(np.mean(alone), rel=1e-5)


def test_three_maps_come_from_one_network():
    model = lungs.build_unet(size=32, filters=4, levels=2, encoder="scratch", maps=3)
    assert model(np.zeros((2, 32, 32, 1), np.float32)).shape == (2, 32, 32, 3)
