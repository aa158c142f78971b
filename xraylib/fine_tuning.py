"""Fine-tuning the end of VGG16: the usual baseline, in which not everything is frozen."""

import keras
from keras import layers

from xraylib import classifier
from xraylib.config import CLASS_NAMES
from xraylib.recipes import Recipe


def build(recipe: Recipe, side: int, n_pooled: int) -> keras.Model:
    """Build what learns: the last convolutions of block 5 from ImageNet, and a linear layer.

    Args:
        recipe: which convolutions are `learning`, and the `dropout`.
        side: of the maps.
        n_pooled: 0; pooled features have no place here.

    Returns:
        a model from maps (B, side, side, 512) of the last frozen layer, see `Recipe.frozen_end`,
        and an empty array of pooled features (B, 0) to logits (B, 3) float32.
    """
    maps, pooled = keras.Input((side, side, 512), name="maps"), keras.Input((0,), name="pooled")
    base, x = classifier.build_base("vgg16"), maps
    for name in recipe.learning:
        convolution = classifier.PatchConv2D(512, 3, activation="relu", name=name)
        x = convolution(layers.ZeroPadding2D(1)(x))
        convolution.set_weights(base.get_layer(name).get_weights())
    x = layers.MaxPooling2D(2, name="block5_pool")(x)
    x = layers.Dropout(recipe.dropout, name="dropout")(layers.GlobalAveragePooling2D()(x))
    logits = layers.Dense(len(CLASS_NAMES), name="logits", dtype="float32")(x)
    return keras.Model({"maps": maps, "pooled": pooled}, logits, name="fine_tuned_vgg16")
