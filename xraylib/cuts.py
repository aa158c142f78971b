"""Where to cut the probability of COVID-19, and how far it can be believed, by inner folds."""

from functools import cache, partial

import numpy as np
import pandas as pd

from xraylib import calibration, splitting, stacks
from xraylib.config import COVID, RunConfig
from xraylib.metrics import wilson_interval
from xraylib.recipes import Recipe, inputs, take

WANTED_RECALL = 0.95
INNER_FOLDS = 3


def cut_for_recall(scores, is_covid, wanted: float = WANTED_RECALL) -> float:
    """Return the highest cut at which at least a share of COVID-19 images reaches it.

    Args:
        scores: probabilities of COVID-19 (N,), of validation images.
        is_covid: bool (N,), at least one True.
        wanted: recall, above 0 and at most 1.

    Returns:
        the cut: an image is called COVID-19 where its score is at least that.
    """
    found = np.sort(np.asarray(scores)[np.asarray(is_covid)])[::-1]
    if not len(found):
        raise ValueError("no COVID-19 image to choose the cut by")
    return float(found[int(np.ceil(wanted * len(found) - 1e-9)) - 1])


def judged_cuts(recipe: Recipe, manifest: pd.DataFrame, config: RunConfig) -> pd.DataFrame:
    """Judge a recipe in folds, each with a temperature and a cut from its own training images.

    For each fold the training images are judged in inner folds; on these the temperature is
    fitted and the cut for 95 % recall is chosen. The test images have no part in it.

    Args:
        recipe: what to fit.
        manifest: one row an image.
        config: `folds`, `split_by`, `seed`.

    Returns:
        predictions as of `stacks.cross_validate_recipe`, and temperature, cut, and the three
        probabilities after scaling as `scaled 0`, `scaled 1`, `scaled 2`.
    """
    prepare = cache(partial(inputs, manifest, recipe, config.seed))
    outer = stacks.cross_validate_recipe(recipe, manifest, config, prepare)
    judged = []
    for number, part in enumerate(splitting.folds(manifest, config)):
        rows = np.flatnonzero(part.split == "train")
        train = manifest.iloc[rows].reset_index(drop=True)
        of_train = cache(lambda rows=rows: take(prepare(), rows))
        inner_config = config.but(folds=INNER_FOLDS)
        inner = stacks.cross_validate_recipe(recipe, train, inner_config, of_train)
        judged.append(_scaled(outer[outer.fold == number], inner))
    return pd.concat(judged, ignore_index=True)


def _scaled(test: pd.DataFrame, inner: pd.DataFrame) -> pd.DataFrame:
    probs, labels = stacks.probabilities(inner)
    logits = np.log(probs + stacks.FAINT)
    temperature = calibration.fit_temperature(logits, labels)
    scaled = calibration.temperature_scale(logits, temperature)
    cut = cut_for_recall(scaled[:, COVID], labels == COVID)
    test_logits = np.log(stacks.probabilities(test)[0] + stacks.FAINT)
    test = test.assign(temperature=temperature, cut=cut)
    columns = [f"scaled {number}" for number in range(scaled.shape[1])]
    test[columns] = calibration.temperature_scale(test_logits, temperature)
    return test


def cuts_table(judged: pd.DataFrame) -> pd.DataFrame:
    """Return recall and precision of COVID-19 at both cuts, and the calibration error.

    Args:
        judged: of `judged_cuts`.

    Returns:
        a row a cut: cut, recall, precision with low and high (95 % Wilson), n, ece_before and
        ece_after temperature scaling.
    """
    probs, labels = stacks.probabilities(judged)
    scaled = judged[[f"scaled {number}" for number in range(probs.shape[1])]].to_numpy(float)
    before = calibration.expected_calibration_error(probs, labels)
    after = calibration.expected_calibration_error(scaled, labels)
    rows = []
    for name, cut in (("0.5", 0.5), ("95 % recall on inner folds", judged["cut"].to_numpy())):
        row = recall_and_precision(scaled[:, COVID] >= cut, labels == COVID)
        rows.append({"cut": name} | row | {"ece_before": before, "ece_after": after})
    return pd.DataFrame(rows)


def recall_and_precision(called, is_covid) -> dict:
    """Return recall and precision with 95 % Wilson intervals, and n; NaN where undefined.

    Args:
        called: bool (N,), called COVID-19.
        is_covid: bool (N,).
    """
    called, is_covid = np.asarray(called), np.asarray(is_covid)
    hits, row = int((called & is_covid).sum()), {}
    for name, n in (("recall", int(is_covid.sum())), ("precision", int(called.sum()))):
        low, high = wilson_interval(hits, n) if n else (np.nan, np.nan)
        row |= {name: hits / n if n else np.nan, f"{name}_low": low, f"{name}_high": high}
    return row | {"n": len(called)}
