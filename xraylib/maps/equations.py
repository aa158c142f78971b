"""The equations of class activation maps, each to be held against its paper.

A map's *cells* are the values that a method gives, one for each place of a convolution; its
*heatmap* is the same, upscaled to the image and normalised.
"""

import cv2
import keras
import numpy as np
import tensorflow as tf
from keras import ops

from xraylib.metrics.counts import check_finite


def activations_and_gradients(model, images, class_id: int, layer: str):
    """Return what a layer makes of images, and how the score of a class hangs on it.

    Args:
        model: a functional model from images (B, H, W, C) to scores (B, classes) before the
            softmax, as `network.build_classifier` gives.
        images: float (B, H, W, C), grey values 0..255.

    Returns:
        A and dY/dA, two float32 arrays (B, h, w, K). Report, section 3.5.
    """
    both = keras.Model(model.input, [model.get_layer(layer).output, model.output])
    images = tf.convert_to_tensor(images, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(images)  # VGG16 is frozen: without this nothing would be recorded
        activations, scores = both(images, training=False)
        score = tf.reduce_sum(scores[:, class_id])
    return activations.numpy(), tape.gradient(score, activations).numpy()


def grad_cam(activations, gradients):
    """Weight each channel by its mean gradient, add up, keep what speaks for the class.

    Args:
        activations: A, float (B, h, w, K), the layer's K channels.
        gradients: dY/dA, float (B, h, w, K), of the class score Y before the softmax.

    Returns:
        cells, a tensor (B, h, w), none below 0. Report, section 3.5; Selvaraju et al., "Grad-CAM",
        ICCV (2017).
    """
    alpha = ops.mean(gradients, axis=(1, 2), keepdims=True)  # the report's equation (2)
    return ops.relu(ops.sum(alpha * activations, axis=-1))  # its equation (1)


def grad_cam_plus_plus(activations, gradients):
    """As `grad_cam`, but each channel is weighted by a mean that favours cells of high gradient.

    The paper differentiates exp(Y), so with g = dY/dA its three derivatives are exp(Y) times g, g^2
    and g^3. Then alpha = g^2 / (2 g^2 + g^3 sum(A)) = 1 / (2 + g sum(A)) wherever g is not 0, and
    exp(Y) scales the whole map alike, so it is left out. As in the authors' program, a channel's
    coefficients are made to add up to 1. They may be of either sign, and large where g speaks
    against the class, so that their sum can come near 0: at early layers a few channels, and at
    times the rounding, then decide the map. Chattopadhay et al., "Grad-CAM++", WACV (2018),
    equations (14) and (19).
    """
    below = 2 + gradients * ops.sum(activations, axis=(1, 2), keepdims=True)
    alpha = _divide(ops.cast(gradients != 0, below.dtype), below)
    alpha = _divide(alpha, ops.sum(alpha, axis=(1, 2), keepdims=True))
    weights = ops.sum(alpha * ops.relu(gradients), axis=(1, 2), keepdims=True)
    return ops.relu(ops.sum(weights * activations, axis=-1))


def layer_cam(activations, gradients):
    """Weight every cell by its own gradient, where that speaks for the class.

    Arguments as in `grad_cam`. Jiang et al., "LayerCAM", IEEE Trans. Image Process. 30 (2021).
    """
    return ops.relu(ops.sum(ops.relu(gradients) * activations, axis=-1))


def hires_cam(activations, gradients):
    """Weight every cell by its own gradient, whatever its sign; add up the channels, then ReLU.

    Grad-CAM averages the gradient over the map first, so that a cell may light up whose own
    gradient says nothing. Here a cell counts only by what it did for the score; behind a last
    convolution that only a linear layer follows, the cells add up to the score. Arguments as in
    `grad_cam`. Draelos and Carin, "Use HiResCAM instead of Grad-CAM for faithful explanations of
    convolutional neural networks", arXiv:2011.08891 (2020).
    """
    return ops.relu(ops.sum(gradients * activations, axis=-1))


def score_cam(image, activations, probs, max_channels: int = 64) -> np.ndarray:
    """Weight each channel by what the image, seen through it, gains for the class.

    No gradient: one forward pass a channel. The gain is in probability, over a black image.

    Args:
        image: float (H, W, C), 0 black.
        activations: A, float (h, w, K), the layer's channels for that image.
        probs: a function from images (N, H, W, C) to probabilities (N, classes).
        max_channels: only the channels that vary most over the image are used: the others hardly
            change the map, and all 512 take half a minute an image.

    Returns:
        cells, float32 (classes, h, w), none below 0. Wang et al., "Score-CAM", CVPR Workshops
        (2020), definitions 2 to 4; the choice of channels is from "Faster Score-CAM".
    """
    channels = np.moveaxis(activations, -1, 0)
    varied = np.argsort(-channels.std(axis=(1, 2)), kind="stable")[:max_channels]
    channels = channels[varied]
    windows = upscale(channels - channels.min(axis=(1, 2), keepdims=True), image.shape[:2])
    alpha = probs(image * windows[..., None]) - probs(np.zeros_like(image)[None])
    return np.maximum(np.tensordot(alpha.T, channels, 1), 0)


FORMULAS = {  # from activations and gradients
    "grad_cam": grad_cam,
    "grad_cam_plus_plus": grad_cam_plus_plus,
    "layer_cam": layer_cam,
    "hires_cam": hires_cam,
}
METHODS = (*FORMULAS, "score_cam")


def upscale(cells, size) -> np.ndarray:
    """Upscale cells to the image and normalise each map by its own maximum.

    Bilinear between the centres of the cells. A map without any positive value stays zero.

    Args:
        cells: float (..., h, w).
        size: (H, W) in pixels, or one number for a square.

    Returns:
        heatmaps, float32 (..., H, W), 0 to 1: comparable within a map, not between maps.

    Raises:
        ValueError: a cell is NaN or infinite.
    """
    cells = np.maximum(check_finite(np.asarray(cells, np.float32), "cells"), 0)
    height, width = (size, size) if np.isscalar(size) else size
    flat = cells.reshape(-1, *cells.shape[-2:])
    maps = np.empty((len(flat), height, width), np.float32)
    for k, cell in enumerate(flat):
        maps[k] = cv2.resize(cell, (width, height), interpolation=cv2.INTER_LINEAR)
    peak = maps.max(axis=(1, 2), keepdims=True)
    maps = np.divide(maps, peak, out=np.zeros_like(maps), where=peak > 0)
    return maps.reshape(*cells.shape[:-2], height, width)


def _divide(part, whole):
    """Divide; 0 where there is nothing to divide by."""
    empty = whole == 0
    return ops.where(empty, 0.0, part / ops.where(empty, 1.0, whole))
