import base64
import io
import json
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tools import cover

from xraylib import metrics, plots, report
from xraylib.plots import labs

IMAGE = np.arange(224 * 224, dtype=np.uint32).reshape(224, 224).astype(np.uint8)
MASK = np.zeros((224, 224), bool)
MASK[60:160, 40:100] = True


def data_of(lab) -> dict:
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', lab.html)[1])


def pixels(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("L"))


def test_a_lab_is_html_with_its_question_its_twin_and_one_script():
    lab = plots.intervals_lab(26, 17, 20, 15, "Do <these> differ?")
    bundle = lab._repr_mimebundle_()
    assert set(bundle) == {"text/html", "text/plain"}
    assert "Do &lt;these&gt; differ?" in lab.html and "17 of 26" in lab.html
    assert lab.html.count("<script") == 2 and "http" not in lab.html.replace("www.w3.org", "")[:50]


def test_text_cannot_end_the_script():
    lab = labs.make_lab("intervals", "q", {"name": "</script><b>"}, "")
    assert data_of(lab) == {"name": "</script><b>"}


def test_counts_that_cannot_be_are_refused():
    for both in (10, 18):
        with pytest.raises(ValueError, match=f"both right on {both} of 26"):
            plots.intervals_lab(26, 17, 20, both, "q")


def test_threshold_takes_probabilities_and_the_reports_counts():
    probs, labels = np.array([0.91239, 0.4, 0.1, 0.6]), np.array([2, 2, 0, 1])
    lab = plots.threshold_lab({"run": (probs, labels)}, report.CONFUSION, "q")
    run, first, *_ = data_of(lab)["sets"]
    assert run == {"name": "run", "sick": [0.912, 0.4], "well": [0.1, 0.6]}
    counts = np.asarray(report.CONFUSION["experiment 1"])
    assert first["counts"]["found"] == counts[2, 2] and first["counts"]["sick"] == counts[2].sum()
    assert first["counts"]["called"] == counts[:2, 2].sum()
    assert first["counts"]["well"] == counts[:2].sum()


def test_the_masks_distances_are_zero_at_its_border():
    data = data_of(plots.mask_lab(IMAGE, MASK, "q"))
    distance = pixels(data["distance"]).astype(int) - labs.DISTANCE_ZERO
    truth = labs.images.resize(MASK, labs.SIDE)
    assert ((distance >= 0) == truth).all()
    grown = distance >= -5
    rows, columns = np.nonzero(grown)
    assert (rows.min(), rows.max()) == (30 - 5, 79 + 5)
    assert (columns.min(), columns.max()) == (20 - 5, 49 + 5)


def test_a_neighbour_is_never_the_image_itself():
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 255, (20, 6, 6)).astype(np.uint8)
    pictures[1] = pictures[0]
    table = pd.DataFrame({"patient_id": np.arange(20) // 2, "label": ["a", "b"] * 10})
    data = data_of(plots.roulette_lab(table, pictures, 0.2, "q"))
    assert data["neighbours"][0][0] == 1 and data["neighbours"][1][0] == 0
    assert all(k not in near for k, near in enumerate(data["neighbours"]))
    assert data["patient"][:4] == [0, 0, 1, 1]


def test_counterfactuals_are_kept_under_their_switches():
    keys = [(h, m, d) for h in (0, 1) for m in (0, 1) for d in (0, 1)]
    probs = {key: [[0.2, 0.5, 0.3], [0.1, 0.1, 0.8]] for key in keys}
    cells = {key: np.ones((2, 7, 7)) for key in keys}
    names = {"networks": ["one", "other"], "hospitals": ["B", "A"], "asked": "pneumonia"}
    lab = plots.counterfactual_lab(dict.fromkeys(keys, IMAGE), probs, cells, names, "q")
    pictures = data_of(lab)["pictures"]
    assert sorted(pictures) == sorted("".join(map(str, key)) for key in keys)
    assert pictures["101"]["probs"][1] == [0.1, 0.1, 0.8] and len(pictures["101"]["maps"]) == 2
    assert "hospital A, no marker, lesion" in lab.html


def test_an_empty_map_leaves_the_film_as_it_is():
    seen = labs._overlay(IMAGE, np.zeros((7, 7)))
    assert (seen == IMAGE[..., None]).all()


def test_cells_say_which_are_live():
    live = np.array([[True, False], [False, False]])
    lab = plots.cells_lab(IMAGE, live, "a_layer", {"start": 0, "stride": 32, "size": 160}, "q")
    assert data_of(lab)["live"] == live.tolist()
    assert lab.html.count("<td") == 6 and "dead" in lab.html


def test_the_cover_starts_at_the_patient_of_whom_most_change_and_tells_both_ends():
    steady = [[[0.9, 0.1, 0.0], [0.0, 0.1, 0.9]], [[0.8, 0.2, 0.0], [0.0, 0.1, 0.9]]]
    turned = [[[0.9, 0.1, 0.0], [0.0, 0.1, 0.9]], [[0.0, 0.1, 0.9], [0.9, 0.1, 0.0]]]
    truths = ("normal", steady), ("COVID-19", turned), ("pneumonia", steady)
    cases = [cover.cover_case(truth, IMAGE, MASK, probs) for truth, probs in truths]
    lab = cover.cover_lab(cases, [0, 224], ["whole", "lungs"])
    assert data_of(lab)["first"] == 1
    assert (pixels(data_of(lab)["cases"][1]["mask"]) > 0).sum() == 6000
    assert "COVID-19, mask on" in lab.html and "COVID-19, mask off" in lab.html


def test_wilson_of_the_twin_is_the_books():
    low, high = metrics.wilson_interval(17, 26)
    assert f"[{low:.3f}, {high:.3f}]" in plots.intervals_lab(26, 17, 20, 15, "q").html
