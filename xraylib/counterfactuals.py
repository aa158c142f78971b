"""One thing changed in a phantom, and all else the same: what a network's answer depends on.

A map points at a place. Whether the answer hangs on what lies there is another question, and only a
change can tell: a marker painted over, a lesion taken away, the same patient in another hospital.
"""

import cv2
import numpy as np
import pandas as pd

from xraylib.config import IMAGE_SIZE
from xraylib.images import resize
from xraylib.intervals import bootstrap_mean
from xraylib.phantoms import make_phantom

CHANGES = {  # what is done: the picture before and the picture after
    "marker painted over": ("sick", "sick, no marker"),
    "as much painted over elsewhere": ("sick", "sick, painted elsewhere"),
    "lesion taken away": ("sick", "healthy, same hospital"),
    "taken to the other hospital": ("sick", "sick, other hospital"),
    "marker put on a healthy one": ("healthy", "healthy, marker"),
    "as much put on elsewhere": ("healthy", "healthy, patch elsewhere"),
    "a healthy one taken to the hospital": ("healthy", "healthy, same hospital"),
    "lesion put into a healthy one": ("healthy", "sick, other hospital"),
}


def paint_over(image, mask) -> np.ndarray:
    """Return an image whose masked pixels are filled from around them.

    Args:
        image: uint8 (H, W).
        mask: bool (H, W); two pixels around it are filled too, so that no rim stays.

    Returns:
        uint8 (H, W). Telea, "An image inpainting technique based on the fast marching method",
        J. Graphics Tools 9 (2004).
    """
    wide = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8))
    return cv2.inpaint(image, wide, 3, cv2.INPAINT_TELEA)


def transplant(image, donor, mask) -> np.ndarray:
    """Return an image with the masked pixels of another one, uint8 (H, W)."""
    return np.where(mask, donor, image)


def pictures(label: int, source: str, other: str, n: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Draw n patients, each sick and healthy, in two hospitals, with a marker more or less.

    Args:
        label: the disease, 1 or 2.
        source: the hospital that goes with it, a key of `exposure.SOURCES`.
        other: the hospital of the healthy.
        n: patients.
        seed: of the first patient; the next ones follow.

    Returns:
        by the names in `CHANGES`, uint8 (n, 224, 224). *Elsewhere* is the marker's mirror image.
    """
    patients = [_pictures(label, source, other, seed + k) for k in range(n)]
    return {
        name: np.stack([resize(patient[name], IMAGE_SIZE) for patient in patients])
        for name in patients[0]
    }


def _pictures(label: int, source: str, other: str, seed: int) -> dict[str, np.ndarray]:
    drawn = make_phantom(label, seed, source)
    sick, marker, mirrored = drawn.image, drawn.marker_mask, drawn.marker_mask[:, ::-1]
    healthy = make_phantom(0, seed, other).image
    donor = make_phantom(0, seed, source).image
    return {
        "sick": sick,
        "sick, no marker": paint_over(sick, marker),
        "sick, painted elsewhere": paint_over(sick, mirrored),
        "sick, other hospital": make_phantom(label, seed, other).image,
        "healthy": healthy,
        "healthy, marker": transplant(healthy, donor, marker),
        "healthy, patch elsewhere": transplant(healthy, donor, mirrored),
        "healthy, same hospital": donor,
    }


def effects(probs, drawn: dict[str, np.ndarray], label: int, seed: int = 0) -> pd.DataFrame:
    """Return what each change does to the probability of the disease.

    Args:
        probs: from images (B, H, W) to probabilities (B, classes), such as `Explainer.probs`.
        drawn: of `pictures`.
        label: the disease.
        seed: of the intervals.

    Returns:
        change, before, after (mean probabilities), effect, low, high (the mean difference within
        a patient, 95 %), flipped (share of patients for whom the network calls the disease before
        and not after, or after and not before), n.
    """
    answers = {name: probs(images) for name, images in drawn.items()}
    rows = []
    for change, (one, other) in CHANGES.items():
        before, after = answers[one][:, label], answers[other][:, label]
        called = [answers[name].argmax(axis=1) == label for name in (one, other)]
        mean = bootstrap_mean(after - before, seed=seed)
        moved = (mean.value, mean.low, mean.high, np.mean(called[0] != called[1]), mean.n)
        rows.append((change, before.mean(), after.mean(), *moved))
    columns = ["change", "before", "after", "effect", "low", "high", "flipped", "n"]
    return pd.DataFrame(rows, columns=columns)
