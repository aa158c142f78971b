"""Lung masks for a folder of radiographs: `python -m xraylib.segment FOLDER OUT`.

Writes for every image, also in folders below, a mask of the same stem under `OUT`, 0 and 255, in
the image's own size; where two images of a folder have one stem, their masks keep the whole name,
`a.jpg.png`. One CSV row per image goes to standard output: file, lung_share, flag, error; how many
files were left out, to standard error. The U-Net comes with the package; no data set is needed.
"""

import argparse
import csv
import sys
from collections import Counter
from pathlib import Path

from xraylib import files, images, lungs
from xraylib.images import ImageError
from xraylib.images.reading import MASK_FOLDERS, NO_IMAGE, say_left_out

COLUMNS = ("file", "lung_share", "flag", "error")


def name_masks(folder, out) -> tuple[dict[Path, Path], Counter]:
    """Return where the mask of each image of a folder will be written, and what is left out.

    Raises:
        FileNotFoundError, NotADirectoryError: no such folder, it is a file, or holds no image.
        ValueError: two images would write the same mask, or the masks be taken for images.
    """
    folder, out = Path(folder), Path(out)
    listed = images.find_images(folder)
    found = listed.images
    if not found:
        raise FileNotFoundError(f"{folder}: {NO_IMAGE}")
    if out.resolve() == folder.resolve():
        raise ValueError(f"{out}: masks would replace the images; name another folder")
    if out.resolve().is_relative_to(folder.resolve()) and out.name not in MASK_FOLDERS:
        raise ValueError(f"{out}: masks would be taken for images; name a folder outside {folder}")
    stems = Counter(image.with_suffix("") for image in found)
    masks = {}
    for image in found:
        inside = image.relative_to(folder)
        whole_name = stems[image.with_suffix("")] > 1
        name = f"{inside.name if whole_name else inside.stem}.png"
        masks[image] = out / inside.with_name(name)
    doubled = [name for name, count in Counter(masks.values()).items() if count > 1]
    if doubled:
        raise ValueError(f"{doubled[0]}: two images would write this mask; rename one of them")
    return masks, listed.unused()


def segment_file(model, file: Path, name: str, target: Path) -> dict:
    """Write the mask of one file and return its row; a bad file's row says what is wrong."""
    try:
        image = images.read_radiograph(file)
        mask = lungs.segment_images(model, [image])[0]
        target.parent.mkdir(parents=True, exist_ok=True)
        lungs.write_mask(target, mask)
    except (ImageError, OSError) as error:
        return {"file": name, "lung_share": "", "flag": "", "error": str(error)}
    share = float(mask.mean())
    flags = [flag for flag in (lungs.flag_share(share), images.flag_image(image)) if flag]
    return {"file": name, "lung_share": f"{share:.4f}", "flag": ", ".join(flags), "error": ""}


def main(arguments=None) -> int:
    """Run the command; returns 0, 1 if a file could not be read, 2 if nothing could be done."""
    parser = argparse.ArgumentParser(prog="python -m xraylib.segment", description=__doc__)
    parser.add_argument("folder", type=Path, help="with PNG, JPEG or DICOM radiographs")
    parser.add_argument("out", type=Path, help="for the masks; made if missing")
    parser.add_argument(
        "--weights", default="real", help="real (comes with the package), or the folder of a run"
    )
    parser.add_argument(
        "--heart",
        default="drawn",
        help='"in": the lungs go on behind the heart, "out": they stop at it, "drawn": as in '
        "the drawn masks of films that look alike",
    )
    options = parser.parse_args(arguments)
    try:
        masks, left_out = name_masks(options.folder, options.out)
        options.out.mkdir(parents=True, exist_ok=True)
        model = lungs.load_unet(options.weights, options.heart)
    except (OSError, ValueError) as error:
        print(f"error: {files.as_utf8(error)}", file=sys.stderr)
        return 2
    print(say_left_out(left_out), file=sys.stderr)
    writer = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
    writer.writeheader()
    failed = 0
    for file, target in masks.items():
        name = file.relative_to(options.folder).as_posix()
        row = segment_file(model, file, name, target)
        writer.writerow({column: files.as_utf8(text) for column, text in row.items()})
        failed += bool(row["error"])
    return int(failed > 0)


if __name__ == "__main__":
    files.run_command(main)
