"""What experts drew and wrote about radiographs and people, and what that tells without an image.

Lungs, lesions, devices, boxes; age, sex and view; labels that radiologists settled.

None of these sets comes with the package. Each is a folder below `config.home("data")`; the page on
data says where it comes from, what it may be used for, and how its tables are made. A set that is
not there is left out, or an error says what to place where. `python -m xraylib.sources.experts`
makes the tables of the NIH's images from a published package; the other sets are placed by hand.
"""

import gzip
import io
import sys
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.preprocessing import OneHotEncoder, SplineTransformer

from xraylib import data, files, images, network
from xraylib.config import CLASS_NAMES, home
from xraylib.metrics import bootstrap_mean, dice, wilson_interval
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
ALONE = {  # what a "classifier" is told instead of the image
    "view": ["view"],
    "age": ["age"],
    "sex": ["sex"],
    "view, age and sex": ["view", "age", "sex"],
}
AGE_GROUPS = {
    "under 18": (0, 18),
    "18 to 39": (18, 40),
    "40 to 59": (40, 60),
    "60 and over": (60, 121),
}
FINDINGS = ["opacity", "nodule", "pneumothorax", "fracture"]  # that radiologists settled
FOLDS = 5


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

    The published tables lie in a wheel that pip fetches and checks against its SHA-256.

    Returns:
        the folder with the tables.

    Raises:
        OSError: the wheel cannot be had; with what pip said.
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
        one row per image: path, patient_id, label, and for each of `MARKS` a column
        `<mark>_path`, "" where nothing of the kind was marked.

    Raises:
        FileNotFoundError: the set is missing.
    """
    table, place = read_set_table("radiologists", "covid_masks.csv"), home("data") / "radiologists"
    marks = pd.DataFrame({"path": [str(place / "images" / name) for name in table.filename]})
    marks[["patient_id", "label"]] = table[["patient_id", "label"]]
    for mark in MARKS:
        names = table[mark]
        marks[f"{mark}_path"] = [str(place / "masks" / name) if name else "" for name in names]
    return marks


def nih_boxes(finding: str = "Pneumonia") -> pd.DataFrame:
    """Return the boxes that radiologists drew around a finding in the NIH's images.

    Returns:
        one row per box: filename (below `darkcovidnet`'s images), patient_id, and x, y, w, h, in
        pixels of the original of `NIH_SIDE` x `NIH_SIDE`. Wang et al., "ChestX-ray8", CVPR (2017).

    Raises:
        FileNotFoundError: the set is missing.
    """
    table = read_set_table("radiologists", "nih_boxes.csv")
    table = table[table.finding == finding].drop(columns="finding").reset_index(drop=True)
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
    copies, wholes = read_set_table("darkcovidnet", "metadata.csv"), _published()
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


def _published() -> pd.DataFrame:
    """Return the radiologists' whole images by filename: path and the original's size."""
    table = read_set_table("radiologists", "covid_masks.csv").set_index("filename")
    place = home("data") / "radiologists" / "images"
    return table.assign(path=[str(place / name) for name in table.index])


def annotators_agree() -> pd.DataFrame:
    """Return how far the v7labs annotators and the radiologists agree on the same whole images.

    Returns:
        filename, patient_id, dice: of every image that both have drawn, the mask drawn on it.

    Raises:
        FileNotFoundError: a set is missing.
    """
    copies, wholes = read_set_table("darkcovidnet", "metadata.csv"), _published()
    both = copies[copies["mask"].isin(fitting_masks()) & copies.filename.isin(wholes.index)]
    place, masks = home("data"), {}
    for row in both.itertuples():
        masks[row.filename] = images.read_mask(place / "darkcovidnet" / "masks" / row.mask)
    won = won_back_masks()
    masks |= dict(zip(won.filename, won.whole_mask, strict=True)) if len(won) else {}
    for name in won.filename[won.reason != ""]:
        masks.pop(name)
    rows = []
    for name, mask in sorted(masks.items()):
        drawn = images.read_mask(place / "radiologists" / "masks" / wholes.lungs[name])
        rows.append((name, wholes.patient_id[name], dice(fit_mask(mask, drawn.shape), drawn)))
    return pd.DataFrame(rows, columns=["filename", "patient_id", "dice"])


def known_people() -> pd.DataFrame:
    """Return every image of `darkcovidnet` whose patient's age, sex and view are known.

    Returns:
        filename, patient_id, label, age (years), sex (F or M), view (AP or PA; supine counts as
        AP), age_group. The NIH's 1,000 images come from its own table, the COVID-19 images from the
        metadata of Cohen's collection.

    Raises:
        FileNotFoundError: a table is missing.
    """
    columns = ["filename", "patient_id", "label", "age", "sex", "view"]
    people = pd.concat([nih_people()[columns], _covid_people()[columns]])
    people = people.assign(view=people.view.str[:2])
    known = people.age.notna() & people.sex.isin(["F", "M"]) & people["view"].isin(["AP", "PA"])
    people = people[known].reset_index(drop=True)
    group = np.select([people.age < high for _, high in AGE_GROUPS.values()], list(AGE_GROUPS), "")
    return people.assign(age_group=group)


def _covid_people() -> pd.DataFrame:
    copies = read_set_table("darkcovidnet", "metadata.csv")
    copies = copies[copies.label == "COVID-19"]
    told = read_set_table("covid-chestxray-dataset", "metadata.csv")
    told = told.assign(stem=told.filename.str.rsplit(".", n=1).str[0]).drop_duplicates("stem")
    told = told.set_index("stem")[["age", "sex"]]
    stems = copies.filename.str.extract(r"/(.+)\.png$", expand=False)
    people = copies.assign(age=stems.map(told.age), sex=stems.map(told.sex))
    return people.assign(age=pd.to_numeric(people.age, errors="coerce"))


def told_alone(people: pd.DataFrame, columns: list[str], seed: int = 0) -> np.ndarray:
    """Return whether the class is guessed right from age, sex or view alone, in folds by patient.

    A logistic regression; age goes in as a cubic spline, sex and view as they are.

    Args:
        people: a table with label, patient_id and the columns.
        columns: some of view, age, sex.
        seed: seeds the folds.

    Returns:
        bool (N,).
    """
    parts = [
        SplineTransformer(5) if column == "age" else OneHotEncoder(handle_unknown="ignore")
        for column in columns
    ]
    right = np.zeros(len(people), bool)
    labels = people.label.to_numpy()
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed % 2**32)
    for train, test in folds.split(people, labels, people.patient_id):
        seen, asked = [], []
        for column, part in zip(columns, parts, strict=True):
            values = people[[column]].to_numpy()
            encoded = part.fit_transform(values[train]), part.transform(values[test])
            seen.append(_dense(encoded[0]))
            asked.append(_dense(encoded[1]))
        model = LogisticRegression(max_iter=1000)
        model.fit(np.hstack(seen), labels[train])
        right[test] = model.predict(np.hstack(asked)) == labels[test]
    return right


def _dense(matrix) -> np.ndarray:
    return matrix.toarray() if hasattr(matrix, "toarray") else matrix


def told_table(people: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Say what age, sex and view alone tell, for two classes and for three.

    Args:
        people: what `known_people` returns.
        seed: seeds folds and intervals.

    Returns:
        classes, group (what is told), value (share of images guessed right), low, high (95 %,
        patients drawn again), n, patients; and most_common, the share of the most frequent class:
        what a guess reaches that is told nothing.
    """
    two, rows = people[people.label != "COVID-19"].reset_index(drop=True), []
    for part, (name, columns) in product((two, people), ALONE.items()):
        rows.append(_row(part, name, told_alone(part, columns, seed), seed))
    return pd.DataFrame(rows)


def groups_table(people: pd.DataFrame, predictions: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Say how often a network is right within each group of people.

    Args:
        people: what `known_people` returns.
        predictions: of a network in folds by patient: filename, label and prediction, class ids.
        seed: seeds the intervals.

    Returns:
        the columns of `told_table`; group is a view, a sex or an age.
    """
    seen = people.merge(predictions, on="filename", suffixes=("", "_id"), validate="1:1")
    right = (seen.label_id == seen.prediction).to_numpy()
    rows = []
    for column in ("view", "sex", "age_group"):
        for group in sorted(seen[column].unique()):
            inside = (seen[column] == group).to_numpy()
            name = {"F": "women", "M": "men"}.get(group, group)
            rows.append(_row(seen[inside], name, right[inside], seed))
    return pd.DataFrame(rows)


def _row(part: pd.DataFrame, group: str, right, seed: int) -> dict:
    mean = bootstrap_mean(right.astype(float), part.patient_id, seed=seed)
    classes = " / ".join(name for name in CLASS_NAMES if name in set(part.label))
    row = {"classes": classes, "group": group, "value": mean.value}
    row |= {"low": mean.low, "high": mean.high, "n": mean.n}
    row["patients"] = part.patient_id.nunique()
    return row | {"most_common": part.label.value_counts(normalize=True).iloc[0]}


def labels_table(seed: int = 0) -> pd.DataFrame:
    """Hold labels mined from reports against opacity as radiologists settled it.

    Opacity is not quite pneumonia: a tumour or an effusion is opaque too, so a film of a "normal"
    may show it, and pneumonia without any opacity on the film is rare but not impossible.

    Returns:
        group, value (share of images), low, high (95 %: Wilson's interval, and for `best possible`
        patients drawn again), n, patients. `best possible` is the accuracy of a reader who names
        every opacity pneumonia, and makes no mistake, judged by the labels.
    """
    table = nih_adjudicated()
    sick, healthy = table[table.label == "pneumonia"], table[table.label == "normal"]
    rows = []
    for name, part, hits in (
        ("pneumonia, opacity denied", sick, ~sick.opacity),
        ("normal, opacity found", healthy, healthy.opacity),
    ):
        low, high = wilson_interval(int(hits.sum()), len(part))
        rows.append((name, hits.mean(), low, high, len(part), part.patient_id.nunique()))
    agree = ((table.label == "pneumonia") == table.opacity).astype(float)
    mean = bootstrap_mean(agree, table.patient_id, seed=seed)
    n_patients = table.patient_id.nunique()
    rows.append(("best possible", mean.value, mean.low, mean.high, len(table), n_patients))
    return pd.DataFrame(rows, columns=["group", "value", "low", "high", "n", "patients"])


def main() -> None:
    """Make the tables of the NIH's images; end with 1 and the reason where that fails."""
    try:
        folder = make_nih_tables()
    except OSError as error:
        sys.exit(str(error))
    print(f"{folder}: nih_people.csv, nih_boxes.csv, nih_adjudicated.csv")


if __name__ == "__main__":
    main()
