"""The drawn patient: curves on pixels, the chest, lesions of two diseases, fluid and devices.

Chest coordinates: x from the midline (positive to the right of the image, the patient's left), y
from the top, both in sides of the image. What the rays cross adds up in attenuation, the natural
logarithm of the share of them that is lost. A lesion fills air: it adds a share of the attenuation
that the lung lacks there, and so ends where the lung ends.
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


SOFT_TISSUE = 3.0  # attenuation (natural logarithm) of the thickest soft tissue: 5 % pass
AIR_SHARE = 0.66  # of the chest's depth that is air where the lungs are thickest
# The lateral wall of a lung: distance from the midline in chest half-widths, at depths below the
# apex in lung heights.
WALL_DEPTHS = (-0.1, 0.0, 0.07, 0.22, 0.45, 0.75, 1.0, 1.5)
WALL_WIDTHS = (0.2, 0.36, 0.60, 0.79, 0.92, 1.0, 1.01, 1.0)


@dataclass(frozen=True)
class Patient:
    """What stays the same between two radiographs of a person; lengths in sides of the image."""

    half_width: float  # of the chest inside the ribs
    apex: float  # y of the lungs' upper ends
    height: float  # from the apex to the top of the right dome
    left_drop: float  # how much lower the left dome lies
    heart: float  # relative size
    knob: float  # how far the aortic knob bulges
    side: float  # from the midline to the flank: below 0.5 there is air beside the body
    slope: float  # of the posterior ribs
    rib_width: float
    bone: float  # relative density
    breast: float  # attenuation of breast tissue, 0 for none
    bubble: float  # radius of the stomach bubble, 0 for none
    bend: float  # how far the spine leaves the midline, in sides of the image
    gas: int  # seed of the bowel's gas

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Patient":
        """Return a random adult."""
        half_width = rng.uniform(0.30, 0.385)
        return cls(
            half_width=half_width,
            apex=rng.uniform(0.09, 0.15),
            height=rng.uniform(0.46, 0.62),
            left_drop=rng.uniform(0.01, 0.04),
            heart=rng.uniform(0.85, 1.2),
            knob=rng.uniform(0.0, 0.07),
            side=half_width + rng.uniform(0.05, 0.17),
            slope=rng.uniform(0.06, 0.13),
            rib_width=rng.uniform(0.024, 0.032),
            bone=rng.uniform(0.7, 1.2),
            breast=rng.uniform(0.10, 0.35) * (rng.random() < 0.45),
            bubble=rng.uniform(0.025, 0.05) * (rng.random() < 0.6),
            bend=rng.normal(0, 0.008),
            gas=int(rng.integers(2**31)),
        )

    def wall(self, y):
        """Return the distance from the midline to the chest wall at heights y."""
        depths = (np.asarray(y) - self.apex) / self.height
        return self.half_width * np.interp(depths, WALL_DEPTHS, WALL_WIDTHS)

    def at(self, x, depth) -> np.ndarray:
        """Return the point (2,) at x chest half-widths and at a depth in lung heights."""
        return np.array([x * self.half_width, self.apex + depth * self.height])


@dataclass(frozen=True)
class Chest:
    """A chest as the rays cross it, without any lesion; arrays (size, size)."""

    attenuation: np.ndarray  # float32
    air: np.ndarray  # float32: the attenuation that would be added if the air were tissue
    right_lung: np.ndarray  # bool, the patient's right: on the left of the image
    left_lung: np.ndarray  # bool


def _mirrored(points: np.ndarray) -> np.ndarray:
    return points * [-1, 1]


def _lung_outline(patient: Patient, side: int, breath: float) -> np.ndarray:
    """Return a lung's outline with the part behind the heart; side -1 is the patient's right."""
    dome = 1 + breath + (patient.left_drop / patient.height if side > 0 else 0)
    wall = [(w, d * dome) for w, d in zip(WALL_WIDTHS[1:-2], WALL_DEPTHS[1:-2], strict=True)]
    floor = [(1.0, dome + 0.13), (0.97, dome + 0.15), (0.78, dome + 0.035), (0.5, dome)]
    middle = [(0.24, dome + 0.05), (0.1, dome + 0.05), (0.1, 0.5), (0.13, 0.2), (0.2, 0.05)]
    points = [patient.at(x, depth) for x, depth in wall + floor + middle]
    return curve(points) * [side, 1]


def _heart_outline(patient: Patient, breath: float) -> np.ndarray:
    """Return the outline of heart and mediastinum: atrium, apex, pulmonary trunk, aortic knob."""
    heart, base = patient.heart, 1 + breath
    right = [(-0.15, -0.3), (-0.15, 0.15), (-0.19, 0.42), (-0.28 * heart, 0.62 * base)]
    floor = [(-0.31 * heart, 0.82 * base), (-0.2 * heart, 1.1 * base), (0.15, 1.2 * base)]
    floor += [(0.55 * heart, 1.12 * base), (0.66 * heart, 0.97 * base)]
    left = [(0.61 * heart, 0.82 * base), (0.46 * heart, 0.66 * base), (0.31, 0.54), (0.27, 0.44)]
    knob = [(0.21 + patient.knob, 0.35), (0.18 + patient.knob, 0.25), (0.14, 0.12), (0.14, -0.3)]
    return curve([patient.at(x, depth) for x, depth in right + floor + left + knob])


def _body(patient: Patient, frame: Frame) -> np.ndarray:
    """Return the soft tissue's thickness, float32 in 0..1: trunk with neck and shoulders, arms."""
    top, side = patient.apex, patient.side
    half = [(0.14, -0.4), (0.13, top - 0.09), (0.2, top - 0.03), (0.36, top), (0.46, top + 0.05)]
    half += [(0.5, top + 0.16), (side, top + 0.33), (side, 0.7), (side + 0.02, 1.4)]
    half = np.array(half)
    trunk = frame.fill(curve(np.concatenate([half, _mirrored(half)[::-1]])))
    arm = [(0.38, top + 0.04), (0.5, top + 0.04), (0.6, top + 0.2), (0.75, 0.9), (0.63, 0.9)]
    arm = np.array([*arm, (0.47, top + 0.26)])
    arms = frame.fill(curve(arm), curve(_mirrored(arm)))
    depth = frame.inset(trunk) / 0.25
    rows = np.linspace(0, 1, frame.size, dtype=np.float32)[:, None]
    taper = np.interp(rows, [0, top + 0.1, top + 0.35], [0.6, 0.72, 1]).astype(np.float32)
    trunk_thickness = (
        (0.25 + 0.75 * np.sqrt(np.minimum(depth, 1))) * taper * (trunk / np.float32(255))
    )
    return np.maximum(trunk_thickness, 0.42 * frame.blur(arms, 0.01))


def _ribs(patient: Patient, frame: Frame) -> np.ndarray:
    """Return the ribs' density, float32 in 0..1: posterior arcs, and fainter anterior ones."""
    steep = patient.slope
    start = patient.apex - 0.035 + 0.108 * patient.height * np.arange(12)[:, None]
    y = start + steep * np.array([0.0, -0.1, 0.25, 0.65, 1.15])
    wall = patient.wall(y[:, -1:]) + 0.004
    wall[0] *= 0.85  # the first rib is short and closes the apex
    back = np.stack([wall * [0.12, 0.4, 0.7, 0.9, 1.0], y], axis=-1)
    y = start[1:9] + steep * np.array([1.15, 1.6, 2.1, 2.45, 2.5])
    front = np.stack([patient.wall(y) * [1.01, 0.98, 0.82, 0.6, 0.42], y], axis=-1)
    anterior = _bars(frame, front, patient.rib_width * 1.1)
    return 0.9 * _bars(frame, back, patient.rib_width) + 0.5 * anterior


def _bars(frame: Frame, lines: np.ndarray, width: float) -> np.ndarray:
    """Return mirrored pairs of bones, float32 in 0..1, denser at their edges (the cortex)."""
    smooth = curve(lines, closed=False, steps=4)
    smooth = np.concatenate([smooth, _mirrored(smooth)])
    whole, marrow = (frame.fill(*band(smooth, share * width)) for share in (1.0, 0.55))
    return frame.blur(whole - np.minimum(marrow // 3, whole), 0.003)


def _shoulders(patient: Patient, frame: Frame) -> np.ndarray:
    """Return clavicles, shoulder blades and upper arms as attenuation, float32."""
    top = patient.apex
    clavicle = [(0.035, top + 0.075), (0.12, top + 0.05), (0.24, top + 0.03), (0.38, top - 0.01)]
    clavicles = _bars(frame, np.array([clavicle]), 0.03)
    blade = [(0.36, top + 0.02), (0.43, top + 0.05), (0.40, top + 0.2), (0.345, top + 0.36)]
    blade = curve([*blade, (0.32, top + 0.2)])
    arm = curve([(0.44, top), (0.5, top + 0.03), (0.545, top + 0.2), (0.65, 0.8), (0.59, 0.8)])
    blades, arms = (frame.fill(outline, _mirrored(outline)) for outline in (blade, arm))
    flat = np.maximum(blades // 2, arms)
    return 0.7 * clavicles + 0.28 * frame.blur(flat, 0.006)


def _spine(patient: Patient, frame: Frame) -> np.ndarray:
    """Return the vertebral column less the windpipe, as attenuation, float32."""
    blocks, y = [], -0.05
    while y < 1.1:  # each vertebra is larger than the one above it, and all follow the spine
        half, tall = 0.030 + 0.014 * y, 0.030 + 0.020 * y
        x = patient.bend * np.sin(2.5 * np.pi * y)
        block = [(-half, 0), (0, 0.1), (half, 0), (half * 0.86, 0.5)]
        block += [(half, 1), (0, 0.9), (-half, 1), (-half * 0.86, 0.5)]
        blocks.append(np.array(block) * [1, tall] + [x, y])
        y += tall + 0.008
    column = frame.blur(frame.fill(*blocks), 0.005)
    trachea = frame.fill()
    carina = patient.at(0.02, 0.33)
    frame.stroke(trachea, [np.array([(0.0, -0.1), carina])], 0.030)
    for x, depth in ((-0.22, 0.44), (0.28, 0.48)):  # the right main bronchus is the steeper one
        frame.stroke(trachea, [np.array([carina, patient.at(x, depth)])], 0.016, 190)
    return 0.30 * column - 0.4 * frame.blur(trachea, 0.004)


def branches(patient: Patient, side: int, rng: np.random.Generator, levels: int = 6) -> list:
    """Return a tree from a hilum into its lung, level by level: arrays of twigs (N, 2, 2)."""
    trunks = 9
    depth = np.linspace(0.40, 0.58, trunks)
    tip = np.column_stack([np.full(trunks, 0.2 * patient.half_width), depth * patient.height])
    tip = tip + [0, patient.apex] + rng.normal(0, [0.01, 0.006], (trunks, 2))
    angle = np.linspace(-1.3, 1.4, trunks) + rng.normal(0, 0.22, trunks)
    tree = []
    for level in range(levels):
        length = rng.uniform(0.5, 1.1, len(tip)) * 0.06 * 0.95**level
        new = tip + length[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
        tree.append(np.stack([tip, new], axis=1) * [side, 1])
        split = 2 if level % 2 else 1
        tip, angle = np.repeat(new, split, axis=0), np.repeat(angle, split)
        angle = angle + rng.normal(0, 0.34 if split == 2 else 0.2, len(angle))
    return tree


def _vessels(patient: Patient, frame: Frame, rng: np.random.Generator) -> np.ndarray:
    """Return the lungs' vessels as attenuation, float32, thick at the hila."""
    canvas = frame.fill()
    for side in (-1, 1):
        tree = branches(patient, side, rng)
        for level in range(len(tree) - 1, -1, -1):
            frame.stroke(canvas, tree[level], 0.011 * 0.75**level, round(225 * 0.84**level))
    hila = []
    for side, depth in ((-1, 0.47), (1, 0.43)):  # the left hilum lies higher
        for x, down in ((0.24, 0), (0.29, 0.06), (0.25, 0.12)):  # artery, its branch, lower vein
            centre = patient.at(x, depth + down) * [side, 1]
            hila.append(_blob(centre, (0.020, 0.028), rng))
    return 0.5 * frame.blur(canvas, 0.003) + 0.35 * frame.blur(frame.fill(*hila), 0.009)


def _abdomen(patient: Patient, frame: Frame, lungs: np.ndarray) -> np.ndarray:
    """Return what liver, spleen, bowel and its gas change below the domes, float32."""
    rng = np.random.default_rng(patient.gas)
    floor = patient.apex + 0.8 * patient.height
    gas = []
    for _ in range(rng.integers(3, 8)):  # mostly in the colon, on both flanks and across
        x, y = rng.uniform(-0.26, 0.28), rng.uniform(floor + 0.22, 1.05)
        gas.append(_blob(np.array([x, y]), rng.uniform([0.015, 0.012], [0.08, 0.04]), rng))
    if patient.bubble:  # the stomach, under the left dome
        centre, r = patient.at(0.45, 1.12), patient.bubble
        gas.append(_blob(centre + [0, r], (1.5 * r, 0.8 * r), rng))
    organs = 0.16 * smooth_noise(rng, 5, frame.size) + 0.07 * smooth_noise(rng, 14, frame.size)
    rows = np.arange(frame.size, dtype=np.float32)[:, None] / frame.size
    below = np.clip((rows - floor) / 0.15, 0, 1) * (1 - lungs / np.float32(255))
    return below * (organs - 0.34 * frame.blur(frame.fill(*gas), 0.011))


def _breasts(patient: Patient, frame: Frame) -> np.ndarray:
    """Return breast shadows as attenuation, float32: crisp below, fading upwards."""
    x, y = patient.at(0.62, 0.86).tolist()
    turn = np.linspace(0, 2 * np.pi, 40)
    disc = np.column_stack([x + 0.16 * np.cos(turn), y + 0.15 * np.sin(turn)])
    rows = (np.arange(frame.size, dtype=np.float32) / frame.size)[:, None]
    fade = np.clip((rows - y + 0.15) / 0.26, 0, 1)
    return patient.breast * fade * frame.blur(frame.fill(disc, _mirrored(disc)), 0.008)


def draw_chest(patient: Patient, frame: Frame, breath: float, rng: np.random.Generator) -> Chest:
    """Draw a chest without lesions: its attenuation, the air in it and the two lung masks.

    `breath` is how much lower the domes lie than in the patient, in lung heights; `rng` draws the
    vessels, and the same state gives the same tree.
    """
    outlines = [frame.fill(_lung_outline(patient, side, breath)) for side in (-1, 1)]
    heart = frame.blur(frame.fill(_heart_outline(patient, breath)), 0.006)
    lungs = np.maximum(*outlines)
    fullness = (0.55 + 0.45 * np.minimum(frame.inset(lungs) / 0.09, 1)) * frame.blur(lungs, 0.003)
    body = SOFT_TISSUE * _body(patient, frame)
    air = AIR_SHARE * body * fullness * (1 - 0.93 * heart)
    bones = patient.bone * (
        0.38 * _ribs(patient, frame) + _shoulders(patient, frame) + _spine(patient, frame)
    )
    # behind the thick abdomen scattered rays hide the ribs
    hidden = 0.45 * np.maximum(heart, np.clip((body - air) / SOFT_TISSUE - 0.3, 0, 1) * 1.7)
    depths = (
        np.arange(frame.size, dtype=np.float32)[:, None] / frame.size - patient.apex
    ) / patient.height
    above = np.clip((1.1 + breath - depths) / 0.2, 0, 1)  # in the abdomen the heart is not seen
    attenuation = (
        body
        - air
        + 0.25 * heart * above * np.minimum(body, 1)
        + bones * np.minimum(body, 1) * (1 - hidden)
    )
    attenuation += _vessels(patient, frame, rng) * fullness * (1 - 0.8 * heart)
    if patient.breast:
        attenuation += _breasts(patient, frame)
    attenuation += np.minimum(body, 1) * _abdomen(patient, frame, lungs)
    visible = heart < 0.5
    right, left = ((outline > 127) & visible for outline in outlines)
    return Chest(attenuation, air, right, left)


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
    """What disease or treatment adds to a chest; arrays (size, size)."""

    attenuation: np.ndarray  # float32, 0 where nothing is added
    mask: np.ndarray  # bool, where it can be seen; of disease inside the lungs


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
    density = rng.uniform(0.45, 0.80)
    haze = np.zeros((frame.size, frame.size), np.float32)
    for side in (-1, 1):
        for _ in range(rng.integers(2, 5)):
            y = patient.apex + patient.height * (0.2 + 0.75 * rng.beta(2.2, 1.4))
            centre = np.array([patient.wall(y) * rng.uniform(0.72, 0.95), y])
            radius = rng.uniform(0.06, 0.12)
            patch = frame.fill(_blob(centre, (radius, 1.35 * radius), rng) * [side, 1])
            haze = np.maximum(haze, rng.uniform(0.7, 1.0) * frame.blur(patch, 0.024))
    uneven = (
        0.85 + 0.12 * smooth_noise(rng, 9, frame.size) + 0.05 * smooth_noise(rng, 30, frame.size)
    )
    return density * np.clip(uneven, 0, 1.4) * haze


def draw_lesion(
    label: int, patient: Patient, chest: Chest, frame: Frame, rng: np.random.Generator
) -> Lesion:
    """Draw the opacities of a class: 0 normal (no lesion), 1 pneumonia, 2 COVID-19.

    `rng` draws place, size and density. Returns the attenuation to add, and the mask where the
    lesion can be seen.
    """
    if label == 0:
        return Lesion(np.zeros_like(chest.air), np.zeros(chest.air.shape, bool))
    share = (_consolidation if label == 1 else _ground_glass)(patient, frame, rng)
    attenuation = np.minimum(share, 0.95) * chest.air
    lungs = chest.right_lung | chest.left_lung
    return Lesion(attenuation, lungs & (attenuation > VISIBLE * attenuation.max()))


EFFUSIONS = ("", "right", "left", "both")  # sides of the patient
DEVICES = ("tube", "line", "leads")
LEADS = (  # of an ECG, each from its electrode to the cable at the patient's left
    ((-0.66, 0.12), (-0.45, 0.5), (0.1, 0.8), (0.5, 1.7)),
    ((0.64, 0.14), (0.82, 0.4), (0.72, 0.9), (0.6, 1.7)),
    ((0.78, 0.98), (0.95, 1.08), (0.85, 1.3), (0.66, 1.7)),
)


def draw_effusion(where, patient: Patient, chest: Chest, frame: Frame, breath, rng) -> Lesion:
    """Draw fluid in the pleural space: it hides the lung from below and blunts its angle.

    It is where one of `EFFUSIONS` says; `rng` draws how high it stands, on both sides whatever is
    asked for. Returns the attenuation to add, and the mask of the fluid in the lungs.
    """
    fluid = np.zeros_like(chest.air)
    for side, name, drop in ((-1, "right", 0), (1, "left", patient.left_drop / patient.height)):
        level, climb = 1 + breath + drop - rng.uniform(0.0, 0.2), rng.uniform(0.16, 0.28)
        if where in (name, "both"):  # at the wall the rays cross the sheet of fluid lengthwise
            across, up = (1.1, 0.97, 0.88, 0.72, 0.4, 0.1), (1.3, 1, 0.45, 0.1, 0, 0.15)
            rim = [patient.at(x, level - climb * u) for x, u in zip(across, up, strict=True)]
            below = patient.at(0.1, 1.6), patient.at(1.1, 1.6)
            outline = np.concatenate([curve(rim, closed=False), below]) * [side, 1]
            fluid = np.maximum(fluid, frame.blur(frame.fill(outline), 0.009))
    lungs = chest.right_lung | chest.left_lung
    return Lesion(0.95 * fluid * chest.air, lungs & (fluid > VISIBLE))


def draw_devices(names, patient: Patient, frame: Frame, rng: np.random.Generator) -> Lesion:
    """Draw what intensive care brings into the picture, some of `DEVICES`.

    These are a tube in the windpipe, a central venous line, leads of an ECG; `rng` draws where they
    lie, for all of them whatever is asked for. Returns the attenuation to add, and the mask of the
    devices.
    """
    depths, sway = rng.uniform([0.14, 0.40], [0.24, 0.52]), rng.normal(0, 0.05, (3, 4, 2))
    canvas = frame.fill()
    if "tube" in names:  # plastic is seen by its walls; it ends above the carina
        middle = curve([(0.004, -0.15), (0, 0), patient.at(0.02, depths[0])], closed=False)
        frame.stroke(canvas, band(middle[None], 0.021), 0.004, 85)
    if "line" in names:  # from the neck down to the upper vena cava
        route = (-0.26, -0.5), (-0.21, -0.1), (-0.14, 0.16), (-0.15, depths[1])
        points = curve([patient.at(*point) for point in route], closed=False)
        frame.stroke(canvas, [points], 0.004, 130)
    for route in LEADS + sway if "leads" in names else ():
        points = [patient.at(*point) for point in route]
        frame.stroke(canvas, [curve(points, closed=False)], 0.003, 220)
        for width, value in ((0.024, 150), (0.010, 255)):  # the electrode, and its metal button
            frame.stroke(canvas, [[points[0], points[0]]], width, value)
    return Lesion(canvas / np.float32(255), canvas > 40)
