"""COVIDx: the report's own lists, the rules of its assembly, counts, and the images put together.

The report used the build of 15 April 2020 (Wang, Lin and Wong, COVID-Net): Cohen's collection,
Figure 1 and the RSNA Pneumonia Detection Challenge. Actualmed, which later builds took in, is read
where it is at hand. No rule needs a pixel; `provide_covidx` adds the pixels.

Lists and rules give the same table, one row per image: source, patient_id, filename, view, label,
and `reason`, which is "" for an image that belongs and else says why it is left out.
"""

import os
import re
from pathlib import Path, PurePath

import numpy as np
import pandas as pd
from tqdm.contrib.concurrent import thread_map

from xraylib import data, files, report
from xraylib.config import CLASS_NAMES, RunConfig, home
from xraylib.images import ImageError
from xraylib.sources.arrivals import keep_small, sha256, size_of_original

LISTS = ("train_split_v3.txt", "test_split_v3.txt")  # in the order in which the report joined them
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


def read_lists() -> pd.DataFrame:
    """Read the published lists, lines of `patient filename label [view or source]`.

    They lie in `report` in the home's data folder; a `FileNotFoundError` says that one does not, a
    `ValueError` names the line without a label. Returns one row per image: path (a bare file
    name), patient_id, label, and what follows it in the column view.
    """
    rows = []
    for path in (home("data") / "report" / name for name in LISTS):
        for number, line in enumerate(path.read_text("utf8").splitlines(), 1):
            fields = line.split()
            label = next((i for i in range(2, len(fields)) if fields[i] in CLASS_NAMES), None)
            if label is None:
                raise ValueError(f"{path}, line {number}: no label in {line!r}")
            view = " ".join(fields[label + 1 :])
            rows.append((" ".join(fields[1:label]), fields[0], fields[label], view))
    return pd.DataFrame(rows, columns=["path", "patient_id", "label", "view"])


def leaked_images(manifest: pd.DataFrame, label: str = "COVID-19") -> tuple[int, int]:
    """Count the test images of a class whose patient also has images in training.

    Args:
        manifest: a manifest with label, patient_id and `split` filled.

    Returns:
        how many leaked, and how many test images of the class there are.
    """
    test = manifest[(manifest.split == "test") & (manifest.label == label)]
    known = set(manifest.patient_id[manifest.split == "train"])
    return int(test.patient_id.isin(known).sum()), len(test)


def replay_split() -> pd.DataFrame:
    """Split the published lists as the report's authors did, with their seed.

    Returns:
        the table of `read_lists` with the column `split`; three images belong to no set.
    """
    return data.split_images(read_lists(), RunConfig().seed)


def replay_leak(label: str = "COVID-19") -> tuple[int, int, str]:
    """Split the report's lists with the report's seed and count the leaked images of a class.

    Returns:
        how many leaked, of how many test images, and where the count comes from: the lists if
        they are at hand, else an earlier replay kept in `report`.
    """
    try:
        split = replay_split()
    except FileNotFoundError:
        return *report.LEAKED_TEST_IMAGES[label], "counted earlier; the lists are not at hand"
    return *leaked_images(split, label), "replayed now from the published lists"


FOLDERS = {  # of the sources, below the home's data folder
    "cohen": "covid-chestxray-dataset",
    "figure1": "figure1",
    "actualmed": "actualmed",
    "rsna": "rsna",
}
NEEDED = ("cohen", "figure1", "rsna")  # what the report's build was made of
COLUMNS = ("source", "patient_id", "filename", "view", "label", "reason")
FRONTAL = ("PA", "AP", "AP Supine", "AP semi erect", "AP erect")
PNEUMONIA = ("SARS", "MERS", "Streptococcus", "Klebsiella", "Chlamydophila", "Legionella")
LABELS = {"COVID-19": "COVID-19"} | dict.fromkeys(PNEUMONIA, "pneumonia")
RSNA_LABELS, RSNA_CLASSES = "stage_2_train_labels.csv", "stage_2_detailed_class_info.csv"
TABLES = dict.fromkeys(FOLDERS, ("metadata.csv",)) | {"rsna": (RSNA_LABELS, RSNA_CLASSES)}
CLASSES_MISSING = "no opacity; the table of classes is not at hand"
PATIENT_NUMBERS = {
    "cohen": r"\d{1,4}",
    "figure1": r"COVID-\d{5}[a-z]?",
    "rsna": r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
}
REPEATS = {  # what makes a row the same as an earlier one, and what is said of it
    ("source", "patient_id", "filename"): "the same patient and file again",
    ("source", "filename"): "the same file under another patient",
}
LIST_SOURCES = {"cohen": "cohen", "fig1": "figure1", "actmed": "actualmed", "rsna": "rsna"}


def by_rules() -> pd.DataFrame:
    """Apply the rules to every source whose metadata are at hand, one row per image listed.

    A `FileNotFoundError` says that there are none, a `ValueError` which table lacks a column.
    """
    tables = [
        read(folder_of(source))
        for source, read in READERS.items()
        if plain_or_zip(folder_of(source) / TABLES[source][0])
    ]
    if not tables:
        raise FileNotFoundError(f"{home('data')}: no metadata in {', '.join(FOLDERS.values())}")
    return leave_out_repeats(pd.concat(tables, ignore_index=True)[[*COLUMNS]])


def folder_of(source: str) -> Path:
    """Return where the files of a source lie."""
    return home("data") / FOLDERS[source]


def by_lists() -> pd.DataFrame:
    """Return exactly the images that the published lists name, see `read_lists`, as `by_rules`."""
    table = read_lists()
    # newer lists name the source where older ones have the view
    source = [LIST_SOURCES.get(row.view) or source_of(row.patient_id) for row in table.itertuples()]
    rows = table.rename(columns={"path": "filename"}).assign(source=source, reason="")
    rows["patient_id"] = list(map(patient_name, source, table.patient_id))
    rows["view"] = table.view.where(~table.view.isin(LIST_SOURCES), "")
    return leave_out_repeats(rows[[*COLUMNS]])


def count_images(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Count images from `by_rules` or `by_lists` by source and class, those left out by reason.

    Returns:
        a table of sources (rows) and classes (columns) with totals, and one with the columns
        source, reason and images, most images first within a source.
    """
    kept = rows[rows.reason == ""]
    counts = pd.crosstab(kept.source, kept.label).reindex(
        index=[s for s in FOLDERS if s in set(rows.source)], columns=CLASS_NAMES, fill_value=0
    )
    counts = counts.assign(total=counts.sum(axis=1))
    counts.loc["total"] = counts.sum()
    left_out = rows[rows.reason != ""].value_counts(["source", "reason"], sort=False)
    reasons = (
        left_out.rename("images")
        .reset_index()
        .sort_values(
            ["source", "images", "reason"], ascending=[True, False, True], ignore_index=True
        )
    )
    return counts.rename_axis(columns=None), reasons


def cohen_rows(folder: Path) -> pd.DataFrame:
    """Cohen's collection: frontal views of COVID-19 and of the pneumonias that COVIDx takes."""
    table = read_table(folder / "metadata.csv", ("patientid", "filename", "finding", "view"))
    reasons = ("view " + table.view.replace("", "not given")).mask(table.view.isin(FRONTAL), "")
    return _label_rows(table, "cohen", table.filename, reasons)


def figure1_rows(folder: Path) -> pd.DataFrame:
    """Figure 1: images with a finding; the file is named after the patient."""
    wanted = ("patientid", "finding", "view")
    table = read_table(folder / "metadata.csv", wanted, encoding="latin-1")
    return _label_rows(table, "figure1", table.patientid + ".jpg")


def actualmed_rows(folder: Path) -> pd.DataFrame:
    """Actualmed: images with a finding; the file stands in the column imagename."""
    table = read_table(folder / "metadata.csv", ("patientid", "imagename", "finding", "view"))
    return _label_rows(table, "actualmed", table.imagename)


def rsna_rows(folder: Path) -> pd.DataFrame:
    """RSNA challenge: Target 1 is pneumonia, the class "Normal" is normal, the rest is left out.

    The tables have one row per box drawn, so a patient may stand there several times.
    """
    labels, classes = (plain_or_zip(folder / name) for name in (RSNA_LABELS, RSNA_CLASSES))
    table = read_table(labels, ("patientid", "target"))
    detailed, reasons = "", CLASSES_MISSING
    if classes is not None:
        known = read_table(classes, ("patientid", "class")).groupby("patientid")["class"].last()
        detailed = table.patientid.map(known).fillna("")
        reasons = "class " + detailed.replace("", "not given")
    rows = _label_rows(table.assign(finding="", view=""), "rsna", table.patientid + ".dcm")
    label = np.select([table.target == "1", detailed == "Normal"], ["pneumonia", "normal"], "")
    return rows.assign(label=label, reason=np.where(label == "", reasons, ""))


READERS = {
    "cohen": cohen_rows,
    "figure1": figure1_rows,
    "actualmed": actualmed_rows,
    "rsna": rsna_rows,
}


def patient_name(source: str, number: str) -> str:
    """Name a patient so that two sources cannot share one by chance.

    Figure 1 adds a letter where a patient has several images: COVID-00039a, b and c are one.

    >>> patient_name("figure1", "COVID-00039b"), patient_name("cohen", "46")
    ('figure1-COVID-00039', 'cohen-46')
    """
    if source == "figure1":
        number = re.sub(r"(?<=\d)[a-z]$", "", number)
    return f"{source}-{number}"


def source_of(patient_id: str) -> str:
    """Tell the source by the form of a patient's number in a published list.

    >>> source_of("46"), source_of("COVID-00039a")
    ('cohen', 'figure1')
    """
    for source, form in PATIENT_NUMBERS.items():
        if re.fullmatch(form, patient_id):
            return source
    raise ValueError(f"patient {patient_id!r}: a number of no source known; name it in the list")


def leave_out_repeats(rows: pd.DataFrame) -> pd.DataFrame:
    """Keep a file once, and say of the others why they are left out."""
    for columns, reason in REPEATS.items():
        kept = rows[rows.reason == ""]
        again = rows.index.isin(kept.index[kept.duplicated(list(columns))])
        rows = rows.assign(reason=rows.reason.mask(again, reason))
    return rows.assign(label=rows.label.where(rows.reason == "", ""))


def read_table(path: Path, columns: tuple[str, ...], encoding: str = "utf8") -> pd.DataFrame:
    """Read metadata as text; headers of old snapshots (`Patientid`, ` url`) are normalised.

    Raises:
        ValueError: a column is missing.
    """
    table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding=encoding)
    table.columns = [name.strip().lower() for name in table.columns]
    missing = [name for name in columns if name not in table]
    if missing:
        raise ValueError(f"{path}: no column {', '.join(missing)}")
    return table


def _label_rows(table, source: str, filenames, reasons="") -> pd.DataFrame:
    """Label by the finding what no earlier rule left out."""
    columns = {"source": source, "filename": filenames, "view": table.view, "reason": reasons}
    rows = pd.DataFrame(columns)
    rows["patient_id"] = [patient_name(source, number) for number in table.patientid]
    # of "COVID-19, ARDS" the first counts, of "Pneumonia/Viral/COVID-19" the last part
    findings = table.finding.str.split(",").str[0].str.split("/").str[-1].str.strip()
    others = ("finding " + findings.replace("", "not given")).mask(findings.isin(LABELS), "")
    rows["reason"] = rows.reason.mask(rows.reason == "", others)
    return rows.assign(label=findings.map(LABELS).where(rows.reason == "", ""))


def plain_or_zip(path: Path) -> Path | None:
    """Return a table's file, or the zip file that the challenge delivers it in."""
    candidates = (path, path.with_name(f"{path.name}.zip"))
    return next((file for file in candidates if file.is_file()), None)


COUNTS, REASONS = "covidx_counts", "covidx_reasons"


def count_covidx() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Count what the report's lists name and what the rules choose from the metadata at hand.

    Returns:
        images by chosen_by (`lists` or `rules`), source and class; and what the rules leave out,
        by source and reason.

    Raises:
        FileNotFoundError: the lists or the metadata of a source are not there.
    """
    lists, rules = by_lists(), by_rules()
    missing = set(NEEDED) - set(rules.source)
    if missing:
        raise FileNotFoundError(f"no metadata of {', '.join(sorted(missing))}")
    of_lists, (of_rules, reasons) = count_images(lists)[0], count_images(rules)
    counts = pd.concat({"lists": of_lists, "rules": of_rules}, names=["chosen_by"])
    return counts.reset_index(), reasons


def covidx_tables() -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """Return the tables of `count_covidx`, now or from an earlier count, and their origin."""
    try:
        return *count_covidx(), "counted now from the metadata at hand"
    except FileNotFoundError:
        counts, reasons = (report.load_table("real", name) for name in (COUNTS, REASONS))
        counts = counts[["chosen_by", "source", *CLASS_NAMES, "total"]]
        return counts, reasons[["source", "reason", "images"]], report.table_origin("real", COUNTS)


class AssemblyError(ValueError):
    """The sources do not hold what the assembly needs; the message lists it."""


def provide_covidx(folder) -> None:
    """Put COVIDx together if its sources are at hand, or explain what to place where.

    With the report's published lists in `report`, exactly their images are taken, else those that
    the rules in `covidx` choose. What was shrunk before stays as it is, so an assembly that was cut
    off goes on where it was.

    Args:
        folder: where the data set belongs: images/, metadata.csv, and the tables of
            `count_images` as counts.csv and reasons.csv.

    Raises:
        FileNotFoundError: a source is missing; lists what belongs where.
        AssemblyError: too many files of a source are missing, or some cannot be read.
        WriteError: the folder cannot be written.
    """
    folder = Path(folder)
    listed = all((home("data") / "report" / name).is_file() for name in LISTS)
    _check_sources(folder, listed)
    rows = by_lists() if listed else by_rules()
    way = "the report's published lists" if listed else "the rules of the assembly"
    print(f"Putting COVIDx together by {way} in {folder}", flush=True)
    with files.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with files.locked(folder):
        rows = locate(rows)
        kept = rows[rows.reason == ""].reset_index(drop=True)
        sizes = _shrink_all(kept, folder / "images")
        counts, reasons = count_images(rows)
        table = kept.assign(filename=kept.apply(small_covidx_name, axis=1))
        table["height"], table["width"] = zip(*sizes, strict=True)
        for name, content in (  # metadata last: they say that all is there
            ("counts.csv", counts.reset_index()),
            ("reasons.csv", reasons),
            ("metadata.csv", table.drop(columns=["reason", "original"])),
        ):
            files.write_text(folder / name, content.to_csv(index=False))


def locate(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with a column `original`, the path of an image that belongs, or "".

    A few that are not there are left out, with their reason. An `AssemblyError` says that more than
    `MOST_MISSING` of a source are not there, or that a name leads out of the source's folder.
    """
    originals = [
        find_file(source, name) if reason == "" else ""
        for source, name, reason in zip(rows.source, rows.filename, rows.reason, strict=True)
    ]
    wanted = rows.reason == ""
    gone = wanted & (pd.Series(originals, index=rows.index) == "")
    for source, share in gone[wanted].groupby(rows.source[wanted]).mean().items():
        if share > MOST_MISSING:
            names = list(rows.filename[gone & (rows.source == source)])
            place = folder_of(source) / IMAGES[source]
            raise AssemblyError(
                f"{place}: {len(names)} of the files wanted are not there: {', '.join(names[:5])}"
                f"{', ...' if len(names) > 5 else ''}; get the source again, whole"
            )
    reasons = rows.reason.mask(gone, NOT_FOUND)
    return rows.assign(original=originals, reason=reasons, label=rows.label.mask(gone, ""))


def find_file(source: str, name: str) -> str:
    """Return the path of an image of a source, or "" if there is none.

    The tables of Figure 1 do not tell whether an image is JPEG or PNG; published lists call the
    challenge's DICOM files by the PNG files once made from them.
    """
    if PurePath(name).name != name:
        raise AssemblyError(f"{FOLDERS[source]}: {name!r} is not the name of a file")
    path = folder_of(source) / IMAGES[source] / name
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

    rows, workers = list(kept.itertuples()), os.cpu_count()
    sizes = thread_map(shrink, rows, max_workers=workers, desc="covidx", unit=" images")
    if faults:
        lines = "\n".join(sorted(faults))
        raise AssemblyError(f"{len(faults)} of {len(kept)} images cannot be read:\n{lines}")
    return sizes


def _check_sources(folder: Path, listed: bool) -> None:
    """Raise `FileNotFoundError` with a list of what belongs where unless all of it is there."""
    lines = []
    for source in NEEDED:
        below = folder_of(source)
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
            + f"\nFor exactly the report's images also {home('data') / 'report'}: {names}"
            + ("" if not listed else " (there already)")
            + ". XRAYLIB_HOME names the folder above data/; see the page on data."
        )
