"""The U-Net of the report's Figure 3, its loss, and its measures of overlap for Keras."""

from dataclasses import dataclass, replace

import keras
from keras import layers, ops

from xraylib import network

# What a map counts as lung. Some draw the lung on through the heart, others stop at it: one map
# for each habit, and one that takes the habit of whoever drew masks of films that look alike.
HEART = ("drawn", "in", "out")


@dataclass(frozen=True)
class UNetConfig:
    """Everything that decides what a U-Net learns.

    Attributes:
        dataset: where the pairs of image and mask come from; a word for the run's `config.json`.
        size: side of the network's input in pixels, divisible by 2 ** levels.
        filters: the filters of the first level; they double with every level.
        levels: 2 x 2 poolings.
        encoder: the contracting path: `vgg16`, pretrained and frozen, or `scratch`.
        batch_size: pairs in a batch.
        epochs: at most so many.
        steps: batches in an epoch. Pairs are drawn with replacement and varied anew.
        learning_rate: Adam's highest learning rate; it warms up, then falls as a cosine to 1 %.
        maps: 1, or one for each way in `HEART` of dealing with the heart.
        borrowed_greys: share of the training images, 0 to 1, that take over the grey values of
            another one, so that the look of a film does not tell who drew its mask.
        patience: epochs without a better validation Dice before training stops.
        test_share, val_share: shares of the patients, 0 to 1.
        seed: seeds the split, the first weights, the batches and the variations.
    """

    dataset: str = "darkcovidnet"
    size: int = 128
    filters: int = 16
    levels: int = 4
    encoder: str = "vgg16"
    batch_size: int = 8
    epochs: int = 10
    steps: int = 40
    learning_rate: float = 0.001
    maps: int = 1
    borrowed_greys: float = 0.0
    patience: int = 5
    test_share: float = 0.3
    val_share: float = 0.1
    seed: int = 19910806

    def but(self, **changes) -> "UNetConfig":
        """Return a copy with some settings changed."""
        return replace(self, **changes)


def build_unet(
    size: int = 128,
    filters: int = 16,
    levels: int = 4,
    encoder: str = "vgg16",
    pretrained: bool = True,
    maps: int = 1,
) -> keras.Model:
    """Build the U-Net that finds the lungs (Figure 3).

    VGG16's first blocks are 3 x 3 convolutions with ReLU and 2 x 2 max poolings too: with
    `encoder="vgg16"` they are the contracting path, pretrained on ImageNet and frozen.

    Args:
        size: side of the input in pixels, divisible by 2 ** levels.
        filters: the filters of the first level; they double with every level (VGG16 brings its own
            on the contracting path).
        levels: number of 2 x 2 max poolings, and of up-convolutions; at most 4 with VGG16.
        encoder: `scratch` or `vgg16`.
        pretrained: False leaves VGG16's weights to be loaded with the rest.
        maps: maps of logits, see `HEART`.

    Returns:
        A model from grey values (B, size, size, 1), 0 to 255, to logits (B, size, size, maps),
        float32, above 0 where a lung is more likely than not. Padding keeps the two sizes equal.

    Raises:
        ValueError: size is not divisible by 2 ** levels, or there is no such encoder.

    Figure 3 and section 3.2.3 of the report; Ronneberger et al. 2015, without their cropping;
    Iglovikov and Shvets 2018 for the pretrained contracting path.
    """
    if size % 2**levels:
        raise ValueError(f"size {size} is not divisible by {2**levels}: {levels} poolings halve it")
    if encoder not in ("scratch", "vgg16"):
        raise ValueError(f"no encoder {encoder!r}: choose scratch or vgg16")
    image = keras.Input((size, size, 1), name="image")
    if encoder == "vgg16":
        x, skips = vgg16_path(image, levels, pretrained)
    else:
        x, skips = contracting_path(image, filters, levels)
    for level in range(levels, 0, -1):  # up again, the maps of the way down beside
        n = filters * 2 ** (level - 1)
        x = layers.Conv2DTranspose(n, 2, strides=2, name=f"up{level}_upconv")(x)
        x = layers.Concatenate(name=f"up{level}_concat")([skips[level - 1], x])
        x = two_convolutions(x, n, f"up{level}")
    logits = layers.Conv2D(maps, 1, dtype="float32", name="logits")(x)
    return keras.Model(image, logits, name="unet")


def build_configured(config: UNetConfig, pretrained: bool = True) -> keras.Model:
    """Build the U-Net of a configuration; `pretrained` as in `build_unet`."""
    shape = config.size, config.filters, config.levels, config.encoder
    return build_unet(*shape, pretrained, config.maps)


def two_convolutions(x, filters: int, name: str):
    """Apply two padded 3 x 3 convolutions with ReLU."""
    for number in (1, 2):
        convolution = layers.Conv2D(
            filters, 3, padding="same", activation="relu",
            kernel_initializer="he_normal", name=f"{name}_conv{number}",
        )  # fmt: skip
        x = convolution(x)
    return x


def contracting_path(image, filters: int, levels: int):
    """Go down: return the maps at the bottom, and those of each level before its pooling."""
    x, skips = layers.Rescaling(1 / 127.5, -1, name="scaling")(image), []
    for level in range(1, levels + 1):
        x = two_convolutions(x, filters * 2 ** (level - 1), f"down{level}")
        skips.append(x)
        x = layers.MaxPooling2D(2, name=f"down{level}_pool")(x)
    return two_convolutions(x, filters * 2**levels, "bottom"), skips


def vgg16_path(image, levels: int, pretrained: bool):
    """Go down VGG16's blocks; their maps, in the hundreds, are brought to unit scale."""
    path = str(network.vgg16_weights_path()) if pretrained else None
    vgg = keras.applications.VGG16(include_top=False, weights=path)
    vgg.trainable = False
    x = layers.Concatenate(name="three_channels")([image] * 3)
    x = layers.Rescaling(1.0, [-mean for mean in network.CAFFE_MEANS], name="subtract_means")(x)
    maps = []
    for layer in vgg.layers[1:]:
        if isinstance(layer, layers.MaxPooling2D):
            maps.append(layers.BatchNormalization(momentum=0.9, name=f"{layer.name}_scale")(x))
            if len(maps) > levels:
                break
        x = layer(x)
    return maps[-1], maps[:-1]


def bce_dice_loss(masks, logits):
    """Return binary cross-entropy plus one minus the soft Dice, for each image.

    Args:
        masks: (B, H, W, M), 0 to 1; a map that nobody has drawn for an image is -1 everywhere.
        logits: (B, H, W, M).

    Returns:
        (B,), the mean over the maps that are drawn: 0 for certain and right, no upper bound.

    Section 3.2.3 of the report; Milletari et al. 2016 for the soft Dice.
    """
    masks, axes = ops.cast(masks, "float32"), (1, 2)
    drawn = ops.cast(masks[:, 0, 0] >= 0, "float32")  # (B, M)
    masks, probs = ops.maximum(masks, 0.0), ops.sigmoid(logits)
    total = ops.sum(masks, axes) + ops.sum(probs, axes)
    soft_dice = (2 * ops.sum(masks * probs, axes) + 1) / (total + 1)
    cross_entropy = ops.mean(ops.softplus(logits) - masks * logits, axes)  # of the sigmoid
    loss = cross_entropy + 1 - soft_dice
    return ops.sum(drawn * loss, -1) / ops.sum(drawn, -1)


def _areas(masks, logits):
    """Return overlap and summed area of each pair of first maps, float32 (B,) each."""
    masks = ops.cast(ops.cast(masks[..., 0], "float32") > 0.5, "float32")
    predicted, axes = ops.cast(logits[..., 0] > 0, "float32"), (1, 2)
    return ops.sum(masks * predicted, axes), ops.sum(masks, axes) + ops.sum(predicted, axes)


def dice_metric(masks, logits):
    """Return the Dice coefficient of each image, as `dice`, for `compile(metrics=...)`.

    Args:
        masks: (B, H, W, M), a lung where above 0.5; the first map counts.
        logits: (B, H, W, M), a lung where above 0.

    Returns:
        float32 (B,), 0 to 1.
    """
    both, total = _areas(masks, logits)
    return ops.where(total > 0, 2 * both / ops.maximum(total, 1), 1.0)


def iou_metric(masks, logits):
    """Return the intersection over union, float32 (B,); takes what `dice_metric` takes."""
    both, total = _areas(masks, logits)
    return ops.where(total > 0, both / ops.maximum(total - both, 1), 1.0)
