"""What is trained on what and judged on what; each experiment runs once and is loaded after."""

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from xraylib import data, files, metrics, network
from xraylib.config import CLASS_NAMES, RunConfig, home
from xraylib.images import Preprocessing, check_same


@dataclass(frozen=True)
class Experiment:
    """One line of the list of experiments.

    Attributes:
        name: as the report calls it.
        train, judge: what the training images, and the validation and test images, go through.
        mismatch: where the two differ, the reason in words.
    """

    name: str
    train: Preprocessing
    judge: Preprocessing
    mismatch: str = ""

    def __post_init__(self):
        check_same(self.train, self.judge, self.mismatch)


AS_REPORTED = "the report validated on original images, and tested on such as we take it"
SEGMENTED = Preprocessing(region="lungs")
AUGMENTED = Preprocessing(region="lungs", transform="table2")
EXPERIMENTS = {
    1: Experiment("experiment 1", Preprocessing(), Preprocessing()),
    2: Experiment("experiment 2", SEGMENTED, Preprocessing(), mismatch=AS_REPORTED),
    3: Experiment("experiment 3", AUGMENTED, Preprocessing(), mismatch=AS_REPORTED),
}
# Settings that only choose images and split, which a run is named after in any case. Every other
# setting is part of its name: with another value it is another run.
CHOOSE_IMAGES = {
    "dataset",
    "phantom_counts",
    "scale",
    "confounding",
    "split_by",
    "folds",
    "fold_epochs",
    "grid_views",
}


@dataclass(frozen=True)
class Run:
    """A finished experiment: a folder, and what lies in it.

    Attributes:
        folder: holds config.json, preprocessing.json, manifest.csv, history.csv,
            predictions.csv, metrics.json and head.weights.h5.
        was_loaded: whether an earlier process had computed it.
        manifest: the manifest of the caller: the same images and split as the folder's, but its
            masks are the ones that other views shall be cut by.
    """

    folder: Path
    was_loaded: bool
    manifest: pd.DataFrame = field(compare=False, repr=False)

    @cached_property
    def history(self) -> pd.DataFrame:
        return pd.read_csv(self.folder / "history.csv")

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """One row a test image: path, patient_id, source, label, prediction, a share a class."""
        text = {"path": str, "patient_id": str, "source": str}
        return pd.read_csv(self.folder / "predictions.csv", dtype=text, keep_default_na=False)

    @cached_property
    def metrics(self) -> dict:
        return json.loads((self.folder / "metrics.json").read_text())

    @property
    def scaling(self) -> str:
        return json.loads((self.folder / "config.json").read_text())["config"]["scaling"]

    @property
    def trained_on(self) -> Preprocessing:
        described = json.loads((self.folder / "preprocessing.json").read_text())
        return Preprocessing(**described["train"])

    def judge_on(self, view: Preprocessing, mismatch: str = "", part: str = "test") -> pd.DataFrame:
        """Return predictions for the run's test images in another view, or for another part.

        Args:
            view: what the images go through.
            mismatch: if that is not what the training images went through, the reason.
            part: `test`, or `val` for what has to be settled before the test.

        Raises:
            PreprocessingMismatch: the views differ and no reason is given.
        """
        check_same(self.trained_on, view, mismatch)
        manifest = self.manifest
        maps = network.extract_features(manifest, view, self.scaling)
        rows = np.flatnonzero(manifest.split == part)
        logits = network.predict_logits(self.head, maps[rows])
        return metrics.predictions_table(manifest.iloc[rows], logits)

    @cached_property
    def head(self) -> keras.Model:
        """The trained head, taking the live part of features, (B, 6, 6, 512)."""
        head = network.fast_head()  # as it was trained: Keras' files name layers by their class
        head.load_weights(self.folder / "head.weights.h5")
        return head

    def load_model(self) -> keras.Model:
        """Return the whole classifier, taking grey images (B, 224, 224, 1)."""
        return network.build_classifier(self.scaling, self.head)

    def __str__(self):
        how = "loaded from an earlier run" if self.was_loaded else "computed now"
        return f"{self.folder.name}: {how}"


def run(
    experiment: Experiment, manifest: pd.DataFrame, config: RunConfig, run_seed: int = 0
) -> Run:
    """Run an experiment, or load what an earlier run of the same left.

    The run is computed in a folder beside its own, which is renamed when whole; a process that
    was killed is taken up where it stopped.

    Args:
        manifest: a manifest with `split` filled: `train` and `test`, and `val` if there is one.
        config: settings; a changed one is another run.
        run_seed: another training on the same split.

    Raises:
        ValueError: a class is missing from the training or the test images.
    """
    _check_classes(manifest)
    folder = home("runs") / _run_name(experiment, manifest, config, run_seed)
    with files.locked(folder):
        was_loaded = folder.exists()
        if not was_loaded:
            _compute(experiment, manifest, config, run_seed, folder)
    return Run(folder, was_loaded, manifest)


def training_curves(manifest: pd.DataFrame, config: RunConfig) -> pd.DataFrame:
    """Run the report's three experiments and return their histories: its Figure 6.

    Returns:
        experiment (such as `experiment 1`), epoch, loss, accuracy, and val_loss and val_accuracy
        where there is a validation set.
    """
    parts = [
        run(e, manifest, config).history.assign(experiment=e.name) for e in EXPERIMENTS.values()
    ]
    return pd.concat(parts, ignore_index=True)


def cross_validate(
    experiment: Experiment, manifest: pd.DataFrame, config: RunConfig
) -> pd.DataFrame:
    """Run an experiment on every fold; each image is a test image once.

    Returns:
        the folds' predictions under each other, with the column `fold` from 0.
    """
    parts = []
    for number, part in enumerate(data.split_folds(manifest, config)):
        parts.append(run(experiment, part, config).predictions.assign(fold=number))
    return pd.concat(parts, ignore_index=True)


def _run_name(experiment, manifest, config, run_seed) -> str:
    content = {  # not the experiment's name: what is computed alike is computed once
        "views": [asdict(experiment.train), asdict(experiment.judge)],
        "config": {k: v for k, v in asdict(config).items() if k not in CHOOSE_IMAGES},
        "run_seed": run_seed,
        "images": [
            network.content_key(
                manifest, network.FeatureSettings(view, config.scaling, config.seed, "")
            )
            for view in (experiment.train, experiment.judge)
        ],
        "rows": manifest[["label", "patient_id", "split"]].to_numpy().tolist(),
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return f"run-{digest[:16]}"


def _check_classes(manifest: pd.DataFrame) -> None:
    for part in ("train", "test"):
        missing = set(CLASS_NAMES) - set(manifest.label[manifest.split == part])
        if missing:
            raise ValueError(f"no {', '.join(sorted(missing))} among the {part} images")


def _compute(experiment, manifest, config, run_seed, folder: Path) -> None:
    part = folder.with_name(f"{folder.name}.part")
    with files.writing(part):
        part.mkdir(exist_ok=True)
    judged = network.extract_features(manifest, experiment.judge, config.scaling)
    test = np.flatnonzero(manifest.split == "test")
    head, history = _fit(experiment, manifest, judged, config, part / "checkpoints", run_seed)
    logits = network.predict_logits(head, judged[test])
    predictions = metrics.predictions_table(manifest.iloc[test], logits)
    settings = {"experiment": experiment.name, "config": asdict(config), "run_seed": run_seed}
    views = {"train": asdict(experiment.train), "judge": asdict(experiment.judge)}
    with files.writing(part):
        history.to_csv(part / "history.csv", index=False)
        predictions.to_csv(part / "predictions.csv", index=False)
        manifest.to_csv(part / "manifest.csv", index=False)
        _write_json(part / "config.json", settings)
        _write_json(part / "preprocessing.json", views)
        _write_json(part / "metrics.json", metrics.judge_predictions(predictions, config.seed))
    files.save_weights(head, part / "head.weights.h5")
    shutil.rmtree(part / "checkpoints", ignore_errors=True)
    files.name_folder(part, folder)


def _fit(experiment, manifest, judged, config, checkpoints, run_seed):
    """Train the head, on kept features or on the fly; returns it and its history."""
    labels = data.label_ids(manifest)
    train, val = (np.flatnonzero(manifest.split == part) for part in ("train", "val"))
    if config.on_the_fly and experiment.train.transform != "none":
        views = [network.FreshViews(manifest.iloc[train], experiment.train, config.seed)]
        seen, fit = network.FreshViews(manifest.iloc[val], experiment.judge), network.fit_whole
    else:
        views = _training_views(experiment, manifest, config, train)
        seen, fit = network.LiveMaps(judged, val), network.fit_head
    validation = (seen, labels[val]) if len(val) else None
    return fit(views, labels[train], validation, config, checkpoints, run_seed)


def _training_views(experiment, manifest, config, rows) -> list[network.LiveMaps]:
    """Return the training images' features, once, or once for each random transform."""
    n_views = 1 if experiment.train.transform == "none" else config.augmented_views
    seeds = [config.seed + k for k in range(n_views)]
    views = [network.extract_features(manifest, experiment.train, config.scaling, s) for s in seeds]
    return [network.LiveMaps(view, rows) for view in views]


def _write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=1))
