"""Manifests: pandas tables with one row per image, read from a folder and checked."""

import csv
import io
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from xraylib import files, images
from xraylib.config import CLASS_NAMES

COLUMNS = ("path", "label", "patient_id", "source", "view", "mask_path", "split")
FILE_COLUMNS = ("path", "mask_path", "lesion_path", "marker_path")
# The published lung masks of `darkcovidnet`: sizes of each mask and of the radiograph beside it.
V7LABS_MASKS = Path(__file__).with_name("v7labs_masks.csv")
SETS = {  # what folders call the sets of a split
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
ENCODINGS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
SHOWN = 5  # rows at fault that an error of `check_columns` names


class ManifestError(ValueError):
    """A manifest breaks its contract; the message lists the rows at fault."""


def load_manifest(folder, class_names=CLASS_NAMES) -> pd.DataFrame:
    """Read the manifest of a data set that lies on the disk; nothing is fetched or drawn.

    Args:
        folder: a folder with `images/` and `metadata.csv`, or with a folder of images for each
            class, see `from_class_folders`.
        class_names: the labels that there may be; None for any.

    Returns:
        a table with the columns `path, label, patient_id, source, view, mask_path, split` and,
        for phantoms, `lesion_path, marker_path`; paths absolute, missing text "".

    Raises:
        FileNotFoundError: there is no such folder; says what fetches a data set.
        NotADirectoryError: it is a file.
        ManifestError: the data are there but wrong.
    """
    folder = Path(folder)
    if not folder.exists():
        raise FileNotFoundError(
            f"no data set at {folder}: place a folder with images/ and metadata.csv there, set "
            "XRAYLIB_HOME to the folder whose data/ holds it, or call sources.provide, which "
            "draws, fetches or puts together what it can (see the page on data)"
        )
    if (files.check_folder(folder) / "metadata.csv").is_file():
        return from_metadata(folder, class_names)
    return from_class_folders(folder, class_names)


def from_metadata(folder, class_names=CLASS_NAMES) -> pd.DataFrame:
    """Read a folder with `images/`, `masks/` and a `metadata.csv`.

    Args:
        folder: `metadata.csv` has at least the columns filename, label and patient_id;
            filename is relative to `images/`, mask (and lesion, marker) to `masks/`
            (`lesions/`, `markers/`). A column split names train, val or test, or is empty.
        class_names: as in `load_manifest`.
    """
    folder = Path(folder).absolute()
    table = read_table(folder / "metadata.csv", ("filename", "label", "patient_id"))
    lacking = {"source", "view", "mask", "split"} - set(table)
    table = table.assign(**dict.fromkeys(lacking, ""))
    manifest = pd.DataFrame({"path": [str(folder / "images" / name) for name in table.filename]})
    for column in ("label", "patient_id", "source", "view"):
        manifest[column] = table[column]
    for column in ("mask", "lesion", "marker"):
        if column in table:
            places = [str(folder / f"{column}s" / name) if name else "" for name in table[column]]
            manifest[f"{column}_path"] = places
    manifest["split"] = [SETS.get(name.lower(), name) for name in table.split]
    strange = sorted(set(manifest.split) - {"", *SETS.values()})
    if strange:
        raise ManifestError(
            f"{folder / 'metadata.csv'}: split {', '.join(strange)}; write train, val or test, or "
            "leave the column out"
        )
    return check_manifest(manifest, folder, class_names)


def from_class_folders(folder, class_names=CLASS_NAMES) -> pd.DataFrame:
    """Read a folder of class folders; every image counts as a patient of its own.

    Args:
        folder: has a folder for each class that it holds, see `read_folder` for the layouts.
        class_names: as in `load_manifest`; the folders are called so.
    """
    folder = Path(folder).absolute()
    manifest, _ = read_folder(folder)
    known = sorted(set(manifest.label)) if class_names is None else class_names
    strange = set(manifest.label) - set(known)
    called = ", ".join(known) or "by its class"
    if "" in manifest.label.tolist() or manifest.empty:
        raise ManifestError(
            f"{folder}: no images in folders called {called}; found images in none: sort them so"
        )
    if strange:
        raise ManifestError(
            f"{folder}: images in {', '.join(sorted(strange))}; a folder of images is called "
            f"{called}; for classes of your own give class_names=None"
        )
    return check_manifest(manifest, folder, class_names)


def read_folder(folder) -> tuple[pd.DataFrame, Counter]:
    """List the images of a folder of any usual layout, without opening them.

    The layouts: `metadata.csv` (its columns are taken, filename relative to `images/` or the
    folder); class folders, `CLASS/*`; class folders in sets, `{train,val,test}/CLASS/*`; class
    folders with masks, `CLASS/{images,masks}/*`; images alone. Masks are matched by name.

    Returns:
        a manifest whose attrs["layout"] says which layout was taken, and how many files of which
        kind were left out.

    Raises:
        FileNotFoundError, NotADirectoryError: no such folder, or it is a file.
        ManifestError: metadata.csv has no column filename, or names files outside the folder.
    """
    folder = files.check_folder(folder)
    if (folder / "metadata.csv").is_file():
        return _from_any_table(folder), Counter()
    found = images.find_images(folder)
    rows = [_row(path, folder) for path in found.images]
    manifest = pd.DataFrame(rows, columns=COLUMNS)
    stems = Counter(Path(name).with_suffix("") for name in manifest.path)
    doubled = [stems[Path(name).with_suffix("")] > 1 for name in manifest.path]
    ends = np.where(doubled, [Path(name).suffix for name in manifest.path], "")
    manifest["patient_id"] += ends.astype(object)  # two files of one stem are two patients
    sets = ", in sets" if (manifest.split != "").any() else ""
    masks = ", with masks" if (manifest.mask_path != "").any() else ""
    labels = [name for name in manifest.label.unique() if name]
    layout = f"class folders ({', '.join(labels)}){sets}{masks}" if labels else "images alone"
    manifest.attrs["layout"] = layout
    return manifest, found.unused()


def _row(path: Path, folder: Path) -> tuple:
    """Return the manifest's row of an image that its folders describe."""
    parts = path.relative_to(folder).parts[:-1]
    mask = ""
    if len(parts) > 1 and parts[-1].lower() == "images":
        masks = path.parent.with_name("masks")
        mask = next(
            (str(masks / n) for n in (path.name, f"{path.stem}.png") if (masks / n).is_file()), ""
        )
        parts = parts[:-1]
    place = next((k for k, part in enumerate(parts) if part.lower() in SETS), None)
    split = "" if place is None else SETS[parts[place].lower()]
    outside = parts if place is None else parts[place + 1 :] or parts[:place]
    label = outside[0] if outside else ""
    patient = "/".join((*parts, path.stem))
    return str(path), label, patient, "", "", mask, split


def _from_any_table(folder: Path) -> pd.DataFrame:
    table = read_table(folder / "metadata.csv", ("filename",))
    outside = [n for n in table.filename if Path(n).is_absolute() or ".." in Path(n).parts]
    if outside:
        names = ", ".join(map(files.printable, outside))
        raise ManifestError(
            f"{folder / 'metadata.csv'}: outside the folder: {names}; copy these files into it"
        )
    base = folder / "images" if (folder / "images").is_dir() else folder
    manifest = table[[name for name in COLUMNS if name in table]]
    sides = {c: pd.to_numeric(table[c], "coerce") for c in ("height", "width") if c in table}
    manifest = manifest.assign(path=[str(base / name) for name in table.filename], **sides)
    manifest.attrs["layout"] = "metadata.csv"
    return manifest


def read_table(path, needed=()) -> pd.DataFrame:
    """Read a table of text as spreadsheets write it; missing text is "".

    Commas, semicolons or tabs, with or without spaces after them; UTF-8, UTF-16, or the code page
    1252 of western Windows.

    Args:
        needed: columns that must be there.

    Raises:
        ManifestError: empty, not text, rows of unequal length, or a column is missing; says what
            was found.
    """
    content = Path(path).read_bytes()
    encoding = next((e for mark, e in ENCODINGS.items() if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        text = content.decode("cp1252", "replace")
    try:
        rows = _rows(text)
    except csv.Error as error:
        raise ManifestError(f"{path}: no table ({error}); save it as CSV") from None
    if "\0" in text or not rows:
        raise ManifestError(f"{path}: {'no text' if text.strip() else 'empty'}; save it as CSV")
    columns = [name.strip() for name in rows[0]]
    twice = [name for name in columns if columns.count(name) > 1]
    if twice:
        raise ManifestError(f"{path}: two columns called {twice[0]!r}: rename one of them")
    uneven = [k for k, row in enumerate(rows, start=1) if len(row) != len(columns)]
    if uneven:
        raise ManifestError(
            f"{path}: row {uneven[0]} has {len(rows[uneven[0] - 1])} fields and the header "
            f"{len(columns)}: put fields that hold the separator in quotes"
        )
    missing = [name for name in needed if name not in columns]
    if missing:
        found = ", ".join(columns)
        raise ManifestError(
            f"{path}: no column {', '.join(missing)}; found {found}: rename or add it"
        )
    table = pd.DataFrame(rows[1:], columns=columns, dtype=object)
    return table.apply(lambda column: column.str.strip())


def _rows(text: str) -> list[list[str]]:
    """Return the rows of a table that are not blank; the first one tells the separator."""
    first = text.lstrip().partition("\n")[0]
    separator = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
    return [row for row in reader if any(field.strip() for field in row)]


def check_manifest(manifest: pd.DataFrame, folder: Path, class_names=CLASS_NAMES) -> pd.DataFrame:
    """Check the contract of a manifest and return it, missing text as "".

    Args:
        folder: if given, every file must lie below it.
        class_names: the labels that there may be; None for any.

    Raises:
        ManifestError: one error that lists every missing column, unknown label, doubled path,
            missing file and file outside the folder.
    """
    manifest = check_columns(manifest, filled=("path", "label"), text=COLUMNS)
    faults = [] if len(manifest) else ["no images"]
    faults += [
        f"{path}: unknown label {label!r}"
        for path, label in zip(manifest.path, manifest.label, strict=True)
        if class_names is not None and label not in class_names
    ]
    faults += [f"{path}: listed twice" for path in manifest.path[manifest.path.duplicated()]]
    paths = [p for c in FILE_COLUMNS if c in manifest for p in manifest[c] if p]
    faults += [f"{path}: no such file" for path in paths if not Path(path).is_file()]
    # normalised but not resolved: a data folder may itself be made of links
    faults += [
        f"{path}: outside {folder}"
        for path in paths
        if ".." in Path(path).parts or not Path(path).is_relative_to(folder)
    ]
    if faults:
        raise ManifestError(f"{len(faults)} faults in the manifest:\n" + "\n".join(faults))
    return manifest


def check_columns(manifest: pd.DataFrame, filled=(), text=()) -> pd.DataFrame:
    """Check what a function needs of a table of one's own; the door of split, folds and counts.

    Args:
        filled: columns that every row must have a value in.
        text: columns that may be missing in rows.

    Returns:
        a copy whose columns of these names hold values of one kind, missing ones ("", NaN, None)
        as "", categories as what they stand for.

    Raises:
        ManifestError: a column is missing or there twice, a value is missing, or text and numbers
            are mixed; names the rows.
    """
    columns = list(dict.fromkeys([*filled, *text]))
    absent = [name for name in columns if name not in manifest]
    if absent:
        found = ", ".join(map(str, manifest.columns))
        raise ManifestError(f"no column {', '.join(absent)}; found {found}: rename or add it")
    if not manifest.columns.is_unique:
        twice = ", ".join(map(str, manifest.columns[manifest.columns.duplicated()]))
        raise ManifestError(f"two columns called {twice}: rename one of them")
    clean = {}
    for name in columns:
        values = manifest[name].astype(object)
        values = values.where(values.notna() & (values != ""), "")
        lacking = (values == "").to_numpy()
        if name in filled and lacking.any():
            row = int(np.argmax(lacking))
            first = manifest.path.iloc[row] if "path" in manifest else f"row {row}"
            other = "split by image" if name == "patient_id" else "leave these rows out"
            raise ManifestError(
                f"{lacking.sum()} images have no {name} (first: {first}); fill the column, "
                f"or {other}"
            )
        is_text = values.map(lambda value: isinstance(value, str)) & ~lacking
        if is_text.any() and not (is_text | lacking).all():
            numbers = values.index[~(is_text | lacking)][:SHOWN].tolist()
            raise ManifestError(
                f"column {name} mixes text and numbers (numbers in the rows {numbers}, ...): "
                "make it all text"
            )
        clean[name] = values
    return manifest.assign(**clean)


def class_names_of(manifest: pd.DataFrame) -> tuple:
    """Return the classes of a manifest in order: the report's three where there are no others."""
    labels = set(check_columns(manifest, ("label",)).label)
    return CLASS_NAMES if labels <= set(CLASS_NAMES) else tuple(sorted(labels))


def label_ids(manifest: pd.DataFrame, class_names=CLASS_NAMES) -> np.ndarray:
    """Return the labels as int64 ids (N,) into `class_names`.

    Raises:
        ManifestError: a label is missing, or is none of them.
    """
    labels = check_columns(manifest, ("label",)).label
    strange = sorted(set(labels) - set(class_names), key=str)
    if strange:
        said = ", ".join(f"{name!r} ({(labels == name).sum()} rows)" for name in strange)
        known = ", ".join(map(str, class_names))
        raise ManifestError(f"unknown label {said}: correct it, or give class_names; now {known}")
    return labels.map(list(class_names).index).to_numpy(np.int64)
