"""Audit a folder of radiographs: `python -m xraylib.audit FOLDER`.

The folder may have any of the layouts that `data.read_folder` knows; the command says which it
took. It names every unreadable or doubtful file, every copy and every leak, and tells what gives
the class away without a lung.
"""

import argparse
import sys
from pathlib import Path

from xraylib import files, report
from xraylib.audit.checks import checks_table, inspect_images, verdict
from xraylib.data import read_folder
from xraylib.files import printable
from xraylib.images.reading import NO_IMAGE


def main(arguments=None) -> int:
    """Run the command; returns 1 if a file is unreadable or a copy, 2 if nothing could be done."""
    parser = argparse.ArgumentParser(prog="python -m xraylib.audit", description=__doc__)
    parser.add_argument("folder", help="with images, class folders of images, or metadata.csv")
    parser.add_argument("--keep", metavar="NAME", help="save the table among the book's results")
    options = parser.parse_args(arguments)
    try:
        manifest, left_out = read_folder(options.folder)
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
    for kind, count in left_out.items():
        print(f"left out: {count} files {printable(kind)}")
    table = checks_table(findings)
    print(f"\n{len(manifest)} images\n{table.round(3).to_string(index=False, na_rep='')}\n")
    print(verdict(table))
    if options.keep:
        command = f"python -m xraylib.audit {Path(options.folder).name} --keep {options.keep}"
        data = Path(options.folder).resolve().name
        report.save_table(table.assign(seed=0, data=data), "real", options.keep, command)
    return int(len(findings.unreadable) + len(findings.pairs) > 0)


if __name__ == "__main__":
    files.run_command(main)
