"""Methods of explaining, compared: checks, curves, cost, and how far two trainings agree."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from xraylib import network
from xraylib.config import IMAGE_SIZE
from xraylib.experiments import Run
from xraylib.maps.checks import (
    CHECKS,
    EDGES,
    RANDOM,
    Cases,
    agreement,
    deletion,
    edge_maps,
    gain_of_check,
    insertion,
    mean_of_check,
    random_maps,
    road,
)
from xraylib.maps.equations import FORMULAS, METHODS, upscale
from xraylib.maps.explainer import Explainer
from xraylib.metrics import bootstrap_mean
from xraylib.network import fast_policy

# a large area is good, a small one, a small one
CURVES = {"insertion": insertion, "deletion": deletion, "ROAD": road}
STEPS = 5  # probabilities of a curve but the first


@dataclass(frozen=True)
class Comparison:
    """Several methods on the same images of one network."""

    cells: dict[str, np.ndarray]  # by method, float32 (N, h, w)
    costs: pd.DataFrame  # of `explain_with`
    drawn: dict  # of `draw_curves`
    table: pd.DataFrame  # of `summarise_methods`


def fast_explainer(run: Run) -> Explainer:
    """Return an explainer of a run's network in the precision that is fast on this machine.

    Curves and Score-CAM ask for hundreds of probabilities an image.
    """
    with fast_policy():
        return Explainer(network.build_classifier(run.scaling, run.head))


def called_right(explainer: Explainer, cases: Cases, n: int) -> Cases:
    """Return the first n cases whose class the network calls.

    Where it is wrong, the probability of the true class is low from the start, and its curves say
    little.
    """
    right = explainer.probs(cases.images).argmax(axis=1) == cases.class_ids
    return cases.take(np.flatnonzero(right)[:n])


def compare_methods(run: Run, cases: Cases, layer: str, seed: int = 0) -> Comparison:
    """Compare all methods, a random map and an edge detector on the same images.

    Args:
        run: a run whose network is explained.
        cases: what `called_right` returns.
    """
    fast = fast_explainer(run)
    cells, costs = explain_with(Explainer(run.load_model()), cases, layer, FORMULAS)
    by_score, cost = explain_with(fast, cases, layer, ["score_cam"])
    cells |= by_score
    heatmaps = with_floors(cells, cases, seed)
    drawn = draw_curves(fast, cases, heatmaps)
    table = summarise_methods(cases, heatmaps, drawn, seed)
    return Comparison(cells, pd.concat([costs, cost]), drawn, table)


def explain_with(
    explainer: Explainer, cases: Cases, layer: str, methods=METHODS
) -> tuple[dict[str, np.ndarray], pd.DataFrame]:
    """Explain the true classes by several methods, and count what each of them costs.

    Args:
        methods: some of `maps.METHODS`.

    Returns:
        for each method the cells, float32 (N, h, w); and a table with one row per method: images
        that went forward and scores that went backward through the network, for one map.
    """
    cells, costs = {}, {}
    for method in methods:
        before = explainer.passes.copy()
        maps = explainer.explain(cases.images, cases.class_ids[:, None], [layer], method)
        cells[method] = maps[layer][:, 0]
        spent = explainer.passes - before
        costs[method] = {name: spent[name] / len(cases) for name in ("forward", "backward")}
    return cells, pd.DataFrame(costs).T.rename_axis("method")


def with_floors(cells: dict[str, np.ndarray], cases: Cases, seed: int = 0) -> dict:
    """Return heatmaps (N, H, W) of each method, of random cells as many, and of an edge detector.

    Args:
        cells: by method, float (N, h, w).
    """
    shape = next(iter(cells.values())).shape[-2:]
    heatmaps = {method: upscale(maps, IMAGE_SIZE) for method, maps in cells.items()}
    heatmaps[RANDOM] = random_maps(len(cases), shape, IMAGE_SIZE, seed)
    return heatmaps | {EDGES: edge_maps(cases.images)}


def draw_curves(explainer: Explainer, cases: Cases, heatmaps: dict) -> dict:
    """Return the `CURVES` of the true classes; give cases that the network calls right.

    The heatmaps are those of `with_floors`; the explainer's `probs` are asked 3 (`STEPS` + 1) times
    for each. Returns (maps, insertion, deletion or ROAD) -> one `maps.Curve` for each case.
    """
    return {
        (name, check): [
            curve(explainer.probs, image, heatmap, class_id, STEPS)
            for image, heatmap, class_id in zip(cases.images, maps, cases.class_ids, strict=True)
        ]
        for name, maps in heatmaps.items()
        for check, curve in CURVES.items()
    }


def summarise_methods(cases: Cases, heatmaps: dict, drawn: dict, seed: int = 0) -> pd.DataFrame:
    """Summarise all checks of all maps, each also as its gain over random maps.

    Args:
        heatmaps: what `with_floors` returns.
        drawn: what `draw_curves` returns, for the same cases.

    Returns:
        maps, check (energy inside, pointing game, and the areas of `CURVES`), value, low, high,
        n, and gain, gain_low, gain_high: the mean difference to the random map on the same
        image. All intervals are at 95 %, see `maps.mean_of_check`.
    """
    scores = {
        (name, check): score(maps, cases.masks)
        for name, maps in heatmaps.items()
        for check, score in CHECKS.items()
    }
    scores |= {key: np.array([curve.area for curve in part]) for key, part in drawn.items()}
    patients, rows = cases.rows.patient_id, []
    for (name, check), values in scores.items():
        mean = mean_of_check(check, values, patients, seed)
        gains = gain_of_check(check, values, scores[RANDOM, check], patients, seed)
        rows.append((name, check, mean.value, mean.low, mean.high, mean.n, *gains))
    columns = ["maps", "check", "value", "low", "high", "n", "gain", "gain_low", "gain_high"]
    return pd.DataFrame(rows, columns=columns)


def seed_agreement(explainers, cases: Cases, layers, seed: int = 0) -> pd.DataFrame:
    """Say how far trainings that differ in their seed alone give the same map.

    Args:
        explainers: the explainers of two networks or more, trained on the same images.
        cases: images that none of them has trained on.

    Returns:
        layer, maps, check (rank correlation of Grad-CAM's cells), value, low, high, n. The floors:
        two networks' maps of two *different* images, which agree as far as the networks always
        look at the same place; and two random maps.
    """
    rng, rows = np.random.default_rng(seed), []
    cells_of = [e.explain(cases.images, cases.class_ids[:, None], layers) for e in explainers]
    for layer in layers:
        pairs = list(combinations([maps[layer][:, 0] for maps in cells_of], 2))
        chance = rng.random((2, *pairs[0][0].shape))
        scores = {
            "same image": [agreement(one, other) for one, other in pairs],
            "another image": [agreement(one, np.roll(other, 1, axis=0)) for one, other in pairs],
            RANDOM: [agreement(*chance)],
        }
        for name, values in scores.items():
            of_image = pd.DataFrame(values).mean()  # over pairs of networks, flat maps left out
            mean = bootstrap_mean(of_image, cases.rows.patient_id, seed=seed)
            rows.append((layer, name, "rank correlation", mean.value, mean.low, mean.high, mean.n))
    columns = ["layer", "maps", "check", "value", "low", "high", "n"]
    return pd.DataFrame(rows, columns=columns)
