"""Class activation maps of a model: any layers and classes from one forward pass.

The gradients are those of the score before the softmax, as the report's equations want them. The
equations themselves are in `equations`, as a textbook prints them.
"""

from collections import Counter

import keras
import numpy as np
import tensorflow as tf

from xraylib.maps.equations import FORMULAS, METHODS, activations_and_gradients, score_cam
from xraylib.metrics import softmax

CHUNK = 8  # images in a pass: all layers of VGG16 and their gradients then take about 2 GB


def conv_layers(model: keras.Model) -> list[str]:
    """Return the names of a flat model's 2-D convolutions, from the image to the scores."""
    return [layer.name for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]


class Explainer:
    """A model whose maps are asked for; what a question compiles is kept for the next one.

    Args:
        model: a flat functional model from images (B, H, W, C) to scores (B, classes) before the
            softmax, as `network.build_classifier` gives. Training it later changes the maps too.

    Attributes:
        passes: how many images have gone `forward` through the model and how many scores
            `backward` so far: the cost of a method, whatever the machine.

    Raises:
        ValueError: the model is not flat, ends in a softmax, or has other inputs or outputs.
    """

    def __init__(self, model: keras.Model):
        _check_model(model)
        self.model = model
        self.layers = conv_layers(model)
        self.n_classes = model.output_shape[-1]
        self.passes = Counter()
        self._graphs = {}

    def explain(self, images, class_ids=None, layers=None, method="grad_cam") -> dict:
        """Return the cells of any layers and classes, from one forward pass.

        Each class costs one backward pass, whatever the number of layers.

        Args:
            images: (B, H, W) or (B, H, W, C), or one image (H, W), grey values 0..255.
            class_ids: ids (C,), the same for every image, or (B, C), as in `predicted[:, None]`;
                all classes without.
            layers: names of convolutions; all without.
            method: one of `METHODS`.

        Returns:
            for each layer's name the cells, float32 (B, C, h, w), none below 0.

        Raises:
            ValueError: no such layer, class or method; images of a wrong shape; a layer that has
                no gradient.
        """
        layers = self._check_layers(layers)
        if method == "score_cam":
            return {name: self._score_cam(images, class_ids, name) for name in layers}
        if method not in FORMULAS:
            raise ValueError(f"no method {method!r}: choose one of {', '.join(METHODS)}")
        return self._run(FORMULAS[method], images, class_ids, layers)

    def differentiate(self, images, class_id: int, layer: str) -> tuple[np.ndarray, np.ndarray]:
        """Return A and dY/dA of any number of images, see `maps.activations_and_gradients`.

        Args:
            images, class_id, layer: as in `explain`, one class and one layer.

        Returns:
            two float32 arrays (B, h, w, K), as the formulas take them.
        """
        self._check_layers([layer])
        images = self._batch(images)
        self.passes.update(forward=len(images), backward=len(images))
        parts = [images[i : i + CHUNK] for i in range(0, len(images), CHUNK)]
        pairs = [activations_and_gradients(self.model, part, class_id, layer) for part in parts]
        return tuple(
            np.concatenate(arrays).astype(np.float32) for arrays in zip(*pairs, strict=True)
        )

    def _score_cam(self, images, class_ids, layer: str) -> np.ndarray:
        images = self._batch(images)
        targets = self._targets(class_ids, len(images))
        tapped = keras.Model(self.model.input, self.model.get_layer(layer).output)
        maps = []
        for image, target in zip(images, targets, strict=True):
            activations = np.asarray(_float32(tapped(image[None], training=False)))[0]
            self.passes["forward"] += 1
            maps.append(np.tensordot(target, score_cam(image, activations, self.probs), 1))
        return np.stack(maps)

    def probs(self, images) -> np.ndarray:
        """Return the probabilities (B, classes) of images as in `explain`."""
        images = self._batch(images)
        if "probs" not in self._graphs:
            self._graphs["probs"] = tf.function(
                lambda x: self.model(x, training=False), reduce_retracing=True, autograph=False
            )
        self.passes["forward"] += len(images)
        parts = np.split(images, range(4 * CHUNK, len(images), 4 * CHUNK))
        return softmax(np.concatenate([self._graphs["probs"](part) for part in parts]))

    def _run(self, formula, images, class_ids, layers) -> dict:
        images = self._batch(images)
        targets = self._targets(class_ids, len(images))
        question = (formula, tuple(layers), targets.shape[1])
        if question not in self._graphs:
            self._graphs[question] = self._compile(*question)
        self.passes.update(forward=len(images), backward=targets.shape[0] * targets.shape[1])
        starts = range(0, len(images), CHUNK)
        parts = [self._graphs[question](images[i:][:CHUNK], targets[i:][:CHUNK]) for i in starts]
        return {name: np.concatenate([p[k] for p in parts]) for k, name in enumerate(layers)}

    def _compile(self, formula, layers, n_targets: int):
        """Return a graph from images and one-hot targets to the formula's cells for each layer.

        The twin of `equations.activations_and_gradients`: one pass for all layers and classes.
        """
        inner = [self.model.get_layer(name).output for name in layers]
        tapped = keras.Model(self.model.input, [*inner, self.model.output])

        def one_pass(images, targets):
            with tf.GradientTape(persistent=True) as tape:
                tape.watch(images)
                *activations, scores = tapped(images, training=False)
                asked = [tf.reduce_sum(scores * targets[:, c]) for c in range(n_targets)]
            gradients = [tape.gradient(score, activations) for score in asked]
            _check_gradients(layers, gradients[0])
            return [
                tf.stack([formula(_float32(a), _float32(g[k])) for g in gradients], axis=1)
                for k, a in enumerate(activations)
            ]

        shapes = [(None, *self.model.input_shape[1:]), (None, n_targets, self.n_classes)]
        signature = [tf.TensorSpec(shape, tf.float32) for shape in shapes]
        graph = tf.function(one_pass, input_signature=signature, autograph=False)
        return graph.get_concrete_function()

    def _batch(self, images) -> np.ndarray:
        images = np.asarray(images, np.float32)
        images = images[None] if images.ndim == 2 else images
        images = images[..., None] if images.ndim == 3 else images
        wanted = self.model.input_shape[1:]
        fits = images.ndim == 4 and all(
            want in (None, side) for want, side in zip(wanted, images.shape[1:], strict=True)
        )
        if not fits or len(images) == 0:
            raise ValueError(f"found images {images.shape}: this model takes (B, H, W, C) {wanted}")
        return images

    def _targets(self, class_ids, n_images: int) -> np.ndarray:
        """Return one-hot rows (B, C, classes) for class ids."""
        ids = np.arange(self.n_classes) if class_ids is None else np.atleast_1d(class_ids)
        if (
            not np.issubdtype(ids.dtype, np.integer)
            or not np.isin(ids, range(self.n_classes)).all()
        ):
            raise ValueError(f"class ids {ids.tolist()}: they are 0 to {self.n_classes - 1} here")
        if ids.ndim > 2 or (ids.ndim == 2 and len(ids) != n_images):
            raise ValueError(
                f"found class ids {ids.shape} for {n_images} images: give (C,) or (B, C)"
            )
        ids = np.broadcast_to(ids, (n_images, ids.shape[-1]))
        return np.eye(self.n_classes, dtype=np.float32)[ids]

    def _check_layers(self, layers) -> list[str]:
        layers = self.layers if layers is None else layers
        wrong = [name for name in layers if name not in self.layers]
        if isinstance(layers, str) or wrong or not layers:
            raise ValueError(f"layers {layers!r}: give a list of {', '.join(self.layers)}")
        return list(layers)


def live_cells(explainer: Explainer, layer: str, images=None) -> np.ndarray:
    """Return the cells of a layer that reach any score: elsewhere the gradient is exactly 0.

    A pool that does not fit leaves cells out. The report's 2 x 2 pool on 3 x 3 cells takes the top
    left 2 x 2 of `block6_conv2` only.

    Args:
        explainer: explains the model.
        layer: name of a convolution.
        images: as in `Explainer.explain`; noise without, which stirs every cell of a fresh or a
            trained VGG16.

    Returns:
        bool (h, w). Report, section 3.1 (the pool) and 3.5.
    """
    if images is None:
        shape = explainer.model.input_shape[1:]
        images = np.random.default_rng(0).uniform(0, 255, (4, *shape))
    reached = [
        explainer.differentiate(images, class_id, layer)[1].any(axis=(0, -1))
        for class_id in range(explainer.n_classes)
    ]
    return np.any(reached, axis=0)


def _float32(tensor):
    return tf.cast(tensor, tf.float32)  # under mixed precision


def _check_gradients(layers, gradients) -> None:
    dead = [name for name, gradient in zip(layers, gradients, strict=True) if gradient is None]
    if dead:
        raise ValueError(
            f"no gradient at {', '.join(dead)}: what follows these layers does not let one through "
            "(such as stop_gradient or argmax); ask for later layers, or for score_cam"
        )


def _check_model(model: keras.Model) -> None:
    if not getattr(model, "inputs", None):
        raise ValueError(
            f"model {model.name!r}: not a functional model, so it has no layer outputs"
        )
    nested = [layer.name for layer in model.layers if isinstance(layer, keras.Model)]
    if nested:
        raise ValueError(
            f"model {model.name!r} holds the model {', '.join(nested)}: the layers inside belong "
            "to another graph, and no gradient of the scores can be asked for there; build one "
            "flat model (keras.applications take input_tensor, see classifier.build_model)"
        )
    if len(model.inputs) != 1 or len(model.outputs) != 1 or len(model.output_shape) != 2:
        raise ValueError(f"model {model.name!r}: give one with one input and scores (B, classes)")
    last = model.layers[-1]
    is_softmax = getattr(last, "activation", None) is keras.activations.softmax
    if is_softmax or isinstance(last, keras.layers.Softmax):
        raise ValueError(
            f"model {model.name!r} ends in a softmax ({last.name}): Grad-CAM wants the score "
            "before it, give the model without"
        )
