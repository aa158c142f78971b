"""The weights that come with the package, trained again on the real data: make pretrained.

Each model is a function that trains it and returns its arrays and its card, see
`xraylib.pretrained`. The data sets must be at hand.
"""

import argparse
import json
from dataclasses import asdict
from datetime import date

import numpy as np
import pandas as pd

from xraylib import data, experiments, lungs, metrics, network, pretrained, sources
from xraylib.config import RunConfig, profile

COMMAND = "make pretrained ONLY={}"
FIGURES = ("accuracy", "COVID-19 recall", "COVID-19 precision", "macro F1")
TEACHERS = ("v7labs", "radiologists", "montgomery")  # their terms let them teach; Shenzhen judges
LICENCES = {
    "darkcovidnet": "NIH ChestX-ray8: no restriction, NIH Clinical Center named as provider; "
    "Cohen's collection: a licence for every image, in its metadata",
    "phantom": "drawn by this package (MIT)",
}


def head() -> tuple[dict, dict]:
    """Experiment 1 on real radiographs."""
    return train_head(profile("real"), "real radiographs")


def head_phantoms() -> tuple[dict, dict]:
    """Experiment 1 on phantoms, with the settings of the profile `quick`."""
    return train_head(profile("quick"), "phantoms")


def train_head(config: RunConfig, kind: str) -> tuple[dict, dict]:
    """Train the head of experiment 1 and judge what will be shipped on patients left out.

    Training is that of the chapters: Table 3, without a choice by the validation images. So these
    and the test images are both left out, and the figures come from both.

    Args:
        config: settings of the run.
        kind: of images, for the card.
    """
    manifest = data.split_manifest(sources.provide(config), config)
    run = experiments.run(experiments.EXPERIMENTS[1], manifest, config)
    arrays = layers_of(run.head)
    judged = judge_head(run.head, run)
    shipped = judge_head(pretrained.fill(network.fast_head(), rounded(arrays)), run)
    check_same_figures(judged, shipped, config.seed)
    figures = metrics.judge_predictions(shipped, config.seed)
    taught = manifest[manifest.split == "train"]
    entries = {
        "what": f"the head of experiment 1, trained on {kind} with the report's Table 3",
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


def judge_head(model, run) -> pd.DataFrame:
    """Return the predictions of a head for all images of a run that did not teach it."""
    manifest = run.manifest
    maps = network.extract_features(manifest, run.trained_on, run.scaling)
    rows = np.flatnonzero(manifest.split != "train")
    return metrics.predictions_table(manifest.iloc[rows], network.predict_logits(model, maps[rows]))


def layers_of(model) -> dict[str, np.ndarray]:
    """Return the trained arrays of a model, named as `pretrained.fill` wants them."""
    return {
        f"{layer.name}/{number}": tensor
        for layer in model.layers
        for number, tensor in enumerate(layer.get_weights())
        if layer.name in network.LEARNT
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
    return unet_entries(lungs.train_in_stages(pairs))


def unet_entries(folder) -> tuple[dict, dict]:
    """Return the arrays and the card of a U-Net in its run folder."""
    split = pd.read_csv(folder / "split.csv", keep_default_na=False)
    config = lungs.UNetConfig(**json.loads((folder / "config.json").read_text()))
    model = lungs.build_unet(
        config.size, config.filters, config.levels, config.encoder, False, config.maps
    )
    model.load_weights(folder / "unet.weights.h5")
    arrays = {
        f"{layer.name}/{number}": tensor
        for layer in model.layers
        for number, tensor in enumerate(layer.get_weights())
    }
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
    return arrays, {
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


MODELS = {"head": head, "head_phantoms": head_phantoms, "unet": unet}


def main(arguments=None) -> None:
    """Train the models asked for, or all, and keep them in the package."""
    parser = argparse.ArgumentParser(prog="make pretrained", description=__doc__)
    parser.add_argument("--only", choices=MODELS, help="train this one")
    options = parser.parse_args(arguments)
    for name in [options.only] if options.only else MODELS:
        arrays, entries = MODELS[name]()
        told = {"command": COMMAND.format(name), "date": date.today().isoformat()}
        kept = pretrained.keep(name, arrays, entries | told)
        print(f"{name}: {kept['bytes']:,} bytes, {kept['figures']}")


if __name__ == "__main__":
    main()
