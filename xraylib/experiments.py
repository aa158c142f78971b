"""What is trained on what and judged on what; each experiment runs once and is loaded after."""

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import keras
import numpy as np
import pandas as pd
from filelock import FileLock

from xraylib import classifier, datasets, features, metrics, splitting, training
from xraylib.config import CLASS_NAMES, COVID, RunConfig, home
from xraylib.preprocessing import Preprocessing, check_same


@dataclass(frozen=True)
class Experiment:
    """One line of the list of experiments.

    Attributes:
        name: as the report calls it.
        train: what the training images go through.
        judge: what validation and test images go through.
        mismatch: where the two differ, the reason in words.
    """

    name: str
    train: Preprocessing
    judge: Preprocessing
    mismatch: str = ""

    def __post_init__(self):
        check_same(self.train, self.judge, self.mismatch)


EXPERIMENTS = {
    1: Experiment("experiment 1", Preprocessing(), Preprocessing()),
}


@dataclass(frozen=True)
class Run:
    """A finished experiment: a folder, and what lies in it.

    Attributes:
        folder: holds config.json, preprocessing.json, manifest.csv, history.csv,
            predictions.csv, metrics.json and head.weights.h5.
        was_loaded: whether an earlier process had computed it.
    """

    folder: Path
    was_loaded: bool

    @cached_property
    def history(self) -> pd.DataFrame:
        return pd.read_csv(self.folder / "history.csv")

    @cached_property
    def manifest(self) -> pd.DataFrame:
        return pd.read_csv(self.folder / "manifest.csv", dtype=str, keep_default_na=False)

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

    def load_head(self) -> keras.Model:
        """Return the trained head, taking features (B, 7, 7, 512)."""
        head = classifier.build_head()
        head.load_weights(self.folder / "head.weights.h5")
        return head

    def load_model(self) -> keras.Model:
        """Return the whole classifier, taking grey images (B, 224, 224, 1)."""
        return classifier.build_model(self.scaling, self.load_head())

    def __str__(self):
        how = "loaded from an earlier run" if self.was_loaded else "computed now"
        return f"{self.folder.name}: {how}"


def run(
    experiment: Experiment, manifest: pd.DataFrame, config: RunConfig, run_seed: int = 0
) -> Run:
    """Run an experiment, or load what an earlier run of the same left.

    The run is computed in a folder beside its own, which is renamed when whole; a process that
    was killed is gone on with.

    Args:
        experiment: what is trained on what.
        manifest: with `split` filled: `train` and `test`, and `val` if there is one.
        config: settings; a changed one is another run.
        run_seed: another training on the same split.

    Returns:
        the finished run.

    Raises:
        ValueError: a class is missing from the training or the test images.
    """
    _check_classes(manifest)
    folder = home("runs") / _run_name(experiment, manifest, config, run_seed)
    with FileLock(f"{folder}.lock"):
        was_loaded = folder.exists()
        if not was_loaded:
            _compute(experiment, manifest, config, run_seed, folder)
    return Run(folder, was_loaded)


def cross_validate(
    experiment: Experiment, manifest: pd.DataFrame, config: RunConfig
) -> pd.DataFrame:
    """Run an experiment on every fold; each image is a test image once.

    Returns:
        the folds' predictions under each other, with the column `fold` from 0.
    """
    parts = []
    for number, part in enumerate(splitting.folds(manifest, config)):
        parts.append(run(experiment, part, config).predictions.assign(fold=number))
    return pd.concat(parts, ignore_index=True)


def judge(predictions: pd.DataFrame, seed: int = 0) -> dict:
    """Return the figures of merit of predictions, with n and intervals.

    Accuracy, recall and precision are shares, so they carry a Wilson interval; the macro F1
    carries a bootstrap by patient.

    Args:
        predictions: of `Run.predictions` or `cross_validate`.
        seed: of the bootstrap.

    Returns:
        n; confusion (3 x 3, rows true); and value, low and high for each figure.
    """
    labels = predictions.label.map(CLASS_NAMES.index).to_numpy()
    predicted = predictions.prediction.map(CLASS_NAMES.index).to_numpy()
    matrix = metrics.confusion_matrix(labels, predicted)

    hits, found, called = matrix[COVID, COVID], matrix[COVID].sum(), matrix[:, COVID].sum()
    groups = predictions.patient_id.to_numpy()
    figures = {
        "accuracy": (
            metrics.accuracy(matrix),
            metrics.wilson_interval(int(np.trace(matrix)), int(matrix.sum())),
        ),
        "COVID-19 recall": (
            metrics.recall(matrix)[COVID],
            metrics.wilson_interval(int(hits), int(found)),
        ),
        "COVID-19 precision": (
            metrics.precision(matrix)[COVID],
            metrics.wilson_interval(int(hits), int(called)),
        ),
        "macro F1": (
            _macro_f1(matrix),
            metrics.bootstrap_interval(_macro_f1, labels, predicted, groups, seed=seed),
        ),
    }
    table = {name: {"value": v, "low": lo, "high": hi} for name, (v, (lo, hi)) in figures.items()}
    return {"n": int(matrix.sum()), "confusion": matrix.tolist(), **table}


def figures_row(predictions: pd.DataFrame, seed: int = 0) -> dict:
    """Return `judge`'s figures as one flat row: n, and each figure with its low and high end."""
    figures = judge(predictions, seed)
    row = {"n": figures.pop("n")}
    figures.pop("confusion")
    for name, figure in figures.items():
        row |= {name: figure["value"], f"{name} low": figure["low"], f"{name} high": figure["high"]}
    return row


def _macro_f1(matrix) -> float:
    return metrics.macro_average(metrics.f_beta(matrix, 1), matrix)


def _run_name(experiment, manifest, config, run_seed) -> str:
    content = {
        "experiment": asdict(experiment),
        "config": asdict(config),
        "run_seed": run_seed,
        "images": [
            features.content_key(manifest, view, config.scaling, config.seed, "")
            for view in (experiment.train, experiment.judge)
        ],
        "rows": manifest[["label", "patient_id", "split"]].to_numpy().tolist(),
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return f"{experiment.name.replace(' ', '-')}-{digest[:16]}"


def _check_classes(manifest: pd.DataFrame) -> None:
    for part in ("train", "test"):
        missing = set(CLASS_NAMES) - set(manifest.label[manifest.split == part])
        if missing:
            raise ValueError(f"no {', '.join(sorted(missing))} among the {part} images")


def _compute(experiment, manifest, config, run_seed, folder: Path) -> None:
    part = folder.with_suffix(".part")
    part.mkdir(exist_ok=True)
    labels = datasets.label_ids(manifest)
    side = {name: np.flatnonzero(manifest.split == name) for name in splitting.SPLITS}
    judged = features.extract(manifest, experiment.judge, config.scaling)
    validation = (judged[side["val"]], labels[side["val"]]) if len(side["val"]) else None
    head, history = training.fit_head(
        _training_views(experiment, manifest, config, side["train"]),
        labels[side["train"]],
        validation,
        config,
        part / "checkpoints",
        run_seed,
    )
    logits = training.predict_logits(head, judged[side["test"]])
    predictions = predictions_table(manifest.iloc[side["test"]], logits)
    history.to_csv(part / "history.csv", index=False)
    predictions.to_csv(part / "predictions.csv", index=False)
    manifest.to_csv(part / "manifest.csv", index=False)
    settings = {"experiment": experiment.name, "config": asdict(config), "run_seed": run_seed}
    _write_json(part / "config.json", settings)
    _write_json(
        part / "preprocessing.json",
        {"train": asdict(experiment.train), "judge": asdict(experiment.judge)},
    )
    _write_json(part / "metrics.json", judge(predictions, config.seed))
    head.save_weights(part / "head.weights.h5")
    shutil.rmtree(part / "checkpoints", ignore_errors=True)
    part.replace(folder)


def _training_views(experiment, manifest, config, rows) -> list[np.ndarray]:
    """Return the training images' features: one array, or one for each random transform."""
    n_views = 1 if experiment.train.transform == "none" else config.augmented_views
    return [
        features.extract(manifest, experiment.train, config.scaling, config.seed + k)[rows]
        for k in range(n_views)
    ]


def predictions_table(manifest: pd.DataFrame, logits: np.ndarray) -> pd.DataFrame:
    """Put predictions beside the rows of a manifest.

    Args:
        manifest: N rows.
        logits: float (N, 3).

    Returns:
        path, patient_id, source, label, prediction, and a probability for each class.
    """
    table = manifest[["path", "patient_id", "source", "label"]].reset_index(drop=True)
    table["prediction"] = np.array(CLASS_NAMES)[logits.argmax(axis=1)]
    table[list(CLASS_NAMES)] = classifier.softmax(logits)
    return table


def _write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=1))
