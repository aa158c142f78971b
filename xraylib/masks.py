"""Lung masks of any images: predicted, cleaned, flagged, kept on disk."""

import hashlib
import json
import os
from pathlib import Path

import cv2
import keras
import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from xraylib import features
from xraylib.config import home
from xraylib.images import read_grey, read_mask, resize
from xraylib.unet import UNetConfig, build_unet

WEIGHTS = "unet.weights.h5"  # in a run's folder
SMALLEST_SHARE, LARGEST_SHARE = 0.10, 0.70  # of the image; what lies outside is flagged
OPENING = 0.02  # of the shorter side: bridges as thin as this, say along an arm, are cut
BATCH = 16


def load_unet(folder) -> keras.Model:
    """Return the trained U-Net of a run folder, in the precision that is fast here.

    Raises:
        FileNotFoundError: the folder holds no trained U-Net.
    """
    folder = Path(folder)
    if not (folder / WEIGHTS).is_file():
        raise FileNotFoundError(f"{folder}: no {WEIGHTS}; train it with segmentation.train_unet")
    config = UNetConfig(**json.loads((folder / "config.json").read_text()))
    model = build_in_fast_precision(config, pretrained=False)
    model.load_weights(folder / WEIGHTS)
    return model


def build_in_fast_precision(config: UNetConfig, pretrained: bool = True) -> keras.Model:
    """Build a U-Net that computes in bfloat16 where this machine gains by it."""
    fast = features.fastest_precision() == "bfloat16"
    with features.dtype_policy("mixed_bfloat16" if fast else "float32"):
        return build_unet(config.size, config.filters, config.levels, config.encoder, pretrained)


def clean_mask(probs: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """Threshold probabilities, cut thin bridges, keep two lungs, fill their holes.

    Args:
        probs: float (H, W), 0 to 1, or bool (H, W).
        threshold: a pixel above it is lung.

    Returns:
        bool (H, W), at most two connected regions without holes.

    Section 3.2.3 of the report.
    """
    found = (np.asarray(probs, np.float32) > threshold).astype(np.uint8)
    width = 2 * round(OPENING * min(found.shape) / 2) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    found = cv2.morphologyEx(found, cv2.MORPH_OPEN, disc)
    outlines, _ = cv2.findContours(found, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    two = sorted(outlines, key=cv2.contourArea, reverse=True)[:2]
    return cv2.drawContours(np.zeros_like(found), two, -1, 1, cv2.FILLED).astype(bool)


def segment_images(model: keras.Model, images: list[np.ndarray]) -> list[np.ndarray]:
    """Return the lung masks of images, each in its image's own size.

    Args:
        model: a trained U-Net.
        images: uint8 (H, W), sizes may differ.

    Returns:
        bool (H, W) for each; empty for an image of one grey value, which shows nothing.
    """
    size = model.input_shape[1]
    batch = np.stack([resize(image, size) for image in images])[..., None].astype(np.float32)
    logits = keras.ops.convert_to_numpy(model.predict_on_batch(batch))[..., 0]
    masks = []
    for image, found in zip(images, logits, strict=True):
        if image.min() == image.max():
            masks.append(np.zeros(image.shape, bool))
            continue
        probs = 1 / (1 + np.exp(-np.clip(found, -30, 30)))
        masks.append(clean_mask(cv2.resize(probs, image.shape[::-1])))
    return masks


def flag(share: float) -> str:
    """Return "small" or "large" for a lung share that no lungs have, else ""."""
    if share < SMALLEST_SHARE:
        return "small"
    return "large" if share > LARGEST_SHARE else ""


def write_mask(path, mask: np.ndarray) -> None:
    """Write a mask as PNG, 0 and 255, whole or not at all."""
    part = Path(path).with_name(f"{Path(path).name}.{os.getpid()}.part")
    done, content = cv2.imencode(".png", 255 * mask.astype(np.uint8))
    if not done:
        raise ValueError(f"{path}: a mask of {mask.shape} cannot be written as PNG")
    part.write_bytes(content.tobytes())
    part.replace(path)


def predict_masks(manifest: pd.DataFrame, folder) -> pd.DataFrame:
    """Give every image of a manifest a predicted lung mask.

    All images are treated alike: an image with a drawn mask gets a predicted one too, so that
    mask quality cannot tell the classes apart. For the pairs that the U-Net was trained on this
    is a prediction on training images, which cannot be avoided as long as they are wanted.

    Masks lie in `config.home("masks")`, keyed by the U-Net's weights, the precision and the
    image's bytes; those that are there are used again.

    Args:
        manifest: a table with path.
        folder: of a trained U-Net, see `segmentation.train_unet`.

    Returns:
        a copy with mask_path filled and two more columns: lung_share, the lungs' share of the
        image, 0 to 1; and mask_flag, "small" below 0.10, "large" above 0.70, else "".

    Raises:
        FileNotFoundError: the folder holds no trained U-Net.
        ImageError: an image cannot be read.
    """
    model = load_unet(folder)
    weights = hashlib.sha256((Path(folder) / WEIGHTS).read_bytes()).hexdigest()[:16]
    kept = home("masks", f"{weights}-{features.fastest_precision()}")
    targets, shares = [], []
    with tqdm(total=len(manifest), desc="lung masks", unit=" images") as bar:
        for start in range(0, len(manifest), BATCH):
            paths = manifest.path.iloc[start : start + BATCH].tolist()
            names = [_masks_path(kept, path) for path in paths]
            new = {name: path for name, path in zip(names, paths, strict=True) if not name.exists()}
            if new:
                masks = segment_images(model, [read_grey(path) for path in new.values()])
                for name, mask in zip(new, masks, strict=True):
                    write_mask(name, mask)
            targets += map(str, names)
            shares += [float(read_mask(name).mean()) for name in names]
            bar.update(len(paths))
    flags = [flag(share) for share in shares]
    return manifest.assign(mask_path=targets, lung_share=shares, mask_flag=flags)


def _masks_path(kept: Path, path: str) -> Path:
    """Return where the mask of an image lies; an unreadable file is left to the reader."""
    content = Path(path).read_bytes() if Path(path).is_file() else b""
    return kept / f"{hashlib.sha256(content).hexdigest()[:32]}.png"
