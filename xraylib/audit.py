"""What a set of radiographs hides: `python -m xraylib.audit FOLDER`.

The folder may have any of the layouts that `data.read_folder` knows; the command says which it
took. It names every unreadable or doubtful file, every copy and every leak, and tells what gives
the class away without a lung. Exact copies have the same pixels, near ones similar perceptual
hashes. Clues are what a classifier that never looks at a lung could score: the class predicted
from view, source, size or frame.
"""

import argparse
import hashlib
import sys
from pathlib import Path
from typing import NamedTuple

import imagehash
import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from PIL import Image
from scipy.stats.contingency import association
from sklearn.compose import make_column_transformer
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeClassifier
from tqdm.auto import tqdm

from xraylib import data, files, report
from xraylib.files import printable
from xraylib.images import ImageError, flag_image, read_radiograph
from xraylib.images.reading import NO_IMAGE, say_left_out
from xraylib.metrics import bootstrap_mean

HASH_SIDE = 16  # 256 bits: with the usual 64, chests of strangers are as close as copies are
NEAR = 32  # of the 256 bits; see `near_pairs`
BLOCK = 512  # rows compared at once, so that memory stays small
EDGE = 0.03  # of a side: the frame of an image, where no lung reaches
DESCRIBED = ("flag", "pixels", "phash", "height", "width", "frame_level", "frame_spread", "margin")


def describe_images(paths) -> pd.DataFrame:
    """Decode images, some of which may be damaged, and keep of each what the audits compare.

    Returns one row per image: error ("" or why it cannot be read; an image of one grey value counts
    as unreadable, for it shows nothing and is nobody's copy); flag, what makes it doubtful, see
    `images.flag_image`; pixels, the SHA-256 of the decoded grey values; phash, 256 bits as bytes;
    height and width in pixels; frame_level and frame_spread, mean and standard deviation of the
    outermost 3 %; margin, the share of the rows and columns, counted from outside, that hold one
    grey value only.
    """
    descriptions = Parallel(-1, prefer="threads", return_as="generator")(
        delayed(_describe_file)(path) for path in paths
    )
    rows = list(tqdm(descriptions, total=len(paths), desc="decode", unit=" images"))
    return pd.DataFrame(rows, columns=["error", *DESCRIBED])


def _describe_file(path) -> dict:
    try:
        return {"error": "", **describe_image(read_radiograph(path))}
    except ImageError as error:
        return {"error": error.reason, "flag": ""}


def describe_image(image: np.ndarray) -> dict:
    """Return what `describe_images` keeps of one image, uint8 (H, W)."""
    height, width = image.shape
    content = f"{height}x{width}:".encode() + image.tobytes()
    bits = imagehash.phash(Image.fromarray(image), HASH_SIDE).hash
    frame = _frame(image)
    values = (
        flag_image(image),
        hashlib.sha256(content).hexdigest(),
        np.packbits(bits).tobytes(),
        height,
        width,
        float(frame.mean()),
        float(frame.std()),
        _margin(image),
    )
    return dict(zip(DESCRIBED, values, strict=True))


def _frame(image: np.ndarray) -> np.ndarray:
    inside = np.zeros(image.shape, bool)
    y, x = (max(1, round(EDGE * side)) for side in image.shape)
    inside[y:-y, x:-x] = True
    return image[~inside]


def _margin(image: np.ndarray) -> float:
    """Return the share of rows and columns, counted from the four sides, of one grey value."""
    plain = 0
    for turned in (image, image.T):
        same = turned.min(axis=1) == turned.max(axis=1)
        if same.all():
            return 1.0
        plain += int(np.argmin(same)) + int(np.argmin(same[::-1]))
    return plain / sum(image.shape)


def exact_pairs(pixels) -> pd.DataFrame:
    """List the pairs of images whose decoded pixels are the same, as places: first and second.

    `pixels` is the SHA-256 of each image's pixels (N,); missing for unreadable ones. Of k copies
    the first is paired with each of the others: k - 1 pairs.
    """
    seen, pairs = {}, []
    for place, digest in enumerate(pixels):
        if isinstance(digest, str):
            first = seen.setdefault(digest, place)
            if first != place:
                pairs.append((first, place))
    return pd.DataFrame(pairs, columns=["first", "second"], dtype=int)


def near_pairs(hashes, distance: int = NEAR) -> pd.DataFrame:
    """List the pairs of images whose perceptual hashes differ in few bits.

    The hashes are 256 bits as bytes for each image (N,); missing for unreadable ones. Returns
    first, second (places in `hashes`, first < second) and distance in bits, sorted by it.

    The bound of 32 bits was set on 1,689 radiographs of three sources. Copies at half the size,
    saved as JPEG of quality 40, or with another gamma or contrast differ in up to 30 bits; the
    nearest radiographs of two patients differ in 44. Copies with letters burnt in or with 2 % of
    the margin cut off differ in 34 and 42 as a rule: such ones are missed, and so are mirrored
    ones. Zauner, "Implementation and benchmarking of perceptual image hash functions" (2010).
    """
    known = [place for place, bits in enumerate(hashes) if isinstance(bits, bytes)]
    if not known:
        return pd.DataFrame({"first": [], "second": [], "distance": []}, dtype=int)
    words = np.stack([np.frombuffer(hashes[place], np.uint64) for place in known])
    pairs = []
    for start in range(0, len(words), BLOCK):
        block, rest = words[start : start + BLOCK], words[start:]
        apart = np.zeros((len(block), len(rest)), np.uint16)
        for word in range(words.shape[1]):
            apart += np.bitwise_count(block[:, word, None] ^ rest[None, :, word])
        first, second = np.nonzero(np.triu(apart <= distance, 1))
        pairs.append(np.stack([first + start, second + start, apart[first, second]], 1))
    first, second, apart = np.concatenate(pairs).T
    places = np.array(known)
    table = pd.DataFrame({"first": places[first], "second": places[second], "distance": apart})
    return table.sort_values(["distance", "first", "second"], ignore_index=True).astype(int)


CLUES = {  # by their name in tables: the columns that tell
    "view": ("view",),
    "source": ("source",),
    "size": ("height", "width"),
    "border": ("frame_level", "frame_spread", "margin"),
}
FOLDS = 5
SMALLEST_LEAF = 10  # images: a rule that holds for fewer is not worth telling


def by_class(images: pd.DataFrame, column: str) -> pd.DataFrame:
    """Count images by class and by one of the columns in `CLUES`: a row per class.

    The images are one row each, with label and that column, which becomes one column per value;
    numbers are cut at their quartiles.
    """
    values = images[column]
    if pd.api.types.is_numeric_dtype(values):
        quarters = pd.qcut(values, 4, duplicates="drop")
        table = pd.crosstab(images.label, quarters)
        return table.set_axis([f"{q.left:.0f} to {q.right:.0f}" for q in table.columns], axis=1)
    return pd.crosstab(images.label, values.replace("", "unknown"))


def score_clues(images: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Tell the class from each clue alone, and from all of them, with no pixel of a lung.

    A decision tree is trained on four fifths of the patients and judged on the others, in turn. The
    images are one row each with label, patient_id, view, source, and what `describe_images`
    measures; clues whose columns are missing or the same for all images are left out.

    Returns one row per clue: clue; cramers_v, 0 to 1, how closely a text goes with the class (NaN
    for numbers); accuracy with low and high, its 95 % interval over patients; majority, the
    accuracy of always naming the commonest class. Empty when there are not two classes with two
    patients each.
    """
    patients = _patient_or_image(images)
    groups = patients.groupby(images.label).nunique()
    columns = ["clue", "cramers_v", "accuracy", "low", "high", "majority"]
    if len(groups) < 2 or groups.min() < 2:
        return pd.DataFrame(columns=columns)
    clues = {
        name: [c for c in wanted if c in images and len(images[c].unique()) > 1]
        for name, wanted in CLUES.items()
    }
    clues = {name: told_by for name, told_by in clues.items() if told_by}
    if len(clues) > 1:
        clues["all of them"] = sum(clues.values(), [])
    majority = images.label.value_counts(normalize=True).max()
    rows = []
    for name, told_by in clues.items():
        right = _tell_in_folds(images[told_by], images.label, patients, seed)
        mean = bootstrap_mean(right, patients, seed=seed)
        text = told_by == [name]  # view or source
        v = association(pd.crosstab(images.label, images[name])) if text else np.nan
        rows.append((name, v, mean.value, mean.low, mean.high, majority))
    return pd.DataFrame(rows, columns=columns)


def _patient_or_image(images: pd.DataFrame) -> pd.Series:
    """Return the patient of each image; one of whom nobody knows counts as a patient alone."""
    alone = "image " + images.index.astype(str)
    return images.patient_id.where(images.patient_id != "", alone)


def _tell_in_folds(clue: pd.DataFrame, labels, patients, seed: int) -> np.ndarray:
    """Return whether each image was told right by the tree that had not seen its patient."""
    text = [c for c in clue if not pd.api.types.is_numeric_dtype(clue[c])]
    tree = make_pipeline(
        make_column_transformer(
            (OneHotEncoder(handle_unknown="ignore", sparse_output=False), text),
            remainder="passthrough",
        ),
        DecisionTreeClassifier(min_samples_leaf=SMALLEST_LEAF, random_state=seed),
    )
    folds = min(FOLDS, int(patients.groupby(labels).nunique().min()))
    cutter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    return cross_val_predict(tree, clue, labels, groups=patients, cv=cutter) == labels.to_numpy()


TEXTS = ("label", "patient_id", "source", "view", "split")
SIDES = {  # of a pair: the column in which the two differ, by what that means
    "across sources": "source",
    "across the split": "split",
    "of two patients": "patient_id",
    "in two classes": "label",
}


class Findings(NamedTuple):
    """All that an audit found out.

    Attributes:
        images: the manifest with the columns of `describe_images`.
        unreadable: its rows with an error.
        pairs: one row per pair of copies: kind (exact or near), distance in bits, first and second
            (paths), and for each of `SIDES` whether the two differ in it.
        patients: as `data.shared_patients`.
        clues: as `audit.score_clues`.
    """

    images: pd.DataFrame
    unreadable: pd.DataFrame
    pairs: pd.DataFrame
    patients: pd.DataFrame
    clues: pd.DataFrame


def inspect_images(manifest: pd.DataFrame, seed: int = 0) -> Findings:
    """Decode every image of a manifest and look for faults of the set.

    The manifest has one row per image: path, and where known label, patient_id, source, view, split
    (missing text "") and height and width of the original in pixels.
    """
    manifest = manifest.reset_index(drop=True)
    manifest = manifest.assign(**{name: "" for name in TEXTS if name not in manifest})
    manifest = data.check_columns(manifest, filled=("path",), text=TEXTS)
    described = describe_images(list(manifest.path))
    images = manifest.join(described.drop(columns=[c for c in described if c in manifest]))
    readable = images[images.error == ""]
    return Findings(
        images,
        images[images.error != ""],
        _pairs_of_copies(images),
        data.shared_patients(manifest),
        score_clues(readable[readable.label != ""], seed),
    )


def checks_table(findings: Findings) -> pd.DataFrame:
    """Return findings as a table, one row per check.

    Its columns: check; found, a count or an accuracy; low and high, the accuracy's 95 % interval;
    expected, 0 or the accuracy of always naming the commonest class; fault, whether more was found
    than that. A check that the manifest has no column for is left out.
    """
    rows = [("unreadable files", len(findings.unreadable))]
    if (findings.images.flag != "").any():
        rows.append(("doubtful files", int((findings.images.flag != "").sum())))
    if (findings.images.split != "").any():
        rows.append(("patients on more than one side of the split", len(findings.patients)))
    sides = [name for name, column in SIDES.items() if len(set(findings.images[column])) > 1]
    for kind in ("exact", "near"):
        pairs = findings.pairs[findings.pairs.kind == kind]
        rows.append((f"{kind} duplicates", len(pairs)))
        rows += [(f"{kind} duplicates {name}", int(pairs[name].sum())) for name in sides]
    table = pd.DataFrame(rows, columns=["check", "found"])
    table = table.assign(low=float("nan"), high=float("nan"), expected=0, fault=table.found > 0)
    clues = findings.clues.assign(check="class told by " + findings.clues.clue)
    clues["fault"] = clues.low > clues.majority
    clues = clues.rename(columns={"accuracy": "found", "majority": "expected"})[table.columns]
    return pd.concat([table, clues], ignore_index=True) if len(clues) else table


def verdict(table: pd.DataFrame) -> str:
    """Return the faults of a table of `checks_table` in one sentence."""
    faults = table[table.fault]
    if faults.empty:
        return "No fault found."
    said = [
        f"{row.check}: {row.found:.0f}"
        if row.expected == 0
        else f"{row.check}: {row.found:.1%} right (always the commonest class: {row.expected:.1%})"
        for row in faults.itertuples()
    ]
    return f"{len(said)} of {len(table)} checks found something. " + "; ".join(said) + "."


def _pairs_of_copies(images: pd.DataFrame) -> pd.DataFrame:
    exact = exact_pairs(images.pixels).assign(kind="exact", distance=0)
    once = images.phash.where(~images.pixels.duplicated())
    pairs = pd.concat([exact, near_pairs(once).assign(kind="near")], ignore_index=True)
    first, second = (images.iloc[pairs[place]] for place in ("first", "second"))
    for name, column in SIDES.items():
        one, other = first[column].to_numpy(), second[column].to_numpy()
        pairs[name] = (one != other) & (one != "") & (other != "")
    return pairs.assign(first=first.path.to_numpy(), second=second.path.to_numpy())


def main(arguments=None) -> int:
    """Run the command; returns 1 if a file is unreadable or a copy, 2 if nothing could be done."""
    parser = argparse.ArgumentParser(prog="python -m xraylib.audit", description=__doc__)
    parser.add_argument("folder", help="with images, class folders of images, or metadata.csv")
    parser.add_argument("--keep", metavar="NAME", help="save the table among the book's results")
    options = parser.parse_args(arguments)
    try:
        manifest, left_out = data.read_folder(options.folder)
        if manifest.empty:
            raise FileNotFoundError(f"{options.folder}: {NO_IMAGE}")
    except (OSError, ValueError) as error:
        print(f"error: {files.as_utf8(error)}", file=sys.stderr)
        return 2
    print(f"layout: {printable(manifest.attrs['layout'])}")
    findings = inspect_images(manifest)
    for row in findings.unreadable.itertuples():
        print(f"unreadable: {printable(row.path)}: {row.error}")
    for row in findings.images[findings.images.flag != ""].itertuples():
        print(f"doubtful: {printable(row.path)}: {row.flag}")
    pairs = findings.pairs
    for row, leaks in zip(pairs.itertuples(), pairs["across the split"], strict=True):
        bits = f" ({row.distance} of 256 bits differ)" if row.kind == "near" else ""
        leak = ", a leak between two sets" if leaks else ""
        pair = f"{printable(row.first)} and {printable(row.second)}"
        print(f"{row.kind} duplicates{leak}: {pair}{bits}")
    print(say_left_out(left_out))
    table = checks_table(findings)
    print(f"\n{len(manifest)} images\n{table.round(3).to_string(index=False, na_rep='')}\n")
    print(verdict(table))
    if options.keep:
        command = f"python -m xraylib.audit {Path(options.folder).name} --keep {options.keep}"
        named = Path(options.folder).resolve().name
        report.save_table(table.assign(seed=0, data=named), "real", options.keep, command)
    return int(len(findings.unreadable) + len(findings.pairs) > 0)


if __name__ == "__main__":
    files.run_command(main)
