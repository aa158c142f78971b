"""Tables of the book's results that take too long for a chapter.

make measure TABLE=repeats PROFILE=real
"""

import argparse

import pandas as pd

from xraylib import data, experiments, lungs, metrics, report, sources, studies
from xraylib.config import PROFILES, RunConfig, profile

TIMES = 5  # trainings of each experiment


def repeat(manifest: pd.DataFrame, config: RunConfig, times: int = TIMES) -> pd.DataFrame:
    """Train each experiment several times and judge each training on the same test images.

    First weights, order and dropout are drawn anew; images, split and settings stay.

    Args:
        manifest: split, with masks.
        config: the settings of the trainings.
        times: trainings of each experiment.

    Returns:
        one row per training: experiment, run_seed from 0, and the figures of
        `metrics.figures_row`.
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
    return lungs.compare_training(sources.provide(profile(name)), drawn)


def shortcuts(name: str) -> pd.DataFrame:
    """How well each view tells the hospital, and the class at home and elsewhere."""
    table = studies.measure_shortcuts(studies.manifest_with_masks(name))
    return table.assign(data="multisource")


def external(name: str) -> pd.DataFrame:
    """Classifiers judged on hospitals that were left out of their training."""
    config = profile(name).for_folds()
    images = studies.thin_sources(studies.manifest_with_masks(name))
    table = studies.compare_candidates(images, studies.CANDIDATES, config)
    table = table.assign(trained_on="all other hospitals", seed=config.seed)
    return table.assign(data="multisource")


def folds(name: str) -> pd.DataFrame:
    """Every recipe in folds by image and by patient."""
    return studies.folds_table(studies.RECIPES, sources.provide(profile(name)), profile(name))


def ablation(name: str) -> pd.DataFrame:
    """The best recipe, step by step."""
    return studies.folds_table(studies.ABLATION, sources.provide(profile(name)), profile(name))


def learning_curve(name: str) -> pd.DataFrame:
    """The best recipe fitted on some of the training patients, and on all."""
    config = profile(name).but(split_by="patient")
    return studies.learning_curve(studies.SVM_VIEWS, sources.provide(config), config)


def shared_errors(name: str) -> pd.DataFrame:
    """Images that recipes of different kinds call by the same wrong name."""
    config = profile(name).but(split_by="patient")
    manifest = sources.provide(config)
    tables = {
        recipe.name: studies.cross_validate_recipe(recipe, manifest, config)
        for recipe in studies.ERROR_RECIPES
    }
    table = studies.shared_errors(tables)
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
    manifest = lungs.predict_masks(drawn.sort_index(), lungs.train_profile_unet(name))
    settings = config.but(batch_size=20, epochs=25, folds=3, augmented_views=2)
    return manifest.reset_index(drop=True), settings


def suspects(name: str) -> pd.DataFrame:
    """White padding and equalisation, each with and without: what each cell gets right."""
    manifest, config = few_images(name)
    table = experiments.run_suspects(manifest, config, tuple(experiments.OUTSIDE))
    return stamped(experiments.suspects_table(table, config.seed), manifest, config)


def transforms(name: str) -> pd.DataFrame:
    """What each transform of Table 2 alone changes, and the flip that the report left out."""
    manifest, config = few_images(name)
    table = experiments.run_transforms(manifest, config)
    kinds = [cell for cell in table.cell.unique() if cell != "none"]
    contrasts = {kind: {kind: 1, "none": -1} for kind in kinds}
    return stamped(experiments.factor_effects(table, config.seed, contrasts), manifest, config)


def curves(name: str) -> pd.DataFrame:
    """Loss and accuracy of the three experiments after each epoch: the report's Figure 6."""
    manifest, config = few_images(name)
    config = config.but(epochs=profile(name).epochs)
    manifest = data.split_manifest(manifest, config)
    table = experiments.training_curves(manifest, config)
    train = manifest[manifest.split == "train"]
    return stamped(table.assign(n=len(train)), train, config).assign(split=config.split_by)


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


METADATA = "the sources' metadata and the report's lists"
TABLES = (
    repeats,
    unet_training,
    shortcuts,
    external,
    folds,
    ablation,
    learning_curve,
    shared_errors,
    covidx_counts,
    covidx_reasons,
    suspects,
    transforms,
    curves,
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
