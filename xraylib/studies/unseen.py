"""A classifier for hospitals that it has never seen, in three short steps.

See: the whole film, and the lungs cut out of it. Describe: the frozen VGG16's maps of each,
averaged (`hospitals.pooled_features`). Answer: two linear questions, "sick?" and, if so, "COVID-19
or pneumonia?". They are fitted here, and judged on hospitals that were left out. What is seen and
how it is fitted is chosen in the same way once more, among the hospitals that are left, so that
the choice cannot flatter the figure.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import keras
import numpy as np
import pandas as pd
from scipy.special import expit

from xraylib import data, metrics, pretrained
from xraylib.config import CLASS_NAMES, COVID
from xraylib.studies.hospitals import OTHER, VIEWS, build_describer

CHILDREN = ("kermany",)  # hospitals whose patients are children
FEWEST = 10  # images of a class in a hospital whose recall counts
NONE = "none of these"  # the answer to an image that is unlike all that taught the head
TEMPERATURE = 8.0  # of a head's scores: set once, and not chosen
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
    temperature: float = TEMPERATURE
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


def fit_two_questions(features, manifest: pd.DataFrame, shrinkage=0.9, noise=10.0) -> Head:
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


def fit_one_question(features, manifest: pd.DataFrame, shrinkage=0.9, noise=10.0) -> Head:
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
    """What the network sees, keys of `VIEWS`, and how the head is fitted, see `FITS`."""

    views: tuple[str, ...] = ("whole", "cropped")
    questions: str = "two questions"
    shrinkage: float = 0.9
    noise: float = 10.0

    def look(self, features: dict) -> np.ndarray:
        """Put the features of its views side by side: name of a view -> (N, D), to (N, D')."""
        return np.concatenate([features[view] for view in self.views], axis=1)

    def fit(self, features: dict, manifest: pd.DataFrame) -> Head:
        looked = self.look(features)
        return FITS[self.questions](looked, manifest, self.shrinkage, self.noise)

    def __str__(self) -> str:
        noise = f"hospitals as noise {self.noise:g}" if self.noise else "hospitals not as noise"
        return f"{' + '.join(self.views)}, {self.questions}, shrinkage {self.shrinkage:g}, {noise}"


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


def judge_unseen(features, manifest: pd.DataFrame, recipes: list[Recipe]) -> pd.DataFrame:
    """Leave out each hospital in turn, and give its images probabilities by the others' head.

    With several recipes, one is chosen among the others in the same way, see `choose`. So no
    image of the hospital that is judged has a say in how it is judged.

    Args:
        features: name of a view -> float32 (N, D).
        manifest: the N rows.
        recipes: one, or those to choose from.

    Returns:
        the N rows in their order, with a probability for each class, distance, see `Head`, and
        recipe, what was chosen without the image's hospital; NaN where a hospital could not be
        left out.
    """
    judged = manifest.assign(**dict.fromkeys((*CLASS_NAMES, "distance"), np.nan), recipe="")
    for _, train, test in leave_one_out(manifest):
        taught = {view: x[train] for view, x in features.items()}
        recipe = choose(taught, manifest[train], recipes)
        head = recipe.fit(taught, manifest[train])
        x = recipe.look(features)[test]
        judged.loc[test, list(CLASS_NAMES)] = head.probs(x)
        judged.loc[test, "distance"] = head.distance(x)
        judged.loc[test, "recipe"] = str(recipe)
    return judged


def choose(features: dict, manifest: pd.DataFrame, recipes: list[Recipe]) -> Recipe:
    """Return the recipe of the best macro recall less false COVID-19 in hospitals left out."""

    def merit(recipe):
        figures = unseen_figures(judge_unseen(features, manifest, [recipe]))
        return figures["macro recall"] - np.nan_to_num(figures["false COVID-19"])

    return max(recipes, key=merit) if len(recipes) > 1 else recipes[0]


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


SHIPPED = Recipe()


def load_shipped() -> Head:
    """Return the head that comes with the package, see `pretrained`."""
    arrays = pretrained.load("hospitals")
    return Head(**{name: array if array.ndim else float(array) for name, array in arrays.items()})


def build_models(head: Head) -> dict[str, keras.Model]:
    """Build the classifier as flat models, one for each view, so that maps can be asked for.

    Args:
        head: of two questions, on the features of the shipped recipe's views.

    Returns:
        name of a view -> a model from images (B, size, size, 1) to scores (B, 3), linear in the
        features. Added up over the views they are for normal the log odds of "not sick", for a
        disease those of "sick" plus those of being this one.
    """
    of_class = np.array([[-1, 1, 1], [0, -1, 1]], np.float32)  # (question, class)
    views = SHIPPED.views
    parts = np.split(head.weights @ of_class, len(views))
    models = {}
    for name, part in zip(views, parts, strict=True):
        base = build_describer(VIEWS[name].size)
        scores = keras.layers.Dense(len(CLASS_NAMES), name="scores")
        models[name] = keras.Model(base.input, scores(base.output))
        scores.set_weights([part, head.bias @ of_class / len(views)])
    return models
