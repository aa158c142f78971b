"""Lung masks for a folder of radiographs: `python -m xraylib.segment FOLDER OUT`.

Writes `OUT/<same stem>.png`, 0 and 255, in the image's own size, and one CSV row an image on
standard output: file, lung_share, flag, error.
"""

import argparse
import csv
import sys
from collections import defaultdict
from pathlib import Path

from xraylib.config import PROFILES
from xraylib.images import SUFFIXES, ImageError, read_grey
from xraylib.lungs import flag_share, load_unet, segment_images, train_profile_unet, write_mask
from xraylib.network import WeightsError

COLUMNS = ("file", "lung_share", "flag", "error")


def find_images(folder) -> list[Path]:
    """Return the image files of a folder, sorted by name.

    Raises:
        FileNotFoundError: it is no folder, or holds no image.
        ValueError: two images would write the same mask; names them.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    files = sorted(f for f in folder.iterdir() if not f.is_dir() and f.suffix.lower() in SUFFIXES)
    if not files:
        raise FileNotFoundError(f"{folder}: no file that ends in {', '.join(SUFFIXES)}")
    by_stem = defaultdict(list)
    for file in files:
        by_stem[file.stem].append(file.name)
    doubled = [" and ".join(names) for names in by_stem.values() if len(names) > 1]
    if doubled:
        raise ValueError(
            f"{folder}: {'; '.join(doubled)} would write the same mask; rename one of them"
        )
    return files


def segment_file(model, file: Path, out: Path) -> dict:
    """Write the mask of one file and return its row; a bad file's row says what is wrong."""
    try:
        mask = segment_images(model, [read_grey(file)])[0]
        write_mask(out / f"{file.stem}.png", mask)
    except (ImageError, OSError) as error:
        return {"file": file.name, "lung_share": "", "flag": "", "error": str(error)}
    share = float(mask.mean())
    return {"file": file.name, "lung_share": f"{share:.4f}", "flag": flag_share(share), "error": ""}


def _printable(text: str) -> str:
    """Return text without the bytes of file names that are no UTF-8; they stand as \\udcff."""
    return text.encode("utf8", "backslashreplace").decode("utf8")


def main(arguments=None) -> int:
    """Run the command; returns 0, 1 if a file could not be read, 2 if nothing could be done."""
    parser = argparse.ArgumentParser(prog="python -m xraylib.segment", description=__doc__)
    parser.add_argument("folder", type=Path, help="with PNG, JPEG or DICOM radiographs")
    parser.add_argument("out", type=Path, help="for the masks; made if missing")
    parser.add_argument("--profile", choices=PROFILES, default="real", help="whose U-Net")
    options = parser.parse_args(arguments)
    try:
        files = find_images(options.folder)
        if options.out.resolve() == options.folder.resolve():
            raise ValueError(f"{options.out}: masks would replace the images; name another folder")
        options.out.mkdir(parents=True, exist_ok=True)
        model = load_unet(train_profile_unet(options.profile))
    except (OSError, ValueError, WeightsError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    writer = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
    writer.writeheader()
    failed = 0
    for file in files:
        row = segment_file(model, file, options.out)
        writer.writerow({name: _printable(text) for name, text in row.items()})
        failed += bool(row["error"])
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
