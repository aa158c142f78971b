"""Manifests: pandas tables with one row per image, read from a folder and checked."""

from pathlib import Path

import numpy as np
import pandas as pd

from xraylib.config import CLASS_NAMES
from xraylib.images import SUFFIXES

COLUMNS = ("path", "label", "patient_id", "source", "view", "mask_path", "split")
FILE_COLUMNS = ("path", "mask_path", "lesion_path", "marker_path")
# The published lung masks of `darkcovidnet`: sizes of each mask and of the radiograph beside it.
V7LABS_MASKS = Path(__file__).with_name("v7labs_masks.csv")


class ManifestError(ValueError):
    """A manifest breaks its contract; the message lists every row at fault."""


def load_manifest(folder) -> pd.DataFrame:
    """Read the manifest of a data set that lies on the disk; nothing is fetched or drawn.

    Args:
        folder: a folder with `images/` and `metadata.csv`, or with a folder of images for each
            class.

    Returns:
        a table with the columns `path, label, patient_id, source, view, mask_path, split` and,
        for phantoms, `lesion_path, marker_path`; paths absolute, missing text "".

    Raises:
        FileNotFoundError: there is no such folder; says what fetches a data set.
        ManifestError: the data are there but wrong.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"no data set at {folder}: place a folder with images/ and metadata.csv there, set "
            "XRAYLIB_HOME to the folder whose data/ holds it, or call sources.provide, which "
            "draws, fetches or puts together what it can (see the page on data)"
        )
    if (folder / "metadata.csv").is_file():
        return from_metadata(folder)
    return from_class_folders(folder)


def from_metadata(folder) -> pd.DataFrame:
    """Read a folder with `images/`, `masks/` and a `metadata.csv`.

    Args:
        folder: `metadata.csv` has at least the columns filename, label and patient_id;
            filename is relative to `images/`, mask (and lesion, marker) to `masks/`
            (`lesions/`, `markers/`).
    """
    folder = Path(folder).absolute()
    table = pd.read_csv(folder / "metadata.csv", dtype=str, keep_default_na=False)
    missing = {"filename", "label", "patient_id"} - set(table.columns)
    if missing:
        raise ManifestError(f"{folder / 'metadata.csv'}: no column {', '.join(sorted(missing))}")
    manifest = pd.DataFrame({"path": [str(folder / "images" / name) for name in table.filename]})
    for column in ("label", "patient_id", "source", "view"):
        manifest[column] = table.get(column, "")
    for column in ("mask", "lesion", "marker"):
        if column == "mask" or column in table:
            names = table.get(column, pd.Series("", index=table.index))
            manifest[f"{column}_path"] = [
                str(folder / f"{column}s" / name) if name else "" for name in names
            ]
    manifest["split"] = ""
    return check_manifest(manifest, folder)


def from_class_folders(folder) -> pd.DataFrame:
    """Read a folder of `class/image` files; every image counts as a patient of its own.

    Args:
        folder: has a folder for each class that it holds, called as in `CLASS_NAMES`.
    """
    folder = Path(folder).absolute()
    paths = sorted(f for f in folder.glob("*/*") if f.suffix.lower() in SUFFIXES)
    strange = {file.parent.name for file in paths} - set(CLASS_NAMES)
    if strange:
        raise ManifestError(
            f"{folder}: images in {', '.join(sorted(strange))}; a folder of images is called "
            f"{', '.join(CLASS_NAMES)}"
        )
    if not paths:
        raise ManifestError(f"{folder}: no images in folders called {', '.join(CLASS_NAMES)}")
    manifest = pd.DataFrame({"path": [str(file) for file in paths]})
    manifest["label"] = [file.parent.name for file in paths]
    manifest["patient_id"] = [f"{file.parent.name}/{file.stem}" for file in paths]
    for column in COLUMNS[3:]:
        manifest[column] = ""
    return check_manifest(manifest, folder)


def check_manifest(manifest: pd.DataFrame, folder: Path | None = None) -> pd.DataFrame:
    """Check the contract of a manifest and return it.

    Args:
        manifest: the table.
        folder: if given, every file must lie below it.

    Raises:
        ManifestError: one error that lists every missing column, unknown label, doubled path,
            missing file and file outside the folder.
    """
    missing = [column for column in COLUMNS if column not in manifest]
    if missing:
        raise ManifestError(f"a manifest needs the columns {', '.join(missing)}")
    faults = [
        f"{path}: unknown label {label!r}"
        for path, label in zip(manifest.path, manifest.label, strict=True)
        if label not in CLASS_NAMES
    ]
    faults += [f"{path}: listed twice" for path in manifest.path[manifest.path.duplicated()]]
    files = [p for c in FILE_COLUMNS if c in manifest for p in manifest[c] if p]
    faults += [f"{path}: no such file" for path in files if not Path(path).is_file()]
    if folder is not None:
        # normalised but not resolved: a data folder may itself be made of links
        faults += [
            f"{path}: outside {folder}"
            for path in files
            if ".." in Path(path).parts or not Path(path).is_relative_to(folder)
        ]
    if len(manifest) == 0:
        faults.append("no images")
    if faults:
        raise ManifestError(f"{len(faults)} faults in the manifest:\n" + "\n".join(faults))
    return manifest


def label_ids(manifest: pd.DataFrame) -> np.ndarray:
    """Return the labels as int64 ids (N,) into `CLASS_NAMES`."""
    return manifest.label.map(CLASS_NAMES.index).to_numpy(np.int64)
