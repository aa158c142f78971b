"""What a set of radiographs hides: unreadable files, copies, leaks, and clues outside the lungs.

`python -m xraylib.audit FOLDER` audits a folder of images, of class folders, or with metadata.csv.
"""

import argparse
import os
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from xraylib import duplicates, results, splitting
from xraylib.clues import score_clues
from xraylib.images import SUFFIXES

OTHER_FORMATS = (".gif", ".bmp", ".tif", ".tiff", ".webp", ".jp2", ".j2k", ".jfif", ".dicom")
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
        images: the manifest with the columns of `duplicates.describe`.
        unreadable: its rows with an error.
        pairs: a row a pair of copies: kind (exact or near), distance in bits, first and second
            (paths), and for each of `SIDES` whether the two differ in it.
        patients: as `splitting.shared_patients`.
        clues: as `clues.score_clues`.
    """

    images: pd.DataFrame
    unreadable: pd.DataFrame
    pairs: pd.DataFrame
    patients: pd.DataFrame
    clues: pd.DataFrame


def inspect(manifest: pd.DataFrame, seed: int = 0) -> Findings:
    """Decode every image of a manifest and look for faults of the set.

    Args:
        manifest: a row an image: path, and where known label, patient_id, source, view, split
            (missing text "") and height and width of the original in pixels.
        seed: of the folds that judge the clues.

    Returns:
        what was found; nothing raises for a bad file.
    """
    manifest = manifest.reset_index(drop=True)
    manifest = manifest.assign(**{name: "" for name in TEXTS if name not in manifest})
    described = duplicates.describe(list(manifest.path))
    images = manifest.join(described.drop(columns=[c for c in described if c in manifest]))
    readable = images[images.error == ""]
    return Findings(
        images,
        images[images.error != ""],
        _pairs(images),
        splitting.shared_patients(manifest),
        score_clues(readable[readable.label != ""], seed),
    )


def audit(manifest: pd.DataFrame, seed: int = 0) -> tuple[pd.DataFrame, str]:
    """Audit a manifest in one call.

    Args:
        manifest: as `inspect` takes it.
        seed: of the folds that judge the clues.

    Returns:
        the table of `summarise`, and its faults in one sentence.
    """
    table = summarise(inspect(manifest, seed))
    return table, verdict(table)


def summarise(findings: Findings) -> pd.DataFrame:
    """Return findings as a table.

    Returns:
        a row a check: check; found, a count or an accuracy; low and high, the accuracy's 95 %
        interval; expected, 0 or the accuracy of always naming the commonest class; fault, whether
        more was found than that. A check that the manifest has no column for is left out.
    """
    rows = [("unreadable files", len(findings.unreadable))]
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
    """Return the faults of a table of `summarise` in one sentence."""
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


def _pairs(images: pd.DataFrame) -> pd.DataFrame:
    exact = duplicates.exact_pairs(images.pixels).assign(kind="exact", distance=0)
    once = images.phash.where(~images.pixels.duplicated())
    pairs = pd.concat([exact, duplicates.near_pairs(once).assign(kind="near")], ignore_index=True)
    first, second = (images.iloc[pairs[place]] for place in ("first", "second"))
    for name, column in SIDES.items():
        one, other = first[column].to_numpy(), second[column].to_numpy()
        pairs[name] = (one != other) & (one != "") & (other != "")
    return pairs.assign(first=first.path.to_numpy(), second=second.path.to_numpy())


def read_folder(folder) -> tuple[pd.DataFrame, Counter]:
    """List the images of a folder without opening them.

    Args:
        folder: with `metadata.csv` (columns filename, relative to `images/` or the folder, and
            any of label, patient_id, source, view, split, height, width); or of class folders,
            whose names become the labels; or of images.

    Returns:
        a manifest for `inspect`, and the number of files left out by their ending: those that
        do not end like an image.

    Raises:
        FileNotFoundError: no such folder, or no image in it.
        ValueError: metadata.csv has no column filename, or names files outside the folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    if (folder / "metadata.csv").is_file():
        manifest, left_out = _from_metadata(folder), Counter()
    else:
        manifest, left_out = _from_files(folder)
    if manifest.empty:
        raise FileNotFoundError(f"{folder}: no file that ends in {', '.join(SUFFIXES)}")
    return manifest, left_out


def _from_metadata(folder: Path) -> pd.DataFrame:
    table = pd.read_csv(folder / "metadata.csv", dtype=str, keep_default_na=False)
    if "filename" not in table:
        raise ValueError(f"{folder / 'metadata.csv'}: no column filename")
    outside = [n for n in table.filename if Path(n).is_absolute() or ".." in Path(n).parts]
    if outside:
        names = ", ".join(map(printable, outside))
        raise ValueError(f"{folder / 'metadata.csv'}: outside the folder: {names}")
    base = folder / "images" if (folder / "images").is_dir() else folder
    manifest = table[[name for name in TEXTS if name in table]]
    sides = {c: pd.to_numeric(table[c], "coerce") for c in ("height", "width") if c in table}
    return manifest.assign(path=[str(base / name) for name in table.filename], **sides)


def _from_files(folder: Path) -> tuple[pd.DataFrame, Counter]:
    rows, left_out = [], Counter()
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(place, name)
            if path.suffix.lower() not in SUFFIXES + OTHER_FORMATS:
                left_out[path.suffix.lower() or "no ending"] += 1
                continue
            inside = path.relative_to(folder).parts
            rows.append((str(path), inside[0] if len(inside) > 1 else ""))
    return pd.DataFrame(rows, columns=["path", "label"]), left_out


def printable(name) -> str:
    """Return a file name on one line: with quotes and escapes where it needs them."""
    return str(name) if str(name).isprintable() else repr(str(name))


def main(arguments=None) -> int:
    """Run the command; returns 1 if a file is unreadable or a copy, 2 if nothing could be done."""
    parser = argparse.ArgumentParser(prog="python -m xraylib.audit", description=__doc__)
    parser.add_argument("folder", help="with images, class folders of images, or metadata.csv")
    parser.add_argument("--keep", metavar="NAME", help="save the table among the book's results")
    options = parser.parse_args(arguments)
    try:
        manifest, left_out = read_folder(options.folder)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    findings = inspect(manifest)
    for row in findings.unreadable.itertuples():
        print(f"unreadable: {printable(row.path)}: {row.error}")
    for row in findings.pairs.itertuples():
        bits = f" ({row.distance} of 256 bits differ)" if row.kind == "near" else ""
        print(f"{row.kind} duplicates: {printable(row.first)} and {printable(row.second)}{bits}")
    for ending, count in left_out.items():
        print(f"left out: {count} files with {printable(ending)}")
    table = summarise(findings)
    print(f"\n{len(manifest)} images\n{table.round(3).to_string(index=False, na_rep='')}\n")
    print(verdict(table))
    if options.keep:
        command = f"python -m xraylib.audit {Path(options.folder).name} --keep {options.keep}"
        data = Path(options.folder).resolve().name
        results.save(table.assign(seed=0, data=data), "real", options.keep, command)
    return int(len(findings.unreadable) + len(findings.pairs) > 0)


if __name__ == "__main__":
    sys.exit(main())
