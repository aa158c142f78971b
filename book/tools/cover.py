"""The first page's picture and lab: phantoms in views, and what networks make of each.

make cover
"""

import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from xraylib import (
    config,
    data,
    experiments,
    files,
    images,
    lungs,
    maps,
    phantoms,
    plots,
    report,
    sources,
)
from xraylib.config import CLASS_NAMES, COVID
from xraylib.images import data_uri
from xraylib.plots.labs import make_lab

TARGET = Path(__file__).resolve().parents[2] / "book/assets/cover.png"
NUMBERS = TARGET.with_name("cover.json")
SHOWN = ("original", "segmented", "lungs erased", "silhouette")
SEED = 12


def draw() -> plt.Figure:
    """Draw a phantom with COVID-19 in four views, with the accuracies of networks that see them.

    Returns:
        the figure; its accuracies are those of `book/results/real/grid.csv`.
    """
    plots.use_style()
    phantom = phantoms.make_phantom(COVID, SEED)
    grid = report.load_table("real", "grid").set_index(["train_view", "test_view"]).accuracy
    views = [experiments.VIEWS[name].apply(phantom.image, phantom.lung_mask) for name in SHOWN]
    figure = plots.plot_images(views, columns=len(SHOWN))
    figure.set_size_inches(8, 2.62)
    for axis, name in zip(figure.axes, SHOWN, strict=True):
        axis.set_title(f"{name}\n{grid[name, name] * 100:.0f} % right", fontsize=13)
    return figure


PLACES = tuple(range(0, 225, 16))  # pixels by which the mask is pulled to the right
PATIENTS = {"normal": 2, "pneumonia": 3, "COVID-19": 12}  # seeds of phantoms that taught no network
QUESTION = (
    "One network learnt from whole radiographs, one from lungs alone. Pull the mask off: which of "
    "them changes its mind, and about whom?"
)
NETWORKS = ("trained on whole images", "trained on lungs alone")


def pull(image: np.ndarray, mask: np.ndarray, place: int) -> np.ndarray:
    """Return a radiograph, uint8 (H, W), under a mask that is pulled to the right by some pixels.

    The place is 0 (what is outside the lungs, bool (H, W), is black) to W (nothing is).
    """
    moved = np.ones_like(mask)
    moved[:, place:] = mask[:, : mask.shape[1] - place]
    return np.where(moved, image, 0).astype(np.uint8)


def measure() -> dict:
    """Ask the networks of experiments 1 and 2 of the profile `quick` at every place of the mask.

    Returns:
        places, networks, and for each patient its truth, its image and mask as data URIs, and the
        probabilities at each place of each network.
    """
    settings = config.profile("quick")
    manifest = lungs.predict_masks(sources.provide(settings), lungs.train_profile_unet("quick"))
    manifest = data.split_manifest(manifest, settings)
    runs = [experiments.run(experiments.EXPERIMENTS[k], manifest, settings) for k in (1, 2)]
    explainers = [maps.Explainer(run.load_model()) for run in runs]
    cases = []
    for truth, seed in PATIENTS.items():
        phantom = phantoms.make_phantom(CLASS_NAMES.index(truth), seed)
        parts = (phantom.image, phantom.lung_mask)
        image, mask = (images.resize(part, config.IMAGE_SIZE) for part in parts)
        seen = np.stack([pull(image, mask, place) for place in PLACES])
        probs = np.stack([explainer.probs(seen) for explainer in explainers], axis=1)
        cases.append(cover_case(truth, image, mask, probs))
    return {"command": "make cover", "places": PLACES, "networks": NETWORKS, "cases": cases}


def cover_case(truth: str, image, mask, probs) -> dict:
    """Return a patient of the first page's lab, as it is kept.

    The truth is its class, the image uint8 (224, 224), the mask that of its lungs, bool (224, 224);
    the probabilities are float (3,) for each place of the mask and each network.
    """
    pictured = {"image": data_uri(np.asarray(image))}
    pictured["mask"] = data_uri(np.asarray(mask, bool).astype(np.uint8) * 255, exact=True)
    return {"truth": truth, **pictured, "probs": np.asarray(probs, float).round(3).tolist()}


def cover_lab(cases: list, places: list, networks: list) -> report.Shown:
    """Return the first page's lab: a mask that is pulled off a radiograph.

    The patient shown first is the one of whom most networks change their mind. A case is a
    `cover_case`; the places are how far the mask is pulled to the right, in pixels, the last one
    the whole width.
    """
    rows = {}
    for case in cases:
        for place, where in ((0, "mask on"), (-1, "mask off")):
            called = [CLASS_NAMES[int(np.argmax(shares))] for shares in case["probs"][place]]
            rows[f"{case['truth']}, {where}"] = dict(zip(networks, called, strict=True))
    data = {"side": places[-1], "places": list(places), "classes": list(CLASS_NAMES)}
    ends = [np.argmax([case["probs"][0], case["probs"][-1]], axis=-1) for case in cases]
    changed = [int((on != off).sum()) for on, off in ends]
    data |= {"cases": cases, "networks": list(networks), "first": int(np.argmax(changed))}
    twin = plots.show_table(pd.DataFrame(rows).T, "What each network says.").html
    return make_lab("cover", QUESTION, data, twin)


def first_screen() -> str:
    """Return the lab of the first page as HTML, from the kept numbers."""
    kept = json.loads(NUMBERS.read_text("utf8"))
    return cover_lab(kept["cases"], kept["places"], kept["networks"]).html


def write_picture(target: Path = TARGET) -> None:
    """Write the picture."""
    with files.whole_file(target) as part:
        draw().savefig(part, dpi=110, bbox_inches="tight")


def main() -> None:
    """Write the picture, and the numbers of the first page's lab."""
    write_picture()
    files.write_text(NUMBERS, json.dumps(measure()) + "\n")


if __name__ == "__main__":
    main()
