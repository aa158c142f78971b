"""The images of several real hospitals, and what is measured on hospitals that were left out.

The classifier is that of `studies.unseen`.
"""

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.datasets import load_sample_images

from xraylib import images, lungs, metrics, studies
from xraylib.config import CLASS_NAMES, home
from xraylib.predict import Predictor
from xraylib.sources import PATIENTS, read_set_table
from xraylib.studies import CHILDREN, NONE, OTHER, SHIPPED
from xraylib.studies.unseen import Recipe

SETS = ("darkcovidnet", "kermany", "shenzhen", "montgomery", "hannover")
DATA = ", ".join(SETS)
PUBLISHERS = {  # the pages that Cohen's COVID-19 images were taken from
    "sirm.org": "Italian society",
    "radiopaedia.org": "teaching files",
    "app.figure1.com": "teaching files",
    "ams.edu.sg": "teaching files",
}
OTHER_PUBLISHERS = "journals"
FEWEST = 3  # images of a class in a hospital; below it none is taken
REFUSED = 0.05  # the share of radiographs of hospitals left out that may get the answer `NONE`
RECIPES = [  # to choose from; masks buy nothing on the curve
    Recipe(views, "two questions", shrinkage, noise)
    for views in (("whole",), ("cropped",), ("whole", "cropped"))
    for shrinkage in (0.5, 0.9)
    for noise in (0.0, 3.0, 10.0)
]


def load_hospitals(names=SETS) -> pd.DataFrame:
    """Return the images of several data sets with the hospital of each.

    The names are folders in `config.home("data")`, each with `images/` and `metadata.csv`; a
    `FileNotFoundError` says where one belongs that is missing. Returns a manifest as of
    `data.load_manifest` whose label may also be `OTHER`, with one more column: site, the hospital;
    for Cohen's images the kind of publication, see `PUBLISHERS`.
    """
    manifest = pd.concat([_read_set(name) for name in names], ignore_index=True)
    return manifest.assign(site=_sites(manifest))


def _read_set(name: str) -> pd.DataFrame:
    """Read a set's own table; `data.load_manifest` would refuse a fourth label."""
    folder, table = home("data") / name, read_set_table(name, "metadata.csv")
    columns = table[["label", "patient_id", "source", "view"]]
    paths = [str(folder / "images" / file) for file in table.filename]
    columns = columns.assign(path=paths, mask_path="", split="")
    infiltrate = table.get("kind", pd.Series("", table.index)).str.contains("tuberculosis")
    return columns.assign(label=columns.label.where(~infiltrate, OTHER))


def _sites(manifest: pd.DataFrame) -> list[str]:
    table = pd.read_csv(PATIENTS, dtype=str, keep_default_na=False)
    stems = [Path(name).stem for name in table.filename]
    publisher = dict(zip(stems, table.publisher, strict=True))
    sites = []
    for path, source in zip(manifest.path, manifest.source, strict=True):
        group = PUBLISHERS.get(publisher.get(Path(path).stem, ""), OTHER_PUBLISHERS)
        sites.append(f"Cohen, {group}" if source == "cohen" else source)
    return sites


def real_hospitals(views=studies.VIEWS) -> tuple[dict, pd.DataFrame]:
    """Return the pooled features of each view, and the images of the real hospitals.

    A class of which a hospital has an image or two is left out: these would speak for the hospital.
    """
    manifest = studies.thin_hospitals(load_hospitals())
    enough = manifest.groupby(["site", "label"]).label.transform("size") >= FEWEST
    manifest = lungs.predict_masks(manifest[enough].reset_index(drop=True))
    return {v: studies.pooled_features(manifest, studies.VIEWS[v]) for v in views}, manifest


def hospital_curve(
    features: dict, manifest: pd.DataFrame, numbers=(1, 2, 3), per_class: int = 24, seeds=(0, 1, 2)
) -> pd.DataFrame:
    """Measure what more hospitals for each class buy, at equal numbers of images.

    Each hospital is left out in turn. Of the others, so many are drawn for each class (or all, if
    there are fewer), and from them `per_class` images of each. One question, so that nothing else
    changes. The features are name of a view -> float32 (N, D).

    Returns one row per view, number and seed, of the draws and all that follows from them: view,
    hospitals, seed, and `figures_with_intervals`.
    """
    rows = []
    for view, number, seed in product(features, numbers, seeds):
        x, probs = features[view], np.zeros((len(manifest), len(CLASS_NAMES)))
        for place, (_, train, test) in enumerate(studies.leave_one_out(manifest)):
            rng = np.random.default_rng([seed, place])
            few = draw_hospitals(manifest, train, number, per_class, rng)
            head = studies.fit_one_question(x[few], manifest.iloc[few], noise=0.0)
            probs[test] = head.probs(x[test])
        judged = manifest.assign(**dict(zip(CLASS_NAMES, probs.T, strict=True)))
        figures = studies.figures_with_intervals(judged[judged.label != OTHER], seed=seed)
        rows.append({"view": view, "hospitals": number, "seed": seed} | figures)
    return pd.DataFrame(rows).assign(per_class=per_class)


def draw_hospitals(manifest, train, number: int, per_class: int, rng) -> np.ndarray:
    """Draw hospitals for each class, and so many images evenly from them; returns places."""
    drawn = []
    for name in CLASS_NAMES:
        own = train & (manifest.label == name).to_numpy()
        counts = manifest.site[own].value_counts()
        sites = sorted(counts[counts >= per_class / number].index)
        for site in rng.permutation(sites)[:number]:
            places = np.flatnonzero(own & (manifest.site == site).to_numpy())
            share = per_class // min(number, len(sites))
            drawn.append(rng.choice(places, min(share, len(places)), replace=False))
    return np.concatenate(drawn)


def hospitals_curve(name: str) -> pd.DataFrame:
    """What more hospitals for each class buy in hospitals left out, at equal numbers of images."""
    return hospital_curve(*real_hospitals()).assign(data=DATA)


def hospitals_unseen(name: str) -> pd.DataFrame:
    """The recipe in hospitals left out, chosen each time without them; all, and each alone."""
    features, manifest = real_hospitals({view for recipe in RECIPES for view in recipe.views})
    judged = studies.judge_unseen(features, manifest, RECIPES)
    known = judged[judged.label != OTHER]
    chosen = str(studies.choose(features, manifest, RECIPES))
    rows = [{"tested on": "all", "recipe": chosen} | studies.figures_with_intervals(known)]
    adults = known[~known.site.isin(CHILDREN)]
    rows.append({"tested on": "all of adults"} | studies.figures_with_intervals(adults))
    for site, part in known.groupby("site"):
        figures = studies.figures_with_intervals(part)
        rows.append({"tested on": site, "recipe": part.recipe.iloc[0]} | figures)
    return pd.DataFrame(rows).assign(tried=len(RECIPES), seed=0, data=DATA)


def hospitals_steps(name: str) -> pd.DataFrame:
    """Step by step: how well the hospital is told, and what is right in hospitals left out.

    One row more tries to adapt to a folder without labels: each hospital's mean is taken away.
    """
    seen, manifest = real_hospitals()
    usual = replace(SHIPPED, questions="one question", noise=0.0)
    recipes = [replace(usual, views=(view,)) for view in seen]
    recipes += [usual, replace(SHIPPED, noise=0.0)]
    steps = [(str(recipe), recipe, seen) for recipe in recipes]
    steps += [(f"{SHIPPED}, centred", SHIPPED, {v: centred(seen[v], manifest) for v in seen})]
    steps += [(str(SHIPPED), SHIPPED, seen)]
    rows = []
    for step, recipe, features in steps:
        judged = studies.judge_unseen(features, manifest, [recipe])
        figures = studies.figures_with_intervals(judged[judged.label != OTHER])
        x = recipe.look(features)
        row = {"step": step, "told from": f"{x.shape[1]} features"} | figures
        rows.append(row | hospital_told(x, manifest))
    answers = np.log(judged[list(CLASS_NAMES)].to_numpy() + 1e-9)
    rows.append(row | {"told from": "the answer alone"} | hospital_told(answers, manifest))
    return pd.DataFrame(rows).assign(seed=0, data=DATA)


def centred(x, manifest: pd.DataFrame) -> np.ndarray:
    """Measure each hospital's features from their own mean."""
    return x - pd.DataFrame(x).groupby(manifest.site).transform("mean").to_numpy()


def hospital_told(x, manifest: pd.DataFrame) -> dict:
    told = studies.which_hospital(x, manifest)
    ends = {f"hospital recall {end}": told[end] for end in ("low", "high")}
    return {"hospital recall": told["recall"]} | ends | {"chance": told["chance"]}


def answer_or_none(judged: pd.DataFrame) -> pd.Series:
    """Return the likeliest class of each image, or `NONE` where it is too far from the training.

    What is too far for a hospital is learnt from the distances of the others, each left out, as
    `studies.judge_unseen` returns them.
    """
    answers = judged[list(CLASS_NAMES)].idxmax(axis=1)
    for site in judged.site.unique():
        own = judged.site == site
        answers[own & (judged.distance > _farthest(judged[~own]))] = NONE
    return answers


def _farthest(judged: pd.DataFrame) -> float:
    known = judged[judged.label != OTHER]
    return float(known.distance.quantile(1 - REFUSED))


def fit_shipped(features: dict, manifest: pd.DataFrame) -> studies.Head:
    """Fit the head that is shipped: on all hospitals, its cut by the distances of those left out.

    The features are name of a view -> float32 (N, D), of the recipe's views.
    """
    judged = studies.judge_unseen(features, manifest, [SHIPPED])
    return replace(SHIPPED.fit(features, manifest), farthest=_farthest(judged))


def hospitals_calls(name: str) -> pd.DataFrame:
    """What the shipped recipe answers in hospitals left out, how often that is right, and what it
    answers to images that are no radiograph, or a radiograph that lies wrong."""
    features, manifest = real_hospitals(SHIPPED.views)
    judged = studies.judge_unseen(features, manifest, [SHIPPED])
    judged = judged.assign(answer=answer_or_none(judged), kind=judged.label)
    children = judged.site.isin(CHILDREN)
    judged["kind"] = judged.kind.where(~children, judged.kind + ", children")
    strange = strange_answers(fit_shipped(features, manifest), manifest)
    rows = []
    for kind, part in pd.concat([judged, strange]).groupby("kind"):
        for answer in (*CLASS_NAMES, NONE):
            rows.append(call_row("answers to", kind, answer, part, part.answer == answer))
    right = judged.label.replace(OTHER, NONE) == judged.answer
    for answer, part in judged.groupby("answer"):
        rows.append(call_row("right among", "all", answer, part, right[part.index]))
    return pd.DataFrame(rows).assign(seed=0, data=DATA)


def call_row(asked: str, kind: str, answer: str, part: pd.DataFrame, true) -> dict:
    mean = metrics.bootstrap_mean(true, part.patient_id)
    counts = {"n": len(part), "patients": part.patient_id.nunique()}
    interval = {"share": mean.value, "low": mean.low, "high": mean.high}
    return {"asked": asked, "kind": kind, "answer": answer} | counts | interval


def strange_answers(head, manifest: pd.DataFrame, each: int = 24) -> pd.DataFrame:
    """Return what a head answers to photographs, and to radiographs that lie or look wrong."""
    photographs = [photo.mean(axis=2).astype(np.uint8) for photo in load_sample_images().images]
    rng, shown = np.random.default_rng(0), {"a photograph": []}
    for place in range(each):
        photo = photographs[place % len(photographs)]
        top, left = (rng.integers(side - 224) for side in photo.shape)
        shown["a photograph"].append(photo[top : top + 224, left : left + 224])
    films = [images.read_grey(path) for path in manifest.sample(each, random_state=0).path]
    shown["a radiograph upside down"] = [film[::-1].copy() for film in films]
    shown["a radiograph on its side"] = [np.rot90(film).copy() for film in films]
    shown["a negative"] = [255 - film for film in films]
    predictor, parts = Predictor(head), []
    for kind, pictures in shown.items():
        probs, unlike = predictor.answer(predictor.look(pictures)[0])
        answers = np.array(CLASS_NAMES)[probs.argmax(axis=1)].astype(object)
        answers[unlike] = NONE
        patients = [f"{kind} {place}" for place in range(each)]
        parts.append(pd.DataFrame({"kind": kind, "answer": answers, "patient_id": patients}))
    return pd.concat(parts, ignore_index=True)
