"""Opacities of the phantoms: one lobar consolidation, or bilateral peripheral ground glass.

A lesion fills air: it adds a share of the attenuation that the lung lacks there, and so ends
where the lung ends.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from .anatomy import Chest, Patient, branches
from .drawing import Frame, curve

# Lobes as seen from the front: side (-1 is the patient's right), the lobe's reach below the apex in
# lung heights, then where a lesion's centre may lie: from the midline in chest half-widths, and
# below the apex.
LOBES = (
    (-1, (-0.2, 0.43), (0.35, 0.70), (0.15, 0.36)),  # right upper
    (-1, (0.45, 1.4), (0.40, 0.60), (0.55, 0.80)),  # right middle
    (-1, (0.52, 1.4), (0.50, 0.80), (0.70, 0.92)),  # right lower
    (+1, (-0.2, 0.55), (0.40, 0.70), (0.15, 0.42)),  # left upper
    (+1, (0.50, 1.4), (0.62, 0.85), (0.60, 0.88)),  # left lower
)
VISIBLE = 0.3  # a lesion's mask is where it reaches this share of its own greatest strength


@dataclass(frozen=True)
class Lesion:
    """What disease adds to a chest; arrays (size, size)."""

    attenuation: np.ndarray  # float32, 0 where the lungs are clear
    mask: np.ndarray  # bool, inside the lungs


def smooth_noise(rng: np.random.Generator, cells: int, size: int) -> np.ndarray:
    """Return noise of standard deviation near 1, float32 (size, size), with `cells` grains."""
    grains = rng.standard_normal((cells, cells), np.float32)
    return cv2.resize(grains, (size, size), interpolation=cv2.INTER_CUBIC)


def _blob(centre: np.ndarray, radii: tuple, rng: np.random.Generator) -> np.ndarray:
    """Return an uneven closed outline (M, 2) around a centre."""
    turn = np.linspace(0, 2 * np.pi, 11, endpoint=False)
    reach = rng.uniform(0.7, 1.25, 11)[:, None]
    return curve(centre + reach * np.column_stack([np.cos(turn), np.sin(turn)]) * radii)


def _consolidation(patient: Patient, frame: Frame, rng: np.random.Generator) -> np.ndarray:
    """Return the share of air lost to one dense opacity within one lobe, float32 in 0..1."""
    side, down, centre_across, centre_down = LOBES[rng.integers(len(LOBES))]
    low, high = (patient.at(x, y) for x, y in zip((0.0, 1.2), down, strict=True))
    tilt = [0, rng.uniform(-0.01, 0.02)]  # a fissure is rarely level
    lobe = np.array([low, (high[0], low[1]), high, (low[0], high[1])]) + [tilt, (0, 0)] * 2
    centre = patient.at(rng.uniform(*centre_across), rng.uniform(*centre_down))
    radius = rng.uniform(0.10, 0.20)
    outline = _blob(centre, (radius, radius * rng.uniform(0.7, 1.1)), rng)
    blob = frame.blur(frame.fill(outline * [side, 1]), rng.uniform(0.012, 0.022))
    within = frame.blur(frame.fill(lobe * [side, 1]), 0.004)
    bronchi = frame.fill()
    for twigs in branches(patient, side, rng, levels=4):  # air left in the bronchi
        frame.stroke(bronchi, twigs, 0.008)
    texture = 1 + 0.10 * smooth_noise(rng, 24, frame.size)
    share = rng.uniform(0.55, 0.95) * texture * (1 - 0.35 * frame.blur(bronchi, 0.003))
    return share * blob * within


def _ground_glass(patient: Patient, frame: Frame, rng: np.random.Generator) -> np.ndarray:
    """Return the share of air lost to hazy patches near both walls, float32 in 0..1."""
    density = rng.uniform(0.40, 0.72)
    haze = frame.fill()
    for side in (-1, 1):
        outlines = []
        for _ in range(rng.integers(3, 7)):
            y = patient.apex + patient.height * (0.2 + 0.75 * rng.beta(2.2, 1.4))
            centre = np.array([patient.wall(y) * rng.uniform(0.74, 0.95), y])
            radius = rng.uniform(0.04, 0.09)
            outlines.append(_blob(centre, (radius, 1.35 * radius), rng) * [side, 1])
        haze = np.maximum(haze, frame.fill(*outlines) // 20 * rng.integers(15, 21, dtype=np.uint8))
    mottle = 0.25 * smooth_noise(rng, 20, frame.size) + 0.2 * smooth_noise(rng, 56, frame.size)
    return density * np.clip(0.85 + mottle, 0, 1.5) * frame.blur(haze, 0.02)


def draw_lesion(
    label: int, patient: Patient, chest: Chest, frame: Frame, rng: np.random.Generator
) -> Lesion:
    """Draw the opacities of a class.

    Args:
        label: 0 normal (no lesion), 1 pneumonia, 2 COVID-19.
        patient: the anatomy, which knows where lobes and walls are.
        chest: the chest that the lesion lies in.
        frame: the posture and the size of the image.
        rng: of place, size and density.

    Returns:
        The attenuation to add, and the mask where the lesion can be seen.
    """
    if label == 0:
        return Lesion(np.zeros_like(chest.air), np.zeros(chest.air.shape, bool))
    share = (_consolidation if label == 1 else _ground_glass)(patient, frame, rng)
    attenuation = np.minimum(share, 0.95) * chest.air
    lungs = chest.right_lung | chest.left_lung
    return Lesion(attenuation, lungs & (attenuation > VISIBLE * attenuation.max()))
