"""Tables of the book's results that take too long for a chapter.

make measure TABLE=repeats PROFILE=real
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from tools import ceiling, hospitals, marks, unets
from tools.people import groups_table, known_people, labels_table, told_table
from xraylib import (
    data,
    experiments,
    images,
    lungs,
    maps,
    metrics,
    network,
    report,
    sources,
    studies,
)
from xraylib.config import PROFILES, RunConfig, profile

TIMES = 5  # trainings of each experiment


def repeat(manifest: pd.DataFrame, config: RunConfig, times: int = TIMES) -> pd.DataFrame:
    """Train each experiment several times and judge each training on the same test images.

    First weights, order and dropout are drawn anew; images, split and settings stay. The manifest
    is split and has masks. Returns one row per training: experiment, run_seed from 0, and the
    figures of `metrics.figures_row`.
    """
    rows = []
    for experiment in experiments.EXPERIMENTS.values():
        for seed in range(times):
            run = experiments.run(experiment, manifest, config, run_seed=seed)
            figures = metrics.figures_row(run.predictions, config.seed)
            rows.append({"experiment": experiment.name, "run_seed": seed} | figures)
    return pd.DataFrame(rows)


def repeats(name: str) -> pd.DataFrame:
    """The report's experiments trained several times on one split: what chance alone does."""
    config = profile(name)
    manifest = lungs.predict_masks(sources.provide(config), lungs.train_profile_unet(name))
    table = repeat(data.split_manifest(manifest, config), config)
    return table.assign(split=config.split_by, seed=config.seed, data=config.dataset)


def unet_training(name: str) -> pd.DataFrame:
    """U-Nets trained on phantoms, on real pairs, and on both in turn."""
    drawn = sources.provide(profile("quick"))
    return unets.compare_training(sources.provide(profile(name)), drawn)


def folds(name: str) -> pd.DataFrame:
    """Every recipe in folds by image and by patient."""
    return studies.folds_table(studies.RECIPES, sources.provide(profile(name)), profile(name))


def ablation(name: str) -> pd.DataFrame:
    """The best recipe, step by step."""
    return studies.folds_table(studies.ABLATION, sources.provide(profile(name)), profile(name))


def learning_curve(name: str) -> pd.DataFrame:
    """The best recipe fitted on some of the training patients, and on all."""
    config = profile(name).but(split_by="patient")
    return ceiling.learning_curve(studies.SVM_VIEWS, sources.provide(config), config)


def shared_errors(name: str) -> pd.DataFrame:
    """Images that recipes of different kinds call by the same wrong name."""
    config = profile(name).but(split_by="patient")
    manifest = sources.provide(config)
    tables = {
        recipe.name: studies.cross_validate_recipe(recipe, manifest, config)
        for recipe in ceiling.ERROR_RECIPES
    }
    table = ceiling.shared_errors(tables)
    return table.assign(recipes=", ".join(tables), seed=config.seed)


def covidx_counts(name: str) -> pd.DataFrame:
    """What COVIDx is made of, counted from the sources' metadata and the report's lists."""
    return sources.count_covidx()[0].assign(data=METADATA)


def covidx_reasons(name: str) -> pd.DataFrame:
    """What the rules of COVIDx leave out, and why."""
    return sources.count_covidx()[1].assign(data=METADATA)


FEW = 50  # images of a class, where each question needs another view of every image


def few_images(name: str) -> tuple[pd.DataFrame, RunConfig]:
    """Return some images of each class with lung masks, and settings for trainings on so few."""
    config = profile(name)
    manifest = sources.provide(config)
    n = min(FEW, manifest.label.value_counts().min())
    drawn = manifest.groupby("label", sort=False).sample(n, random_state=config.seed % 2**32)
    manifest = lungs.predict_masks(drawn.sort_index())
    settings = config.but(batch_size=20, epochs=25, folds=3, augmented_views=2)
    return manifest.reset_index(drop=True), settings


def run_transforms(
    manifest: pd.DataFrame, config: RunConfig, transforms=images.SINGLE_TRANSFORMS
) -> pd.DataFrame:
    """Train with each transform of Table 2 alone, with the flip, and with none, in folds.

    Each training image is there as it is and once transformed, and each epoch draws one of the two.

    Args:
        manifest: any manifest.
        config: the settings of the trainings.
        transforms: some of `images.SINGLE_TRANSFORMS`.

    Returns:
        predictions on original images, under each other, with the columns cell (the transform, or
        `none`) and fold. Section 3.2.1 of the report.
    """
    labels, parts = data.label_ids(manifest), []
    original = network.extract_features(manifest, experiments.VIEWS["original"], config.scaling)
    for transform in ("none", *transforms):
        views = [original]
        if transform != "none":
            view = images.Preprocessing(transform=transform)
            views += [network.extract_features(manifest, view, config.scaling, config.seed)]
        for fold, part in enumerate(data.split_folds(manifest, config)):
            train, test = (np.flatnonzero(part.split == name) for name in ("train", "test"))
            maps = [network.LiveMaps(view, train) for view in views]
            with tempfile.TemporaryDirectory() as scratch:
                head, _ = network.fit_head(maps, labels[train], None, config, scratch)
            logits = network.predict_logits(head, original[test])
            table = metrics.predictions_table(part.iloc[test], logits)
            parts.append(table.assign(cell=transform, fold=fold))
    return pd.concat(parts, ignore_index=True)


def transforms(name: str) -> pd.DataFrame:
    """What each transform of Table 2 alone changes, and the flip that the report left out."""
    manifest, config = few_images(name)
    table = run_transforms(manifest, config)
    kinds = [cell for cell in table.cell.unique() if cell != "none"]
    contrasts = {kind: {kind: 1, "none": -1} for kind in kinds}
    return stamped(experiments.factor_effects(table, config.seed, contrasts), manifest, config)


def stamped(table: pd.DataFrame, manifest: pd.DataFrame, config: RunConfig) -> pd.DataFrame:
    """Add to a table what its numbers depend on."""
    return table.assign(
        patients=manifest.patient_id.nunique(),
        split=f"{config.folds} folds by {config.split_by}",
        batch_size=config.batch_size,
        epochs=config.epochs,
        seed=config.seed,
        data=config.dataset,
    )


MARK_LAYERS = ("block4_conv3", "block5_conv3", "block6_conv2")


def explainer_for_marks(name: str) -> maps.Explainer:
    """Train experiment 1 without any patient whose images radiologists marked, and explain it.

    A tenth of the patients with normal images is left out too: a test set has all classes.
    """
    config = profile(name).but(split_by="patient").for_folds()
    manifest = sources.provide(config)
    marked = set(sources.covid_marks().patient_id) | set(sources.nih_boxes().patient_id)
    normal = manifest.patient_id[manifest.label == "normal"].drop_duplicates()
    left_out = marked | set(normal.sample(frac=0.1, random_state=config.seed % 2**32))
    split = np.where(manifest.patient_id.isin(left_out), "test", "train")
    run = experiments.run(experiments.EXPERIMENTS[1], manifest.assign(split=split), config)
    print(f"{run}; accuracy on patients left out {run.metrics['accuracy']['value']:.3f}")
    return maps.Explainer(run.load_model())


def maps_against_marks(name: str) -> pd.DataFrame:
    """Every method's maps held against boxes around pneumonia and drawn COVID-19 lesions."""
    explainer, seed = explainer_for_marks(name), profile(name).seed
    marked = {"pneumonia boxes": marks.nih_pneumonia(), "COVID-19 lesions": marks.covid_lesions()}
    parts = [
        marks.compare_with_marks(explainer, cases, MARK_LAYERS, seed).assign(marks=kind)
        for kind, cases in marked.items()
    ]
    return pd.concat(parts).assign(split="no marked patient in training", seed=seed)


def devices(name: str) -> pd.DataFrame:
    """How much of the maps lies on tubes, lines and probes."""
    explainer, seed = explainer_for_marks(name), profile(name).seed
    table = marks.device_energy(explainer, marks.covid_lesions("device"), MARK_LAYERS, seed)
    return table.assign(split="no marked patient in training", seed=seed)


def people(name: str) -> pd.DataFrame:
    """What age, sex and view tell without an image."""
    table = told_table(known_people(), profile(name).seed)
    return table.assign(split="5 folds by patient", seed=profile(name).seed)


def people_groups(name: str) -> pd.DataFrame:
    """The accuracy of experiment 1 within groups of age, sex and view."""
    config = profile(name).but(split_by="patient").for_folds()
    manifest = sources.provide(config)
    judged = experiments.cross_validate(experiments.EXPERIMENTS[1], manifest, config)
    judged["filename"] = ["/".join(Path(path).parts[-2:]) for path in judged.path]
    judged = judged[["filename", "label", "prediction"]]
    table = groups_table(known_people(), judged, config.seed)
    return table.assign(split=f"{config.folds} folds by patient", seed=config.seed)


def labels(name: str) -> pd.DataFrame:
    """Labels mined from reports against opacity as radiologists settled it."""
    seed = profile(name).seed
    return labels_table(seed).assign(seed=seed, data="Majkowska et al. 2020")


def annotators(name: str) -> pd.DataFrame:
    """How far two groups of annotators agree on the lungs of the same images."""
    seed, agreed = profile(name).seed, unets.annotators_agree()
    mean = metrics.bootstrap_mean(agreed.dice, agreed.patient_id, seed=seed)
    row = {"groups": "v7labs, radiologists", "dice": mean.value, "dice_low": mean.low}
    row |= {"dice_high": mean.high, "median": agreed.dice.median(), "n": mean.n}
    return pd.DataFrame([row | {"patients": agreed.patient_id.nunique(), "seed": seed}])


def masks_won_back(name: str) -> pd.DataFrame:
    """What becomes of the v7labs masks that do not have the size of the copied image."""
    all_masks = pd.read_csv(data.V7LABS_MASKS)
    won, fit = sources.won_back_masks(), sources.fitting_masks()
    reasons = won.reason.replace("", "cut to its copy").value_counts()
    rows = [("fits its copy", len(fit)), *reasons.items()]
    rows.append(("published image not at hand", len(all_masks) - len(fit) - len(won)))
    return pd.DataFrame(rows, columns=["mask", "n"])


def unet_hospitals(name: str) -> pd.DataFrame:
    """U-Nets in folds of the report's images, and on hospitals that they have never seen."""
    pairs = sources.lung_pairs()
    ours, shenzhen = (pairs[pairs.source == hospital] for hospital in ("v7labs", "shenzhen"))
    rows, alone = [unets.judge_in_folds(ours)], unets.train_larger(ours)
    for hospital in ("montgomery", "shenzhen"):  # v7labs knows one convention, and so one map
        unseen = pairs[pairs.source == hospital]
        rows += unets.hospital_rows(alone, unseen, "v7labs", (lungs.HEART[0],))
    hospitals = "montgomery", "shenzhen", "radiologists"
    left_out = [
        unets.leave_hospitals_out(pairs, hospitals, config)
        for config in (unets.LARGER, unets.LARGER.but(borrowed_greys=0.0))
    ]
    own = "the package's: montgomery + radiologists + v7labs"
    shipped = pd.DataFrame(unets.hospital_rows("real", shenzhen, own))
    table = pd.concat([pd.DataFrame(rows), *left_out, shipped])
    table = table.drop(columns=["iou", "iou_low", "iou_high"])
    return table.assign(seed=unets.HOSPITALS.seed, data=", ".join(pairs.source.unique()))


METADATA = "the sources' metadata and the report's lists"
TABLES = (
    repeats,
    unet_training,
    hospitals.hospitals_curve,
    hospitals.hospitals_unseen,
    hospitals.hospitals_steps,
    hospitals.hospitals_calls,
    folds,
    ablation,
    learning_curve,
    shared_errors,
    covidx_counts,
    covidx_reasons,
    transforms,
    maps_against_marks,
    devices,
    people,
    people_groups,
    labels,
    annotators,
    masks_won_back,
    unet_hospitals,
)


def main(arguments=None) -> None:
    """Measure one table of a profile, print it, and keep it among the book's results."""
    measures = {measure.__name__: measure for measure in TABLES}
    parser = argparse.ArgumentParser(prog="make measure", description=__doc__)
    parser.add_argument("table", choices=measures)
    parser.add_argument("--profile", choices=PROFILES, default="quick")
    options = parser.parse_args(arguments)
    table = measures[options.table](options.profile)
    command = f"make measure TABLE={options.table} PROFILE={options.profile}"
    report.save_table(table, options.profile, options.table, command)
    print(table.round(3).to_string())


if __name__ == "__main__":
    main()
