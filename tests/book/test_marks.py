"""Maps against marks: the floors are what they should be, and a map that knows wins."""

import numpy as np
import pandas as pd
import pytest
from tools import marks

from xraylib.maps import Cases

SIDE = 224


def marked(places, patients=None):
    """Marked cases with a square of 56 pixels at each place (row, column)."""
    masks = np.zeros((len(places), SIDE, SIDE), bool)
    for mask, (row, column) in zip(masks, places, strict=True):
        mask[row : row + 56, column : column + 56] = True
    names = patients or [f"p{k}" for k in range(len(places))]
    rows = pd.DataFrame({"path": "", "patient_id": names, "label": "COVID-19"})
    images = np.random.default_rng(0).integers(0, 256, masks.shape, dtype=np.uint8)
    return marks.MarkedCases(Cases(rows, images, masks), np.ones_like(masks))


def test_the_same_place_is_the_mean_of_the_other_patients_marks():
    cases = marked([(0, 0), (0, 0), (112, 112)], ["a", "a", "b"]).cases
    place = marks.same_place(cases.masks, cases.rows.patient_id)
    np.testing.assert_array_equal(place[0], cases.masks[2])
    np.testing.assert_array_equal(place[2], cases.masks[0])
    with pytest.raises(ValueError, match="one patient only"):
        marks.same_place(cases.masks[:2], ["a", "a"])


def test_a_flat_map_gets_the_marks_share_and_the_mark_itself_everything():
    cases = marked([(0, 0), (40, 100), (112, 112)]).cases
    flat = marks.score_maps(np.ones(cases.masks.shape, np.float32), cases)
    share = (56 / SIDE) ** 2
    for measure in marks.MEASURES:
        np.testing.assert_allclose(flat[measure], share, rtol=1e-6)
    perfect = marks.score_maps(cases.masks.astype(np.float32), cases)
    for measure in marks.MEASURES:
        np.testing.assert_allclose(perfect[measure], 1, rtol=1e-6)


def test_the_best_cut_is_chosen_by_the_other_patients():
    by_cut = np.array([[0.9, 0.1, 0.0], [0.2, 0.6, 0.1], [0.1, 0.7, 0.3]])
    found = marks.best_cut_iou(by_cut, ["a", "b", "c"])
    np.testing.assert_allclose(found, [0.1, 0.2, 0.1])


class Pointer:
    """An explainer whose one method finds every mark, and whose other points elsewhere."""

    def __init__(self, masks):
        self.cells = masks.reshape(len(masks), 1, 8, 28, 8, 28).mean(axis=(3, 5))

    def explain_by_all(self, images, class_ids, layers):
        maps = {"finds": self.cells, "misses": 1 - self.cells}
        return {name: dict.fromkeys(layers, cells) for name, cells in maps.items()}


def test_a_map_that_finds_the_marks_is_above_every_floor_and_one_that_misses_is_not():
    rng = np.random.default_rng(0)
    places = [tuple(28 * rng.integers(0, 7, 2)) for _ in range(12)]
    cases = marked(places)
    table = marks.compare_with_marks(Pointer(cases.cases.masks), cases, ["last"])
    finds, misses = (table[table.maps == name] for name in ("finds", "misses"))
    assert (finds.gain_low > 0).all() and (misses.gain_low <= 0).all()
    assert set(table.maps) == {*marks.FLOORS, marks.LUNGS, "finds", "misses"}
    assert set(finds.floor) <= set(marks.FLOORS) and (table.n == 12).all()
    assert (table.patients == 12).all()


def test_energy_on_devices_is_held_against_their_share():
    cases = marked([(0, 0), (56, 84), (112, 112)])
    table = marks.device_energy(Pointer(cases.cases.masks), cases, ["last"]).set_index("maps")
    assert table.value[marks.FLAT] == pytest.approx((56 / SIDE) ** 2)
    assert table.gain["finds"] > 0 > table.gain["misses"]
