"""What experts drew and wrote about radiographs: lungs, lesions, devices, boxes, people, labels.

None of these sets comes with the package. Each is a folder below `config.home("data")`; the page on
data says where it comes from, what it may be used for, and how its tables are made. A set that is
not there is left out, or an error says what to place where. `python -m xraylib.sources.experts`
makes the tables of the NIH's images from a published package; the other sets are placed by hand.
"""

import gzip
import io
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from xraylib import data, files, images, network
from xraylib.config import home
from xraylib.sources.arrivals import fit_mask, write_png
from xraylib.sources.provide import REGISTRY, WHEEL, WHEEL_SHA256, read_registry, small_name

NIH_SIDE = 1024  # pixels of the NIH's images, in which its boxes are given
# hospital -> folder, table, column of the mask, folder of the masks, whether lungs go on behind
# the heart, and whether the masks may teach weights that others use for what they like
LUNG_SETS = {
    "v7labs": ("darkcovidnet", "metadata.csv", "mask", "in", True),
    "radiologists": ("radiologists", "covid_masks.csv", "lungs", "in", True),
    "montgomery": ("montgomery", "metadata.csv", "mask", "out", True),
    "shenzhen": ("shenzhen", "metadata.csv", "mask", "out", False),  # CC BY-NC-SA: judges only
}
MARKS = ("lungs", "lesion", "device")
SIMILAR = 0.9  # correlation of a cut with its copy, from which on the two count as one image
SCALES = np.linspace(0.6, 1.0, 41)  # of a whole image's side that a copy may have kept
FINDINGS = ["opacity", "nodule", "pneumothorax", "fracture"]  # that radiologists settled


def read_set_table(folder: str, name: str) -> pd.DataFrame:
    """Read a table of a set in `config.home("data")`, all as text, missing text "".

    Raises:
        FileNotFoundError: it is not there; says where it belongs.
    """
    path = home("data") / folder / name
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: not there. Place the set as the page on data says, or set XRAYLIB_HOME to "
            "the folder whose data/ holds it"
        )
    return data.read_table(path)


def make_nih_tables() -> Path:
    """Make `nih_people.csv`, `nih_boxes.csv` and `nih_adjudicated.csv` for `darkcovidnet`'s images.

    The published tables lie in a wheel that pip fetches and checks against its SHA-256; an
    `OSError` says what pip said. Returns the folder with the tables.
    """
    names = [small_name(name) for name in read_registry(REGISTRY)]
    by_file = {Path(name).name: name for name in names if not name.startswith("COVID-19")}

    def published(table: str, columns: dict[str, str]) -> pd.DataFrame:
        """Read a table of the wheel: the rows of our images, the columns under our names."""
        content = network.read_wheel_member(WHEEL, WHEEL_SHA256, f"torchxrayvision/data/{table}")
        rows = pd.read_csv(io.BytesIO(gzip.decompress(content)))
        rows = rows[rows["Image Index"].isin(by_file)].rename(columns=columns)
        return rows.assign(filename=rows["Image Index"].map(by_file))

    ours = {"Patient Age": "age", "Patient Gender": "sex", "View Position": "view"}
    ours["Finding Labels"] = "findings"
    people = published("Data_Entry_2017_v2020.csv.gz", ours)

    ours = {"Finding Label": "finding", "Bbox [x": "x", "h]": "h"}
    boxes = published("BBox_List_2017.csv.gz", ours)
    boxes["patient_id"] = "nih-" + boxes["Image Index"].str.split("_").str[0]

    ours = {"Airspace opacity": "opacity", "Nodule or mass": "nodule"}
    ours |= {"Pneumothorax": "pneumothorax", "Fracture": "fracture"}
    settled = published("google2019_nih-chest-xray-labels.csv.gz", ours)

    folder = home("data") / "radiologists"
    folder.mkdir(parents=True, exist_ok=True)
    for name, table, columns in (
        ("nih_people.csv", people, ["filename", "age", "sex", "view", "findings"]),
        ("nih_boxes.csv", boxes, ["filename", "patient_id", "finding", *"xywh"]),
        ("nih_adjudicated.csv", settled, ["filename", *FINDINGS]),
    ):
        files.write_text(folder / name, table[columns].to_csv(index=False))
    return folder


def lung_pairs(hospitals=tuple(LUNG_SETS), won_back: bool = True) -> pd.DataFrame:
    """Return pairs of radiograph and drawn lungs of several hospitals, those that fit each other.

    Args:
        hospitals: some of `LUNG_SETS`.
        won_back: whether to add the v7labs masks that `won_back_masks` has cut to their copies.

    Returns:
        one row per pair: path, mask_path, patient_id, label, source (the hospital), heart ("in"
        where the lungs are drawn on behind the heart, "out" where they stop at it). Of the v7labs
        masks those that fit `darkcovidnet`'s copy of the image, and those that were won back,
        which are written to `config.home("masks", "won_back")`.

    Raises:
        FileNotFoundError: a set is missing.
    """
    parts = []
    for hospital in hospitals:
        folder, name, column, heart, _ = LUNG_SETS[hospital]
        table = read_set_table(folder, name)
        table = table[table[column] != ""]
        place = home("data") / folder
        if hospital == "v7labs":
            if won_back:
                parts.append(_won_back_pairs(place, heart))
            table = table[table[column].isin(fitting_masks())]
        part = {
            "path": [str(place / "images" / file) for file in table.filename],
            "mask_path": [str(place / "masks" / file) for file in table[column]],
            "patient_id": table.patient_id,
            "label": table.label,
        }
        parts.append(pd.DataFrame(part).assign(source=hospital, heart=heart))
    return pd.concat(parts, ignore_index=True)


def _won_back_pairs(place: Path, heart: str) -> pd.DataFrame:
    """Write the masks that were won back; none where the published images are not at hand."""
    columns = ["path", "mask_path", "patient_id", "label", "source", "heart"]
    if not (home("data") / "radiologists").is_dir():
        return pd.DataFrame(columns=columns)
    won = won_back_masks()
    rows = []
    for row in won[won.reason == ""].itertuples():
        target = home("masks", "won_back") / Path(row.filename).name
        write_png(row.mask.astype(np.uint8) * 255, target)
        path = str(place / "images" / row.filename)
        rows.append((path, str(target), row.patient_id, "COVID-19", "v7labs", heart))
    return pd.DataFrame(rows, columns=columns)


def fitting_masks() -> set[str]:
    """Return the v7labs masks that have the size of `darkcovidnet`'s copy of their image."""
    sizes = pd.read_csv(data.V7LABS_MASKS)
    same = (sizes.image_height == sizes.mask_height) & (sizes.image_width == sizes.mask_width)
    return set(sizes["mask"][same])


def covid_marks() -> pd.DataFrame:
    """Return the COVID-19 images that radiologists marked, whole as they were published.

    Returns:
        one row per image: filename, path, patient_id, label, height and width in pixels, and for
        each of `MARKS` a column `<mark>_path`, "" where nothing of the kind was marked.

    Raises:
        FileNotFoundError: the set is missing.
    """
    table, place = read_set_table("radiologists", "covid_masks.csv"), home("data") / "radiologists"
    table["path"] = [str(place / "images" / name) for name in table.filename]
    for mark in MARKS:
        names = table.pop(mark)
        table[f"{mark}_path"] = [str(place / "masks" / name) if name else "" for name in names]
    return table


def nih_boxes() -> pd.DataFrame:
    """Return the boxes that radiologists drew around pneumonia in the NIH's images.

    Returns:
        one row per box: filename (below `darkcovidnet`'s images), patient_id, and x, y, w, h, in
        pixels of the original of `NIH_SIDE` x `NIH_SIDE`. Wang et al., "ChestX-ray8", CVPR (2017).

    Raises:
        FileNotFoundError: the set is missing.
    """
    table = read_set_table("radiologists", "nih_boxes.csv")
    table = table[table.finding == "Pneumonia"].drop(columns="finding").reset_index(drop=True)
    return table.astype(dict.fromkeys("xywh", float))


def box_mask(boxes: pd.DataFrame, side: int) -> np.ndarray:
    """Draw the boxes of one image, bool (side, side): a pixel counts if its centre is inside."""
    mask, centres = np.zeros((side, side), bool), (np.arange(side) + 0.5) * NIH_SIDE / side
    for box in boxes.itertuples():
        rows = (centres >= box.y) & (centres <= box.y + box.h)
        columns = (centres >= box.x) & (centres <= box.x + box.w)
        mask |= rows[:, None] & columns
    return mask


def nih_people() -> pd.DataFrame:
    """Return who lies in the 1,000 NIH images: filename, patient_id, label, age, sex, view.

    Ages are years; those above 120 in the NIH's table are slips, and NaN here.

    Raises:
        FileNotFoundError: the set is missing.
    """
    table = read_set_table("radiologists", "nih_people.csv")
    table["label"] = table.filename.str.split("/").str[0]
    numbers = table.filename.str.extract(r"/(\d+)_", expand=False)
    table["patient_id"] = "nih-" + numbers
    ages = pd.to_numeric(table.age, errors="coerce")
    return table.assign(age=ages.where(ages <= 120))


def nih_adjudicated() -> pd.DataFrame:
    """Return the NIH images whose findings radiologists settled among themselves.

    Returns:
        filename, label (mined from the report), patient_id, and opacity, nodule, pneumothorax,
        fracture, bool. Majkowska et al., "Chest radiograph interpretation", Radiology 294 (2020).

    Raises:
        FileNotFoundError: the set is missing.
    """
    table = read_set_table("radiologists", "nih_adjudicated.csv")
    table[FINDINGS] = table[FINDINGS] == "YES"
    table["label"] = table.filename.str.split("/").str[0]
    return table.assign(patient_id="nih-" + table.filename.str.extract(r"/(\d+)_", expand=False))


def find_cut(whole: np.ndarray, copy: np.ndarray) -> tuple[slice, slice] | None:
    """Find the part of a whole image that a cropped and shrunk copy shows.

    The copy is shrunk to each size that it may have had and slid over the whole image (template
    matching by correlation); its proportions stay as they are.

    Args:
        whole: uint8 (H, W), the image as it was published.
        copy: uint8 (h, w).

    Returns:
        rows and columns of the whole image; None where the best place correlates with the copy by
        less than `SIMILAR`, so that they are not the same image for certain.
    """
    best, place = -1.0, None
    for scale in SCALES:
        factor = scale * min(whole.shape[0] / copy.shape[0], whole.shape[1] / copy.shape[1])
        height, width = (max(8, round(side * factor)) for side in copy.shape)
        small = cv2.resize(copy, (width, height), interpolation=cv2.INTER_AREA)
        found = cv2.matchTemplate(whole, small, cv2.TM_CCOEFF_NORMED)
        _, value, _, (left, top) = cv2.minMaxLoc(found)
        if value > best:
            best, place = value, (slice(top, top + height), slice(left, left + width))
    return place if best >= SIMILAR else None


def won_back_masks() -> pd.DataFrame:
    """Find where v7labs masks belong that do not have the size of `darkcovidnet`'s copy.

    They were drawn on the image as it was published, of which the copy is a cut. Where the
    radiologists' set holds the published image, the cut can be found, and the mask be cut alike.

    Returns:
        one row per such mask whose published image is at hand: filename, patient_id, whole_path,
        whole_mask bool (H, W), cut (see `find_cut`), mask bool (h, w) for the copy, and reason:
        why the mask cannot be used, or "".

    Raises:
        FileNotFoundError: a set is missing.
    """
    copies = read_set_table("darkcovidnet", "metadata.csv")
    wholes = covid_marks().set_index("filename")  # the names are those of the copies
    copies = copies[(copies["mask"] != "") & ~copies["mask"].isin(fitting_masks())]
    sizes = pd.read_csv(data.V7LABS_MASKS).set_index("mask")
    place, rows = home("data") / "darkcovidnet", []
    for copy in copies[copies.filename.isin(wholes.index)].itertuples():
        whole = images.read_grey(wholes.path[copy.filename])
        grey = images.read_grey(place / "images" / copy.filename)
        mask = images.read_mask(place / "masks" / copy.mask)
        whole_mask, cut = fit_mask(mask, whole.shape), find_cut(whole, grey)
        drawn = sizes.loc[copy.mask, ["mask_height", "mask_width"]].tolist()
        published = wholes.loc[copy.filename, ["height", "width"]].astype(int).tolist()
        reason = "" if cut else "the copy is not found in the published image"
        reason = reason if drawn == published else "drawn on an image of yet another size"
        moved = fit_mask(whole_mask[cut], grey.shape) if cut else whole_mask
        path = wholes.path[copy.filename]
        row = (copy.filename, copy.patient_id, path, whole_mask, cut, moved, reason)
        rows.append(row)
    columns = ["filename", "patient_id", "whole_path", "whole_mask", "cut", "mask", "reason"]
    return pd.DataFrame(rows, columns=columns)


def main() -> None:
    """Make the tables of the NIH's images; end with 1 and the reason where that fails."""
    try:
        folder = make_nih_tables()
    except OSError as error:
        sys.exit(str(error))
    print(f"{folder}: nih_people.csv, nih_boxes.csv, nih_adjudicated.csv")


if __name__ == "__main__":
    main()
