"""COVIDx with its pixels, put together from local copies of its sources."""

import os
from pathlib import Path, PurePath

import pandas as pd

from xraylib import files
from xraylib.config import home
from xraylib.images import ImageError
from xraylib.sources.arrivals import in_parallel, keep_small, sha256, size_of_original
from xraylib.sources.covidx import (
    FOLDERS,
    LISTS,
    NEEDED,
    TABLES,
    by_lists,
    by_rules,
    count_images,
    plain_or_zip,
)

IMAGES = {  # of a source, below its folder
    "cohen": "images",
    "figure1": "images",
    "actualmed": "images",
    "rsna": "stage_2_train_images",
}
ORIGINS = {
    "cohen": "github.com/ieee8023/covid-chestxray-dataset",
    "figure1": "github.com/agchung/Figure1-COVID-chestxray-dataset",
    "rsna": "the RSNA Pneumonia Detection Challenge",
}
MOST_MISSING = 0.02  # of a source's files: Cohen's collection renames a few now and then
NOT_FOUND = "the image file was not found"


class AssemblyError(ValueError):
    """The sources do not hold what the assembly needs; the message lists it."""


def provide_covidx(folder) -> None:
    """Put COVIDx together if its sources are at hand, or explain what to place where.

    With the report's published lists in `report`, exactly their images are taken, else those that
    the rules in `covidx` choose.

    Args:
        folder: where the data set belongs: images/, metadata.csv, and the tables of
            `covidx.count_images` as counts.csv and reasons.csv.

    Raises:
        FileNotFoundError: a source is missing; lists what belongs where.
        AssemblyError: too many files of a source are missing, or some cannot be read.
        WriteError: the folder cannot be written.
    """
    data = home("data")
    listed = all((data / "report" / name).is_file() for name in LISTS)
    _check_sources(Path(folder), data, listed)
    rows = by_lists() if listed else by_rules()
    way = "the report's published lists" if listed else "the rules of the assembly"
    print(f"Putting COVIDx together by {way} in {folder}", flush=True)
    build_covidx(rows, folder, data)


def build_covidx(rows: pd.DataFrame, folder, data) -> None:
    """Shrink the images that belong, and write the data set's tables when all are there.

    What was shrunk before stays as it is, so an assembly that was cut off goes on where it was.

    Args:
        rows: from `sources.by_rules` or `sources.by_lists`.
        folder: the folder of the data set to write.
        data: the folder that holds the sources' folders.

    Raises:
        AssemblyError: see `provide_covidx`.
        WriteError: the folder cannot be written.
    """
    folder = Path(folder)
    with files.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with files.locked(folder):
        rows = locate(rows, Path(data))
        kept = rows[rows.reason == ""].reset_index(drop=True)
        sizes = _shrink_all(kept, folder / "images")
        counts, reasons = count_images(rows)
        _write_table(counts.reset_index(), folder / "counts.csv")
        _write_table(reasons, folder / "reasons.csv")
        table = kept.assign(filename=kept.apply(small_covidx_name, axis=1))
        table["height"], table["width"] = zip(*sizes, strict=True)
        _write_table(table.drop(columns=["reason", "original"]), folder / "metadata.csv")


def locate(rows: pd.DataFrame, data: Path) -> pd.DataFrame:
    """Find the files of the images that belong; a few that are not there are left out.

    Args:
        rows: from `sources.by_rules` or `sources.by_lists`.
        data: the folder that holds the sources' folders.

    Returns:
        the rows with a column `original`, the path or "", and their reasons.

    Raises:
        AssemblyError: more than `MOST_MISSING` of a source are not there; or a name in a table
            leads out of the source's folder.
    """
    originals = [
        find_file(data, source, name) if reason == "" else ""
        for source, name, reason in zip(rows.source, rows.filename, rows.reason, strict=True)
    ]
    wanted = rows.reason == ""
    gone = wanted & (pd.Series(originals, index=rows.index) == "")
    for source, share in gone[wanted].groupby(rows.source[wanted]).mean().items():
        if share > MOST_MISSING:
            names = list(rows.filename[gone & (rows.source == source)])
            place = data / FOLDERS[source] / IMAGES[source]
            raise AssemblyError(
                f"{place}: {len(names)} of the files wanted are not there: {', '.join(names[:5])}"
                f"{', ...' if len(names) > 5 else ''}; get the source again, whole"
            )
    reasons = rows.reason.mask(gone, NOT_FOUND)
    return rows.assign(original=originals, reason=reasons, label=rows.label.mask(gone, ""))


def find_file(data: Path, source: str, name: str) -> str:
    """Return the path of an image of a source, or "" if there is none.

    The tables of Figure 1 do not tell whether an image is JPEG or PNG; published lists call the
    challenge's DICOM files by the PNG files once made from them.
    """
    if PurePath(name).name != name:
        raise AssemblyError(f"{FOLDERS[source]}: {name!r} is not the name of a file")
    path = data / FOLDERS[source] / IMAGES[source] / name
    endings = {"figure1": (".jpg", ".png"), "rsna": (".dcm",)}.get(source, (path.suffix,))
    candidates = (path.with_suffix(ending) for ending in endings)
    return next((str(file) for file in candidates if file.is_file()), "")


def small_covidx_name(row) -> str:
    """Return where a row's small image stands below `images/`."""
    return f"{row.source}/{PurePath(row.filename).stem}.png"


def _shrink_all(kept: pd.DataFrame, target: Path) -> list[tuple[int, int]]:
    """Return the originals' heights and widths; one error names all that cannot be read."""
    faults = []

    def shrink(row) -> tuple[int, int]:
        small = target / small_covidx_name(row)
        try:
            done = size_of_original(small, sha256(row.original))
            return done or keep_small(row.original, small)
        except ImageError as error:
            faults.append(str(error))
            return 0, 0

    sizes = in_parallel(shrink, list(kept.itertuples()), os.cpu_count() or 1, "covidx")
    if faults:
        lines = "\n".join(sorted(faults))
        raise AssemblyError(f"{len(faults)} of {len(kept)} images cannot be read:\n{lines}")
    return sizes


def _write_table(table: pd.DataFrame, path: Path) -> None:
    with files.whole_file(path) as part:
        table.to_csv(part, index=False)


def _check_sources(folder: Path, data: Path, listed: bool) -> None:
    """Raise `FileNotFoundError` with a list of what belongs where unless all of it is there."""
    lines = []
    for source in NEEDED:
        below = data / FOLDERS[source]
        tables = () if listed else TABLES[source]
        lacking = [name for name in tables if plain_or_zip(below / name) is None]
        if not (below / IMAGES[source]).is_dir():
            lacking.append(f"{IMAGES[source]}/")
        if lacking:
            lines.append(f"{below}: {', '.join(lacking)}, from {ORIGINS[source]}")
    if lines:
        names = ", ".join(LISTS)
        raise FileNotFoundError(
            f"no data set at {folder}, and it cannot be put together yet. Missing in\n"
            + "\n".join(lines)
            + f"\nFor exactly the report's images also {data / 'report'}: {names}"
            + ("" if not listed else " (there already)")
            + ". XRAYLIB_HOME names the folder above data/; see the page on data."
        )
