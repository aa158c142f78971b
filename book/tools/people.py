"""Who was X-rayed, and how they were labelled: what that tells without an image."""

from itertools import product

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, SplineTransformer

from xraylib import sources
from xraylib.config import CLASS_NAMES
from xraylib.metrics import bootstrap_mean, wilson_interval

ALONE = {  # what a "classifier" is told instead of the image
    "view": ["view"],
    "age": ["age"],
    "sex": ["sex"],
    "view, age and sex": ["view", "age", "sex"],
}
AGE_GROUPS = {
    "under 18": (0, 18),
    "18 to 39": (18, 40),
    "40 to 59": (40, 60),
    "60 and over": (60, 121),
}
FOLDS = 5


def known_people() -> pd.DataFrame:
    """Return every image of `darkcovidnet` whose patient's age, sex and view are known.

    Columns: filename, patient_id, label, age (years), sex (F or M), view (AP or PA; supine counts
    as AP), age_group. The NIH's 1,000 images come from its own table, the COVID-19 images from the
    metadata of Cohen's collection; a `FileNotFoundError` says that a table is missing.
    """
    columns = ["filename", "patient_id", "label", "age", "sex", "view"]
    people = pd.concat([sources.nih_people()[columns], _covid_people()[columns]])
    people = people.assign(view=people.view.str[:2])
    known = people.age.notna() & people.sex.isin(["F", "M"]) & people["view"].isin(["AP", "PA"])
    people = people[known].reset_index(drop=True)
    group = np.select([people.age < high for _, high in AGE_GROUPS.values()], list(AGE_GROUPS), "")
    return people.assign(age_group=group)


def _covid_people() -> pd.DataFrame:
    copies = sources.read_set_table("darkcovidnet", "metadata.csv")
    copies = copies[copies.label == "COVID-19"]
    told = sources.read_set_table("covid-chestxray-dataset", "metadata.csv")
    told = told.assign(stem=told.filename.str.rsplit(".", n=1).str[0]).drop_duplicates("stem")
    told = told.set_index("stem")[["age", "sex"]]
    stems = copies.filename.str.extract(r"/(.+)\.png$", expand=False)
    people = copies.assign(age=stems.map(told.age), sex=stems.map(told.sex))
    return people.assign(age=pd.to_numeric(people.age, errors="coerce"))


def told_alone(people: pd.DataFrame, columns: list[str], seed: int = 0) -> np.ndarray:
    """Return whether the class is guessed right from age, sex or view alone, in folds by patient.

    A logistic regression; age goes in as a cubic spline, sex and view as they are. The people have
    label, patient_id and the columns, some of view, age, sex. Returns bool (N,).
    """
    one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    parts = [(SplineTransformer(5) if name == "age" else one_hot, [name]) for name in columns]
    model = make_pipeline(make_column_transformer(*parts), LogisticRegression(max_iter=1000))
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed % 2**32)
    told = cross_val_predict(model, people, people.label, groups=people.patient_id, cv=folds)
    return told == people.label.to_numpy()


def told_table(people: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Say what age, sex and view alone tell, for two classes and for three.

    Of `known_people`: classes, group (what is told), value (share of images guessed right), low,
    high (95 %, patients drawn again), n, patients; and most_common, the share of the most frequent
    class: what a guess reaches that is told nothing.
    """
    two, rows = people[people.label != "COVID-19"].reset_index(drop=True), []
    for part, (name, columns) in product((two, people), ALONE.items()):
        rows.append(_row(part, name, told_alone(part, columns, seed), seed))
    return pd.DataFrame(rows)


def groups_table(people: pd.DataFrame, predictions: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Say how often a network is right within each group of people.

    The predictions, in folds by patient, have filename, and label and prediction as class ids.
    Returns the columns of `told_table`; group is a view, a sex or an age.
    """
    seen = people.merge(predictions, on="filename", suffixes=("", "_id"), validate="1:1")
    right = (seen.label_id == seen.prediction).to_numpy()
    rows = []
    for column in ("view", "sex", "age_group"):
        for group in sorted(seen[column].unique()):
            inside = (seen[column] == group).to_numpy()
            name = {"F": "women", "M": "men"}.get(group, group)
            rows.append(_row(seen[inside], name, right[inside], seed))
    return pd.DataFrame(rows)


def _row(part: pd.DataFrame, group: str, right, seed: int) -> dict:
    mean = bootstrap_mean(right.astype(float), part.patient_id, seed=seed)
    classes = " / ".join(name for name in CLASS_NAMES if name in set(part.label))
    row = {"classes": classes, "group": group, "value": mean.value}
    row |= {"low": mean.low, "high": mean.high, "n": mean.n}
    row["patients"] = part.patient_id.nunique()
    return row | {"most_common": part.label.value_counts(normalize=True).iloc[0]}


def labels_table(seed: int = 0) -> pd.DataFrame:
    """Hold labels mined from reports against opacity as radiologists settled it.

    Opacity is not quite pneumonia: a tumour or an effusion is opaque too, so a film of a "normal"
    may show it, and pneumonia without any opacity on the film is rare but not impossible.

    Returns group, value (share of images), low, high (95 %: Wilson's interval, and for `best
    possible` patients drawn again), n, patients. `best possible` is the accuracy of a reader who
    names every opacity pneumonia, and makes no mistake, judged by the labels.
    """
    table = sources.nih_adjudicated()
    sick, healthy = table[table.label == "pneumonia"], table[table.label == "normal"]
    rows = []
    for name, part, hits in (
        ("pneumonia, opacity denied", sick, ~sick.opacity),
        ("normal, opacity found", healthy, healthy.opacity),
    ):
        low, high = wilson_interval(int(hits.sum()), len(part))
        rows.append((name, hits.mean(), low, high, len(part), part.patient_id.nunique()))
    agree = ((table.label == "pneumonia") == table.opacity).astype(float)
    mean = bootstrap_mean(agree, table.patient_id, seed=seed)
    n_patients = table.patient_id.nunique()
    rows.append(("best possible", mean.value, mean.low, mean.high, len(table), n_patients))
    return pd.DataFrame(rows, columns=["group", "value", "low", "high", "n", "patients"])
