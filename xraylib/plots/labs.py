"""Labs: something to move on a page without a kernel, from numbers that the run made.

Each asks a question, is worked by key, mouse and touch, and has a static twin: what a page without
script shows, and what is printed. All share one script, `labs.js`. Nothing is computed here but
what is drawn; the script itself computes intervals, tests and draws of patients.
"""

import html
import json
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import pandas as pd

from xraylib import images, maps, metrics
from xraylib.config import CLASS_NAMES, COVID
from xraylib.images import data_uri
from xraylib.plots.tables import show_table
from xraylib.report import Shown

SCRIPT = Path(__file__).with_name("labs.js").read_text("utf8")
STYLE = Path(__file__).with_name("labs.css").read_text("utf8")
SIDE = 112  # pixels of a picture that a script works on
NEIGHBOURS = 12  # kept for each image: but once in thousands one of them is in the training set
DISTANCE_ZERO = 128  # grey value of the border in a picture of distances


def make_lab(kind: str, question: str, data: dict, twin: str) -> Shown:
    """Return a lab: a question, what a script can work on, and its static twin as HTML.

    The kind is a name in `labs` of `labs.js`; `data` is what the script needs, JSON.
    """
    content = json.dumps(data, separators=(",", ":")).replace("</", "<\\/")
    page = (
        f'<div class="lab" data-lab="{kind}"><style>{STYLE}</style>'
        f'<p class="question">{html.escape(question)}</p>'
        f'<div class="twin">{twin}</div><div data-part="live"></div>'
        f'<script type="application/json">{content}</script><script>{SCRIPT}</script></div>'
    )
    return Shown(page, "a lab: open this chapter's page to use it")


def intervals_lab(n: int, first: int, second: int, both: int, question: str) -> Shown:
    """Return the lab of two shares of the same images: intervals, and the paired test.

    Args:
        n: images.
        first, second: on how many each of two networks is right.
        both: on how many both are.
        question: what to find out.

    Raises:
        ValueError: counts that cannot be.
    """
    if not max(0, first + second - n) <= both <= min(first, second) <= n:
        raise ValueError(f"both right on {both} of {n} images, and alone on {first} and {second}")
    rows = {
        name: {"right": f"{k} of {n}", "share": k / n, **_ends(k, n)}
        for name, k in {"A": first, "B": second}.items()
    }
    twin = show_table(pd.DataFrame(rows).T, f"Both are right on {both} images.").html
    data = {"n": n, "most": max(200, n), "first": first, "second": second, "both": both}
    return make_lab("intervals", question, data, twin)


def _ends(k: int, n: int) -> dict:
    return dict(zip(("low", "high"), metrics.wilson_interval(k, n), strict=True))


def threshold_lab(predicted: dict, counted: dict, question: str) -> Shown:
    """Return the lab of cut and prevalence.

    Args:
        predicted: name -> (probabilities of COVID-19 (N,), class ids (N,)).
        counted: name -> confusion counts (3, 3), rows true: these have no cut to move.
        question: what to find out.
    """
    sets, rows = [], {}
    for name, (probs, labels) in predicted.items():
        is_sick, probs = np.asarray(labels) == COVID, np.round(np.asarray(probs, float), 3)
        sick, well = probs[is_sick], probs[~is_sick]
        sets.append({"name": name, "sick": sick.tolist(), "well": well.tolist()})
        found, alarms = int((sick >= 0.5).sum()), int((well >= 0.5).sum())
        rows[name] = _rates(found, alarms, len(sick), len(well))
    for name, counts in counted.items():
        counts = np.asarray(counts)
        found, sick = int(counts[COVID, COVID]), int(counts[COVID].sum())
        called = int(counts[:, COVID].sum()) - found
        known = {"found": found, "sick": sick, "called": called, "well": int(counts.sum()) - sick}
        sets.append({"name": name, "counts": known})
        rows[name] = _rates(found, called, sick, known["well"])
    caption = "Recall and false alarms where the network itself cuts (at 0.5 for probabilities)."
    twin = show_table(pd.DataFrame(rows).T, caption).html
    return make_lab("threshold", question, {"sets": sets}, twin)


def _rates(found: int, alarms: int, n_sick: int, n_well: int) -> dict:
    ends = {f"recall {end}": value for end, value in _ends(found, n_sick).items()}
    recall = {"recall": found / n_sick, **ends}
    return recall | {"COVID-19": n_sick, "false alarms": alarms / n_well, "others": n_well}


def mask_lab(image, mask, question: str) -> Shown:
    """Return the lab of a lung mask that is moved and grown.

    Args:
        image: uint8 (H, W).
        mask: bool (H, W), the true one.
        question: what to find out.
    """
    small = images.resize(np.asarray(image), SIDE)
    truth = images.resize(np.asarray(mask, bool), SIDE).astype(np.uint8)
    inside, outside = (cv2.distanceTransform(m, cv2.DIST_L2, 5) for m in (truth, 1 - truth))
    distance = np.where(truth > 0, inside - 1, -outside)  # 0 at the border's own pixels
    picture = np.clip(DISTANCE_ZERO + np.rint(distance), 0, 255).astype(np.uint8)
    rows = []
    for shift in (0, 5, 10, 20):
        moved = np.roll(truth, shift, axis=1) > 0
        rows.append((shift, metrics.dice(truth > 0, moved), metrics.iou(truth > 0, moved)))
    table = pd.DataFrame(rows, columns=["pixels to the right", "Dice", "IoU"])
    twin = show_table(table, f"The mask moved by some of {SIDE} pixels.").html
    data = {"side": SIDE, "image": data_uri(small), "distance": data_uri(picture, exact=True)}
    return make_lab("mask", question, data, twin)


def roulette_lab(manifest, pictures, share: float, question: str) -> Shown:
    """Return the lab of random splits, by image or by patient, judged by nearest neighbours.

    A nearest neighbour needs no training, so the page can judge every draw: a test image takes the
    class of the training image that looks most like it.

    Args:
        manifest: one row per image, with label and patient_id.
        pictures: uint8 (N, h, w), the images, small.
        share: of the images that are for the test.
        question: what to find out.
    """
    flat = np.asarray(pictures, dtype=np.float32).reshape(len(pictures), -1)
    flat = (flat - flat.mean(axis=1, keepdims=True)) / (flat.std(axis=1, keepdims=True) + 1e-6)
    apart = -flat @ flat.T
    np.fill_diagonal(apart, np.inf)
    nearest = np.argsort(apart, axis=1, kind="stable")[:, :NEIGHBOURS]
    patients, labels = pd.factorize(manifest.patient_id)[0], pd.factorize(manifest.label)[0]
    data = {
        "patient": patients.tolist(),
        "label": labels.tolist(),
        "classes": list(CLASS_NAMES),
        "neighbours": nearest.tolist(),
        "share": share,
    }
    several = int((np.bincount(patients) > 1).sum())
    table = pd.Series({"images": len(patients), "patients": patients.max() + 1})
    table["patients with several images"] = several
    twin = show_table(table.rename("number"), "What is dealt out.").html
    return make_lab("roulette", question, data, twin)


def cells_lab(image, live, layer: str, reach: dict, question: str) -> Shown:
    """Return the lab of live and dead cells.

    Args:
        image: uint8 (H, W).
        live: bool (h, w): which cells of the layer reach the answer.
        layer: its name.
        reach: what a cell sees, in pixels: `start` of the first one, `stride` and `size`.
        question: what to find out.
    """
    live, image = np.asarray(live, bool), np.asarray(image)
    names = [f"column {k + 1}" for k in range(live.shape[1])]
    index = [f"row {k + 1}" for k in range(live.shape[0])]
    table = pd.DataFrame(np.where(live, "live", "dead"), index, names)
    data = {"layer": layer, "live": live.tolist(), "reach": reach, "side": image.shape[0]}
    data["image"] = data_uri(image)
    return make_lab("cells", question, data, show_table(table, f"The cells of {layer}.").html)


def counterfactual_lab(
    pictures: dict, probs: dict, maps: dict, names: dict, question: str
) -> Shown:
    """Return the lab of one patient with hospital, marker and lesion switched on and off.

    Args:
        pictures: (hospital, marker, lesion), each 0 or 1 -> uint8 (H, W).
        probs: likewise -> for each network float (3,).
        maps: likewise -> for each network the cells of its map, float (h, w).
        names: `networks` and `hospitals` -> what they are called, `asked` -> the class of the maps.
        question: what to find out.
    """
    asked, shown, rows = CLASS_NAMES.index(names["asked"]), {}, {}
    for key, image in pictures.items():
        rounded = np.round(np.asarray(probs[key], float), 3)
        shown["".join(map(str, key))] = {
            "image": data_uri(image),
            "maps": [data_uri(_overlay(image, cells)) for cells in maps[key]],
            "probs": rounded.tolist(),
        }
        hospital = f"hospital {names['hospitals'][key[0]]}"
        marker, lesion = ("" if on else "no " for on in key[1:])
        row = dict(zip(names["networks"], rounded[:, asked], strict=True))
        rows[f"{hospital}, {marker}marker, {lesion}lesion"] = row
    caption = f"Probability of {names['asked']} that each network gives."
    twin = show_table(pd.DataFrame(rows).T, caption).html
    data = names | {"classes": list(CLASS_NAMES), "pictures": shown}
    return make_lab("counterfactual", question, data, twin)


def _overlay(image, cells) -> np.ndarray:
    """Return a radiograph under a map, uint8 (H, W, 3): where the map is 0, the film is seen."""
    heat = maps.upscale(np.asarray(cells) / max(float(np.max(cells)), 1e-12), image.shape)
    coloured = matplotlib.colormaps["inferno"](heat, bytes=True)[..., :3]
    opacity = 0.8 * heat[..., None]
    return np.uint8(image[..., None] * (1 - opacity) + coloured * opacity)
