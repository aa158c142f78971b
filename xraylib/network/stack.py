"""The report's classifier, VGG16 frozen with a stack on top (Figure 2), and its training (Table 3).

`train_head` is the plain way of training. `machinery.fast.fit_head` computes the same faster, and
goes on where a killed process stopped.
"""

from pathlib import Path

import h5py
import keras
import numpy as np
from keras import layers

from xraylib import data, pretrained
from xraylib.config import CLASS_NAMES, COVID, IMAGE_SIZE, RunConfig
from xraylib.network.machinery.weights import vgg16_weights_path

FEATURES = "block5_pool"  # the last frozen layer; its output is what `features` keeps
LEARNT = ("block6_conv1", "block6_conv2", "dense", "logits")  # the layers that are trained
TRAINED = {"real": "head"}  # the names of heads that come with the package
CAFFE_MEANS = (103.939, 116.779, 123.68)  # blue, green, red, as VGG16 was trained


def build_classifier(scaling: str = "report", head=None, weights=None) -> keras.Model:
    """Build the whole classifier as one flat functional model (Figure 2).

    Args:
        scaling: `report` or `vgg16`, see `build_base`. The heads of the package were trained with
            the report's.
        head: a trained model of `build_head` whose weights are copied, of any number of classes;
            new weights and the report's three without.
        weights: in place of `head`, trained weights by name or path, see `load_head`.

    Returns:
        a model from (B, 224, 224, 1) grey values 0..255 to logits (B, C). VGG16's layers are
        frozen, and every layer can be asked for by name.
    """
    base = build_base(scaling)
    n_classes = len(CLASS_NAMES) if head is None else head.output_shape[-1]
    logits = stack_head(base.output, n_classes=n_classes)
    model = keras.Model(base.input, logits, name="stacked_vgg16")
    if head is not None:
        copy_weights(head, model)
    return model if weights is None else load_head(model, weights)


def build_base(scaling: str = "report", size: int = IMAGE_SIZE) -> keras.Model:
    """Build the frozen VGG16, from a grey image to block5_pool.

    Args:
        scaling: `vgg16` subtracts the ImageNet means, as VGG16 was trained; `report` multiplies
            by 1/255, as the report did.
        size: side of the images in pixels, a multiple of 32.

    Returns:
        a model from (B, size, size, 1) grey values 0..255 to (B, size / 32, size / 32, 512)
        float32; 7 x 7 cells for the report's 224 pixels.

    Raises:
        ValueError: there is no such scaling.
    """
    grey = keras.Input((size, size, 1), name="grey")
    colour = layers.Concatenate(name="three_channels")([grey, grey, grey])
    if scaling == "vgg16":
        offset = [-mean for mean in CAFFE_MEANS]
        scaled = layers.Rescaling(1.0, offset, name="subtract_means")(colour)
    elif scaling == "report":
        scaled = layers.Rescaling(1 / 255, name="scale_to_one")(colour)
    else:
        raise ValueError(f"no scaling {scaling!r}: choose report or vgg16")
    path = str(vgg16_weights_path())
    vgg = keras.applications.VGG16(include_top=False, weights=path, input_tensor=scaled)
    base = keras.Model(grey, vgg.get_layer(FEATURES).output, name="vgg16_base")
    base.trainable = False
    return base


def stack_head(features, conv=layers.Conv2D, n_classes: int = len(CLASS_NAMES)):
    """Stack the report's own layers on VGG16's features.

    Args:
        features: a tensor (B, 7, 7, 512).
        conv: the class of the two convolutions.
        n_classes: C, the report's three by default.

    Returns:
        logits, a tensor (B, C). The softmax is left to the loss: Grad-CAM needs the score before
        it.
    """
    x = conv(512, 3, activation="relu", name="block6_conv1")(features)  # 7 x 7 -> 5 x 5
    x = conv(512, 3, activation="relu", name="block6_conv2")(x)  # 5 x 5 -> 3 x 3
    x = layers.MaxPooling2D(2, name="block6_pool")(x)  # 3 x 3 -> 1 x 1
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(64, activation="relu", name="dense")(x)
    x = layers.Dropout(0.5, name="dropout")(x)
    return layers.Dense(n_classes, name="logits", dtype="float32")(x)


def build_head(
    side: int = 7, conv=layers.Conv2D, weights=None, n_classes: int = len(CLASS_NAMES)
) -> keras.Model:
    """Build the part that is trained, to be fed with features.

    Args:
        side: the side of the feature maps. The pool keeps the top left 2 x 2 of block6_conv2's 3 x
            3 cells only, so the last row and column of the features never count: 6 gives the same
            logits and gradients as 7, with less to compute.
        conv, n_classes: as in `stack_head`.
        weights: trained weights by name or path, see `load_head`; new weights without.

    Returns:
        a model from (B, side, side, 512) to logits (B, C) float32.
    """
    features = keras.Input((side, side, 512), name="features")
    head = keras.Model(features, stack_head(features, conv, n_classes), name="head")
    return head if weights is None else load_head(head, weights)


def load_head(model: keras.Model, weights) -> keras.Model:
    """Give the stacked layers of a model trained weights, and return the model.

    Args:
        model: what `build_head` or `build_classifier` returns.
        weights: `real`, what experiment 1 learnt from real radiographs and what comes with the
            package, see `pretrained.card`; or the path of a run's `head.weights.h5`, such as
            `run.folder / "head.weights.h5"` of a run on phantoms.

    Raises:
        ValueError: there is no such name and no such file; or the file holds another model.
        PretrainedError: the package's own file is missing or damaged.
    """
    if str(weights) in TRAINED:
        return pretrained.fill(model, TRAINED[str(weights)])
    if not Path(weights).is_file():
        names = ", ".join(TRAINED)
        raise ValueError(f"no weights {str(weights)!r}: give {names}, or a head.weights.h5 file")
    for name, tensors in _read_head(Path(weights)).items():
        model.get_layer(name).set_weights(tensors)
    return model


def _read_head(path: Path) -> dict[str, list[np.ndarray]]:
    """Read what Keras wrote, which names layers by their classes: the fast head has others."""
    tensors = {}
    try:
        with h5py.File(path) as file:
            layers_of = file["layers"]
            kinds = ("conv2d", "conv2d_1", "dense", "dense_1")
            for name, kind in zip(LEARNT, kinds, strict=True):
                kept = layers_of[kind if kind in layers_of else f"patch_{kind}"]["vars"]
                tensors[name] = [kept["0"][:], kept["1"][:]]
    except (OSError, KeyError) as error:
        raise ValueError(f"{path}: not the weights of a head ({error})") from error
    return tensors


def copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Give layers of one model the weights of the layers of the same names in another one."""
    known = {layer.name for layer in source.layers}
    for layer in target.layers:
        if layer.weights and layer.name in known:
            layer.set_weights(source.get_layer(layer.name).get_weights())


def train_head(
    head: keras.Model, features, labels, config: RunConfig, rare_class=COVID
) -> list[dict]:
    """Train a head: Adam, cross-entropy, up-sampled batches (the report's Table 3).

    Args:
        head: what `build_head` returns; its weights change.
        features, labels: of the training images, float (N, 7, 7, 512) and class ids (N,).
        config: learning rate and decay, batch size, up-sampling rate, epochs, seed.
        rare_class: the class to up-sample, see `data.upsampled_batches`.

    Returns:
        one dict for each epoch: epoch, loss and accuracy, both means over its batches.
    """
    compile_head(head, config)
    targets = np.eye(head.output_shape[-1], dtype=np.float32)[labels]  # one-hot
    history = []
    for epoch in range(config.epochs):
        rng = np.random.default_rng([config.seed, epoch])
        batches = data.upsampled_batches(
            labels, config.batch_size, config.upsampling_rate, rng, rare_class
        )
        judged, sizes = [], []
        for rows in batches:
            judged.append(head.train_on_batch(features[rows], targets[rows]))
            sizes.append(len(rows))
        loss, accuracy = np.average(judged, axis=0, weights=sizes)
        history.append({"epoch": epoch + 1, "loss": float(loss), "accuracy": float(accuracy)})
    return history


def compile_head(head: keras.Model, config: RunConfig, adam=keras.optimizers.Adam) -> None:
    """Give a model the optimizer and the loss of Table 3.

    The rate at step t is learning_rate / (1 + decay * t).
    """
    rate = keras.optimizers.schedules.InverseTimeDecay(config.learning_rate, 1, config.decay)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    head.compile(adam(rate), loss, metrics=["accuracy"])


def predict_logits(head: keras.Model, features, batch_size: int = 256) -> np.ndarray:
    """Return logits float32 (N, C) of a trained head for features (N, 7, 7, 512)."""
    side = head.input_shape[1]
    starts = range(0, len(features), batch_size)
    logits = [head(features[i : i + batch_size, :side, :side], training=False) for i in starts]
    none = np.empty((0, head.output_shape[-1]), np.float32)
    return np.concatenate([none, *logits])
