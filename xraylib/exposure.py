"""What simulated hospitals do to the rays: scatter, noise, film curve, border, burnt-in marker."""

from dataclasses import dataclass

import cv2
import numpy as np

from .drawing import Frame


@dataclass(frozen=True)
class Source:
    """What a hospital does to its radiographs."""

    view: str
    contrast: float  # slope of the film curve
    midpoint: float  # what becomes middle grey: 0 the lungs, 1 the brightest bone
    scatter: float  # share of the rays that come from elsewhere in the body
    noise: float  # standard deviation of the detector's noise at full exposure
    marker: str
    place: tuple[float, float]  # of the marker's left lower corner
    scale: float  # of its letters
    boxed: bool  # dark letters on a bright label
    border: str  # "", "shutters" (black strips) or "corners" (rounded off)


SOURCES = {
    "A": Source("PA", 3.0, 0.36, 0.20, 0.008, "L", (0.90, 0.12), 1.0, False, ""),
    "B": Source("AP", 2.3, 0.16, 0.32, 0.014, "R PORT", (0.05, 0.11), 0.55, False, "shutters"),
    "C": Source("PA", 3.8, 0.48, 0.15, 0.010, "R", (0.04, 0.97), 0.7, True, "corners"),
}


def expose(attenuation: np.ndarray, source: Source, frame: Frame, rng) -> np.ndarray:
    """Return the share of the rays that a noisy detector counts, float32 (size, size)."""
    rays = np.exp(-attenuation)
    scatter = source.scatter * rng.uniform(0.7, 1.3)
    rays = (1 - scatter) * rays + scatter * frame.blur(rays, 0.08)
    grain = rng.standard_normal(rays.shape, np.float32)
    return rays + source.noise * rng.uniform(0.6, 1.4) * np.sqrt(rays) * grain


def develop(rays: np.ndarray, dark: float, bright: float, source: Source, rng) -> np.ndarray:
    """Return grey values in 0..1 by the film's curve over the logarithm of the rays."""
    depth = (-np.log(np.maximum(rays, 1e-3)) - dark) / (bright - dark)
    contrast = source.contrast * rng.uniform(0.88, 1.12)
    midpoint = source.midpoint + rng.uniform(-0.08, 0.08)
    return 1 / (1 + np.exp(-contrast * (depth - midpoint)))


def add_border(image: np.ndarray, kind: str, rng) -> np.ndarray:
    """Return the image with what the source's collimator or film leaves black."""
    size = len(image)
    near, far = np.rint(size * rng.uniform([0.005, 0.975], [0.04, 0.998], (2, 2))).T.astype(int)
    if kind == "shutters":
        inside = np.zeros_like(image)
        inside[near[0] : far[0], near[1] : far[1]] = 1
        return image * inside
    if kind == "corners":
        cut = int(size * rng.uniform(0.05, 0.09))
        inside = np.zeros(image.shape, np.uint8)
        cv2.rectangle(inside, (cut, cut), (size - 1 - cut, size - 1 - cut), 1, -1)
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * cut + 1, 2 * cut + 1))
        return image * cv2.dilate(inside, disc)
    return image


def add_marker(image: np.ndarray, source: Source, rng) -> tuple[np.ndarray, np.ndarray]:
    """Return the image with the source's marker burnt in, and the marker's mask."""
    size = len(image)
    x, y = np.rint(size * (np.array(source.place) + rng.uniform(-0.015, 0.015, 2))).astype(int)
    letters, label = np.zeros(image.shape, np.uint8), np.zeros(image.shape, np.uint8)
    style = cv2.FONT_HERSHEY_SIMPLEX, source.scale * size / 256
    stroke = max(1, round(1.6 * style[1]))
    cv2.putText(letters, source.marker, (int(x), int(y)), *style, 255, stroke, cv2.LINE_AA)
    if source.boxed:
        left, top, width, height = cv2.boundingRect(letters)
        pad = max(1, size // 80)
        corner = left + width + pad, top + height + pad
        cv2.rectangle(label, (left - pad, top - pad), corner, 255, -1)
        ink = (label - np.minimum(letters, label)) / np.float32(255)
        return np.where(label > 0, 0.95 * ink, image), label > 0
    cover = letters / np.float32(255)
    return image * (1 - cover) + 0.97 * cover, letters > 0
