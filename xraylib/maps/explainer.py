"""Class activation maps of a model: any layers and classes from one forward pass.

The gradients are those of the score before the softmax, as the report's equations want them. The
equations themselves are in `equations`, as a textbook prints them.
"""

from collections import Counter, defaultdict
from contextlib import contextmanager, suppress

import keras
import numpy as np
import tensorflow as tf

from xraylib.config import CLASS_NAMES, IMAGE_SIZE
from xraylib.maps.equations import FORMULAS, METHODS, score_cam
from xraylib.metrics import softmax
from xraylib.metrics.counts import check_finite

CHUNK = 8  # images in a pass: all layers of VGG16 and their gradients then take about 2 GB
CONVOLUTIONS = (
    keras.layers.Conv2D,
    keras.layers.Conv2DTranspose,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D,
)


def conv_layers(model: keras.Model) -> list[str]:
    """Return the names of a model's 2-D convolutions, from the image to the scores."""
    return [layer.name for layer in _leaves(model) if isinstance(layer, CONVOLUTIONS)]


class Explainer:
    """A model whose maps are asked for; what a question compiles is kept for the next one.

    Args:
        model: a functional or sequential model from images (B, H, W, C) to scores (B, classes)
            before the softmax, as `network.build_classifier` gives. Models within the model are
            walked into. One score (a single logit) is taken for two classes. Training it later
            changes the maps too.
        class_names: C names; without, the report's for three classes, else `class 0`, ...

    Attributes:
        layers: the convolutions, shown where no layers are asked for.
        map_layers: all layers that give a map (B, h, w, K), any of which can be asked for:
            convolutions, activations, pools, sums.
        default_layer: the last of `map_layers` with more than one cell.
        passes: how many images have gone `forward` through the model and how many scores
            `backward` so far: the cost of a method, whatever the machine.

    Raises:
        ValueError: the model has no graph of layers, other inputs or outputs, channels first, or
            it gives probabilities; says what to do.
    """

    def __init__(self, model: keras.Model, class_names=None):
        if isinstance(model, keras.Sequential) and model.built:
            model = keras.Model(model.inputs, model.outputs[0], name=model.name)
        _check_model(model)
        self.model = model
        height, width, self.channels = model.inputs[0].shape[1:]
        self.size = height or IMAGE_SIZE, width or IMAGE_SIZE
        n_scores = model.outputs[0].shape[-1]
        self.n_classes = max(n_scores, 2)
        self.class_names = _checked_names(class_names, self.n_classes)
        self._leaves = {layer.name: layer for layer in _leaves(model)}
        shapes = self._shapes()
        self.map_layers = [name for name, shape in shapes.items() if len(shape) == 4]
        if not self.map_layers:
            raise ValueError(f"model {model.name!r}: no layer gives a map (B, h, w, K): add one")
        self.layers = [name for name in conv_layers(model) if name in shapes]
        self.layers = self.layers or self.map_layers
        wide = [name for name in self.map_layers if shapes[name][1] * shapes[name][2] > 1]
        self.default_layer = (wide or self.map_layers)[-1]
        self.passes = Counter()
        self._graphs = {}

    def __repr__(self) -> str:
        return (
            f"Explainer of {self.model.name!r}: {len(self.map_layers)} of {len(self._leaves)} "
            f"layers can be explained, {self.default_layer} if none is named; "
            f"{self.n_classes} classes"
        )

    def _shapes(self) -> dict[str, tuple]:
        """Return the output shape of each layer that is called once, by tracing the model."""
        image = tf.TensorSpec((1, *self.size, self.channels), tf.float32)
        with noting(self._leaves.values()) as noted:
            tf.function(self._raw, autograph=False).get_concrete_function(image)
        once = {name: outputs[0] for name, outputs in noted.items() if len(outputs) == 1}
        return {name: tuple(out.shape) for name, out in once.items() if tf.is_tensor(out)}

    def _raw(self, images):
        """Return what the model gives for images, float32 (B, C) or (B, 1)."""
        if isinstance(self.model.input, dict):
            images = {next(iter(self.model.input)): images}
        given = self.model(images, training=False)
        return _float32(tf.nest.flatten(given)[0])

    def scores(self, images):
        """Return the scores (B, classes): those of the model, or -z and z for a single logit z."""
        raw = self._raw(images)
        return raw if raw.shape[-1] > 1 else tf.concat([-raw, raw], axis=-1)

    def explain(self, images, class_ids=None, layers=None, method="grad_cam") -> dict:
        """Return the cells of any layers and classes, from one forward pass.

        Each class costs one backward pass, whatever the number of layers.

        Args:
            images: (B, H, W) or (B, H, W, C), or one image (H, W), grey values 0..255.
            class_ids: ids or names (C,), the same for every image, or (B, C), as in
                `predicted[:, None]`; all classes without.
            layers: names of `map_layers`; the convolutions without.
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

    def explain_by_all(self, images, class_ids=None, layers=None) -> dict:
        """Return the cells of all methods that need the same gradients, from one pass.

        Arguments as in `explain`; for each of `equations.FORMULAS` a dict as of `explain`.
        """

        def formula(activations, gradients):
            return tf.stack([part(activations, gradients) for part in FORMULAS.values()], axis=1)

        cells = self._run(formula, images, class_ids, self._check_layers(layers))
        return {
            method: {layer: maps[:, :, k] for layer, maps in cells.items()}
            for k, method in enumerate(FORMULAS)
        }

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
        pairs = []
        for start in range(0, len(images), CHUNK):
            part = tf.constant(images[start : start + CHUNK])
            with tf.GradientTape() as tape, noting([self._leaves[layer]]) as noted:
                tape.watch(part)  # a frozen model would not be recorded
                score = tf.reduce_sum(self.scores(part)[:, class_id])
            (activations,) = noted[layer]
            gradients = tape.gradient(score, activations)
            _check_gradients([layer], [gradients])
            pairs.append((_float32(activations).numpy(), _float32(gradients).numpy()))
        return tuple(np.concatenate(arrays) for arrays in zip(*pairs, strict=True))

    def _score_cam(self, images, class_ids, layer: str) -> np.ndarray:
        images = self._batch(images)
        targets = self._targets(class_ids, len(images))
        maps = []
        for image, target in zip(images, targets, strict=True):
            with noting([self._leaves[layer]]) as noted:
                self._raw(tf.constant(image[None]))
            activations = _float32(noted[layer][0]).numpy()[0]
            self.passes["forward"] += 1
            maps.append(np.tensordot(target, score_cam(image, activations, self.probs), 1))
        return np.stack(maps)

    def probs(self, images) -> np.ndarray:
        """Return the probabilities (B, classes) of images as in `explain`."""
        images = self._batch(images)
        if "probs" not in self._graphs:
            self._graphs["probs"] = tf.function(self._raw, reduce_retracing=True, autograph=False)
        self.passes["forward"] += len(images)
        parts = np.split(images, range(4 * CHUNK, len(images), 4 * CHUNK))
        raw = np.concatenate([self._graphs["probs"](part) for part in parts])
        check_finite(raw, f"scores of the model {self.model.name!r}")
        return softmax(np.pad(raw, ((0, 0), (1, 0))) if raw.shape[1] == 1 else raw)

    def _run(self, formula, images, class_ids, layers) -> dict:
        images = self._batch(images)
        targets = self._targets(class_ids, len(images))
        question = (formula, tuple(layers), targets.shape[1])
        if question not in self._graphs:
            self._graphs[question] = self._compile(*question)
        self.passes.update(forward=len(images), backward=targets.shape[0] * targets.shape[1])
        starts = range(0, len(images), CHUNK)
        parts = [self._graphs[question](images[i:][:CHUNK], targets[i:][:CHUNK]) for i in starts]
        cells = {name: np.concatenate([p[k] for p in parts]) for k, name in enumerate(layers)}
        for name, values in cells.items():
            check_finite(values, f"map at {name}")
        return cells

    def _compile(self, formula, layers, n_targets: int):
        """Return a graph from images and one-hot targets to the formula's cells for each layer.

        The twin of `equations.activations_and_gradients`: one pass for all layers and classes.
        """
        leaves = [self._leaves[name] for name in layers]

        def one_pass(images, targets):
            with tf.GradientTape(persistent=True) as tape, noting(leaves) as noted:
                tape.watch(images)
                scores = self.scores(images)
                activations = [noted[name][0] for name in layers]
                asked = [tf.reduce_sum(scores * targets[:, c]) for c in range(n_targets)]
            gradients = [tape.gradient(score, activations) for score in asked]
            _check_gradients(layers, gradients[0])
            return [
                tf.stack([formula(_float32(a), _float32(g[k])) for g in gradients], axis=1)
                for k, a in enumerate(activations)
            ]

        sides = self.model.inputs[0].shape[1:]
        shapes = [(None, *sides), (None, n_targets, self.n_classes)]
        signature = [tf.TensorSpec(shape, tf.float32) for shape in shapes]
        graph = tf.function(one_pass, input_signature=signature, autograph=False)
        return graph.get_concrete_function()

    def _batch(self, images) -> np.ndarray:
        """Return images as float32 (B, H, W, C); a `ValueError` names the shape that was given."""
        given = check_finite(np.asarray(images, np.float32), "images")
        images, sides = given, tuple(self.model.inputs[0].shape[1:])
        if images.ndim == 2 or (images.ndim == 3 and self.channels == images.shape[-1] > 1):
            images = images[None]
        images = images[..., None] if images.ndim == 3 else images
        fits = images.ndim == 4 and all(
            want in (None, side) for want, side in zip(sides, images.shape[1:], strict=True)
        )
        if not fits or len(images) == 0:
            grey = " of grey images: images.read_grey gives them" if self.channels == 1 else ""
            raise ValueError(
                f"found images {given.shape}: this model takes (B, H, W, C) {sides}{grey}"
            )
        return images

    def _targets(self, class_ids, n_images: int) -> np.ndarray:
        """Return one-hot rows (B, C, classes) for class ids."""
        ids = np.arange(self.n_classes) if class_ids is None else np.atleast_1d(class_ids)
        if ids.dtype.kind in "UO" and np.isin(ids, self.class_names).all():
            ids = np.vectorize(self.class_names.index)(ids)
        if (
            not np.issubdtype(ids.dtype, np.integer)
            or not np.isin(ids, range(self.n_classes)).all()
        ):
            names = ", ".join(map(str, self.class_names))
            last = self.n_classes - 1
            raise ValueError(f"class ids {ids.tolist()}: they are 0 to {last} here, for {names}")
        if ids.ndim > 2 or (ids.ndim == 2 and len(ids) != n_images):
            raise ValueError(
                f"found class ids {ids.shape} for {n_images} images: give (C,) or (B, C)"
            )
        ids = np.broadcast_to(ids, (n_images, ids.shape[-1]))
        return np.eye(self.n_classes, dtype=np.float32)[ids]

    def _check_layers(self, layers) -> list[str]:
        layers = self.layers if layers is None else layers
        wrong = [name for name in layers if name not in self.map_layers]
        if isinstance(layers, str) or wrong or not layers:
            raise ValueError(f"layers {layers!r}: give a list of {', '.join(self.map_layers)}")
        return list(layers)


def live_cells(explainer: Explainer, layer: str, images=None) -> np.ndarray:
    """Return the cells of a layer that reach any score: elsewhere the gradient is exactly 0.

    A pool that does not fit leaves cells out. The report's 2 x 2 pool on 3 x 3 cells takes the top
    left 2 x 2 of `block6_conv2` only.

    Args:
        explainer: explains the model.
        images: as in `Explainer.explain`; noise without, which stirs every cell of a fresh or a
            trained VGG16.

    Returns:
        bool (h, w). Report, section 3.1 (the pool) and 3.5.
    """
    if images is None:
        shape = (4, *explainer.size, explainer.channels)
        images = np.random.default_rng(0).uniform(0, 255, shape)
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


@contextmanager
def noting(layers):
    """Note what layers give while a model is called, wherever in the model they are.

    Yields a dict from a layer's name to the list of its outputs, one for each time it was called.
    """
    noted = defaultdict(list)

    def noted_call(layer):
        call = layer.call

        def call_and_note(*args, **kwargs):
            outputs = call(*args, **kwargs)
            noted[layer.name].append(outputs)
            return outputs

        return call_and_note

    layers = list(layers)
    for layer in layers:
        layer.call = noted_call(layer)
    try:
        yield noted
    finally:
        for layer in layers:
            del layer.call  # the class's own call is back


def without_softmax(model: keras.Model, class_id: int | None = None) -> keras.Model:
    """Return a model that ends before the softmax or sigmoid of another one.

    Layers are shared, but for a last layer with the softmax inside, whose weights are copied.

    Args:
        model: from images to probabilities (B, classes), or (B, 1) after a sigmoid.
        class_id: of a model with an independent sigmoid for each class, the one to keep: what is
            left is one logit, two classes for `Explainer`, without it and with it.

    Returns:
        a model to scores, which `Explainer` takes.

    Raises:
        ValueError: no such model can be made; build it with a last layer without activation. Or
            its sigmoids are independent, and no class is named.
    """
    ending = _ending(model)
    n = model.outputs[0].shape[-1]
    if ending == "sigmoids" and class_id is None:
        raise ValueError(_independent(model))
    if class_id is not None and (ending != "sigmoids" or class_id not in range(n)):
        raise ValueError(
            f"class_id {class_id!r}: choose one of 0 to {n - 1} of a model with independent "
            f"sigmoids; leave it out for others, such as {model.name!r}"
        )
    found = keras.Model(model.inputs, _scores_before(model), name=model.name)
    if class_id is None:
        return found
    chosen = found.outputs[0][:, class_id : class_id + 1]
    return keras.Model(found.inputs, chosen, name=model.name)


def _scores_before(model: keras.Model):
    """Return the symbolic scores that a model's softmax or sigmoid is given."""
    scores = model.outputs[0]
    for _ in range(4):  # a softmax may be followed by a cast or a linear activation
        history = scores._keras_history
        last = history.operation
        before = last._inbound_nodes[history.node_index].input_tensors[0]
        if isinstance(last, keras.Model):
            scores = keras.Model(last.inputs, _scores_before(last), name=last.name)(before)
        elif getattr(last, "kernel", None) is not None:
            settings = last.get_config() | {"activation": "linear", "name": f"{last.name}_scores"}
            plain = type(last).from_config(settings)
            scores = plain(before)
            plain.set_weights(last.get_weights())
        else:
            scores = before
        if not _ending(keras.Model(model.inputs, scores)):
            return scores
    raise ValueError(f"model {model.name!r}: no scores found; end it in a layer without activation")


def _independent(model: keras.Model) -> str:
    """Say what to do with a model that has a sigmoid for each of several classes."""
    n = model.outputs[0].shape[-1]
    return (
        f"model {model.name!r} gives {n} independent probabilities (a sigmoid for each class, "
        "several of which may hold), and these maps compare classes by a softmax: explain one "
        "class at a time, as in Explainer(maps.without_softmax(model, class_id=0)), whose two "
        "classes are without it and with it"
    )


def _leaves(model: keras.Model) -> list:
    """Return the layers of a model and of the models within it, from the image to the scores."""
    leaves = []
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            leaves += _leaves(layer)
        elif not isinstance(layer, keras.layers.InputLayer):
            leaves.append(layer)
    return leaves


def _checked_names(class_names, n_classes: int) -> tuple:
    if class_names is None:
        known = n_classes == len(CLASS_NAMES)
        return CLASS_NAMES if known else tuple(f"class {k}" for k in range(n_classes))
    if len(class_names) != n_classes:
        raise ValueError(f"{len(class_names)} class_names for {n_classes} classes: name each once")
    return tuple(class_names)


def _check_model(model: keras.Model) -> None:
    """Raise a `ValueError` that says what to do for a model that cannot be explained."""
    if not getattr(model, "inputs", None):
        raise ValueError(
            f"model {getattr(model, 'name', model)!r}: not a functional model, so it has no layer "
            "outputs; build it with keras.Input, or begin a Sequential with one"
        )
    if len(model.inputs) != 1 or len(model.outputs) != 1 or len(model.outputs[0].shape) != 2:
        outputs = model.output if isinstance(model.output, dict) else dict(enumerate(model.outputs))
        found = {name: tuple(tensor.shape) for name, tensor in outputs.items()}
        raise ValueError(
            f"model {model.name!r}: give one with one input and scores (B, classes); this one has "
            f"{len(model.inputs)} inputs and the outputs {found}: choose one, as in "
            f"keras.Model(model.inputs, model.output[{next(iter(found))!r}])"
        )
    leaves = _leaves(model)
    counts = Counter(layer.name for layer in leaves)
    doubled = [name for name, count in counts.items() if count > 1]
    if doubled:
        raise ValueError(
            f"model {model.name!r}: several layers are called {doubled[0]}: rename one"
        )
    first = [k.name for k in leaves if getattr(k, "data_format", "") == "channels_first"]
    if first or len(model.inputs[0].shape) != 4:
        raise ValueError(
            f"model {model.name!r}: give one from images (B, H, W, C), channels last; found "
            f"{model.inputs[0].shape}{', channels_first at ' + first[0] if first else ''}"
        )
    ending = _ending(model)
    if ending == "sigmoids":
        raise ValueError(_independent(model))
    if ending:
        raise ValueError(
            f"model {model.name!r} gives probabilities (a softmax or sigmoid at its end), and "
            "Grad-CAM wants the score before it: Explainer(maps.without_softmax(model)), or build "
            "it with a last layer without activation"
        )


def _ending(model: keras.Model) -> str:
    """Return how a model makes probabilities: `softmax`, `sigmoid`, `sigmoids`, or "" for scores.

    This is seen from outputs, and from no name. Rows that add up to 1, before or after an
    exponential, come from a softmax; values that never leave 0 to 1, from a sigmoid, or from
    several.
    """
    values = _sample_outputs(model)
    if not np.isfinite(values).all() or not values.any():
        return ""
    several = values.shape[1] > 1
    if several and (values <= 0).all():  # log softmax
        return "softmax" if _adds_up(np.exp(values)) else ""
    if (values < 0).any():
        return ""
    if several and _adds_up(values):
        return "softmax"
    if (values > 1).any():
        return ""
    return "sigmoids" if several else "sigmoid"


def _adds_up(probs: np.ndarray) -> bool:
    sums = probs.sum(axis=1)
    return bool(np.allclose(sums, 1, atol=0.02) or np.allclose(sums, 100, atol=2))  # per cent


def _sample_outputs(model: keras.Model) -> np.ndarray:
    """Return outputs for noise, put in before the last layer with weights if that can be done."""
    rng = np.random.default_rng(0)
    sides = [side or IMAGE_SIZE for side in model.inputs[0].shape[1:]]
    end, noise = model, rng.normal(0, [[[[1.0]]], [[[1e2]]], [[[1e4]]]], (3, *sides))
    weighted = [layer for layer in model.layers if layer.weights]
    # a layer of several calls or one of several branches has no such end: look at the whole
    with suppress(IndexError, ValueError, AttributeError, TypeError):
        if isinstance(weighted[-1], keras.Model):
            called = weighted[-1]._inbound_nodes[-1].output_tensors[0]
            inner = _sample_outputs(weighted[-1])
            if called is model.outputs[0]:
                return inner
            end, noise = keras.Model(called, model.outputs[0]), inner
        else:
            end = keras.Model(weighted[-1].input, model.outputs[0])
            noise = rng.normal(0, 10, (64, *weighted[-1].input.shape[1:]))
    outputs = end(tf.constant(noise, tf.float32), training=False)
    return _float32(tf.nest.flatten(outputs)[0]).numpy()
