"""Training a U-Net on pairs of image and mask, judging it, and comparing what to train it on.

`python -m xraylib.segmentation` compares phantoms, real pairs and both, and keeps the table.
"""

import hashlib
import json
import time
from dataclasses import asdict
from pathlib import Path

import keras
import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from xraylib import datasets, files, results
from xraylib.config import home, profile
from xraylib.images import read_grey, read_mask
from xraylib.intervals import bootstrap_mean
from xraylib.masks import WEIGHTS, build_in_fast_precision, load_unet, segment_images
from xraylib.pairs import PairBatches, check_pairs, read_pairs, split_pairs
from xraylib.unet import (
    UNetConfig,
    bce_dice_loss,
    build_unet,
    dice,
    dice_metric,
    iou,
    iou_metric,
)

UNET_PROFILES = {  # the masks of the report's images are taught by the same real pairs
    "quick": UNetConfig(dataset="phantom", epochs=3, steps=15, test_share=0.2),
    "real": UNetConfig(),
    "report": UNetConfig(),
}


def train_unet(manifest, config: UNetConfig | None = None, folder=None, start=None) -> Path:
    """Train a U-Net, or return the folder of the one that was trained so before.

    Killed at any moment, it goes on from its last whole epoch when called again.

    Args:
        manifest: a table; the rows with a mask_path are the pairs. They are split by patient.
        config: the settings; None for those of `UNetConfig`.
        folder: of the run; by default below `config.home("runs")`, named after a hash of the
            settings, the pairs' bytes and the first weights.
        start: the folder of a trained U-Net of the same shape whose weights to begin with.

    Returns:
        the run folder: `config.json, split.csv, history.csv, unet.weights.h5, metrics.json`. The
        weights are those of the epoch with the best Dice on the validation patients;
        `metrics.json` holds the measures on the test patients, which chose nothing.

    Raises:
        ValueError, ImageError: as `pairs.check_pairs` and `pairs.split_pairs`.

    Section 3.2.3 of the report.
    """
    config = config or UNetConfig()
    folder = Path(folder or run_folder(manifest, config, start))
    folder.parent.mkdir(parents=True, exist_ok=True)
    with files.locked(folder):
        if not (folder / WEIGHTS).exists():
            pairs = split_pairs(check_pairs(manifest), config)
            part = folder.with_name(f"{folder.name}.part")
            part.mkdir(exist_ok=True)
            seconds = _fit(pairs, config, part, start)
            _finish(pairs, config, part, seconds)
            files.name_folder(part, folder)
    return folder


def run_folder(manifest: pd.DataFrame, config: UNetConfig, start=None) -> Path:
    """Return where `train_unet` keeps the U-Net of these pairs and settings, trained or not."""
    pairs = manifest[manifest.mask_path != ""]
    digest = hashlib.sha256(json.dumps(asdict(config)).encode())
    for row in pairs.itertuples():
        digest.update(row.patient_id.encode())
        for path in filter(lambda path: Path(path).is_file(), (row.path, row.mask_path)):
            digest.update(hashlib.sha256(Path(path).read_bytes()).digest())
    if start is not None:
        digest.update((Path(start) / WEIGHTS).read_bytes())
    return home("runs") / f"unet-{digest.hexdigest()[:16]}"


def compile_unet(config: UNetConfig, start) -> keras.Model:
    """Return a U-Net ready to be trained, with its first weights."""
    keras.utils.set_random_seed(config.seed % 2**32)
    model = build_in_fast_precision(config, pretrained=start is None)
    if start is not None:
        model.load_weights(Path(start) / WEIGHTS)
    steps = config.epochs * config.steps
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps, alpha=0.01, warmup_target=config.learning_rate, warmup_steps=steps // 20
    )
    adam = keras.optimizers.Adam(rate)
    adam.build(model.trainable_variables)  # so that a checkpoint can bring its state
    model.compile(adam, bce_dice_loss, metrics=[dice_metric, iou_metric], jit_compile=False)
    return model


def _fit(pairs: pd.DataFrame, config: UNetConfig, part: Path, start) -> float:
    """Train until the last epoch or until patience ends; returns the seconds of all epochs.

    The history is written last: an epoch counts once its row is there, and its weights with
    Adam's state then lie beside it.
    """
    model = compile_unet(config, start)
    train = read_pairs(pairs[pairs.split == "train"], config.size)
    images, masks = read_pairs(pairs[pairs.split == "val"], config.size)
    validation = images[..., None].astype(np.float32), masks[..., None]
    history = _restore(model, part)
    bar = tqdm(total=config.epochs, initial=len(history), desc="U-Net", unit=" epochs")
    while len(history) < config.epochs and _epochs_since_best(history) < config.patience:
        epoch, begin = len(history), time.perf_counter()
        batches = PairBatches(*train, config, epoch)
        fitted = model.fit(batches, validation_data=validation, shuffle=False, verbose=0)
        row = {name: values[0] for name, values in fitted.history.items()}
        row["seconds"] = time.perf_counter() - begin
        history = pd.concat([history, pd.DataFrame([row])], ignore_index=True)
        files.save_weights(model, _checkpoint(part, epoch))
        if _epochs_since_best(history) == 0:
            files.save_weights(model, part / "best.weights.h5")
        with files.whole_file(part / "history.csv") as new:
            history.to_csv(new, index=False)
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
    model = build_unet(config.size, config.filters, config.levels, config.encoder, False)
    model.load_weights(part / "best.weights.h5")
    files.save_weights(model, part / WEIGHTS)  # without Adam's state
    files.write_text(part / "config.json", json.dumps(asdict(config), indent=2))
    with files.whole_file(part / "split.csv") as split:
        pairs.to_csv(split, index=False)
    unseen = pairs[~pairs.patient_id.isin(pairs.patient_id[pairs.split.isin(["train", "val"])])]
    judged = judge_unet(part, unseen)
    metrics = {
        "test": summarise(judged[judged.split == "test"]),
        "with_masks_drawn_elsewhere": summarise(judged),
        "train_seconds": seconds,
    }
    files.write_text(part / "metrics.json", json.dumps(metrics, indent=2))
    for path in [*part.glob("epoch*.weights.h5"), part / "best.weights.h5"]:
        path.unlink()


def judge_unet(folder, pairs: pd.DataFrame) -> pd.DataFrame:
    """Return the pairs with Dice and IoU of the cleaned masks, in the images' own size.

    Args:
        folder: of a trained U-Net.
        pairs: a table with path and mask_path.

    Returns:
        a copy with the columns dice and iou, 0 to 1.
    """
    model, scores = load_unet(folder), []
    for row in pairs.itertuples():
        image = read_grey(row.path)
        drawn, found = read_mask(row.mask_path, image.shape), segment_images(model, [image])[0]
        scores.append((dice(drawn, found), iou(drawn, found)))
    table = pd.DataFrame(scores, columns=["dice", "iou"], index=pairs.index, dtype=float)
    return pairs.assign(dice=table.dice, iou=table.iou)


def summarise(judged: pd.DataFrame, seed: int = 0) -> dict:
    """Return means over images with 95 % intervals, patients being drawn again.

    Args:
        judged: a table with patient_id, dice and iou.
        seed: of the draws.

    Returns:
        n, patients, and for dice and iou the mean, `_low` and `_high`.
    """
    summary = {"n": len(judged), "patients": judged.patient_id.nunique()}
    for name in ("dice", "iou"):
        mean = bootstrap_mean(judged[name], judged.patient_id, seed=seed)
        summary |= {name: mean.value, f"{name}_low": mean.low, f"{name}_high": mean.high}
    return summary


def compare_training(real, phantom, config: UNetConfig | None = None) -> pd.DataFrame:
    """Compare U-Nets trained on phantoms, on real pairs, and on both in turn.

    Args:
        real, phantom: manifests with masks.
        config: the settings of all three.

    Returns:
        a row for each of the three: trained_on, train_seconds, and `summarise` on the test
        patients of the real pairs, which none of them saw.

    Section 3.2.3 of the report.
    """
    config = config or UNetConfig()
    drawn = train_unet(phantom, config.but(dataset="phantom"))
    folders = {
        "phantoms": drawn,
        "real": train_unet(real, config),
        "phantoms, then real": train_unet(real, config, start=drawn),
    }
    pairs = split_pairs(check_pairs(real), config)
    test, rows = pairs[pairs.split == "test"], []
    for name, folder in folders.items():
        seconds = json.loads((folder / "metrics.json").read_text())["train_seconds"]
        row = {"trained_on": name, "train_seconds": seconds}
        rows.append(row | summarise(judge_unet(folder, test)))
    return pd.DataFrame(rows)


if __name__ == "__main__":  # too long for a chapter; chapter 3.2.3 shows the table it keeps
    table = compare_training(datasets.load(profile("real")), datasets.load(profile("quick")))
    results.save(table, "real", "unet_training", "python -m xraylib.segmentation")
    print(table.round(3).to_string())
