"""One thing changed in a phantom: only that changes, and a network that hangs on it says so."""

import cv2
import numpy as np
import pytest

from xraylib import experiments, metrics
from xraylib.experiments import comparisons
from xraylib.images import resize
from xraylib.phantoms import make_phantom


@pytest.fixture(scope="module")
def drawn():
    return experiments.draw_changes(1, source="B", other="A", n=3, seed=40)


@pytest.fixture(scope="module")
def markers():
    return np.stack([resize(make_phantom(1, 40 + k, "B").marker_mask, 224) for k in range(3)])


def looks_at(score):
    """Stand in for a network: the probability of class 1 is a score of the image, 0 to 1."""

    def probs(images):
        share = np.clip([score(image / 255) for image in np.asarray(images, float)], 0, 1)
        return np.stack([1 - share, share, 0 * share], axis=1)

    return probs


def test_painting_over_fills_from_around_and_leaves_the_rest():
    image = np.tile(np.arange(60, 124, dtype=np.uint8), (64, 1))
    mask = np.zeros((64, 64), bool)
    mask[20:26, 30:40] = True
    marked = np.where(mask, 255, image).astype(np.uint8)
    painted = comparisons.paint_over(marked, mask)
    assert painted.dtype == np.uint8
    assert np.abs(painted[mask].astype(int) - image[mask]).max() < 12
    wide = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
    np.testing.assert_array_equal(painted[~wide], image[~wide])


def test_every_change_has_its_pictures(drawn):
    named = {name for pair in comparisons.CHANGES.values() for name in pair}
    assert named == set(drawn)
    assert all(images.shape == (3, 224, 224) for images in drawn.values())
    assert all(images.dtype == np.uint8 for images in drawn.values())


def test_pictures_differ_where_they_should(drawn, markers):
    near = np.stack([cv2.dilate(m.astype(np.uint8), np.ones((9, 9))) for m in markers]) > 0
    mirrored = near[:, :, ::-1]
    pairs = {
        "sick, no marker": ("sick", near),
        "sick, painted elsewhere": ("sick", mirrored),
        "healthy, marker": ("healthy", near),
        "healthy, patch elsewhere": ("healthy", mirrored),
    }
    for name, (start, region) in pairs.items():
        changed = drawn[name] != drawn[start]
        assert changed.any(axis=(1, 2)).all(), name
        assert not changed[~region].any(), name
    lesions = np.stack([resize(make_phantom(1, 40 + k, "B").lesion_mask, 224) for k in range(3)])
    changed = np.abs(drawn["sick"].astype(int) - drawn["healthy, same hospital"])
    assert changed[lesions].mean() > 5 * changed[~lesions].mean()


def test_a_network_that_reads_the_marker_is_caught(drawn, markers):
    place = markers.any(axis=0)
    most = max((image[place] > 204).sum() for image in drawn["sick"])  # letters vary with OpenCV
    probs = looks_at(lambda image: (image[place] > 0.8).sum() / most)
    table = experiments.change_effects(probs, drawn, 1).set_index("change")
    assert (table.n == 3).all()
    assert table.high["marker painted over"] < -0.2
    assert table.low["marker put on a healthy one"] > 0.2
    for change in ("as much painted over elsewhere", "as much put on elsewhere"):
        assert table.effect[change] == 0, change
    assert abs(table.effect["lesion taken away"]) < 0.05
    for row in table.itertuples():
        assert row.effect == pytest.approx(row.after - row.before)


def test_calls_that_flip_are_counted(drawn):
    is_sick = {image.tobytes(): name.startswith("sick") for name, s in drawn.items() for image in s}
    probs = looks_at(lambda image: is_sick[np.rint(255 * image).astype(np.uint8).tobytes()])
    table = experiments.change_effects(probs, drawn, 1).set_index("change")
    assert table.flipped["lesion taken away"] == table.flipped["lesion put into a healthy one"] == 1
    assert table.flipped["taken to the other hospital"] == 0
    ends = table.loc["taken to the other hospital", ["flipped_low", "flipped_high"]]
    assert tuple(ends) == metrics.wilson_interval(0, int(table.n.iloc[0]))
    assert table.effect["lesion taken away"] == -1


def test_switches_change_one_thing_each():
    switched = experiments.draw_switches(1, ("B", "A"), seed=3)
    assert len(switched) == 8
    phantom = make_phantom(1, 3, "B")
    marker, lesion = (resize(mask, 224) for mask in (phantom.marker_mask, phantom.lesion_mask))

    def moved(one, other):
        return np.abs(switched[one].astype(int) - switched[other]) > 8

    by_marker, by_lesion = moved((0, 0, 1), (0, 1, 1)), moved((0, 1, 0), (0, 1, 1))
    assert by_marker[marker].mean() > 0.3 and not by_marker[lesion].any()
    assert by_lesion[lesion].mean() > 0.05 and not by_lesion[marker].any()
    assert moved((0, 1, 1), (1, 1, 1)).mean() > 0.05
