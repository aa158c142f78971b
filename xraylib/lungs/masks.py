"""Lung masks of any images: predicted, cleaned, flagged, kept on disk."""

import hashlib
import json
from pathlib import Path

import cv2
import keras
import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from xraylib import files, network, pretrained
from xraylib.config import home
from xraylib.images import read_grey, read_mask, resize
from xraylib.lungs.unet import HEART, UNetConfig, build_configured
from xraylib.network import fast_policy, fastest_precision, read_ahead

UNET_WEIGHTS = "unet.weights.h5"  # in a run's folder
PRETRAINED = {"real": "unet"}  # what comes with the package
SMALLEST_SHARE, LARGEST_SHARE = 0.10, 0.70  # of the image; what lies outside is flagged
OPENING = 0.02  # of the shorter side: bridges as thin as this, say along an arm, are cut
BATCH = 16
SHARD = 32 * BATCH  # images that a worker of a cluster takes at once
TITLE = "lung masks"  # of the progress bar


def load_unet(weights="real", heart: str = "drawn") -> keras.Model:
    """Return a trained U-Net, in the precision that is fast here.

    Args:
        weights: "real" for the one that comes with the package, or the folder of a run.
        heart: one of `HEART`, where the U-Net has learnt all three: "in" goes on behind the heart,
            "out" stops at it, and "drawn" does as those who drew the masks of similar films. Its
            masks are of two kinds, which may go with the class: for a classifier take "in".

    Returns:
        a model from grey values to the logits of one map, see `lungs.build_unet`.

    Raises:
        FileNotFoundError: the folder holds no trained U-Net.
        PretrainedError: the package's own weights are missing or damaged.
        ValueError: there is no such way with the heart, or this U-Net has learnt one only.
    """
    if heart not in HEART:
        raise ValueError(f"no way {heart!r} with the heart: choose one of {', '.join(HEART)}")
    if weights in PRETRAINED:
        name = PRETRAINED[weights]
        config = UNetConfig(**pretrained.card(name)["config"])
        model = pretrained.fill(build_in_fast_precision(config, pretrained=False), name)
    else:
        trained = _weights_file(weights)
        config = UNetConfig(**json.loads((trained.parent / "config.json").read_text()))
        model = build_in_fast_precision(config, pretrained=False)
        model.load_weights(trained)
    if config.maps == 1:
        if heart != HEART[0]:
            raise ValueError(f"{weights}: a U-Net of one map, so only {HEART[0]!r} can be had")
        return model
    place = HEART.index(heart)
    return keras.Model(model.input, model.output[..., place : place + 1], name="unet")


def _weights_file(folder) -> Path:
    path = Path(folder) / UNET_WEIGHTS
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder}: no {UNET_WEIGHTS} in such a folder; give real, the weights of the package, "
            "or the folder that lungs.train_unet returns"
        )
    return path


def build_in_fast_precision(config: UNetConfig, pretrained: bool = True) -> keras.Model:
    """Build a U-Net that computes in bfloat16 where this machine gains by it."""
    with fast_policy():
        return build_configured(config, pretrained)


def clean_mask(probs: np.ndarray) -> np.ndarray:
    """Cut thin bridges, keep two lungs, fill their holes. Section 3.2.3 of the report.

    Takes float (H, W), lung above 0.5, or bool (H, W); returns bool (H, W), at most two connected
    regions without holes.
    """
    mask = (np.asarray(probs, np.float32) > 0.5).astype(np.uint8)
    width = 2 * round(OPENING * min(mask.shape) / 2) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, disc)
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    two = sorted(outlines, key=cv2.contourArea, reverse=True)[:2]
    return cv2.drawContours(np.zeros_like(mask), two, -1, 1, cv2.FILLED).astype(bool)


def segment_images(model: keras.Model, images: list[np.ndarray]) -> list[np.ndarray]:
    """Return the lung masks of images, each in its image's own size.

    Args:
        images: uint8 (H, W), sizes may differ.

    Returns:
        bool (H, W) for each; empty for an image of one grey value, which shows nothing.
    """
    size = model.input_shape[1]
    batch = np.stack([resize(image, size) for image in images])[..., None].astype(np.float32)
    logits = keras.ops.convert_to_numpy(model.predict_on_batch(batch))[..., 0]
    masks = []
    for image, logit_map in zip(images, logits, strict=True):
        if image.min() == image.max():
            masks.append(np.zeros(image.shape, bool))
            continue
        probs = 1 / (1 + np.exp(-np.clip(logit_map, -30, 30)))
        masks.append(clean_mask(cv2.resize(probs, image.shape[::-1])))
    return masks


def flag_share(share: float) -> str:
    """Return "small" or "large" for a lung share that no lungs have, else ""."""
    if share < SMALLEST_SHARE:
        return "small"
    return "large" if share > LARGEST_SHARE else ""


def write_mask(path, mask: np.ndarray) -> None:
    """Write a mask as PNG, 0 and 255, whole or not at all."""
    content = cv2.imencode(".png", 255 * mask.astype(np.uint8))[1]
    files.write_bytes(path, content.tobytes())


def predict_masks(manifest: pd.DataFrame, weights="real", client=None) -> pd.DataFrame:
    """Give every image of a manifest a predicted lung mask.

    All images are treated alike: an image with a drawn mask gets a predicted one too, so that
    mask quality cannot tell the classes apart. For the pairs that the U-Net was trained on this
    is a prediction on training images, which cannot be avoided as long as they are wanted.

    Masks lie in `config.home("masks")`, keyed by the U-Net's weights, the precision and the
    image's bytes; those that are there are used again.

    Args:
        weights: as in `lungs.load_unet`. The package's own U-Net goes on behind the heart in every
            image, so that the kind of mask cannot tell the classes apart either.
        client: the client of a Dask cluster, see `network.connect_cluster`.

    Returns:
        a copy with mask_path filled and two more columns: lung_share, the lungs' share of the
        image, 0 to 1; and mask_flag, "small" below 0.10, "large" above 0.70, else "".

    Raises:
        FileNotFoundError, ImageError: no trained U-Net in the folder; an image cannot be read.
    """
    kept = home("masks", f"{_weights_digest(weights)[:16]}-{fastest_precision()}")
    client = network.connect_cluster(client)
    if client is None:
        pairs = _predict(manifest, 0, weights, kept)
    else:
        settings = (weights, kept)
        parts = network.map_shards(client, _predict, manifest, SHARD, *settings, title=TITLE)
        pairs = [pair for part in parts for pair in part]
    paths, shares = [path for path, _ in pairs], [share for _, share in pairs]
    network.check_shared(paths)
    flags = [flag_share(share) for share in shares]
    return manifest.assign(mask_path=paths, lung_share=shares, mask_flag=flags)


def _weights_digest(weights) -> str:
    if weights in PRETRAINED:
        return pretrained.card(PRETRAINED[weights])["sha256"]
    return hashlib.sha256(_weights_file(weights).read_bytes()).hexdigest()


def _predict(manifest: pd.DataFrame, first: int, weights, kept: Path) -> list[tuple[str, float]]:
    """Write the masks that are missing; return path and lung share of each.

    `first`, where a shard starts in the whole manifest, decides nothing here.
    """
    model, paths, pairs = None, manifest.path.tolist(), []
    batches = [paths[start : start + BATCH] for start in range(0, len(paths), BATCH)]
    with tqdm(total=len(paths), desc=TITLE, unit=" images") as bar:
        for names, new in read_ahead(lambda batch: _read_new(batch, kept), batches):
            # one of the same pixels may have been written since the batch was read
            new = {name: image for name, image in new.items() if not name.exists()}
            if new:
                heart = "in" if weights in PRETRAINED else "drawn"
                model = model or load_unet(weights, heart)  # not where all masks are there
                masks = segment_images(model, list(new.values()))
                for name, mask in zip(new, masks, strict=True):
                    write_mask(name, mask)
            pairs += [(str(name), float(read_mask(name).mean())) for name in names]
            bar.update(len(names))
    return pairs


def _read_new(paths: list[str], kept: Path) -> tuple[list[Path], dict[Path, np.ndarray]]:
    """Return where the masks of images lie, and the images of those that are not there yet."""
    names = [_masks_path(kept, path) for path in paths]
    new = {name: path for name, path in zip(names, paths, strict=True) if not name.exists()}
    return names, {name: read_grey(path) for name, path in new.items()}


def _masks_path(kept: Path, path: str) -> Path:
    """Return where the mask of an image lies; an unreadable file is left to the reader."""
    content = Path(path).read_bytes() if Path(path).is_file() else b""
    return kept / f"{hashlib.sha256(content).hexdigest()[:32]}.png"
