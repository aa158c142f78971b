"""Pairs of radiograph and lung mask: checked, split by patient, transformed alike, batched.

A hundred pairs of one disease are few, and the masks are wanted on other hospitals' images too. So
what differs between hospitals is varied here: the patient's place and size on the film, exposure,
contrast, blur, noise, borders, letters and lines.
"""

from pathlib import Path

import cv2
import keras
import numpy as np
import pandas as pd
from sklearn.model_selection import GroupShuffleSplit

from xraylib.images import read_grey, read_mask, resize
from xraylib.unet import UNetConfig

# Sizes of the published masks and of the radiographs that they come with in this data set.
V7LABS_MASKS = Path(__file__).with_name("v7labs_masks.csv")
LETTERS = ("L", "R", "A", "B", "AP", "PA", "R PORT", "ERECT")  # as burnt in by hospitals, journals


def check_pairs(manifest: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with a mask, after opening every one of them.

    Args:
        manifest: a table with path, patient_id and mask_path ("" for none).

    Returns:
        those rows, numbered from 0.

    Raises:
        ValueError: no row has a mask, or a mask is empty; lists the files.
        ImageError: a file is unreadable, or a mask's size is not its image's.
    """
    pairs = manifest[manifest.mask_path != ""].reset_index(drop=True)
    if pairs.empty:
        raise ValueError(
            f"none of the {len(manifest)} images has a mask: fill mask_path for some of them"
        )
    empty = [row.mask_path for row in pairs.itertuples() if not _read_pair(row)[1].any()]
    if empty:
        raise ValueError("masks without a single lung pixel:\n" + "\n".join(empty))
    return pairs


def _read_pair(row) -> tuple[np.ndarray, np.ndarray]:
    image = read_grey(row.path)
    return image, read_mask(row.mask_path, image.shape)


def drawn_elsewhere(pairs: pd.DataFrame) -> np.ndarray:
    """Say which masks were drawn on another version of their radiograph.

    Of the 100 published masks 55 have another size than the radiograph that they are shipped
    with: they were drawn before its margins were cut off, and stretched since. Such a mask lies
    beside the lungs.

    Args:
        pairs: a table with source and mask_path.

    Returns:
        bool (N,); False for masks that the list of sizes does not know.
    """
    sizes = pd.read_csv(V7LABS_MASKS)
    image, mask = sizes[["image_height", "image_width"]], sizes[["mask_height", "mask_width"]]
    moved = set(sizes["mask"][(image.to_numpy() != mask.to_numpy()).any(axis=1)])
    names = [Path(path).name for path in pairs.mask_path]
    return np.isin(names, list(moved)) & (pairs.source == "cohen").to_numpy()


def split_pairs(pairs: pd.DataFrame, config: UNetConfig) -> pd.DataFrame:
    """Return the pairs with `split` filled, each patient in one of train, val and test only.

    Args:
        pairs: a table with patient_id, source and mask_path.
        config: its shares and its seed.

    Returns:
        the pairs; split is "elsewhere" where `drawn_elsewhere`: of no use for training.

    Raises:
        ValueError: there are fewer than three patients.
    """
    usable = np.flatnonzero(~drawn_elsewhere(pairs))
    patients = pairs.patient_id.iloc[usable].nunique()
    if patients < 3:
        raise ValueError(f"{patients} patients: training, validation and test need one each")
    rest, test = _part(pairs, usable, config.test_share, config.seed)
    val_share = config.val_share / (1 - config.test_share)
    train, val = _part(pairs, rest, val_share, config.seed)
    split = np.full(len(pairs), "elsewhere", dtype=object)
    for name, rows in (("train", train), ("val", val), ("test", test)):
        split[rows] = name
    return pairs.assign(split=split)


def _part(pairs, rows: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of all but a share of the patients, and those of that share."""
    groups = pairs.patient_id.iloc[rows]
    count = min(max(1, round(share * groups.nunique())), groups.nunique() - 1)
    splitter = GroupShuffleSplit(1, test_size=count, random_state=seed % 2**32)
    rest, part = next(splitter.split(rows, groups=groups))
    return rows[rest], rows[part]


def read_pairs(pairs: pd.DataFrame, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Read images uint8 (N, size, size) and masks bool (N, size, size)."""
    images, masks = zip(*(_read_pair(row) for row in pairs.itertuples()), strict=True)
    return (
        np.stack([resize(image, size) for image in images]),
        np.stack([resize(mask, size) for mask in masks]),
    )


class PairBatches(keras.utils.PyDataset):
    """Endless random pairs in batches: images float32 and masks, both (B, size, size, 1).

    A batch depends on the seed, the epoch and its number alone, so that an interrupted training
    goes on with the batches that it would have seen.
    """

    def __init__(self, images, masks, config: UNetConfig, epoch: int):
        super().__init__()
        self.images, self.masks, self.config, self.epoch = images, masks, config, epoch

    def __len__(self) -> int:
        return self.config.steps

    def __getitem__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng([self.config.seed, self.epoch, step])
        chosen = rng.integers(len(self.images), size=self.config.batch_size)
        made = [vary_pair(self.images[i], self.masks[i], rng) for i in chosen]
        images, masks = map(np.stack, zip(*made, strict=True))
        return images[..., None].astype(np.float32), masks[..., None]


def vary_pair(image: np.ndarray, mask: np.ndarray, rng) -> tuple[np.ndarray, np.ndarray]:
    """Return a random variation of a pair: both moved alike, then the image's look changed.

    Args:
        image: uint8 (S, S).
        mask: bool (S, S).
        rng: NumPy's generator, the only source of chance.

    Returns:
        image uint8 (S, S) and mask bool (S, S).

    Section 3.2.3 of the report.
    """
    image, mask = _move(image, mask, rng)
    image = _expose(image, rng)
    if rng.random() < 0.25:
        image, mask = _frame(image, mask, rng)
    if rng.random() < 0.4:
        _write_letters(image, rng)
    if rng.random() < 0.3:
        _draw_line(image, rng)
    return image, mask


def _move(image, mask, rng):
    """Mirror, rotate, shear, zoom and shift both alike."""
    size = len(image)
    if rng.random() < 0.5:  # the heart counts as lung in these masks, so its side is no matter
        image, mask = image[:, ::-1], mask[:, ::-1]
    angle, shear = np.deg2rad(rng.uniform(-15, 15)), rng.uniform(-0.1, 0.1)
    zoom = rng.uniform(0.75, 1.25) * np.array([1, rng.uniform(0.85, 1.18)])
    turn = [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
    matrix = np.diag(zoom) @ [[1, shear], [0, 1]] @ turn
    centre = np.full(2, size / 2)
    shift = centre - matrix @ centre + rng.uniform(-0.1, 0.1, 2) * size
    affine = np.column_stack([matrix, shift])
    border = cv2.BORDER_REPLICATE if rng.random() < 0.5 else cv2.BORDER_CONSTANT
    image = cv2.warpAffine(np.ascontiguousarray(image), affine, (size, size), borderMode=border)
    mask = cv2.warpAffine(255 * mask.astype(np.uint8), affine, (size, size))
    return image, mask > 127


def _expose(image, rng):
    """Change gamma, contrast and brightness, add uneven light; sometimes blur and noise."""
    size = len(image)
    grey = (image / np.float32(255)) ** np.exp(rng.normal(0, 0.4))
    grey = (grey - 0.5) * np.exp(rng.normal(0, 0.25)) + 0.5 + rng.normal(0, 0.1)
    if rng.random() < 0.3:
        grey = cv2.GaussianBlur(grey, (0, 0), rng.uniform(0.3, 1.5))
    if rng.random() < 0.4:
        grey = grey + rng.normal(0, rng.uniform(0.01, 0.06), grey.shape)
    if rng.random() < 0.5:
        coarse = rng.normal(0, 0.12, (3, 3))
        grey = grey + cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    return np.rint(255 * np.clip(grey, 0, 1)).astype(np.uint8)


def _frame(image, mask, rng):
    """Lay black or white strips over the margins; nothing below them counts as lung."""
    size = len(image)
    top, bottom, left, right = rng.integers(0, size // 12 + 1, 4)
    inside = np.zeros(mask.shape, bool)
    inside[top : size - bottom, left : size - right] = True
    return np.where(inside, image, np.uint8(rng.choice([0, 0, 255]))), mask & inside


def _write_letters(image, rng) -> None:
    """Burn a marker into the image; the lung below it stays lung."""
    size = len(image)
    place = int(rng.uniform(0, 0.85) * size), int(rng.uniform(0.05, 1) * size)
    scale, grey = rng.uniform(0.3, 0.9) * size / 192, int(rng.choice([255, 255, 0]))
    cv2.putText(image, str(rng.choice(LETTERS)), place, cv2.FONT_HERSHEY_SIMPLEX, scale, grey)


def _draw_line(image, rng) -> None:
    """Draw a bright wire or tube across the image."""
    walk = np.cumsum(rng.normal(0, 0.12, (6, 2)), 0) + rng.uniform(0, 1, 2)
    points = (walk * len(image)).astype(np.int32)
    cv2.polylines(image, [points], False, int(rng.uniform(180, 255)), 1, cv2.LINE_AA)
