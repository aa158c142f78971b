"""A classifier for hospitals that it has never seen, in three short steps.

See: cut to the lungs. Describe: the frozen VGG16's maps, averaged (`hospitals.pooled_features`).
Answer: two linear questions, "sick?" and, if so, "COVID-19 or pneumonia?". They are fitted here,
and judged on hospitals that were left out. How to see and how to fit is chosen in the same way once
more, among the hospitals that are left, so that the choice cannot flatter the figure.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

import keras
import numpy as np
import pandas as pd
from scipy.special import expit

from xraylib import data, metrics, pretrained
from xraylib.config import CLASS_NAMES, COVID
from xraylib.studies.hospitals import OTHER, VIEWS, build_describer, which_hospital

CHILDREN = ("kermany",)  # hospitals whose patients are children
FEWEST = 10  # images of a class in a hospital whose recall counts
NONE = "none of these"  # the answer to an image that is unlike all that taught the head
REFUSED = 0.05  # the share of radiographs of hospitals left out that may get it
TEMPERATURES = (1.0, 4.0, 8.0, 16.0)
SMALLEST = 1e-3  # added to spreads: a feature that never varies is no reason to divide by 0


@dataclass(frozen=True)
class Head:
    """Linear answers to features, and how far an image is from those that taught them.

    Attributes:
        weights: float32 (D, 2): log odds of "sick", and of "COVID-19 if sick"; or (D, 3): a score
            for each class.
        bias: float32 (2,) or (3,).
        centre, spread: float32 (D,), of the features that it was fitted on.
        temperature: what the scores are divided by, so that the head is not too sure of itself.
        farthest: a distance above which an image is unlike the training images.
    """

    weights: np.ndarray
    bias: np.ndarray
    centre: np.ndarray
    spread: np.ndarray
    temperature: float = 1.0
    farthest: float = np.inf

    def probs(self, features: np.ndarray) -> np.ndarray:
        """Return the probabilities (N, 3) of features (N, D)."""
        scores = (features @ self.weights + self.bias) / self.temperature
        if scores.shape[1] == len(CLASS_NAMES):
            return metrics.softmax(scores)
        sick, covid = expit(scores).T
        return np.stack([1 - sick, sick * (1 - covid), sick * covid], axis=1)

    def distance(self, features: np.ndarray) -> np.ndarray:
        """Return by how many standard deviations features differ from the centre, (N,)."""
        return np.sqrt((((features - self.centre) / self.spread) ** 2).mean(axis=1))

    def is_unlike(self, features: np.ndarray) -> np.ndarray:
        """Return which images are farther away than those of hospitals left out, bool (N,)."""
        return self.distance(features) > self.farthest


def fit_two_questions(features, manifest: pd.DataFrame, shrinkage=0.5, noise=3.0) -> Head:
    """Ask first whether an image shows a sick lung, and then whether it is COVID-19.

    The first question is asked only in hospitals that have both answers. Each of them then adds
    the same to both means, and what tells hospitals apart falls out. The second cannot be asked
    so: no hospital here has COVID-19 and another disease. Tuberculosis helps in both: it is sick,
    and it is not COVID-19.

    Args:
        features: float32 (N, D).
        manifest: the N rows, with label and site.
        shrinkage, noise: see `discriminant`.
    """
    label, site = manifest.label.to_numpy(), manifest.site.to_numpy()
    sick, covid = label != CLASS_NAMES[0], label == CLASS_NAMES[COVID]
    both = np.isin(site, list(set(site[sick]) & set(site[~sick])))
    questions = [(both, sick), (sick, covid)]
    scores = [discriminant(features[r], a[r], site[r], shrinkage, noise) for r, a in questions]
    weights = np.stack([w[:, 1] - w[:, 0] for w, _ in scores], axis=1)
    bias = np.array([b[1] - b[0] for _, b in scores], np.float32)
    return Head(weights, bias, *_centre(_cells(features, sick, site)))


def fit_one_question(features, manifest: pd.DataFrame, shrinkage=0.5, noise=3.0) -> Head:
    """Ask for the class at once, as it is usually done; arguments as in `fit_two_questions`."""
    known = (manifest.label != OTHER).to_numpy()
    x, label, site = features[known], data.label_ids(manifest[known]), manifest.site[known]
    weights, bias = discriminant(x, label, site.to_numpy(), shrinkage, noise)
    return Head(weights, bias, *_centre(_cells(x, label, site.to_numpy())))


FITS = {"one question": fit_one_question, "two questions": fit_two_questions}


def discriminant(x, answers, sites, shrinkage: float, noise: float):
    """Fit Fisher's linear discriminant; answers weigh alike, and so do the hospitals of each.

    Args:
        x: float32 (N, D).
        answers: (N,), of K kinds.
        sites: the hospital of each image (N,).
        shrinkage: above 0 to 1, of the covariance towards a multiple of the identity, since there
            are more features than images.
        noise: how much the differences between the hospitals of an answer add to the covariance:
            a direction in which they differ is one to distrust.

    Returns:
        weights float32 (D, K) and bias (K,) of a score for each answer, in sorted order: the log
        probability, up to a constant, for Gaussian features of one covariance. Hastie et al., "The
        Elements of Statistical Learning" (2009), section 4.3.
    """
    cells = _cells(x, answers, sites)
    centre, spread = _centre(cells)
    means, rows = {}, []  # rows.T @ rows will be the covariance
    for (answer, _), images in cells.items():
        scaled = (images - centre) / spread
        means.setdefault(answer, []).append(scaled.mean(axis=0))
        rows.append((scaled - means[answer][-1]) / np.sqrt(len(images) * len(cells)))
    for own in means.values():
        rows.append((own - np.mean(own, axis=0)) * np.sqrt(noise / (len(own) * len(means))))
    rows = np.concatenate(rows) * np.sqrt(1 - shrinkage)
    means = np.stack([np.mean(means[answer], axis=0) for answer in sorted(means)]).T
    ridge = shrinkage / (1 - shrinkage) * (rows**2).sum() / x.shape[1]
    # the inverse of rows.T @ rows + ridge, by way of the smaller rows @ rows.T (Woodbury)
    inner = np.linalg.solve(rows @ rows.T + ridge * np.eye(len(rows)), rows @ means)
    weights = (means - rows.T @ inner) / ridge
    bias = -(means * weights).sum(axis=0) / 2
    weights = weights / spread[:, None]
    return weights.astype(np.float32), (bias - centre @ weights).astype(np.float32)


def _cells(x, answers, sites) -> dict:
    """Return the rows of each pair of answer and hospital."""
    pairs = sorted(set(zip(answers.tolist(), sites.tolist(), strict=True)))
    return {(a, s): x[(answers == a) & (sites == s)] for a, s in pairs}


def _centre(cells: dict) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of each feature, every cell weighing alike."""
    centre = np.mean([rows.mean(axis=0) for rows in cells.values()], axis=0)
    squares = [((rows - centre) ** 2).mean(axis=0) for rows in cells.values()]
    return centre, np.sqrt(np.mean(squares, axis=0)) + SMALLEST


@dataclass(frozen=True)
class Recipe:
    """What the network sees, a key of `VIEWS`, and how the head is fitted, see `FITS`."""

    view: str = "cropped"
    questions: str = "two questions"
    shrinkage: float = 0.5
    noise: float = 3.0

    def fit(self, features, manifest: pd.DataFrame) -> Head:
        return FITS[self.questions](features, manifest, self.shrinkage, self.noise)

    def __str__(self) -> str:
        noise = f"hospitals as noise {self.noise:g}" if self.noise else "hospitals not as noise"
        return f"{self.view}, {self.questions}, shrinkage {self.shrinkage:g}, {noise}"


def all_recipes(views) -> list[Recipe]:
    """Return every recipe of these views: all that `judge_nested` is to choose from."""
    return [Recipe(*choice) for choice in product(views, FITS, (0.5,), (0.0, 3.0))]


def judge_unseen(features, manifest: pd.DataFrame, recipe: Recipe, temperature=None):
    """Leave out each hospital in turn, and give its images probabilities by the others' head.

    Args:
        features: float32 (N, D).
        manifest: the N rows.
        recipe: how a head is fitted.
        temperature: of all heads; without, the one of `TEMPERATURES` that has the best macro
            recall less false COVID-19.

    Returns:
        the N rows in their order, with a column for each class, and distance, see `Head`; NaN
        where a hospital could not be left out. The temperature is in `attrs`.
    """
    heads = [(t, recipe.fit(features[r], manifest[r])) for _, r, t in leave_one_out(manifest)]
    tried = [temperature] if temperature else TEMPERATURES
    tables = [_judge(heads, features, manifest, value) for value in tried]
    best = max(range(len(tried)), key=lambda place: _merit(tables[place]))
    tables[best].attrs["temperature"] = tried[best]
    return tables[best]


def _judge(heads, features, manifest: pd.DataFrame, temperature: float) -> pd.DataFrame:
    answers = np.full((len(manifest), len(CLASS_NAMES) + 1), np.nan)
    for test, head in heads:
        answers[test, :-1] = replace(head, temperature=temperature).probs(features[test])
        answers[test, -1] = head.distance(features[test])
    return manifest.assign(**dict(zip((*CLASS_NAMES, "distance"), answers.T, strict=True)))


def _merit(judged: pd.DataFrame) -> float:
    """Return what a choice is made by: macro recall less the share of false COVID-19."""
    figures = unseen_figures(judged)
    return figures["macro recall"] - np.nan_to_num(figures["false COVID-19"])


def leave_one_out(manifest: pd.DataFrame) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield each site with the rows to train on and the rows to test on, bool (N,) each.

    Images elsewhere of a patient of the test are in neither. The only hospital of a class is not
    left out: nothing would teach that class.
    """
    for site in sorted(manifest.site.unique()):
        test = (manifest.site == site).to_numpy()
        train = ~manifest.patient_id.isin(manifest.patient_id[test]).to_numpy()
        if set(CLASS_NAMES) <= set(manifest.label[train]):
            yield site, train, test


def judge_nested(features: dict, manifest: pd.DataFrame, recipes: list) -> pd.DataFrame:
    """Leave out each hospital, choose a recipe among the rest, and judge it on what is out.

    Recipe and temperature are chosen as the judgement is made, each of the rest left out in turn,
    for macro recall less false COVID-19. So no image of the hospital that is judged has had a say
    in how it is judged.

    Args:
        features: name of a view -> float32 (N, D).
        manifest: the N rows.
        recipes: the `Recipe` to choose from.

    Returns:
        as `judge_unseen`, with the column recipe, what was chosen without the image's hospital.
    """
    parts = []
    for _, train, test in leave_one_out(manifest):
        rest = manifest[train]
        inner = {r: judge_unseen(features[r.view][train], rest, r) for r in recipes}
        chosen = max(recipes, key=lambda recipe: _merit(inner[recipe]))
        x = features[chosen.view]
        heads = [(np.ones(test.sum(), bool), chosen.fit(x[train], rest))]
        judged = _judge(heads, x[test], manifest[test], inner[chosen].attrs["temperature"])
        parts.append(judged.assign(recipe=str(chosen)))
    return pd.concat(parts).loc[manifest.index]


def unseen_figures(judged: pd.DataFrame) -> dict:
    """Return the recall of each class, every hospital weighing alike, and false COVID-19.

    Args:
        judged: what `judge_unseen` returns.

    Returns:
        macro recall; the recall of each class, the mean over the hospitals with at least `FEWEST`
        images of it; false COVID-19, the share of normal adults' lungs that are called so.
    """
    return _figures({cell: counts.sum(axis=0) for cell, counts in _count(judged).items()})


def figures_with_intervals(judged: pd.DataFrame, draws: int = 1000, seed: int = 0) -> dict:
    """Return `unseen_figures`, each with its 95 % interval, patients being drawn again.

    Patients are drawn within their hospital and class: the interval speaks of new patients of
    these hospitals. What further hospitals would do is not in it.
    """
    rng, cells, drawn = np.random.default_rng(seed), _count(judged), []
    for _ in range(draws):
        again = {c: n[rng.integers(len(n), size=len(n))].sum(axis=0) for c, n in cells.items()}
        drawn.append(_figures(again))
    low, high = pd.DataFrame(drawn).quantile([0.025, 0.975]).to_numpy()
    figures = {"n": len(judged), "patients": judged.patient_id.nunique()}
    for (name, value), below, above in zip(unseen_figures(judged).items(), low, high, strict=True):
        figures |= {name: value, f"{name} low": below, f"{name} high": above}
    return figures


def _count(judged: pd.DataFrame) -> dict[tuple[str, str], np.ndarray]:
    """Return, for each class in each hospital, how often each patient got each answer, (P, 3)."""
    judged = judged.dropna(subset=list(CLASS_NAMES)).reset_index(drop=True)
    called = np.eye(len(CLASS_NAMES))[judged[list(CLASS_NAMES)].to_numpy().argmax(axis=1)]
    cells = {}
    for cell, rows in judged.groupby(["label", "site"]):
        if len(rows) >= FEWEST:
            patients = rows.groupby("patient_id").groups.values()
            cells[cell] = np.stack([called[images].sum(axis=0) for images in patients])
    return cells


def _figures(counts: dict) -> dict:
    share = {cell: answers / answers.sum() for cell, answers in counts.items()}
    recalls = {
        f"{name} recall": _mean(share[cell][k] for cell in share if cell[0] == name)
        for k, name in enumerate(CLASS_NAMES)
    }
    adults = [c for c in share if c[0] == CLASS_NAMES[0] and c[1] not in CHILDREN]
    macro = {"macro recall": _mean(recall for recall in recalls.values() if recall == recall)}
    return macro | recalls | {"false COVID-19": _mean(share[cell][COVID] for cell in adults)}


def _mean(values) -> float:
    values = list(values)
    return float(np.mean(values)) if values else float("nan")


def answer(judged: pd.DataFrame) -> pd.Series:
    """Return the likeliest class of each image, or `NONE` where it is too far from the training.

    Args:
        judged: what `judge_unseen` returns. What is too far for a hospital is learnt from the
            distances of the others, each left out.
    """
    answers = judged[list(CLASS_NAMES)].idxmax(axis=1)
    for site in judged.site.unique():
        own = judged.site == site
        others = judged[~own & (judged.label != OTHER)]
        answers[own & (judged.distance > others.distance.quantile(1 - REFUSED))] = NONE
    return answers


def hospital_curve(
    features: dict, manifest: pd.DataFrame, numbers=(1, 2, 3), per_class: int = 24, seeds=(0, 1, 2)
) -> pd.DataFrame:
    """Measure what more hospitals for each class buy, at equal numbers of images.

    Each hospital is left out in turn. Of the others, so many are drawn for each class (or all, if
    there are fewer), and from them the images. One question, so that nothing else changes.

    Args:
        features: name of a view -> float32 (N, D).
        manifest: the N rows.
        numbers: hospitals for each class.
        per_class: training images of each class.
        seeds: of the draws, each with all that follows from it.

    Returns:
        one row per view, number and seed: view, hospitals, seed, and `figures_with_intervals`.
    """
    rows = []
    for view, number, seed in product(features, numbers, seeds):
        x, probs = features[view], np.zeros((len(manifest), len(CLASS_NAMES)))
        for place, (_, train, test) in enumerate(leave_one_out(manifest)):
            rng = np.random.default_rng([seed, place])
            few = draw_hospitals(manifest, train, number, per_class, rng)
            head = fit_one_question(x[few], manifest.iloc[few], noise=0.0)
            probs[test] = head.probs(x[test])
        judged = manifest.assign(**dict(zip(CLASS_NAMES, probs.T, strict=True)))
        figures = figures_with_intervals(judged[judged.label != OTHER], seed=seed)
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


NAME = "hospitals"  # of the fitted head that comes with the package
SHIPPED = Recipe()


def fit_shipped(features, manifest: pd.DataFrame, recipe: Recipe = SHIPPED) -> Head:
    """Fit the head that is shipped: on all hospitals, cut and temperature on those left out.

    Args:
        features: float32 (N, D), of the recipe's view.
        manifest: the N rows.
        recipe: how it is fitted.
    """
    judged = judge_unseen(features, manifest, recipe)
    known = judged[judged.label != OTHER]
    farthest = float(known.distance.quantile(1 - REFUSED))
    temperature = judged.attrs["temperature"]
    return replace(recipe.fit(features, manifest), temperature=temperature, farthest=farthest)


def measure_steps(features: dict, manifest: pd.DataFrame, recipes, seed: int = 0) -> pd.DataFrame:
    """Measure step by step how well the hospital is told, and what unseen hospitals are told.

    Args:
        features: name of a view -> float32 (N, D).
        manifest: the N rows.
        recipes: the steps, each with all that was done before.
        seed: of folds and bootstrap.

    Returns:
        a row for the features of each recipe, and one for the answers of the last: step, told
        from, hospital recall with low, high and chance (see `which_hospital`), and
        `figures_with_intervals`.
    """
    rows = []
    for recipe in recipes:
        judged = judge_unseen(features[recipe.view], manifest, recipe)
        figures = figures_with_intervals(judged[judged.label != OTHER], seed=seed)
        told = {f"{len(features[recipe.view][0])} features": features[recipe.view]}
        if recipe == recipes[-1]:
            told["the answer alone"] = np.log(judged[list(CLASS_NAMES)].to_numpy() + 1e-9)
        for name, x in told.items():
            hospital = which_hospital(x, manifest, seed)
            rows.append(
                {
                    "step": str(recipe),
                    "told from": name,
                    "hospital recall": hospital["recall"],
                    "hospital recall low": hospital["low"],
                    "hospital recall high": hospital["high"],
                    "chance": hospital["chance"],
                }
                | figures
            )
    return pd.DataFrame(rows).assign(seed=seed)


def load_shipped() -> Head:
    """Return the head that comes with the package, see `pretrained`."""
    arrays = pretrained.load(NAME)
    return Head(**{name: array if array.ndim else float(array) for name, array in arrays.items()})


def build_model(head: Head) -> keras.Model:
    """Build the whole classifier as one flat model, so that its maps can be asked for.

    Args:
        head: of two questions.

    Returns:
        a model from views (B, size, size, 1) to scores (B, 3), linear in the features: for normal
        the log odds of "not sick", for a disease those of "sick" plus those of being this one.
    """
    base = build_describer(VIEWS[SHIPPED.view].size)
    scores = keras.layers.Dense(len(CLASS_NAMES), name="scores")
    model = keras.Model(base.input, scores(base.output))
    of_class = np.array([[-1, 1, 1], [0, -1, 1]], np.float32)  # (question, class)
    scores.set_weights([head.weights @ of_class, head.bias @ of_class])
    return model
