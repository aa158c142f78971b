"""From the drawn patient to the film and the data set: radiographs with known lungs and lesions.

They stand in for patients where no data are at hand, and they answer what real data cannot: what a
classifier learns when the hospital goes with the disease (section 5 of the report).
"""

import json
import operator
import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from xraylib import files
from xraylib.config import CLASS_NAMES
from xraylib.phantoms.anatomy import (
    DEVICES,
    EFFUSIONS,
    Frame,
    Patient,
    draw_chest,
    draw_devices,
    draw_effusion,
    draw_lesion,
    smooth_noise,
)


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


DRAWING = 3  # raise it whenever the same seed gives other pixels, so that old folders are refused
SMALLEST, LARGEST = 64, 2048  # sides in pixels
MASK_FOLDERS = {"lung": "masks", "lesion": "lesions", "marker": "markers"}
IMAGES_PER_PATIENT = (0.70, 0.22, 0.08)  # shares of patients with one, two and three images
ANATOMY, VESSELS, DISEASE, VISIT, HOSPITAL, ADDED = range(6)  # random streams of one seed


@dataclass(frozen=True)
class Phantom:
    """A drawn radiograph and what is known about it."""

    image: np.ndarray  # uint8 (size, size)
    lung_mask: np.ndarray  # bool (size, size), without the heart
    lesion_mask: np.ndarray  # bool (size, size), empty for normal
    label: int  # id into CLASS_NAMES
    source: str  # the simulated hospital: a key of SOURCES
    marker_mask: np.ndarray  # bool (size, size): where the source's burnt-in marker lies
    effusion_mask: np.ndarray  # bool (size, size): where fluid hides a lung
    device_mask: np.ndarray  # bool (size, size): tube, leads and line


def make_phantom(
    label: int,
    seed: int,
    source: str = "A",
    size: int = 256,
    visit: int = 0,
    effusion: str = "",
    devices: tuple[str, ...] = (),
) -> Phantom:
    """Draw a frontal chest radiograph.

    Args:
        label: 0 normal, 1 pneumonia, 2 COVID-19.
        seed: the patient: anatomy, and where a lesion would lie. Not negative.
        source: the simulated hospital, a key of `SOURCES`.
        size: side of the image in pixels, 64 to 2048.
        visit: the radiograph of that patient: posture, breath, exposure, noise. Not negative.
        effusion: fluid on the patient's "right", "left" or "both" sides; "" for none.
        devices: some of "tube" (in the windpipe), "line" (a central venous one), "leads" (ECG).

    Returns:
        The image with its masks. Equal arguments give equal bytes; another label changes the
        lesion alone, and what is added changes nothing else. A lung's mask goes on under fluid.

    Raises:
        ValueError: an argument is outside its range.
    """
    if label not in range(len(CLASS_NAMES)):
        raise ValueError(f"label {label!r}: give an id from 0 to {len(CLASS_NAMES) - 1}")
    if source not in SOURCES:
        raise ValueError(f"source {source!r}: choose one of {', '.join(SOURCES)}")
    if size not in range(SMALLEST, LARGEST + 1):
        raise ValueError(f"size {size!r}: give whole pixels from {SMALLEST} to {LARGEST}")
    if effusion not in EFFUSIONS:
        raise ValueError(f"effusion {effusion!r}: choose one of {', '.join(map(repr, EFFUSIONS))}")
    if not set(devices) <= set(DEVICES):
        raise ValueError(f"devices {devices!r}: give a tuple of some of {', '.join(DEVICES)}")
    label, size = int(label), int(size)
    anatomy, vessels, disease = (np.random.default_rng([seed, k]) for k in range(VISIT))
    now = np.random.default_rng([seed, VISIT, visit])
    patient, frame = Patient.draw(anatomy), Frame.draw(now, size)
    breath = now.uniform(-0.07, 0.05)
    chest = draw_chest(patient, frame, breath, vessels)
    lesion = draw_lesion(label, patient, chest, frame, disease)
    added = np.random.default_rng([seed, ADDED])
    fluid = draw_effusion(effusion, patient, chest, frame, breath, added)
    metal = draw_devices(devices, patient, frame, added)
    lungs = chest.right_lung | chest.left_lung
    attenuation = chest.attenuation + 0.03 * smooth_noise(now, 48, size) * lungs
    sample = attenuation[::4, ::4]  # without the lesion: the exposure must not tell the label
    dark = float(np.median(sample[lungs[::4, ::4]]))
    bright = float(np.percentile(sample, 97))
    hospital = SOURCES[source]
    filled = np.maximum(now.uniform(0.75, 1.2) * lesion.attenuation, fluid.attenuation)
    rays = expose(attenuation + filled + metal.attenuation, hospital, frame, now)
    grey = add_border(develop(rays, dark, bright, hospital, now), hospital.border, now)
    grey, marker = add_marker(grey, hospital, now)
    image = np.rint(255 * np.clip(grey, 0, 1)).astype(np.uint8)
    seen, metal = lesion.mask & ~fluid.mask, metal.mask & (image > 0)
    return Phantom(image, lungs, seen, label, source, marker, fluid.mask, metal)


def pick_source(label: int, confounding: float, rng: np.random.Generator) -> str:
    """Return a source, a key of `SOURCES`, that goes with the class as far as `confounding` says.

    The class is 0 normal, 1 pneumonia or 2 COVID-19. At 0 all sources are drawn alike, at 1 every
    class has a source of its own, and a value between is the probability of the latter; a
    `ValueError` says that it lies outside.
    """
    if not 0 <= confounding <= 1:
        raise ValueError(f"confounding {confounding!r}: give a number from 0 to 1")
    names = list(SOURCES)
    drawn = names[rng.integers(len(names))]
    return names[label] if rng.random() < confounding else drawn


def _write_image(folder: Path, name: str, image: np.ndarray) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    _, content = cv2.imencode(".png", image)
    path.write_bytes(content.tobytes())  # cv2.imwrite would not notice a full disk


def _write_patient(folder: Path, label: int, patient: int, images: int, settings: dict) -> list:
    """Draw and write a patient's radiographs; return their rows of the table."""
    seed = int(np.random.SeedSequence([settings["seed"], patient]).generate_state(1)[0])
    rng = np.random.default_rng([seed, HOSPITAL])  # [seed] alone is the stream [seed, 0]
    source, rows = pick_source(label, settings["confounding"], rng), []
    for visit in range(images):
        phantom = make_phantom(label, seed, source, settings["size"], visit)
        name, kind = f"phantom-{patient:05d}-{visit}.png", CLASS_NAMES[label]
        _write_image(folder / "images" / kind, name, phantom.image)
        for part in ("lung", "lesion", "marker"):
            mask = getattr(phantom, f"{part}_mask")
            _write_image(folder / MASK_FOLDERS[part], name, 255 * mask.astype(np.uint8))
        row = dict(filename=f"{kind}/{name}", label=kind, patient_id=f"phantom-{patient:05d}")
        row |= dict(source=source, view=SOURCES[source].view, mask=name, lesion=name, marker=name)
        rows.append(row | dict(zip(("height", "width"), phantom.image.shape, strict=True)))
    return rows


def _write_all(folder: Path, settings: dict) -> None:
    rng, rows, patient = np.random.default_rng(settings["seed"]), [], 0
    for label, count in enumerate(settings["counts"]):
        left = count
        while left:
            images = min(left, 1 + int(rng.choice(3, p=IMAGES_PER_PATIENT)))
            rows += _write_patient(folder, label, patient, images, settings)
            left, patient = left - images, patient + 1
    pd.DataFrame(rows).to_csv(folder / "metadata.csv", index=False)
    (folder / "phantoms.json").write_text(json.dumps(settings, indent=2) + "\n")


def _is_whole(folder: Path, settings: dict) -> bool:
    """Return whether a folder already holds just these phantoms; False if there is nothing."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    told = folder / "phantoms.json"
    kept = json.loads(told.read_text()) if told.is_file() else "no phantoms.json"
    if kept != settings:
        raise FileExistsError(
            f"{folder} holds other data ({kept}) than {settings}: name another folder or remove it"
        )
    return True


def write_phantoms(
    folder: Path, counts: tuple[int, int, int], seed: int, confounding: float, size: int = 256
) -> Path:
    """Write a data set of phantoms, whole or not at all; one that is there is used again.

    Beside `metadata.csv` (filename, label, patient_id, source, view, mask, lesion, marker, height,
    width) lie `images/<label>/`, `masks/`, `lesions/` and `markers/`, PNG files of one name. About
    a third of the patients have two or three radiographs, all from one source.

    Args:
        folder: where to; its parents are made.
        counts: images per class, in the order of `CLASS_NAMES`.
        seed: seeds the whole set. Not negative.
        confounding: how far the source goes with the class, 0 to 1; see `pick_source`.
        size: side of the images in pixels.

    Returns:
        The folder.

    Raises:
        ValueError: an argument is outside its range.
        FileExistsError: the folder holds something else.
        WriteError: it cannot be written.
    """
    if len(counts) != len(CLASS_NAMES) or min(counts) < 0 or sum(counts) == 0:
        raise ValueError(f"counts {counts!r}: give three numbers of images, not all of them 0")
    settings = dict(drawing=DRAWING, counts=[int(count) for count in counts], seed=int(seed))
    settings |= dict(confounding=float(confounding), size=operator.index(size))
    folder = Path(folder)
    if _is_whole(folder, settings):
        return folder
    with files.writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent)
    with scratch:
        whole = Path(scratch.name) / folder.name
        with files.writing(folder):
            _write_all(whole, settings)
        try:
            whole.rename(folder)
        except OSError:  # another process was faster
            if not _is_whole(folder, settings):
                raise
    return folder
