"""Smooth curves on pixels: the pencil of the phantoms.

Chest coordinates: x from the midline (positive to the right of the image, the patient's left), y
from the top, both in sides of the image.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

SUBPIXEL_BITS = 4  # OpenCV draws at fixed-point positions of 1/16 pixel


@dataclass(frozen=True)
class Frame:
    """How chest coordinates fall on the pixels: an affine map and the size of the image."""

    size: int
    matrix: np.ndarray  # (2, 3): chest coordinates to pixels

    @classmethod
    def draw(cls, rng: np.random.Generator, size: int) -> "Frame":
        """Return a random posture: shift, magnification and a slight tilt."""
        scale, angle = rng.uniform(0.95, 1.06), np.deg2rad(rng.normal(0, 1.5))
        cos, sin = scale * np.cos(angle), scale * np.sin(angle)
        turn = np.array([[cos, -sin], [sin, cos]])
        centre = np.array([0.5, 0.45]) + rng.normal(0, [0.015, 0.02])
        shift = centre - turn @ [0, 0.45]
        return cls(size, size * np.column_stack([turn, shift]))

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """Return chest points (..., 2) as fixed-point pixel positions for OpenCV, int32."""
        moved = points @ self.matrix[:, :2].T + self.matrix[:, 2]
        return np.rint(moved * 2**SUBPIXEL_BITS).astype(np.int32)

    def fill(self, *outlines: np.ndarray) -> np.ndarray:
        """Return outlines (N, 2) filled, uint8 (size, size); without any, an empty canvas."""
        canvas = np.zeros((self.size, self.size), np.uint8)
        for outline in outlines:
            cv2.fillPoly(canvas, [self.pixels(outline)], 255, cv2.LINE_AA, SUBPIXEL_BITS)
        return canvas

    def stroke(self, canvas: np.ndarray, lines, width: float, value: int = 255) -> None:
        """Draw lines (L, N, 2) on a uint8 canvas; width in sides of the image."""
        pixels = list(self.pixels(np.asarray(lines)))
        thickness = max(1, round(width * self.size))
        cv2.polylines(canvas, pixels, False, value, thickness, cv2.LINE_AA, SUBPIXEL_BITS)

    def inset(self, drawing: np.ndarray) -> np.ndarray:
        """Return how far inside a uint8 drawing each pixel lies, float32, in sides of the image."""
        coarse = self.size // 2  # a distance is smooth: half the grid does
        small = cv2.resize(drawing, (coarse, coarse), interpolation=cv2.INTER_AREA)
        inside = cv2.threshold(small, 127, 1, cv2.THRESH_BINARY)[1]
        depth = cv2.distanceTransform(inside, cv2.DIST_L2, 3) / coarse
        return cv2.resize(depth, (self.size, self.size))

    def blur(self, image: np.ndarray, sigma: float) -> np.ndarray:
        """Return an image as float32 blurred by sigma sides of the image; uint8 becomes 0..1."""
        small = max(1, int(sigma * self.size / 1.5))  # a wide blur needs no fine grid
        out = image.astype(np.float32) / (255 if image.dtype == np.uint8 else 1)
        if small > 1:
            coarse = max(8, self.size // small)
            out = cv2.resize(out, (coarse, coarse), interpolation=cv2.INTER_AREA)
        out = cv2.GaussianBlur(out, (0, 0), sigma * len(out), borderType=cv2.BORDER_REPLICATE)
        return cv2.resize(out, (self.size, self.size)) if small > 1 else out


@lru_cache
def _spline_basis(count: int, steps: int, closed: bool) -> np.ndarray:
    """Return the Catmull-Rom matrix from `count` control points to points on the curve."""
    spans = count if closed else count - 1
    t = np.arange(steps) / steps
    weights = 0.5 * np.stack(
        [-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2]
    )
    basis = np.zeros((spans * steps + (not closed), count))
    for span in range(spans):
        rows = slice(span * steps, (span + 1) * steps)
        for weight, knot in zip(weights, range(span - 1, span + 3), strict=True):
            knot = knot % count if closed else min(max(knot, 0), count - 1)
            basis[rows, knot] += weight
    if not closed:
        basis[-1, -1] = 1
    return basis


def curve(points, closed: bool = True, steps: int = 6) -> np.ndarray:
    """Return smooth curves (..., M, 2) through control points (..., N, 2)."""
    points = np.asarray(points)
    return _spline_basis(points.shape[-2], steps, closed) @ points


def band(lines: np.ndarray, width: float) -> np.ndarray:
    """Return the outlines (L, 2 N, 2) of lines (L, N, 2) drawn `width` wide."""
    along = np.gradient(lines, axis=1)
    across = np.stack([-along[..., 1], along[..., 0]], axis=-1)
    across *= width / 2 / np.linalg.norm(along, axis=-1, keepdims=True)
    return np.concatenate([lines + across, (lines - across)[:, ::-1]], axis=1)
