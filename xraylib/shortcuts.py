"""Shortcuts, measured: how well a view tells the hospital, and what that does to the diagnosis.

`python -m xraylib.shortcuts` measures all views of the real radiographs and keeps the table.
"""

import numpy as np
import pandas as pd
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from xraylib import features, results, sources
from xraylib.config import CLASS_NAMES
from xraylib.intervals import bootstrap_mean
from xraylib.preprocessing import Preprocessing

VIEWS = {
    "original": Preprocessing(),
    "lungs alone": Preprocessing(region="lungs"),
    "lungs cropped": Preprocessing(crop=True),
    "lungs cropped, bands alike": Preprocessing(crop=True, equalise="bands"),
    "lungs cropped, alone, bands alike": Preprocessing("lungs", "bands", True),
    "lungs erased": Preprocessing(region="lungs_erased"),
    "lung box blacked out": Preprocessing(region="lung_box_erased"),
    "silhouette": Preprocessing(region="silhouette"),
}
NO_PIXELS = "size and view position, no pixel"
QUESTIONS = {
    "hospital": "Which hospital? (normal lungs only)",
    "class, known hospitals": "Which class? (hospitals of the training)",
    "class, unseen hospitals": "Which class? (hospitals left out)",
}
TAPS = ("block4_pool",)  # what the classifier for unseen hospitals looks at
PENALTY = 1000.0  # of the ridge, on standardised features: some times their number
FOLDS = 5


def measure(manifest: pd.DataFrame, views=None, per_cell: int = 100, seed: int = 0):
    """Measure what each view tells: the hospital, and the class in known and unseen hospitals.

    All answers are linear classifiers on the maps `TAPS` of the frozen VGG16, averaged over
    their cells; and one on what is known without a pixel. Every answer is a mean of recalls, so
    that guessing gives one over the number of answers.

    Args:
        manifest: with site and masks, see `sources.manifest_with_masks`.
        views: name -> Preprocessing; all of `VIEWS` by default.
        per_cell: at most so many images of each class of each source are used.
        seed: of their choice, of the folds and of the bootstrap.

    Returns:
        a row a view and question: view, question (a key of `QUESTIONS`), value, low, high
        (95 %, by patient), chance, n, seed.
    """
    manifest = thin(manifest, per_cell, seed)
    rows = []
    for name, x in _inputs(manifest, views or VIEWS).items():
        for question, predicted in _answers(x, manifest, seed).items():
            rows.append({"view": name, "question": question} | _balanced(predicted, seed))
    return pd.DataFrame(rows).assign(seed=seed)


def _inputs(manifest: pd.DataFrame, views: dict) -> dict[str, np.ndarray]:
    inputs = {NO_PIXELS: _without_pixels(manifest)} if "height" in manifest else {}
    for name, view in views.items():
        maps = features.extract(manifest, view, "vgg16", taps=TAPS)
        inputs[name] = np.asarray(maps, np.float32).mean(axis=(1, 2))
    return inputs


def _without_pixels(manifest: pd.DataFrame) -> np.ndarray:
    """Return what the files' own records tell: sides, their ratio, the view position."""
    height, width = manifest.height.to_numpy(float), manifest.width.to_numpy(float)
    position = OneHotEncoder(sparse_output=False).fit_transform(manifest[["view"]])
    return np.column_stack([np.log(height), np.log(width), height / width, position])


def _answers(x, manifest: pd.DataFrame, seed: int) -> dict[str, pd.DataFrame]:
    """Return for each question a table of patient_id, truth, prediction and chance."""
    normal = (manifest.label == CLASS_NAMES[0]).to_numpy()
    of_normal = manifest[normal].reset_index(drop=True)
    return {
        "hospital": _in_folds(x[normal], of_normal, of_normal.source, seed),
        "class, known hospitals": _in_folds(x, manifest, manifest.label, seed),
        "class, unseen hospitals": _left_out(x, manifest),
    }


def _in_folds(x, manifest: pd.DataFrame, truth: pd.Series, seed: int) -> pd.DataFrame:
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    parts = []
    for train, test in folds.split(x, truth, manifest.patient_id):
        parts.append(_predict(x, manifest, truth.to_numpy(), train, test))
    return pd.concat(parts)


def _left_out(x, manifest: pd.DataFrame) -> pd.DataFrame:
    parts = []
    for _, fold in sources.leave_one_out(manifest):
        train, test = (np.flatnonzero(fold.split == name) for name in ("train", "test"))
        parts.append(_predict(x, manifest, manifest.label.to_numpy(), train, test))
    return pd.concat(parts)


def _predict(x, manifest, truth, train, test) -> pd.DataFrame:
    model = make_pipeline(StandardScaler(), RidgeClassifier(PENALTY, class_weight="balanced"))
    model.fit(x[train], truth[train])
    patients = manifest.patient_id.to_numpy()[test]
    table = {"patient_id": patients, "truth": truth[test], "prediction": model.predict(x[test])}
    return pd.DataFrame(table)


def _balanced(predicted: pd.DataFrame, seed: int) -> dict:
    """Return the mean recall with its interval; an image's weight is one over its class's n."""
    classes = predicted.truth.nunique()
    counts = predicted.groupby("truth").truth.transform("size")
    weight = len(predicted) / (classes * counts)
    right = (predicted.truth == predicted.prediction) * weight
    mean = bootstrap_mean(right, predicted.patient_id, seed=seed)
    interval = {"value": mean.value, "low": mean.low, "high": min(mean.high, 1.0)}
    return interval | {"chance": 1 / classes, "n": len(predicted)}


def thin(manifest: pd.DataFrame, per_cell: int = 100, seed: int = 0) -> pd.DataFrame:
    """Keep at most so many images of each class of each source."""
    shuffled = manifest.sample(frac=1, random_state=seed)
    kept = shuffled.groupby(["source", "label"]).head(per_cell)
    return kept.sort_index().reset_index(drop=True)


if __name__ == "__main__":  # minutes of features; chapter 05 shows the table that this keeps
    table = measure(sources.manifest_with_masks("real"))
    command = "python -m xraylib.shortcuts"
    results.save(table.assign(data="multisource"), "real", "shortcuts", command)
    print(table.round(3).to_string())
