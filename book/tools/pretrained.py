"""The weights that come with the package, trained again on the real data: make pretrained.

Each model is a function that trains it and returns its arrays and its card, see
`xraylib.pretrained`. The data sets must be at hand.
"""

import argparse
import hashlib
import io
import json
from dataclasses import asdict
from datetime import date
from importlib.resources import files as resources
from pathlib import Path

import numpy as np
import pandas as pd

from tools import unets
from tools.hospitals import fit_shipped, real_hospitals
from xraylib import (
    data,
    experiments,
    files,
    images,
    lungs,
    metrics,
    network,
    pretrained,
    report,
    sources,
    studies,
)
from xraylib.config import RunConfig, home, profile
from xraylib.images import Preprocessing

CARD_ENTRIES = {  # what every card says
    "what": "one sentence: the model and what it is for",
    "data": "the data sets that taught it, with n images and patients",
    "licences": "the terms of these data",
    "command": "what trains it again",
    "date": "when it was trained, as in 2020-06-01",
    "split": "how training and test images were parted",
    "seed": "of split and training",
    "n": "images that the figures come from",
    "patients": "patients that the figures come from; none of them taught it",
    "figures": "name -> value, low, high: figures of merit with 95 % intervals",
}
COMMAND = "make pretrained ONLY={}"
FIGURES = ("accuracy", "COVID-19 recall", "COVID-19 precision", "macro F1")
TEACHERS = ("v7labs", "radiologists", "montgomery")  # their terms let them teach; Shenzhen judges
MOST = 150  # images of a class, the first by name: ten more minutes of features for all of them
LICENCES = {
    "darkcovidnet": "NIH ChestX-ray8: no restriction, NIH Clinical Center named as provider; "
    "Cohen's collection: a licence for every image, in its metadata",
}


def head() -> tuple[dict, dict]:
    """Train the head of experiment 1 and judge what will be shipped on patients left out.

    Training is that of the chapters: Table 3, without a choice by the validation images. So these
    and the test images are both left out, and the figures come from both.
    """
    config = profile("real")
    manifest = some_of_each(config)
    run = experiments.run(experiments.EXPERIMENTS[1], manifest, config)
    arrays = layers_of(run.head, network.LEARNT)
    judged = judge_head(run.head, run)
    shipped = judge_head(pretrained.fill(network.fast_head(), rounded(arrays)), run)
    check_same_figures(judged, shipped, config.seed)
    figures = metrics.judge_predictions(shipped, config.seed)
    taught = manifest[manifest.split == "train"]
    entries = {
        "what": "the head of experiment 1, trained on real radiographs with the report's Table 3",
        "data": [f"{config.dataset}: {len(taught)} images, {taught.patient_id.nunique()} patients"],
        "licences": LICENCES[config.dataset],
        "split": f"by {config.split_by}; the figures are of the validation and test images, "
        "neither of which had a part in training or in a choice",
        "seed": config.seed,
        "n": len(shipped),
        "patients": int(shipped.patient_id.nunique()),
        "figures": {name: figures[name] for name in FIGURES},
        "confusion": figures["confusion"],
    }
    return arrays, entries


ELSEWHERE = ("kermany", "shenzhen", "montgomery", "hannover")  # hospitals that taught nothing here
N_ELSEWHERE = 12  # images of each of them
FLAGGED_AT_HOME = 0.01  # the share of left-out radiographs that the check may flag


def chest_check() -> tuple[dict, dict]:
    """Tell pictures of other things from chest radiographs, by the network's own features.

    The square roots of block5_pool's means have a mean and a spread over the training radiographs.
    An image is flagged when its distance to that mean, in spreads and averaged over the channels,
    is larger than for 99 % of the validation radiographs.
    """
    config = profile("real")
    manifest = some_of_each(config)
    maps = network.extract_features(manifest, Preprocessing(), config.scaling)
    roots = np.sqrt(np.asarray(maps, np.float32).mean(axis=(1, 2)))
    taught, val, test = (roots[manifest.split == part] for part in ("train", "val", "test"))
    mean, scale = taught.mean(axis=0), taught.std(axis=0) + 0.1 * taught.std()

    def far(rows):
        return np.sqrt((((rows - mean) / scale) ** 2).mean(axis=1))

    limit = np.quantile(far(val), 1 - FLAGGED_AT_HOME)
    base = network.build_base(config.scaling)
    found = {"radiographs of the same sets, left out": far(test) > limit}
    for name in ELSEWHERE:
        rows = data.load_manifest(home("data") / name, None)
        rows = rows.sample(min(len(rows), N_ELSEWHERE), random_state=config.seed)
        found[f"radiographs of {name}"] = far(roots_of(base, rows.path)) > limit
    found["pictures of other things"] = far(roots_of(base, other_pictures())) > limit
    figures = {name: share(flags) for name, flags in found.items()}
    entries = {
        "what": "how far the features of radiographs are from their mean, to flag other pictures",
        "data": [
            f"{config.dataset}: {len(taught)} images for mean and spread, {len(val)} for the limit"
        ],
        "licences": LICENCES[config.dataset],
        "split": f"by {config.split_by}; figures: shares that are flagged. The pictures of other "
        "things are those that come with scikit-image and scikit-learn",
        "seed": config.seed,
        "n": int(sum(len(flags) for flags in found.values())),
        "patients": 0,
        "figures": figures,
    }
    return {"mean": mean, "scale": scale, "limit": np.array([limit])}, entries


def roots_of(base, paths) -> np.ndarray:
    """Return the square roots of block5_pool's means for files, float32 (N, 512)."""
    views = [Preprocessing().apply(images.read_grey(path)) for path in paths]
    maps = base.predict(np.stack(views)[..., None].astype(np.float32), batch_size=8, verbose=0)
    return np.sqrt(maps.mean(axis=(1, 2)))


def other_pictures() -> list[Path]:
    """Return the photographs and drawings that come with two libraries of the environment."""
    folders = [resources("skimage") / "data", resources("sklearn") / "datasets/images"]
    paths = [path for folder in folders for path in Path(str(folder)).iterdir()]
    return sorted(path for path in paths if path.suffix in (".png", ".jpg"))


def share(flags: np.ndarray) -> dict:
    """Return the share of flags that are up, with its interval and n."""
    low, high = metrics.wilson_interval(int(flags.sum()), len(flags))
    return {"value": float(flags.mean()), "low": low, "high": high, "n": len(flags)}


def some_of_each(config: RunConfig) -> pd.DataFrame:
    """Return the first `MOST` images of each class of a data set, split."""
    manifest = sources.provide(config)
    return data.split_manifest(manifest.groupby("label").head(MOST), config)


def judge_head(model, run) -> pd.DataFrame:
    """Return the predictions of a head for all images of a run that did not teach it."""
    manifest = run.manifest
    maps = network.extract_features(manifest, run.trained_on, run.scaling)
    rows = np.flatnonzero(manifest.split != "train")
    return metrics.predictions_table(manifest.iloc[rows], network.predict_logits(model, maps[rows]))


def layers_of(model, names=None) -> dict[str, np.ndarray]:
    """Return the arrays of some layers, or of all, named as `pretrained.fill` wants them."""
    return {
        f"{layer.name}/{number}": tensor
        for layer in model.layers
        for number, tensor in enumerate(layer.get_weights())
        if names is None or layer.name in names
    }


def rounded(arrays: dict) -> dict[str, np.ndarray]:
    """Return float32 arrays as float16 keeps them."""
    return {key: np.asarray(array, np.float16).astype(np.float32) for key, array in arrays.items()}


def check_same_figures(before: pd.DataFrame, after: pd.DataFrame, seed: int) -> None:
    """Raise unless float16 leaves every figure of merit as it was, to three digits."""
    tables = [metrics.judge_predictions(table, seed) for table in (before, after)]
    for name in FIGURES:
        one, other = (round(table[name]["value"], 3) for table in tables)
        if one != other:
            raise ValueError(f"{name}: {one} in float32 and {other} in float16; keep float32")


def unet() -> tuple[dict, dict]:
    """The U-Net of lung masks, trained on all hospitals whose licences allow it."""
    pairs = sources.lung_pairs(TEACHERS, won_back=False)  # else some images would be there twice
    return unet_entries(unets.train_in_stages(pairs))


def unet_entries(folder) -> tuple[dict, dict]:
    """Return the arrays and the card of a U-Net in its run folder."""
    split = pd.read_csv(folder / "split.csv", keep_default_na=False)
    config = lungs.UNetConfig(**json.loads((folder / "config.json").read_text()))
    model = lungs.build_configured(config, pretrained=False)
    model.load_weights(folder / "unet.weights.h5")
    taught, test = split[split.split.isin(["train", "val"])], split[split.split == "test"]
    figures = {
        f"Dice, {hospital}, patients left out": _dice(folder, part, "drawn")
        for hospital, part in test.groupby("source")
    }
    unseen = sources.lung_pairs(("shenzhen",))
    for heart in ("drawn", "out"):
        name = f"Dice, shenzhen, never seen, {len(unseen)} images, map {heart!r}"
        figures[name] = _dice(folder, unseen, heart)
    counts = ", ".join(
        f"{hospital} {len(part)} images of {part.patient_id.nunique()} patients"
        for hospital, part in taught.groupby("source")
    )
    return layers_of(model), {
        "what": "a U-Net that finds the lungs, with three maps: as the masks of films that look "
        "alike are drawn, with the part behind the heart, without it",
        "data": f"{counts}; the masks that fit their images",
        "licences": "v7labs masks: CC BY 4.0 as third parties say; radiologists' masks: CC BY 4.0, "
        "each image with its own licence; Montgomery: NLM, free for research, cite",
        "split": "by patient, a fifth for the test",
        "seed": config.seed,
        "n": len(test),
        "patients": int(test.patient_id.nunique()),
        "figures": figures,
        "config": asdict(config),
    }


def _dice(folder, pairs, heart: str) -> dict:
    overlap = lungs.summarise_overlap(lungs.judge_unet(folder, pairs, heart))
    return {"value": overlap["dice"], "low": overlap["dice_low"], "high": overlap["dice_high"]}


def hospitals() -> tuple[dict, dict]:
    """The classifier of `predict`: fitted on all hospitals, judged on hospitals left out."""
    features, manifest = real_hospitals(studies.SHIPPED.views)
    head = fit_shipped(features, manifest)
    judged = report.load_table("real", "hospitals_unseen").iloc[0]
    entries = {
        "what": "linear answers to pooled features of VGG16, for hospitals that it has not seen",
        "data": ", ".join(
            f"{site} {len(part)} images of {part.patient_id.nunique()} patients"
            for site, part in manifest.groupby("site")
        ),
        "licences": "NIH: free use, cite; Cohen: one for each image; Kermany: CC BY 4.0; Shenzhen, "
        "Montgomery: NLM, images free for research, cite; Hannover: CC BY 3.0",
        "recipe": str(studies.SHIPPED),
        "split": "each hospital left out in turn, the recipe chosen without it; "
        "make measure TABLE=hospitals_unseen PROFILE=real",
        "seed": 0,
        "n": int(judged.n),
        "patients": int(judged.patients),
        "figures": {
            name: {end: float(judged[f"{name} {end}".removesuffix(" value")]) for end in ENDS}
            for name in ("macro recall", "false COVID-19")
        },
    }
    return asdict(head), entries


def keep(name: str, arrays: dict, entries: dict, folder=pretrained.FOLDER) -> dict:
    """Keep a model's arrays and its card, whole or not at all.

    Arrays in float32 and float64 are kept as float16; the card has every entry of `CARD_ENTRIES`.
    Returns the card, with `sha256` and `bytes` of the file. A `ValueError` says that an entry of
    the card is missing, or a value too large for float16.
    """
    missing = sorted(set(CARD_ENTRIES) - set(entries))
    if missing:
        raise ValueError(f"card of {name}: no {', '.join(missing)}")
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{key: narrowed(key, array) for key, array in arrays.items()})
    content, path = buffer.getvalue(), folder / pretrained.CARDS
    whole = {**entries, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    cards = json.loads(path.read_text("utf8")) if path.exists() else {}
    files.write_bytes(folder / f"{name}.npz", content)
    text = json.dumps(dict(sorted((cards | {name: whole}).items())), indent=1, ensure_ascii=False)
    files.write_text(path, text + "\n")
    return whole


def narrowed(key: str, array) -> np.ndarray:
    """Return an array as it is kept: floats as float16, which they must fit into."""
    array = np.asarray(array)
    if array.dtype not in (np.float32, np.float64):
        return array
    if np.abs(array).max(initial=0) > np.finfo(np.float16).max:
        raise ValueError(f"{key}: values of {np.abs(array).max():.3g}, too large for float16")
    return array.astype(np.float16)


ENDS = ("value", "low", "high")
MODELS = {
    "head": head,
    "chest_check": chest_check,
    "unet": unet,
    "hospitals": hospitals,
}


def main(arguments=None) -> None:
    """Train the models asked for, or all, and keep them in the package."""
    parser = argparse.ArgumentParser(prog="make pretrained", description=__doc__)
    parser.add_argument("--only", choices=MODELS, help="train this one")
    options = parser.parse_args(arguments)
    for name in [options.only] if options.only else MODELS:
        arrays, entries = MODELS[name]()
        told = {"command": COMMAND.format(name), "date": date.today().isoformat()}
        kept = keep(name, arrays, entries | told)
        print(f"{name}: {kept['bytes']:,} bytes, {kept['figures']}")


if __name__ == "__main__":
    main()
