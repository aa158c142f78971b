"""The report's classifier: VGG16 frozen, block 6 and a small head stacked on top (Figure 2)."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from xraylib import weights
from xraylib.config import CLASS_NAMES, IMAGE_SIZE

FEATURES = "block5_pool"  # the last frozen layer; its output is what `features` keeps
CAFFE_MEANS = (103.939, 116.779, 123.68)  # blue, green, red, as VGG16 was trained


def build_base(scaling: str = "report", weights_path=None) -> keras.Model:
    """Build the frozen VGG16, from a grey image to block5_pool, as one flat model.

    Args:
        scaling: `vgg16` subtracts the ImageNet means, as VGG16 was trained; `report` multiplies
            by 1/255, as the report did.
        weights_path: see `weights.vgg16_weights_path`.

    Returns:
        a model from (B, 224, 224, 1) grey values 0..255 to (B, 7, 7, 512) float32.
    """
    grey = keras.Input((IMAGE_SIZE, IMAGE_SIZE, 1), name="grey")
    colour = layers.Concatenate(name="three_channels")([grey, grey, grey])
    if scaling == "vgg16":
        offset = [-mean for mean in CAFFE_MEANS]
        inputs = layers.Rescaling(1.0, offset, name="subtract_means")(colour)
    elif scaling == "report":
        inputs = layers.Rescaling(1 / 255, name="scale_to_one")(colour)
    else:
        raise ValueError(f"no scaling {scaling!r}: choose report or vgg16")
    vgg = keras.applications.VGG16(
        include_top=False,
        weights=str(weights.vgg16_weights_path(weights_path)),
        input_tensor=inputs,
    )
    base = keras.Model(grey, vgg.get_layer(FEATURES).output, name="vgg16_base")
    base.trainable = False
    return base


class PatchConv2D(layers.Conv2D):
    """A valid 3 x 3 convolution computed as one matrix product over unfolded patches.

    The mathematics and the weights are `Conv2D`'s. On small maps with many channels the matrix
    product is several times as fast on a CPU, above all in bfloat16.
    """

    def call(self, inputs):
        size = self.kernel_size[0]
        height, width = inputs.shape[1] - size + 1, inputs.shape[2] - size + 1
        shifted = [
            inputs[:, i : i + height, j : j + width] for i in range(size) for j in range(size)
        ]
        depth = size * size * inputs.shape[-1]
        patches = tf.reshape(tf.concat(shifted, axis=-1), (-1, depth))
        products = patches @ tf.reshape(self.kernel, (depth, self.filters))
        maps = tf.reshape(products, (-1, height, width, self.filters))
        return self.activation(maps + self.bias)


def stack_block6(features, conv=layers.Conv2D):
    """Stack the report's block 6 on features (B, 7, 7, 512); returns (B, 512)."""
    x = conv(512, 3, activation="relu", name="block6_conv1")(features)
    x = conv(512, 3, activation="relu", name="block6_conv2")(x)
    x = layers.MaxPooling2D(2, name="block6_pool")(x)
    return layers.Flatten(name="flatten")(x)


def stack_head(features, conv=layers.Conv2D):
    """Stack the report's layers on features (B, 7, 7, 512); returns logits (B, 3)."""
    x = stack_block6(features, conv)
    x = layers.Dense(64, activation="relu", name="dense")(x)
    x = layers.Dropout(0.5, name="dropout")(x)
    # logits apart from the softmax: Grad-CAM needs the score before it; float32 for the loss
    return layers.Dense(len(CLASS_NAMES), name="logits", dtype="float32")(x)


def build_head(size: int = 7, fast: bool = False) -> keras.Model:
    """Build the trainable part alone, to be fed with features.

    Args:
        size: side of the feature maps. The pool keeps the top left 2 x 2 of block6_conv2's
            3 x 3 cells only, so the last row and column of the features never count: 6 gives
            the same logits and gradients as 7, with less to compute.
        fast: compute the convolutions as matrix products, see `PatchConv2D`.

    Returns:
        a model from (B, size, size, 512) to logits (B, 3) float32.
    """
    features = keras.Input((size, size, 512), name="features")
    logits = stack_head(features, PatchConv2D if fast else layers.Conv2D)
    return keras.Model(features, logits, name="head")


def build_model(scaling: str = "report", head=None, weights_path=None) -> keras.Model:
    """Build the whole classifier as one flat functional model (Figure 2).

    Args:
        scaling: `report` or `vgg16`, see `build_base`.
        head: a trained model of `build_head` whose weights to take; new weights without.
        weights_path: see `weights.vgg16_weights_path`.

    Returns:
        a model from (B, 224, 224, 1) grey values 0..255 to logits (B, 3); VGG16's layers are
        frozen, and every layer can be asked for by name.
    """
    base = build_base(scaling, weights_path)
    model = keras.Model(base.input, stack_head(base.output), name="stacked_vgg16")
    if head is not None:
        for layer in head.layers:
            if layer.weights:
                model.get_layer(layer.name).set_weights(layer.get_weights())
    return model


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities (B, 3) for logits (B, 3)."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)
