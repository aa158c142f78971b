"""The phantoms: what is drawn, what is known about it, and what lies on the disk."""

import cv2
import numpy as np
import pandas as pd
import pytest

from xraylib.config import CLASS_NAMES
from xraylib.phantoms import anatomy, radiographs
from xraylib.phantoms.radiographs import SOURCES, make_phantom, pick_source, write_phantoms

SEEDS = range(12)
COUNTS = (6, 5, 4)


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return (one & other).sum() / (one | other).sum()


def lesion_by_side(phantom) -> tuple[int, int]:
    """Lesion pixels in the patient's right and left lung, told apart by connected components."""
    count, parts, stats, centres = cv2.connectedComponentsWithStats(
        phantom.lung_mask.astype(np.uint8)
    )
    largest = 1 + np.argsort(stats[1:, cv2.CC_STAT_AREA])[-2:]
    right, left = sorted(largest, key=lambda part: centres[part][0])
    return phantom.lesion_mask[parts == right].sum(), phantom.lesion_mask[parts == left].sum()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_phantoms(tmp_path_factory.mktemp("data") / "set", COUNTS, 3, 1.0, size=64)


@pytest.mark.parametrize("size", [64, 101, 256, 512])
@pytest.mark.parametrize("source", SOURCES)
def test_shapes_and_types(size, source):
    phantom = make_phantom(2, 5, source, size)
    assert phantom.image.shape == (size, size) and phantom.image.dtype == np.uint8
    assert phantom.image.std() > 25  # neither blank nor washed out
    for mask in (phantom.lung_mask, phantom.lesion_mask, phantom.marker_mask):
        assert mask.shape == (size, size) and mask.dtype == bool and mask.any()
    assert (phantom.label, phantom.source) == (2, source)


@pytest.mark.parametrize("label", range(3))
def test_the_same_arguments_give_the_same_bytes(label):
    one, two = make_phantom(label, 7, "B", 128), make_phantom(label, 7, "B", 128)
    for part in ("image", "lung_mask", "lesion_mask", "marker_mask"):
        assert getattr(one, part).tobytes() == getattr(two, part).tobytes()
    assert make_phantom(label, 8, "B", 128).image.tobytes() != one.image.tobytes()


def test_sizes_show_the_same_patient():
    small, large = make_phantom(1, 4, size=128), make_phantom(1, 4, size=512)
    shrunk = cv2.resize(large.lung_mask.astype(np.uint8), (128, 128), interpolation=cv2.INTER_AREA)
    assert overlap(small.lung_mask, shrunk > 0) > 0.9


@pytest.mark.parametrize("seed", SEEDS)
def test_lungs_are_two_darker_than_the_heart_and_inside_the_image(seed):
    phantom = make_phantom(0, seed, "ABC"[seed % 3], 128)
    lungs = phantom.lung_mask
    assert 0.15 < lungs.mean() < 0.5
    assert not (lungs[0].any() or lungs[-1].any() or lungs[:, 0].any() or lungs[:, -1].any())
    right, left = lungs[:, :64].sum(), lungs[:, 64:].sum()
    assert right > left  # the heart takes its room from the patient's left lung
    between = phantom.image[64:90, 60:72]
    assert np.median(phantom.image[lungs]) + 30 < np.median(between)


@pytest.mark.parametrize("seed", SEEDS)
def test_lesions_keep_to_the_lungs_that_their_class_names(seed):
    normal, pneumonia, covid = (make_phantom(k, seed, size=128) for k in range(3))
    assert not normal.lesion_mask.any()
    assert min(lesion_by_side(pneumonia)) == 0 and max(lesion_by_side(pneumonia)) > 60
    assert min(lesion_by_side(covid)) > 20
    for phantom in (pneumonia, covid):
        assert not (phantom.lesion_mask & ~phantom.lung_mask).any()
        assert phantom.lesion_mask.sum() < 0.7 * phantom.lung_mask.sum()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("label", [1, 2])
def test_a_lesion_brightens_its_place_and_changes_little_else(label, seed):
    healthy, ill = make_phantom(0, seed, "C", 128), make_phantom(label, seed, "C", 128)
    assert np.array_equal(healthy.lung_mask, ill.lung_mask)
    assert np.array_equal(healthy.marker_mask, ill.marker_mask)
    change = ill.image.astype(int) - healthy.image.astype(int)
    assert change[ill.lesion_mask].mean() > 4
    near = cv2.dilate(ill.lesion_mask.astype(np.uint8), np.ones((31, 31))) > 0
    assert abs(change[~near]).mean() < 2


def test_consolidation_is_denser_and_ground_glass_more_peripheral():
    def strength_and_reach(label):
        strengths, reaches = [], []
        for seed in range(40):
            healthy, ill = make_phantom(0, seed, size=64), make_phantom(label, seed, size=64)
            change = ill.image.astype(int) - healthy.image.astype(int)
            strengths.append(change[ill.lesion_mask].mean())
            reaches.append(abs(np.nonzero(ill.lesion_mask)[1] - 32).mean())
        return np.mean(strengths), np.mean(reaches)

    (dense, central), (hazy, peripheral) = strength_and_reach(1), strength_and_reach(2)
    assert dense > 1.3 * hazy
    assert peripheral > central + 1


def test_visits_keep_the_patient_but_not_the_pixels():
    def aligned(mask):  # posture and breath apart: cut to the lungs' box
        x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
        return cv2.resize(mask[y : y + height, x : x + width].astype(np.uint8), (96, 96)) > 0

    visits = [
        [make_phantom(1, seed, size=128, visit=visit) for visit in (0, 1)] for seed in range(12)
    ]
    assert all(first.image.tobytes() != again.image.tobytes() for first, again in visits)
    firsts, seconds = (
        [aligned(phantom.lung_mask) for phantom in day] for day in zip(*visits, strict=True)
    )
    shared = np.array([[overlap(one, other) for other in seconds] for one in firsts])
    same = np.eye(len(visits), dtype=bool)
    assert shared[same].mean() > shared[~same].mean() + 0.01
    first, again = visits[9]
    assert np.argmax(lesion_by_side(first)) == np.argmax(lesion_by_side(again))


def test_sources_differ_in_grey_values_border_and_marker():
    a, b, c = (make_phantom(0, 3, source, 128) for source in "ABC")
    assert overlap(a.marker_mask, b.marker_mask) == overlap(b.marker_mask, c.marker_mask) == 0
    lungs = [np.median(phantom.image[phantom.lung_mask]) for phantom in (a, b, c)]
    assert lungs[2] < lungs[0] < lungs[1]
    assert b.image[0].max() == 0 and c.image[0, 0] == 0 and a.image[-1].min() > 0
    for phantom in (a, b, c):
        assert phantom.image[phantom.marker_mask].max() > 180
        assert not (phantom.marker_mask & phantom.lung_mask).any()


def drawn_plainly(label, seed, source, size, visit):
    """Return image and lesion mask by the recipe of the drawing without fluid and devices."""
    streams = [np.random.default_rng([seed, k]) for k in range(3)]
    now, hospital = np.random.default_rng([seed, 3, visit]), SOURCES[source]
    patient, frame = anatomy.Patient.draw(streams[0]), anatomy.Frame.draw(now, size)
    chest = anatomy.draw_chest(patient, frame, now.uniform(-0.07, 0.05), streams[1])
    lesion = anatomy.draw_lesion(label, patient, chest, frame, streams[2])
    lungs = chest.right_lung | chest.left_lung
    attenuation = chest.attenuation + 0.03 * anatomy.smooth_noise(now, 48, size) * lungs
    dark = float(np.median(attenuation[::4, ::4][lungs[::4, ::4]]))
    bright = float(np.percentile(attenuation[::4, ::4], 97))
    ill = attenuation + now.uniform(0.75, 1.2) * lesion.attenuation
    rays = radiographs.expose(ill, hospital, frame, now)
    grey = radiographs.develop(rays, dark, bright, hospital, now)
    grey = radiographs.add_border(grey, hospital.border, now)
    grey = radiographs.add_marker(grey, hospital, now)[0]
    return np.rint(255 * np.clip(grey, 0, 1)).astype(np.uint8), lesion.mask


@pytest.mark.parametrize("size", [64, 101, 256])
@pytest.mark.parametrize("seed", range(6))
def test_without_fluid_and_devices_not_a_byte_is_another(seed, size):
    arguments = seed % 3, seed, "ABC"[seed // 2], size, seed % 2
    phantom = make_phantom(*arguments)
    image, lesion_mask = drawn_plainly(*arguments)
    assert phantom.image.tobytes() == image.tobytes()
    assert phantom.lesion_mask.tobytes() == lesion_mask.tobytes()
    assert not phantom.effusion_mask.any() and not phantom.device_mask.any()


@pytest.mark.parametrize("seed", SEEDS)
def test_fluid_fills_the_angle_of_the_side_asked_for_and_climbs_at_the_wall(seed):
    dry = make_phantom(2, seed, "ABC"[seed % 3], 256)
    right, left, both = (
        make_phantom(2, seed, "ABC"[seed % 3], 256, effusion=where)
        for where in ("right", "left", "both")
    )
    assert np.array_equal(both.effusion_mask, right.effusion_mask | left.effusion_mask)
    assert not (right.effusion_mask & left.effusion_mask).any()
    for wet in (right, left):
        fluid = wet.effusion_mask
        assert np.array_equal(wet.lung_mask, dry.lung_mask)
        assert np.array_equal(wet.marker_mask, dry.marker_mask)
        assert np.array_equal(wet.lesion_mask, dry.lesion_mask & ~fluid)
        assert fluid.sum() > 300 and not (fluid & ~dry.lung_mask).any()
        change = wet.image.astype(int) - dry.image
        assert change[fluid].mean() > 10
        assert abs(change[~(cv2.dilate(fluid.astype(np.uint8), np.ones((61, 61))) > 0)]).mean() < 2
        columns = np.flatnonzero(fluid.sum(axis=0) > 3)
        columns = columns if wet is left else columns[::-1]  # from the heart to the wall
        top = fluid.argmax(axis=0)[columns]
        middle, wall = top[: 2 * len(top) // 3], top[2 * len(top) // 3 :]
        assert wall.min() < middle.max() - 10, "a meniscus"
        lateral = dry.lung_mask & (np.arange(256) == columns[-3])
        assert fluid[np.flatnonzero(lateral.any(axis=1))[-1], columns[-3]], "the blunted angle"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", anatomy.DEVICES)
def test_a_device_is_bright_and_thin_and_known(seed, name):
    plain = make_phantom(1, seed, "ABC"[seed % 3], 256)
    one = make_phantom(1, seed, "ABC"[seed % 3], 256, devices=(name,))
    every = make_phantom(1, seed, "ABC"[seed % 3], 256, devices=anatomy.DEVICES)
    for part in ("lung_mask", "lesion_mask", "marker_mask", "effusion_mask"):
        assert np.array_equal(getattr(one, part), getattr(plain, part))
    assert 0.001 < one.device_mask.mean() < 0.03
    assert (one.device_mask & every.device_mask).sum() > 0.97 * one.device_mask.sum()
    change = one.image.astype(int) - plain.image
    assert change[one.device_mask & ~plain.marker_mask].mean() > 5
    assert (
        abs(change[~(cv2.dilate(one.device_mask.astype(np.uint8), np.ones((9, 9))) > 0)]).mean() < 1
    )
    if name == "tube":
        rows = np.flatnonzero(one.device_mask.any(axis=1))
        walls = one.device_mask[rows[len(rows) // 2]]
        assert np.count_nonzero(np.diff(walls.astype(int)) == 1) == 2, "two parallel edges"


@pytest.mark.parametrize(
    "arguments",
    [dict(effusion="up"), dict(effusion=None), dict(devices=("valve",)), dict(devices="tube")]
    + [dict(label=3), dict(label=-1), dict(source="D"), dict(size=63), dict(size=4096)]
    + [dict(size=99.5), dict(seed=-1)],
)
def test_bad_arguments_are_named(arguments):
    with pytest.raises(ValueError, match=str(next(iter(arguments.values()))) + "|non-negative"):
        make_phantom(**dict(label=0, seed=0) | arguments)


def test_confounding_one_ties_and_zero_frees():
    rng = np.random.default_rng(0)
    tied = {(label, pick_source(label, 1, rng)) for label in range(3) for _ in range(50)}
    assert tied == {(0, "A"), (1, "B"), (2, "C")}
    for label in range(3):
        free = [pick_source(label, 0, rng) for _ in range(1500)]
        assert all(400 < free.count(source) < 600 for source in SOURCES)
    half = [pick_source(2, 0.5, rng) for _ in range(1500)]
    assert 900 < half.count("C") < 1100  # 1/2 + 1/2 * 1/3 of them


@pytest.mark.parametrize("confounding", [-0.1, 1.1, float("nan")])
def test_bad_confounding_is_refused_before_anything_is_written(confounding, tmp_path):
    with pytest.raises(ValueError, match="confounding"):
        pick_source(0, confounding, np.random.default_rng(0))
    with pytest.raises(ValueError, match="confounding"):
        write_phantoms(tmp_path / "set", COUNTS, 0, confounding, 64)
    assert not any(tmp_path.iterdir())


def test_the_folder_holds_what_its_table_says(folder):
    table = pd.read_csv(folder / "metadata.csv", keep_default_na=False)
    named = "filename label patient_id source view mask lesion marker height width"
    assert list(table) == named.split()
    assert [int((table.label == name).sum()) for name in CLASS_NAMES] == list(COUNTS)
    assert table.filename.is_unique
    parts = dict(images="filename", masks="mask", lesions="lesion", markers="marker")
    for part, column in parts.items():
        written = {str(path.relative_to(folder / part)) for path in (folder / part).rglob("*.png")}
        assert written == set(table[column])
    for row in table.itertuples():
        image = cv2.imread(str(folder / "images" / row.filename), cv2.IMREAD_UNCHANGED)
        assert image.shape == (row.height, row.width) == (64, 64) and image.dtype == np.uint8
        mask = cv2.imread(str(folder / "masks" / row.mask), cv2.IMREAD_UNCHANGED)
        assert set(np.unique(mask)) == {0, 255}
        lesion = cv2.imread(str(folder / "lesions" / row.lesion), cv2.IMREAD_UNCHANGED)
        assert lesion.any() == (row.label != "normal")


def test_patients_have_one_class_one_source_and_some_have_several_images(folder):
    table = pd.read_csv(folder / "metadata.csv")
    by_patient = table.groupby("patient_id")
    assert len(table[["patient_id", "label", "source"]].drop_duplicates()) == len(by_patient)
    assert by_patient.size().max() in (2, 3)
    assert set(zip(table.label, table.source, strict=True)) == set(
        zip(CLASS_NAMES, SOURCES, strict=True)
    )


def test_within_a_class_the_source_says_nothing_about_the_anatomy(tmp_path):
    whole = write_phantoms(tmp_path / "set", (150, 0, 0), 1, 0.5, size=64)
    table = pd.read_csv(whole / "metadata.csv").drop_duplicates("patient_id")
    names = table["mask"]
    masks = [cv2.imread(str(whole / "masks" / name), cv2.IMREAD_UNCHANGED) for name in names]
    boxes = pd.DataFrame([cv2.boundingRect(mask) for mask in masks], columns=["x", "y", "w", "h"])
    own = (table.source == "A").to_numpy()
    assert 25 < own.sum() < len(own) - 25
    gap = (boxes[own].mean() - boxes[~own].mean()) / boxes.std()
    assert gap.abs().max() < 0.5


def test_the_same_settings_write_the_same_bytes(folder, tmp_path):
    again = write_phantoms(tmp_path / "again", COUNTS, 3, 1.0, size=64)
    files = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    assert len(files) == 4 * sum(COUNTS) + 2
    for file in files:
        assert (folder / file).read_bytes() == (again / file).read_bytes(), file


def test_a_whole_folder_is_used_again(folder, monkeypatch):
    monkeypatch.setattr(radiographs, "make_phantom", None)  # drawing anything would fail
    assert write_phantoms(folder, COUNTS, 3, 1.0, size=64) == folder


def test_a_folder_with_something_else_is_left_alone(folder, tmp_path):
    with pytest.raises(FileExistsError, match="name another folder"):
        write_phantoms(folder, COUNTS, 4, 1.0, size=64)
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="no phantoms.json"):
        write_phantoms(tmp_path, COUNTS, 3, 1.0, size=64)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    drawn = []

    def interrupted(*arguments):
        drawn.append(arguments)
        if len(drawn) == 4:
            raise KeyboardInterrupt
        return make_phantom(*arguments)

    monkeypatch.setattr(radiographs, "make_phantom", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_phantoms(tmp_path / "set", COUNTS, 3, 1.0, size=64)
    assert len(drawn) == 4 and not any(tmp_path.iterdir())
    monkeypatch.undo()
    assert (write_phantoms(tmp_path / "set", COUNTS, 3, 1.0, size=64) / "metadata.csv").is_file()


@pytest.mark.parametrize("counts", [(1, 2), (0, 0, 0), (1, -1, 1)])
def test_bad_counts_are_refused(counts, tmp_path):
    with pytest.raises(ValueError, match="counts"):
        write_phantoms(tmp_path / "set", counts, 0, 0.0, 64)
