"""Teaching a U-Net: pairs of radiograph and mask, checked, split by patient, varied; its training.

A hundred pairs of one disease are few, and the masks are wanted on other hospitals' images too. So
what differs between hospitals is varied here: the patient's place and size on the film, exposure,
contrast, blur, noise, borders, letters and lines.
"""

import hashlib
import json
import time
from dataclasses import asdict
from pathlib import Path

import cv2
import keras
import numpy as np
import pandas as pd
from skimage.exposure import match_histograms
from sklearn.model_selection import GroupShuffleSplit
from tqdm.auto import tqdm

from xraylib import files, network, sources
from xraylib.config import home, profile
from xraylib.data import V7LABS_MASKS
from xraylib.images import read_grey, read_mask, resize
from xraylib.lungs.masks import UNET_WEIGHTS, build_in_fast_precision, load_unet, segment_images
from xraylib.lungs.unet import (
    HEART,
    UNetConfig,
    bce_dice_loss,
    build_configured,
    dice_metric,
    iou_metric,
)
from xraylib.metrics import bootstrap_mean, dice, iou

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
    """Say which masks were drawn on another version of their radiograph, bool (N,).

    Of the 100 published masks 55 have another size than the radiograph that they are shipped
    with: they were drawn before its margins were cut off, and stretched since. Such a mask lies
    beside the lungs. Masks that the list of sizes does not know count as fitting.
    """
    moved = set(pd.read_csv(V7LABS_MASKS)["mask"]) - sources.fitting_masks()
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
    rest, test = _part_patients(pairs, usable, config.test_share, config.seed)
    val_share = config.val_share / (1 - config.test_share)
    train, val = _part_patients(pairs, rest, val_share, config.seed)
    split = np.full(len(pairs), "elsewhere", dtype=object)
    for name, rows in (("train", train), ("val", val), ("test", test)):
        split[rows] = name
    return pairs.assign(split=split)


def _part_patients(
    pairs, rows: np.ndarray, share: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
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


def map_targets(masks: np.ndarray, hearts, n_maps: int) -> np.ndarray:
    """Put masks bool (B, S, S) where the loss looks: one map, or one for each way in `HEART`.

    `hearts` says for each mask, by "in" or "out", whether it goes on through the heart. Returns
    bool (B, S, S, 1), or int8 (B, S, S, 3) with -1 in the maps that nobody has drawn.
    """
    if n_maps == 1:
        return masks[..., None]
    targets = np.full((*masks.shape, len(HEART)), -1, np.int8)
    targets[..., 0] = masks
    for row, heart in enumerate(hearts):
        targets[row, ..., HEART.index(heart)] = masks[row]
    return targets


class PairBatches:
    """Endless random pairs in batches: images float32 (B, size, size, 1) and `map_targets`.

    Every source has the same chance to be drawn, however many pairs it has. A batch depends on the
    seed, the epoch and its number alone, so that an interrupted training goes on with the batches
    that it would have seen.
    """

    def __init__(self, images, masks, config: UNetConfig, epoch: int, rows=None):
        self.images, self.masks, self.config, self.epoch = images, masks, config, epoch
        self.hearts, self.chances = _hearts(rows), None
        if rows is not None and len(set(rows.source)) > 1:
            chances = 1 / rows.groupby("source").source.transform("size").to_numpy(float)
            self.chances = chances / chances.sum()

    def __len__(self) -> int:
        return self.config.steps

    def __getitem__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng([self.config.seed, self.epoch, step])
        size = self.config.batch_size
        chosen = self._draw(size, rng)
        made = [vary_pair(self._dress(i, rng), self.masks[i], rng) for i in chosen]
        images, masks = map(np.stack, zip(*made, strict=True))
        hearts = None if self.hearts is None else self.hearts[chosen]
        targets = map_targets(masks, hearts, self.config.maps)
        return images[..., None].astype(np.float32), targets

    def _draw(self, size: int, rng) -> np.ndarray:
        return rng.choice(len(self.images), size, p=self.chances)

    def _dress(self, i: int, rng) -> np.ndarray:
        """Return image i, now and then with the grey values of another one."""
        if not self.config.borrowed_greys or rng.random() >= self.config.borrowed_greys:
            return self.images[i]
        (other,) = self._draw(1, rng)
        return np.rint(match_histograms(self.images[i], self.images[other])).astype(np.uint8)


def _hearts(rows) -> np.ndarray | None:
    return rows.heart.to_numpy() if rows is not None and "heart" in rows else None


def vary_pair(image: np.ndarray, mask: np.ndarray, rng) -> tuple[np.ndarray, np.ndarray]:
    """Return a random variation of a pair: both moved alike, then the image's look changed.

    Takes and returns an image uint8 (S, S) and a mask bool (S, S); `rng`, NumPy's generator, is the
    only source of chance. Section 3.2.3 of the report.
    """
    image, mask = _move_pair(image, mask, rng)
    image = _vary_exposure(image, rng)
    if rng.random() < 0.25:
        image, mask = _lay_strips(image, mask, rng)
    if rng.random() < 0.4:
        _write_letters(image, rng)
    if rng.random() < 0.3:
        _draw_line(image, rng)
    return image, mask


def _move_pair(image, mask, rng):
    """Mirror, rotate, shear, zoom and shift both alike."""
    size = len(image)
    if rng.random() < 0.5:  # films are turned by mistake, and a few hearts lie on the right
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


def _vary_exposure(image, rng):
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


def _lay_strips(image, mask, rng):
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


UNET_PROFILES = {  # the masks of the report's images are taught by the same real pairs
    "smoke": UNetConfig(dataset="phantom", epochs=2, steps=7, test_share=0.2),
    "quick": UNetConfig(dataset="phantom", epochs=3, steps=15, test_share=0.2),
    "real": UNetConfig(),
    "report": UNetConfig(),
    "report_kept": UNetConfig(),
}


def train_unet(manifest, config: UNetConfig | None = None, folder=None, start=None) -> Path:
    """Train a U-Net, or return the folder of the one that was trained so before.

    Killed at any moment, it goes on from its last whole epoch when called again.

    Args:
        manifest: a table; the rows with a mask_path are the pairs. They are split by patient.
        config: the settings; None for those of `UNetConfig`.
        folder: the folder of the run; by default below `config.home("runs")`, named after a hash of
            the settings, the pairs' bytes and the first weights.
        start: the folder of a trained U-Net of the same shape whose weights to begin with.

    Returns:
        the run folder: `config.json, split.csv, history.csv, unet.weights.h5, metrics.json`. The
        weights are those of the epoch with the best Dice on the validation patients;
        `metrics.json` holds the measures on the test patients, which chose nothing.

    Raises:
        ValueError, ImageError: as `lungs.check_pairs` and `lungs.split_pairs`.

    Section 3.2.3 of the report.
    """
    config = config or UNetConfig()
    folder = Path(folder or run_folder(manifest, config, start))
    folder.parent.mkdir(parents=True, exist_ok=True)
    with files.locked(folder):
        if not (folder / UNET_WEIGHTS).exists():
            pairs = split_pairs(check_pairs(manifest), config)
            part = folder.with_name(f"{folder.name}.part")
            part.mkdir(exist_ok=True)
            seconds = _fit_unet(pairs, config, part, start)
            _finish(pairs, config, part, seconds)
            files.name_folder(part, folder)
    return folder


def run_folder(manifest: pd.DataFrame, config: UNetConfig, start=None) -> Path:
    """Return where `train_unet` keeps the U-Net of these pairs and settings, trained or not."""
    pairs = manifest[manifest.mask_path != ""]
    plain = [("maps", 1), ("borrowed_greys", 0.0)]  # earlier runs are named without
    named = {key: value for key, value in asdict(config).items() if (key, value) not in plain}
    digest = hashlib.sha256(json.dumps(named).encode())
    for row in pairs.itertuples():
        digest.update(row.patient_id.encode())
        for path in filter(lambda path: Path(path).is_file(), (row.path, row.mask_path)):
            digest.update(hashlib.sha256(Path(path).read_bytes()).digest())
    if start is not None:
        digest.update((Path(start) / UNET_WEIGHTS).read_bytes())
    return home("runs") / f"unet-{digest.hexdigest()[:16]}"


def compile_unet(config: UNetConfig, start) -> keras.Model:
    """Return a U-Net ready to be trained, with its first weights."""
    keras.utils.set_random_seed(config.seed % 2**32)
    model = build_in_fast_precision(config, pretrained=start is None)
    if start is not None:
        model.load_weights(Path(start) / UNET_WEIGHTS)
    steps = config.epochs * config.steps
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps, alpha=0.01, warmup_target=config.learning_rate, warmup_steps=steps // 20
    )
    adam = keras.optimizers.Adam(rate)
    adam.build(model.trainable_variables)  # so that a checkpoint can bring its state
    model.compile(adam, bce_dice_loss, metrics=[dice_metric, iou_metric], jit_compile=False)
    return model


def _fit_unet(pairs: pd.DataFrame, config: UNetConfig, part: Path, start) -> float:
    """Train until the last epoch or until patience ends; returns the seconds of all epochs.

    The history is written last: an epoch counts once its row is there, and its weights with
    Adam's state then lie beside it.
    """
    model = compile_unet(config, start)
    taught, val = pairs[pairs.split == "train"], pairs[pairs.split == "val"]
    train = read_pairs(taught, config.size)
    images, masks = read_pairs(val, config.size)
    targets = map_targets(masks, _hearts(val), config.maps)
    images = images[..., None].astype(np.float32)
    cuts = network.spans(0, len(val), config.batch_size)
    validation = [(images[cut], targets[cut]) for cut in cuts]
    history = _restore(model, part)
    bar = tqdm(total=config.epochs, initial=len(history), desc="U-Net", unit=" epochs")
    while len(history) < config.epochs and _epochs_since_best(history) < config.patience:
        epoch, begin = len(history), time.perf_counter()
        batches = PairBatches(*train, config, epoch, taught)
        row = network.train_epoch(model, batches, validation)
        row["seconds"] = time.perf_counter() - begin
        history = pd.concat([history, pd.DataFrame([row])], ignore_index=True)
        files.save_weights(model, _checkpoint(part, epoch))
        if _epochs_since_best(history) == 0:
            files.save_weights(model, part / "best.weights.h5")
        files.write_text(part / "history.csv", history.to_csv(index=False))
        _checkpoint(part, epoch - 1).unlink(missing_ok=True)
        bar.update()
    bar.close()
    return float(history.seconds.sum())


def _restore(model: keras.Model, part: Path) -> pd.DataFrame:
    """Load the last whole epoch, if there is one, and return the history up to it."""
    if not (part / "history.csv").exists():
        return pd.DataFrame()
    history = pd.read_csv(part / "history.csv")
    model.load_weights(_checkpoint(part, len(history) - 1))
    return history


def _checkpoint(part: Path, epoch: int) -> Path:
    return part / f"epoch{epoch}.weights.h5"


def _epochs_since_best(history: pd.DataFrame) -> int:
    return 0 if history.empty else len(history) - 1 - int(history.val_dice_metric.argmax())


def _finish(pairs: pd.DataFrame, config: UNetConfig, part: Path, seconds: float) -> None:
    """Write what a run folder holds besides the history, and remove the checkpoints."""
    model = build_configured(config, pretrained=False)
    model.load_weights(part / "best.weights.h5")
    files.save_weights(model, part / UNET_WEIGHTS)  # without Adam's state
    files.write_text(part / "config.json", json.dumps(asdict(config), indent=2))
    files.write_text(part / "split.csv", pairs.to_csv(index=False))
    unseen = pairs[~pairs.patient_id.isin(pairs.patient_id[pairs.split.isin(["train", "val"])])]
    judged = judge_unet(part, unseen)
    metrics = {
        "test": summarise_overlap(judged[judged.split == "test"]),
        "with_masks_drawn_elsewhere": summarise_overlap(judged),
        "train_seconds": seconds,
    }
    files.write_text(part / "metrics.json", json.dumps(metrics, indent=2))
    for path in [*part.glob("epoch*.weights.h5"), part / "best.weights.h5"]:
        path.unlink()


def judge_unet(weights, pairs: pd.DataFrame, heart: str = "drawn") -> pd.DataFrame:
    """Return the pairs with Dice and IoU of the cleaned masks, in the images' own size.

    Args:
        weights, heart: as in `lungs.load_unet`.
        pairs: a table with path and mask_path.

    Returns:
        a copy with the columns dice and iou, 0 to 1.
    """
    model, scores = load_unet(weights, heart), []
    for row in pairs.itertuples():
        image = read_grey(row.path)
        drawn, predicted = read_mask(row.mask_path, image.shape), segment_images(model, [image])[0]
        scores.append((dice(drawn, predicted), iou(drawn, predicted)))
    table = pd.DataFrame(scores, columns=["dice", "iou"], index=pairs.index, dtype=float)
    return pairs.assign(dice=table.dice, iou=table.iou)


def summarise_overlap(judged: pd.DataFrame) -> dict:
    """Return means over images with 95 % intervals, patients being drawn again.

    Args:
        judged: a table with patient_id, dice and iou.

    Returns:
        n, patients, and for dice and iou the mean, `_low` and `_high`.
    """
    summary = {"n": len(judged), "patients": judged.patient_id.nunique()}
    for name in ("dice", "iou"):
        mean = bootstrap_mean(judged[name], judged.patient_id)
        summary |= {name: mean.value, f"{name}_low": mean.low, f"{name}_high": mean.high}
    return summary


def train_profile_unet(name: str) -> Path:
    """Train the U-Net of a profile, or return the one that was trained so before.

    Where the pairs that teach it are not at hand, one that an earlier process has kept will do.

    Raises:
        FileNotFoundError: none is kept, and there are no pairs to train one on.
    """
    config = UNET_PROFILES[name]
    try:
        manifest = sources.provide(profile(name).but(dataset=config.dataset))
    except FileNotFoundError as error:
        kept = [folder for folder in home("runs").glob("unet-*") if _taught_by(folder, config)]
        if kept:
            return max(kept, key=lambda folder: (folder / UNET_WEIGHTS).stat().st_mtime)
        raise FileNotFoundError(
            f"no trained U-Net in {home('runs')}, and nothing to train one on: {error}"
        ) from error
    return train_unet(manifest, config)


def _taught_by(folder: Path, config) -> bool:
    if not (folder / UNET_WEIGHTS).is_file():
        return False
    return json.loads((folder / "config.json").read_text())["dataset"] == config.dataset
