"""The report's open question as controlled experiments: grid, factorial, sweep, and single changes.

A grid trains on each view and judges on every view. A factorial switches the report's three means
on and off; another one switches its two suspects, white padding and equalisation. A sweep ties the
hospital to the class. And because a map only points at a place, single changes in phantoms tell
what an answer depends on: a marker painted over, a lesion taken away.
"""

from dataclasses import asdict, dataclass
from itertools import product

import cv2
import numpy as np
import pandas as pd

from xraylib import data, metrics, sources
from xraylib.config import CLASS_NAMES, IMAGE_SIZE, RunConfig
from xraylib.experiments import runs
from xraylib.experiments.runs import Experiment, cross_validate
from xraylib.images import Preprocessing, resize
from xraylib.metrics import bootstrap_mean, wilson_interval
from xraylib.phantoms import make_phantom

VIEWS = {
    "original": Preprocessing(),
    "segmented": Preprocessing(region="lungs"),
    "equalised": Preprocessing(equalise="global"),
    "segmented + equalised": Preprocessing(region="lungs", equalise="global"),
    "lungs erased": Preprocessing(region="lungs_erased"),
    "lung box blacked out": Preprocessing(region="lung_box_erased"),
    "silhouette": Preprocessing(region="silhouette"),
}
FACTORS = ("segmentation", "equalisation", "augmentation")


@dataclass(frozen=True)
class Cell:
    """One cell of the factorial: which of the three factors are on."""

    segmentation: bool
    equalisation: bool
    augmentation: bool

    @property
    def name(self) -> str:
        on = [factor for factor in FACTORS if getattr(self, factor)]
        return " + ".join(on) or "none"

    @property
    def experiment(self) -> Experiment:
        """Return the experiment of this cell: training and test views alike."""
        view = Preprocessing(
            region="lungs" if self.segmentation else "whole",
            equalise="global" if self.equalisation else "none",
            transform="table2" if self.augmentation else "none",
        )
        return Experiment(f"factorial {self.name}", view, view.still)


FACTORIAL = [Cell(*on) for on in product((False, True), repeat=3)]
# The report's two suspects: what lies outside the lungs, and equalisation.
OUTSIDE = {"black": "lungs", "white": "lungs_on_white", "white frame": "lungs_framed"}


def run_grid(manifest: pd.DataFrame, config: RunConfig, views: dict) -> pd.DataFrame:
    """Train on each view, judge on every view, in folds.

    Args:
        config: `epochs` are the grid's.
        views: name -> Preprocessing; all of `VIEWS` by default.

    Returns:
        predictions of all images under each other, with columns train_view, test_view and fold.
    """
    parts = []
    for name, view in views.items():
        experiment = Experiment(f"grid {name}", view, view)
        for fold, part in enumerate(data.split_folds(manifest, config)):
            run = runs.run(experiment, part, config)
            for other, judged in views.items():
                table = run.judge_on(judged, mismatch="the grid judges every view on purpose")
                parts.append(table.assign(train_view=name, test_view=other, fold=fold))
    return pd.concat(parts, ignore_index=True)


def run_factorial(manifest: pd.DataFrame, config: RunConfig) -> pd.DataFrame:
    """Run all eight combinations of segmentation, equalisation and augmentation in folds.

    Returns:
        predictions of all images under each other, with a bool column for each factor.
    """
    parts = []
    for cell in FACTORIAL:
        predictions = cross_validate(cell.experiment, manifest, config)
        parts.append(predictions.assign(cell=cell.name, **asdict(cell)))
    return pd.concat(parts, ignore_index=True)


def judge_groups(predictions: pd.DataFrame, by: list[str], seed: int = 0) -> pd.DataFrame:
    """Return a row of figures with intervals for each group of predictions."""
    rows = [
        dict(zip(by, names, strict=True)) | metrics.figures_row(part, seed)
        for names, part in predictions.groupby(by, sort=False)
    ]
    return pd.DataFrame(rows)


def run_suspects(
    manifest: pd.DataFrame, config: RunConfig, outside=("black", "white")
) -> pd.DataFrame:
    """Train on segmented images, by what lies outside the lungs and equalised or not, in folds.

    Each network is judged twice on the same test images: on views like those of its training, and
    on original images, as the report did.

    Args:
        outside: keys of `OUTSIDE`.

    Returns:
        predictions under each other, with the columns cell (`black`, `black, equalised`, ...),
        outside, equalised (bool), tested_on (`alike` or `original`) and fold. Section 5 of the
        report.
    """
    parts = []
    for colour, equalised in product(outside, (False, True)):
        view = Preprocessing(region=OUTSIDE[colour], equalise="global" if equalised else "none")
        cell = suspect_name(colour, equalised)
        experiment = Experiment(f"suspects {cell}", view, view)
        for fold, part in enumerate(data.split_folds(manifest, config)):
            run = runs.run(experiment, part, config)
            judged = {
                "alike": run.predictions,
                "original": run.judge_on(VIEWS["original"], mismatch=runs.AS_REPORTED),
            }
            for tested_on, table in judged.items():
                told = {"cell": cell, "outside": colour, "equalised": equalised}
                parts.append(table.assign(**told, tested_on=tested_on, fold=fold))
    return pd.concat(parts, ignore_index=True)


def suspect_name(outside: str, equalised: bool) -> str:
    """Return the name of a cell of `run_suspects`."""
    return f"{outside}, equalised" if equalised else outside


def suspect_contrasts(outside=("black", "white")) -> dict[str, dict[str, float]]:
    """Return the weight of each cell of `run_suspects` in each effect, see `factor_effects`.

    An effect is the difference of two cells that differ in one suspect. It is not averaged over
    the other suspect, which may turn it round.

    Args:
        outside: keys of `OUTSIDE`; the first is what the others are compared with.
    """
    first, *others = outside
    contrasts = {}
    for colour in outside:
        name = f"equalisation on {colour}"
        contrasts[name] = {suspect_name(colour, True): 1, suspect_name(colour, False): -1}
    for other, equalised in product(others, (False, True)):
        name = f"{other} in place of {first}{' when equalised' if equalised else ''}"
        contrasts[name] = {suspect_name(other, equalised): 1, suspect_name(first, equalised): -1}
    return contrasts


def suspects_table(predictions: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Return what each cell of `run_suspects` gets right, and what each suspect changes.

    Args:
        predictions: what `run_suspects` returns.

    Returns:
        rows of kind `cell`, as of `judge_groups`, and of kind `effect`, as of `factor_effects`,
        each with the column tested_on.
    """
    contrasts = suspect_contrasts(tuple(predictions.outside.unique()))
    parts = [judge_groups(predictions, ["tested_on", "cell"], seed).assign(kind="cell")]
    for tested_on, part in predictions.groupby("tested_on", sort=False):
        effects = factor_effects(part, seed, contrasts)
        parts.append(effects.assign(kind="effect", tested_on=tested_on))
    return pd.concat(parts, ignore_index=True)


def factor_effects(
    predictions: pd.DataFrame, seed: int = 0, contrasts: dict | None = None
) -> pd.DataFrame:
    """Return what each factor, and each pair of factors, does to accuracy and to recall.

    And what augmentation does alone and on segmented images, where the pair may be of two minds.

    An effect is the mean over the cells with the factor on minus the mean over those with it
    off; of a pair, the difference that one factor makes to the effect of the other. All
    cells judge the same images, so the interval is a bootstrap of patients over the differences
    within each image.

    Args:
        predictions: a table with the column cell, such as `run_factorial` returns; an image once
            in each cell.
        contrasts: name -> weight of each cell; the report's three means without.

    Returns:
        measure (accuracy or COVID-19 recall), factor, effect, low, high (95 %), n images.
    """
    right = predictions.assign(right=predictions.label == predictions.prediction)
    wide = right.pivot_table(index=["path", "patient_id", "label"], columns="cell", values="right")
    rows = []
    for measure, table in (
        ("accuracy", wide),
        (f"{CLASS_NAMES[2]} recall", wide.xs(CLASS_NAMES[2], level="label", drop_level=False)),
    ):
        patients = table.index.get_level_values("patient_id").to_numpy()
        for name, signs in (contrasts or _contrasts()).items():
            values = table[list(signs)].to_numpy(float) @ np.array(list(signs.values()))
            mean = bootstrap_mean(values, patients, seed=seed)
            rows.append((measure, name, mean.value, mean.low, mean.high, mean.n))
    return pd.DataFrame(rows, columns=["measure", "factor", "effect", "low", "high", "n"])


def confounding_sweep(
    config: RunConfig,
    levels=(0.0, 1.0),
    views=("original", "segmented", "segmented + equalised"),
) -> pd.DataFrame:
    """Train on phantoms whose source goes with the class, judge on phantoms where it does not.

    Args:
        config: the settings of the phantoms and the training; its confounding and split are
            replaced. Half as many phantoms are drawn, once to train on and once to judge.
        levels: levels of confounding in the training phantoms.
        views: names in `VIEWS`, for training and test alike.

    Returns:
        predictions on the same unconfounded phantoms, with columns confounding and view.
    """
    half = tuple(count // 2 for count in config.phantom_counts)
    drawn = config.but(dataset="phantom", phantom_counts=half)
    sets = {level: sources.provide(drawn.but(confounding=level)) for level in levels}
    sets["test"] = sources.provide(drawn.but(confounding=0.0, seed=config.seed + 1))
    # one manifest, so that each view of an image is computed once
    manifest = pd.concat([part.assign(of=name) for name, part in sets.items()], ignore_index=True)
    manifest["patient_id"] = manifest.of.astype(str) + " " + manifest.patient_id
    parts = []
    for level, name in product(levels, views):
        split = np.select([manifest.of == level, manifest.of == "test"], ["train", "test"], "")
        experiment = Experiment(f"confounding {level:g} {name}", VIEWS[name], VIEWS[name])
        run = runs.run(experiment, manifest.assign(split=split), config)
        parts.append(run.predictions.assign(confounding=level, view=name))
    return pd.concat(parts, ignore_index=True)


def _contrasts() -> dict[str, dict[str, float]]:
    """Return the weight of each cell in main effects, interactions and effects of augmentation."""
    contrasts = {}
    for factors in [(f,) for f in FACTORS] + [FACTORS[:2], FACTORS[::2], FACTORS[1:]]:
        n_pairs = 2 ** (len(FACTORS) - len(factors))  # that the difference is averaged over
        contrasts[" x ".join(factors)] = {
            cell.name: float(np.prod([1 if getattr(cell, f) else -1 for f in factors])) / n_pairs
            for cell in FACTORIAL
        }
    alone = {"augmentation": 1, "none": -1}
    after = {"segmentation + augmentation": 1, "segmentation": -1}  # what the report went on to do
    return contrasts | {"augmentation alone": alone, "augmentation on segmented images": after}


CHANGES = {  # what is done: the picture before and the picture after
    "marker painted over": ("sick", "sick, no marker"),
    "as much painted over elsewhere": ("sick", "sick, painted elsewhere"),
    "lesion taken away": ("sick", "healthy, same hospital"),
    "taken to the other hospital": ("sick", "sick, other hospital"),
    "marker put on a healthy one": ("healthy", "healthy, marker"),
    "as much put on elsewhere": ("healthy", "healthy, patch elsewhere"),
    "a healthy one taken to the hospital": ("healthy", "healthy, same hospital"),
    "lesion put into a healthy one": ("healthy", "sick, other hospital"),
}


def paint_over(image, mask) -> np.ndarray:
    """Return an image, uint8 (H, W), whose masked pixels, bool (H, W), are filled from around them.

    Two pixels around the mask are filled too, so that no rim stays. Telea, "An image inpainting
    technique based on the fast marching method", J. Graphics Tools 9 (2004).
    """
    wide = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8))
    return cv2.inpaint(image, wide, 3, cv2.INPAINT_TELEA)


def draw_changes(
    label: int, source: str, other: str, n: int, seed: int = 0
) -> dict[str, np.ndarray]:
    """Draw n patients, each sick and healthy, in two hospitals, with a marker more or less.

    Args:
        label: the disease, 1 or 2.
        source: the hospital that goes with it, a key of `phantoms.SOURCES`.
        other: the hospital of the healthy.
        seed: seeds the first patient; the next ones follow.

    Returns:
        by the names in `CHANGES`, uint8 (n, 224, 224). *Elsewhere* is the marker's mirror image.
    """
    patients = [_draw_patient(label, source, other, seed + k) for k in range(n)]
    return {
        name: np.stack([resize(patient[name], IMAGE_SIZE) for patient in patients])
        for name in patients[0]
    }


def _draw_patient(label: int, source: str, other: str, seed: int) -> dict[str, np.ndarray]:
    drawn = make_phantom(label, seed, source)
    sick, marker, mirrored = drawn.image, drawn.marker_mask, drawn.marker_mask[:, ::-1]
    healthy = make_phantom(0, seed, other).image
    donor = make_phantom(0, seed, source).image
    return {
        "sick": sick,
        "sick, no marker": paint_over(sick, marker),
        "sick, painted elsewhere": paint_over(sick, mirrored),
        "sick, other hospital": make_phantom(label, seed, other).image,
        "healthy": healthy,
        "healthy, marker": np.where(marker, donor, healthy),
        "healthy, patch elsewhere": np.where(mirrored, donor, healthy),
        "healthy, same hospital": donor,
    }


def draw_switches(label: int, sources, seed: int = 0) -> dict[tuple, np.ndarray]:
    """Draw one patient in two hospitals, each time with and without marker and lesion.

    Args:
        label: the disease, 1 or 2.
        sources: two keys of `phantoms.SOURCES`.
        seed: the patient.

    Returns:
        (number of the hospital, marker, lesion), each 0 or 1 -> uint8 (224, 224).
    """
    drawn = {}
    for hospital, source in enumerate(sources):
        for lesion in (0, 1):
            phantom = make_phantom(label * lesion, seed, source)
            without = paint_over(phantom.image, phantom.marker_mask)
            for marker, image in enumerate((without, phantom.image)):
                drawn[hospital, marker, lesion] = resize(image, IMAGE_SIZE)
    return drawn


def change_effects(probs, drawn: dict[str, np.ndarray], label: int) -> pd.DataFrame:
    """Return what each change does to the probability of the disease.

    Args:
        probs: from images (B, H, W) to probabilities (B, classes), such as `Explainer.probs`.
        drawn: what `draw_changes` returns.
        label: the disease.

    Returns:
        change, before, after (mean probabilities), effect, low, high (the mean difference within
        a patient, 95 %), flipped (share of patients for whom the network calls the disease before
        and not after, or after and not before) with flipped_low and flipped_high (95 %, Wilson), n.
    """
    answers = {name: probs(images) for name, images in drawn.items()}
    rows = []
    for change, (one, other) in CHANGES.items():
        before, after = answers[one][:, label], answers[other][:, label]
        called = [answers[name].argmax(axis=1) == label for name in (one, other)]
        mean = bootstrap_mean(after - before)
        changed = called[0] != called[1]
        flipped = (changed.mean(), *wilson_interval(int(changed.sum()), len(changed)))
        effect = (mean.value, mean.low, mean.high)
        rows.append((change, before.mean(), after.mean(), *effect, *flipped, mean.n))
    columns = ["change", "before", "after", "effect", "low", "high"]
    columns += ["flipped", "flipped_low", "flipped_high", "n"]
    return pd.DataFrame(rows, columns=columns)
