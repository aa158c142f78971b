"""What a classifier that never looks at a lung could score: the class told from view and frame."""

import numpy as np
import pandas as pd
from scipy.stats.contingency import association
from sklearn.compose import make_column_transformer
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeClassifier

from xraylib.intervals import bootstrap_mean

CLUES = {  # by their name in tables: the columns that tell
    "view": ("view",),
    "source": ("source",),
    "size": ("height", "width"),
    "border": ("frame_level", "frame_spread", "margin"),
}
FOLDS = 5
SMALLEST_LEAF = 10  # images: a rule that holds for fewer is not worth telling


def by_class(images: pd.DataFrame, column: str) -> pd.DataFrame:
    """Count images by class and by view, source, size or border.

    Args:
        images: a row an image, with label and that column; numbers are cut at their quartiles.
        column: one of the columns in `CLUES`.

    Returns:
        a row a class, a column a value.
    """
    values = images[column]
    if pd.api.types.is_numeric_dtype(values):
        values = pd.qcut(values, 4, duplicates="drop", precision=2)
        return pd.crosstab(images.label, values).rename(columns=str)
    return pd.crosstab(images.label, values.replace("", "unknown"))


def score_clues(images: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Tell the class from each clue alone, and from all of them, with no pixel of a lung.

    A decision tree is trained on four fifths of the patients and judged on the others, in turn.

    Args:
        images: a row an image with label, patient_id, view, source, and what
            `duplicates.describe` measures; clues whose columns are missing or the same for all
            images are left out.
        seed: of the folds and of the interval's draws.

    Returns:
        a row a clue: clue; cramers_v, 0 to 1, how closely a text goes with the class (NaN for
        numbers); accuracy with low and high, its 95 % interval over patients; majority, the
        accuracy of always naming the commonest class. Empty when there are not two classes with
        two patients each.
    """
    patients = _patients(images)
    groups = patients.groupby(images.label).nunique()
    columns = ["clue", "cramers_v", "accuracy", "low", "high", "majority"]
    if len(groups) < 2 or groups.min() < 2:
        return pd.DataFrame(columns=columns)
    clues = {
        name: [c for c in wanted if c in images and len(images[c].unique()) > 1]
        for name, wanted in CLUES.items()
    }
    clues = {name: found for name, found in clues.items() if found}
    if len(clues) > 1:
        clues["all of them"] = [column for found in clues.values() for column in found]
    majority = images.label.value_counts(normalize=True).max()
    rows = []
    for name, found in clues.items():
        right = _cross_validate(images[found], images.label, patients, seed)
        mean = bootstrap_mean(right, patients, seed=seed)
        text = found == [name]  # view or source
        v = association(pd.crosstab(images.label, images[name])) if text else np.nan
        rows.append((name, v, mean.value, mean.low, mean.high, majority))
    return pd.DataFrame(rows, columns=columns)


def _patients(images: pd.DataFrame) -> pd.Series:
    """Return the patient of each image; one of whom nobody knows counts as a patient alone."""
    alone = "image " + images.index.astype(str)
    return images.patient_id.where(images.patient_id != "", alone)


def _cross_validate(clue: pd.DataFrame, labels, patients, seed: int) -> np.ndarray:
    """Return whether each image was told right by the tree that had not seen its patient."""
    text = [c for c in clue if not pd.api.types.is_numeric_dtype(clue[c])]
    tree = make_pipeline(
        make_column_transformer(
            (OneHotEncoder(handle_unknown="ignore", sparse_output=False), text),
            remainder="passthrough",
        ),
        DecisionTreeClassifier(min_samples_leaf=SMALLEST_LEAF, random_state=seed),
    )
    folds = min(FOLDS, int(patients.groupby(labels).nunique().min()))
    cutter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    return cross_val_predict(tree, clue, labels, groups=patients, cv=cutter) == labels.to_numpy()
