"""Manifests: pandas tables with one row an image, from phantoms, a data set or any folder."""

from pathlib import Path

import numpy as np
import pandas as pd

from xraylib import covidx_images, downloads, files, phantoms
from xraylib.config import CLASS_NAMES, RunConfig, home
from xraylib.images import SUFFIXES

COLUMNS = ("path", "label", "patient_id", "source", "view", "mask_path", "split")
FILE_COLUMNS = ("path", "mask_path", "lesion_path", "marker_path")
# data sets that the package can make when they are asked for and not there
PROVIDERS = {"darkcovidnet": downloads.provide_darkcovidnet, "covidx": covidx_images.provide}


class ManifestError(ValueError):
    """A manifest breaks its contract; the message lists every row at fault."""


def load(config: RunConfig) -> pd.DataFrame:
    """Return the manifest of the data set that a configuration names.

    A missing `darkcovidnet` is fetched, a missing `covidx` is put together from its sources.

    Returns:
        a table with the columns `path, label, patient_id, source, view, mask_path, split` and,
        for phantoms, `lesion_path, marker_path`; paths absolute, missing text "".

    Raises:
        FileNotFoundError: the data are not there; says where they belong.
        ManifestError: they are there but wrong.
        AssemblyError: the sources of `covidx` are there but wrong.
        DownloadError: files of a download are missing or changed.
    """
    if config.dataset == "phantom":
        return _phantoms(config)
    if config.dataset == "multisource":
        from xraylib import sources  # which loads its parts from here

        return sources.load(config)
    folder = Path(config.dataset)
    if not folder.is_dir():
        folder = home("data") / config.dataset
    if config.dataset in PROVIDERS and not (folder / "metadata.csv").is_file():
        PROVIDERS[config.dataset](folder)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"no data set at {folder}: place a folder with images/ and metadata.csv there, or "
            "set XRAYLIB_HOME to the folder whose data/ holds it (see the chapter on the data)"
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
    return check(manifest, folder)


def from_class_folders(folder) -> pd.DataFrame:
    """Read a folder of `class/image` files; every image counts as a patient of its own.

    Args:
        folder: has a folder for each class that it holds, called as in `CLASS_NAMES`.
    """
    folder = Path(folder).absolute()
    found = sorted(f for f in folder.glob("*/*") if f.suffix.lower() in SUFFIXES)
    strange = {file.parent.name for file in found} - set(CLASS_NAMES)
    if strange:
        raise ManifestError(
            f"{folder}: images in {', '.join(sorted(strange))}; a folder of images is called "
            f"{', '.join(CLASS_NAMES)}"
        )
    if not found:
        raise ManifestError(f"{folder}: no images in folders called {', '.join(CLASS_NAMES)}")
    manifest = pd.DataFrame({"path": [str(file) for file in found]})
    manifest["label"] = [file.parent.name for file in found]
    manifest["patient_id"] = [f"{file.parent.name}/{file.stem}" for file in found]
    for column in COLUMNS[3:]:
        manifest[column] = ""
    return check(manifest, folder)


def write(manifest: pd.DataFrame, path) -> None:
    """Write a manifest as CSV, whole or not at all."""
    with files.whole_file(path) as part:
        manifest.to_csv(part, index=False)


def read(path) -> pd.DataFrame:
    """Read a manifest from CSV and check it."""
    return check(pd.read_csv(path, dtype=str, keep_default_na=False))


def check(manifest: pd.DataFrame, folder: Path | None = None) -> pd.DataFrame:
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


def _phantoms(config: RunConfig) -> pd.DataFrame:
    counts = "-".join(map(str, config.phantom_counts))
    name = f"phantom-{counts}-confounding{config.confounding:g}-seed{config.seed}"
    folder = phantoms.write_phantoms(
        home("data") / name, config.phantom_counts, config.seed, config.confounding
    )
    return from_metadata(folder)
