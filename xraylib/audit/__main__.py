"""Audit a folder of radiographs: `python -m xraylib.audit FOLDER`.

The folder holds images, class folders of images, or `metadata.csv`. Names every unreadable file and
every copy, and tells what gives the class away without a lung.
"""

import argparse
import os
import sys
from collections import Counter
from pathlib import Path

import pandas as pd

from xraylib import report
from xraylib.audit.checks import TEXTS, checks_table, inspect_images, verdict
from xraylib.images import SUFFIXES

OTHER_FORMATS = (".gif", ".bmp", ".tif", ".tiff", ".webp", ".jp2", ".j2k", ".jfif", ".dicom")


def read_folder(folder) -> tuple[pd.DataFrame, Counter]:
    """List the images of a folder without opening them.

    Args:
        folder: a folder with `metadata.csv` (columns filename, relative to `images/` or the folder,
            and any of label, patient_id, source, view, split, height, width); or of class folders,
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
    findings = inspect_images(manifest)
    for row in findings.unreadable.itertuples():
        print(f"unreadable: {printable(row.path)}: {row.error}")
    for row in findings.pairs.itertuples():
        bits = f" ({row.distance} of 256 bits differ)" if row.kind == "near" else ""
        print(f"{row.kind} duplicates: {printable(row.first)} and {printable(row.second)}{bits}")
    for ending, count in left_out.items():
        print(f"left out: {count} files with {printable(ending)}")
    table = checks_table(findings)
    print(f"\n{len(manifest)} images\n{table.round(3).to_string(index=False, na_rep='')}\n")
    print(verdict(table))
    if options.keep:
        command = f"python -m xraylib.audit {Path(options.folder).name} --keep {options.keep}"
        data = Path(options.folder).resolve().name
        report.save_table(table.assign(seed=0, data=data), "real", options.keep, command)
    return int(len(findings.unreadable) + len(findings.pairs) > 0)


if __name__ == "__main__":
    sys.exit(main())
