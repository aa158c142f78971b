"""What the data set of DarkCovidNet is made of: its files, its masks, its table.

Ozturk et al., "Automated detection of COVID-19 cases using deep neural networks with X-ray
images", Computers in Biology and Medicine 121 (2020).
"""

import tempfile
import zipfile
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from xraylib import arrivals, images

REPOSITORY = "github.com/muhammedtalo/COVID-19"
COMMIT = "ee3e2cffc0824711bed675275506b26f19be7198"
REGISTRY = Path(__file__).with_name("darkcovidnet.sha256")
# patient, view and publisher of the COVID-19 images, as in the metadata of Cohen's collection
PATIENTS = Path(__file__).with_name("darkcovidnet_patients.csv")
# the masks in use and the sizes that tell which of them were drawn on another version of an image
MASKS = Path(__file__).with_name("v7labs_masks.csv")
CLASSES = {"Covid-19": "COVID-19", "No_findings": "normal", "Pneumonia": "pneumonia"}
MOST_BYTES = 20_000_000  # of one unpacked mask


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


def size_of_original(folder: Path, name: str, sha256: str) -> tuple[int, int] | None:
    """Return an original's height and width if its small image is there and whole, else None."""
    return arrivals.size_of_original(folder / "images" / small_name(name), sha256)


def unpack_masks(archive: Path, folder: Path, names: list[str]) -> set[str]:
    """Bring the lung masks in a zip file to the sizes of their images, in `masks/`.

    A mask belongs to the image of the same stem. Only those that `MASKS` lists are opened, and
    where they are written is decided here: no name in the zip can lead out of the folder.

    Args:
        archive: the zip file.
        folder: of the data set.
        names: of its small images below `images/`.

    Returns:
        the names of the images that have a mask.

    Raises:
        ImageError: a mask cannot be read, or is larger than a mask can be.
        WriteError: a mask cannot be written.
    """
    listed = set(pd.read_csv(MASKS)["mask"])
    with zipfile.ZipFile(archive) as opened:
        members = {PurePosixPath(m.filename).stem: m for m in opened.infolist() if not m.is_dir()}
        masked = set()
        for name in names:
            path = PurePosixPath(name)
            if path.name not in listed or path.stem not in members:
                continue
            image = images.read_grey(folder / "images" / name)
            mask = arrivals.fit_mask(_read_mask(opened, members[path.stem]), image.shape)
            arrivals.write_png(mask.astype(np.uint8) * 255, folder / "masks" / path.name)
            masked.add(name)
    return masked


def _read_mask(opened: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    if member.file_size > MOST_BYTES:
        place = f"{opened.filename}/{member.filename}"
        raise images.ImageError(place, f"{member.file_size:,} bytes; at most {MOST_BYTES:,}")
    with tempfile.TemporaryDirectory() as scratch:
        unpacked = Path(scratch) / "mask"
        unpacked.write_bytes(opened.read(member))
        return images.read_mask(unpacked)


def metadata(folder: Path, registry: dict[str, str], masked: set[str]) -> pd.DataFrame:
    """Return the table of the data set, as `datasets.from_metadata` reads it, a row an image.

    NIH file names start with the patient's number (`00003773_000.png`). Those of Cohen's
    collection do not; its own metadata number the patients, and `PATIENTS` keeps these numbers.

    Args:
        folder: of the data set, complete.
        registry: the SHA-256 of each original by its name.
        masked: the names of the small images that have a mask.
    """
    known = pd.read_csv(PATIENTS, dtype=str).set_index("filename")
    rows = []
    for name, digest in registry.items():
        small = small_name(name)
        label, stem = small.split("/")[0], PurePosixPath(small).stem
        height, width = size_of_original(folder, name, digest)
        listed = small in known.index
        rows.append(
            {
                "filename": small,
                "label": label,
                "patient_id": known.patient_id[small] if listed else f"nih-{stem.split('_')[0]}",
                "source": "cohen" if listed else "nih",
                "view": known.view[small] if listed else "",
                "mask": f"{stem}.png" if small in masked else "",
                "height": height,
                "width": width,
            }
        )
    return pd.DataFrame(rows).sort_values("filename", ignore_index=True)
