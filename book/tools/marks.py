"""Maps held against what radiologists marked: do they point at the disease, or at the lungs?

The measures are those of CheXlocalize (Saporta et al., Nat. Mach. Intell. 4, 2022) and of the
pointing games; each means something only beside what knows nothing of the network: the region's own
share of the image, a random map, an edge detector, and *the same place for every image*.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score

from xraylib import lungs, sources
from xraylib.config import IMAGE_SIZE, home
from xraylib.images import read_grey, read_mask, resize
from xraylib.maps.checks import (
    EDGES,
    ENERGY,
    POINTING,
    RANDOM,
    Cases,
    edge_maps,
    energy_inside,
    gain_of_check,
    mean_of_check,
    points_inside,
    random_maps,
)
from xraylib.maps.equations import upscale
from xraylib.metrics import iou

FLAT, SAME_PLACE, LUNGS = "everywhere alike", "same place for every image", "the lungs"
FLOORS = (FLAT, RANDOM, EDGES, SAME_PLACE)
FIXED = 0.5  # of a map's highest value: what is above counts as pointed at
THRESHOLDS = np.linspace(0.05, 0.95, 19)
COARSE = 56  # pixels a side, on which the area under precision and recall is computed
IOU_FIXED, IOU_BEST, PR_AREA = "IoU at half the maximum", "IoU at the best cut", "area under PR"
MEASURES = (POINTING, ENERGY, IOU_FIXED, IOU_BEST, PR_AREA)


@dataclass(frozen=True)
class MarkedCases:
    """Radiographs with the region that radiologists marked, and their lungs."""

    cases: Cases  # images and marked regions
    lungs: np.ndarray  # bool (N, 224, 224), drawn or, where nobody drew any, of the U-Net

    def __len__(self):
        return len(self.cases)


def nih_pneumonia() -> MarkedCases:
    """Return the NIH's images with boxes around pneumonia; their lungs are the U-Net's."""
    boxes, place = sources.nih_boxes(), home("data") / "darkcovidnet" / "images"
    rows, masks = [], []
    for name, part in boxes.groupby("filename"):
        patient = part.patient_id.iloc[0]
        rows.append({"path": str(place / name), "patient_id": patient, "label": "pneumonia"})
        masks.append(sources.box_mask(part, IMAGE_SIZE))
    rows = pd.DataFrame(rows)
    whole = [read_grey(path) for path in rows.path]
    found = lungs.segment_images(lungs.load_unet("real", "in"), whole)
    return _marked(rows, whole, np.stack(masks), [resize(mask, IMAGE_SIZE) for mask in found])


def covid_lesions(mark: str = "lesion") -> MarkedCases:
    """Return the whole published COVID-19 images with a mark of a kind, and their drawn lungs.

    The mark is "lesion" or "device". The cropped copies of `darkcovidnet` are not used: a mark
    belongs to the image it was drawn on.
    """
    rows = sources.covid_marks()
    rows = rows[rows[f"{mark}_path"] != ""].reset_index(drop=True)
    whole = [read_grey(path) for path in rows.path]
    masks = [resize(read_mask(path), IMAGE_SIZE) for path in rows[f"{mark}_path"]]
    drawn = [resize(read_mask(path), IMAGE_SIZE) for path in rows.lungs_path]
    return _marked(rows, whole, np.stack(masks), drawn)


def _marked(rows: pd.DataFrame, whole, masks, drawn) -> MarkedCases:
    kept = masks.any(axis=(1, 2))
    pictures = np.stack([resize(image, IMAGE_SIZE) for image in whole])
    return MarkedCases(
        Cases(rows[kept].reset_index(drop=True), pictures[kept], masks[kept]),
        np.stack(drawn)[kept],
    )


def same_place(masks: np.ndarray, patients) -> np.ndarray:
    """Return for each image the mean of the *other patients'* marks: a map that never looks.

    Masks bool (N, H, W) give float32 (N, H, W), 0 to 1; each patient counts once, however many
    images he has.
    """
    patients = np.asarray(patients)
    means = {name: masks[patients == name].mean(axis=0) for name in np.unique(patients)}
    if len(means) < 2:
        raise ValueError("one patient only: there are no others whose marks could be averaged")
    total = sum(means.values())
    return np.stack([(total - means[name]) / (len(means) - 1) for name in patients]).astype("f4")


def floor_maps(marked: MarkedCases) -> dict[str, np.ndarray]:
    """Return the maps that know nothing of a network, and the ceiling: float32 (N, H, W) each.

    The random map is not among them: it is as coarse as the layer it is held against.
    """
    cases = marked.cases
    return {
        FLAT: np.ones(cases.masks.shape, np.float32),
        EDGES: edge_maps(cases.images),
        SAME_PLACE: upscale(same_place(cases.masks, cases.rows.patient_id), IMAGE_SIZE),
        LUNGS: marked.lungs.astype(np.float32),
    }


def cuts_iou(heatmaps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return the IoU of each mark with what lies above each of `THRESHOLDS`, float (N, 19)."""
    return np.array(
        [
            [iou(heatmap > cut, mask) for cut in THRESHOLDS]
            for heatmap, mask in zip(heatmaps, masks, strict=True)
        ]
    )


def best_cut_iou(by_cut: np.ndarray, patients) -> np.ndarray:
    """Return each image's IoU at the cut that is best on the *other* patients' images.

    `by_cut` is float (N, cuts), of `cuts_iou`; the patients are those of the images (N,).
    """
    patients, values = np.asarray(patients), np.empty(len(by_cut))
    for name in np.unique(patients):
        own = patients == name
        values[own] = by_cut[own, by_cut[~own].mean(axis=0).argmax()]
    return values


def precision_recall_area(heatmaps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return the area under precision and recall of the pixels of each map (average precision).

    A map of one value gets the mark's share of the image.
    """
    values, step = [], heatmaps.shape[-1] // COARSE
    for heatmap, mask in zip(heatmaps, masks, strict=True):
        scores = heatmap.reshape(COARSE, step, COARSE, step).mean(axis=(1, 3))
        truth = resize(mask, COARSE)
        area = average_precision_score(truth.ravel(), scores.ravel()) if truth.any() else np.nan
        values.append(area)
    return np.array(values)


def score_maps(heatmaps: np.ndarray, cases: Cases) -> dict[str, np.ndarray]:
    """Return each of `MEASURES` for every image, float (N,) each."""
    masks, patients = cases.masks, cases.rows.patient_id
    by_cut = cuts_iou(heatmaps, masks)
    return {
        POINTING: points_inside(heatmaps, masks),
        ENERGY: energy_inside(heatmaps, masks),
        IOU_FIXED: by_cut[:, np.abs(THRESHOLDS - FIXED).argmin()],
        IOU_BEST: best_cut_iou(by_cut, patients),
        PR_AREA: precision_recall_area(heatmaps, masks),
    }


def compare_with_marks(explainer, marked: MarkedCases, layers, seed: int = 0) -> pd.DataFrame:
    """Hold every method's maps of the true class at some layers against the marks, with floors.

    The explained network has seen none of these patients. Returns a row for each layer, kind of map
    and measure: value, low, high (95 %, patients drawn again), n, patients; for the network's maps
    floor, the strongest of `FLOORS` by its mean, and gain, gain_low, gain_high: the mean difference
    to it on the same images. Floors that know no layer have "" there.
    """
    cases = marked.cases
    cells = explainer.explain_by_all(cases.images, cases.class_ids[:, None], layers)
    fixed = {name: score_maps(maps, cases) for name, maps in floor_maps(marked).items()}
    rows = [row for name, scores in fixed.items() for row in _rows("", name, scores, cases, seed)]
    for layer in layers:
        shape = next(iter(cells.values()))[layer].shape[-2:]
        chance = score_maps(random_maps(len(cases), shape, IMAGE_SIZE, seed), cases)
        rows += _rows(layer, RANDOM, chance, cases, seed)
        floors = {name: scores for name, scores in fixed.items() if name in FLOORS}
        floors[RANDOM] = chance
        for method, maps in cells.items():
            scores = score_maps(upscale(maps[layer][:, 0], IMAGE_SIZE), cases)
            rows += _rows(layer, method, scores, cases, seed, floors)
    return pd.DataFrame(rows)


def _rows(layer, name, scores, cases: Cases, seed, floors=None) -> list[dict]:
    patients, rows = cases.rows.patient_id, []
    for measure, values in scores.items():
        mean = mean_of_check(measure, values, patients, seed)
        row = {"layer": layer, "maps": name, "check": measure, "value": mean.value}
        row |= {"low": mean.low, "high": mean.high, "n": mean.n, "patients": patients.nunique()}
        if floors:
            strongest = max(floors, key=lambda floor: np.nanmean(floors[floor][measure]))
            gain = gain_of_check(measure, values, floors[strongest][measure], patients, seed)
            row |= dict(zip(("gain", "gain_low", "gain_high"), gain, strict=True))
            row["floor"] = strongest
        rows.append(row)
    return rows


def device_energy(explainer, marked: MarkedCases, layers, seed: int = 0) -> pd.DataFrame:
    """Say how much of each map's energy lies on tubes and lines, beside their share of the image.

    As `compare_with_marks`, for the energy alone; the gain is over the devices' share.
    """
    cases, rows = marked.cases, []
    cells = explainer.explain_by_all(cases.images, cases.class_ids[:, None], layers)
    maps = {("", name): values for name, values in floor_maps(marked).items()}
    for method, by_layer in cells.items():
        for layer in layers:
            maps[layer, method] = upscale(by_layer[layer][:, 0], IMAGE_SIZE)
    share = energy_inside(maps["", FLAT], cases.masks)
    for (layer, name), heatmaps in maps.items():
        values = energy_inside(heatmaps, cases.masks)
        floors = {FLAT: {ENERGY: share}} if layer else None
        rows += _rows(layer, name, {ENERGY: values}, cases, seed, floors)
    return pd.DataFrame(rows)
