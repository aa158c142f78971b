"""What a scanner, a viewer and a screenshot do to a radiograph: varied at random, or removed."""

import cv2
import numpy as np

SCALES = (2, 4, 8, 16, 32)  # pixels of a view of 224: widths of the blurs between the bands
REFERENCE_SIZE = 224
LARGEST = 4.0  # standard deviations that a detail may stand out by


def equalise_bands(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Give the details of each size the same strength within the lungs, in every image.

    The image is taken apart into bands of detail by blurs of doubling width. Each band is divided
    by its standard deviation within the lungs, and the bands are put together again in fixed
    shares. How sharp, noisy, bright or contrasty an image came from its hospital then no longer
    shows; where in the lungs it is dense or clear still does. Nothing but the image itself is
    used.

    Args:
        image: uint8 (H, W).
        mask: bool (H, W), the lungs, not empty.

    Returns:
        uint8 (H, W), 1 to 255: 0 is left for what is masked. Burt and Adelson, "The Laplacian
        pyramid as a compact image code" (1983), for the bands.
    """
    unit = max(image.shape) / REFERENCE_SIZE
    inner = _eroded(mask, unit)
    rest, result = cv2.GaussianBlur(image.astype(np.float32), (0, 0), unit), 0.0
    for scale in SCALES:
        blurred = cv2.GaussianBlur(rest, (0, 0), scale * unit, borderType=cv2.BORDER_REFLECT)
        result = result + (scale / SCALES[-1]) ** 0.5 * _standardised(rest - blurred, inner)
        rest = blurred
    result = _standardised(result + _standardised(rest - rest[inner].mean(), inner), inner, None)
    return np.clip(110 + 38 * (result - result[mask].mean()), 1, 255).astype(np.uint8)


def vary(image: np.ndarray, mask: np.ndarray, rng: np.random.Generator):
    """Take a radiograph anew at random: posture, exposure, sharpness, noise, JPEG.

    Args:
        image: uint8 (H, W).
        mask: bool (H, W), the lungs; it moves with the image.
        rng: the source of chance.

    Returns:
        the image and the mask, of the same shapes.
    """
    image, mask = _move(image, mask, rng)
    grey = (image / np.float32(255)) ** np.float32(np.exp(rng.uniform(-0.5, 0.5)))
    grey = (grey - 0.5) * rng.uniform(0.7, 1.3) + 0.5 + rng.uniform(-0.1, 0.1)
    width = rng.uniform(0, 1.2) * max(image.shape) / REFERENCE_SIZE
    grey = cv2.GaussianBlur(grey, (0, 0), max(width, 0.1))
    grey += rng.normal(0, rng.uniform(0, 0.03), grey.shape)
    image = (255 * np.clip(grey, 0, 1)).astype(np.uint8)
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 95))]
    return cv2.imdecode(cv2.imencode(".jpg", image, quality)[1], cv2.IMREAD_GRAYSCALE), mask


def _move(image, mask, rng):
    """Turn, zoom, shift and mirror image and mask alike."""
    height, width = image.shape
    turn = rng.uniform(-7, 7), rng.uniform(0.9, 1.1)
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), *turn)
    matrix[:, 2] += rng.uniform(-0.05, 0.05, size=2) * (width, height)
    size, edge = (width, height), cv2.BORDER_REFLECT
    image = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=edge)
    moved = cv2.warpAffine(mask.astype(np.uint8), matrix, size, flags=cv2.INTER_NEAREST) > 0
    mask = moved if moved.any() else mask
    return (image[:, ::-1].copy(), mask[:, ::-1].copy()) if rng.random() < 0.5 else (image, mask)


def _eroded(mask: np.ndarray, unit: float) -> np.ndarray:
    """Return the lungs without their rim, whose edge is the strongest detail; or all of them."""
    side = 2 * round(3 * unit) + 1
    inner = cv2.erode(mask.astype(np.uint8), np.ones((side, side), np.uint8)) > 0
    return inner if inner.sum() > 0.2 * mask.sum() else mask


def _standardised(band, inside, largest: float | None = LARGEST):
    scaled = band / (band[inside].std() + 0.3)  # grey values: an empty band stays empty
    return scaled if largest is None else np.clip(scaled, -largest, largest)
