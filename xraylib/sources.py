"""Radiographs of several hospitals in one manifest, and folds that leave a hospital out.

In `darkcovidnet` alone, source and class are one and the same as far as COVID-19 goes: all of its
COVID-19 images and no other come from Cohen's collection. `kermany` adds normal lungs and pneumonia
of another hospital, and Cohen's own metadata, of which the package keeps what is needed, say which
publication a COVID-19 image comes from.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from xraylib import datasets, masks, segment
from xraylib.config import CLASS_NAMES, COVID, RunConfig, home, profile
from xraylib.darkcovidnet import PATIENTS
from xraylib.images import read_mask

PARTS = ("darkcovidnet", "kermany")
PUBLISHERS = {  # the pages that Cohen's COVID-19 images were taken from
    "sirm.org": "Italian society",
    "radiopaedia.org": "teaching files",
    "app.figure1.com": "teaching files",
    "ams.edu.sg": "teaching files",
}
OTHER_PUBLISHERS = "journals"


def load(config: RunConfig) -> pd.DataFrame:
    """Return the manifest `multisource`: darkcovidnet and kermany, with sites and sizes.

    Args:
        config: of any profile; its dataset is replaced.

    Returns:
        a manifest as of `datasets.load` with three more columns: site, the source, for Cohen's
        images with the kind of publication (see `PUBLISHERS`); height and width, of the original
        file in pixels.

    Raises:
        FileNotFoundError: one of the parts is missing; says where it belongs.
    """
    parts = [_with_sizes(datasets.load(config.but(dataset=name)), name) for name in PARTS]
    manifest = pd.concat(parts, ignore_index=True).fillna("")
    return manifest.assign(site=_sites(manifest))


def manifest_with_masks(name: str) -> pd.DataFrame:
    """Return the images of all sources of a profile, with a lung mask for each.

    The masks are predicted for all images alike. Where the U-Net finds no lungs the mask is a
    central box, see `usable_mask`.

    Args:
        name: of a profile: `quick` gives phantoms, whose sources are their sites; the others
            `multisource`.

    Raises:
        FileNotFoundError: the data are missing; says where they belong.
    """
    config = profile(name)
    if config.dataset == "phantom":
        manifest = datasets.load(config)
        manifest["site"] = manifest.source
    else:
        manifest = datasets.load(config.but(dataset="multisource"))
    manifest = masks.predict_masks(manifest, segment.find_unet(name))
    manifest["mask_path"] = [_usable_file(path) for path in manifest.mask_path]
    return manifest


def usable_mask(mask: np.ndarray) -> np.ndarray:
    """Return a mask, or a central box in place of one that cannot be both lungs.

    Args:
        mask: bool (H, W), predicted.

    Returns:
        bool (H, W), never empty.
    """
    if not masks.flag(float(mask.mean())):
        return mask
    height, width = mask.shape
    box = np.zeros_like(mask)
    box[height // 10 : height - height // 10, width // 12 : width - width // 12] = True
    return box


def leave_one_out(manifest: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Split so that the tested hospitals are none of those trained on.

    Where each site has all classes, each is left out in turn. Where only some sites have
    COVID-19, a site without it and a site with it are left out together, each pair in turn, so
    that every class of the test comes from an unknown place.

    Args:
        manifest: with a column site.

    Yields:
        the name of what is left out, and a copy whose column split is `train`, `test`, or ""
        for images of a test patient that stand elsewhere.
    """
    sites = sorted(manifest.site.unique())
    has_covid = set(manifest.site[manifest.label == CLASS_NAMES[COVID]])
    without = [site for site in sites if site not in has_covid]
    pairs = [(a, b) for a in without for b in sorted(has_covid)] or [(site,) for site in sites]
    for pair in pairs:
        test = manifest.site.isin(pair)
        shared = manifest.patient_id.isin(manifest.patient_id[test]) & ~test
        split = np.select([test, shared], ["test", ""], "train")
        yield " and ".join(pair), manifest.assign(split=split)


def cell_weights(manifest: pd.DataFrame) -> np.ndarray:
    """Return a weight for each image: classes alike, and within a class its sources alike.

    Args:
        manifest: N rows with label and source.

    Returns:
        float (N,), mean 1.
    """
    cells = manifest.groupby(["label", "source"]).label.transform("size")
    sources = manifest.groupby("label").source.transform("nunique")
    weight = 1 / (cells * sources).to_numpy(float)
    return weight / weight.mean()


def _with_sizes(manifest: pd.DataFrame, name: str) -> pd.DataFrame:
    """Add the original files' height and width from the part's own metadata."""
    table = pd.read_csv(home("data") / name / "metadata.csv", dtype=str, keep_default_na=False)
    sizes = table[["height", "width"]].astype(int)
    return manifest.assign(height=sizes.height.to_numpy(), width=sizes.width.to_numpy())


def _sites(manifest: pd.DataFrame) -> list[str]:
    publishers = _publishers()
    sites = []
    for path, source in zip(manifest.path, manifest.source, strict=True):
        group = PUBLISHERS.get(publishers.get(Path(path).stem, ""), OTHER_PUBLISHERS)
        sites.append(f"cohen, {group}" if source == "cohen" else source)
    return sites


def _publishers() -> dict[str, str]:
    """Return the domain that each of Cohen's files was taken from, by the file's stem."""
    table = pd.read_csv(PATIENTS, dtype=str, keep_default_na=False)
    return {
        Path(name).stem: domain
        for name, domain in zip(table.filename, table.publisher, strict=True)
    }


def _usable_file(path: str) -> str:
    """Return a mask's path, or that of the central box written beside it."""
    mask = read_mask(path)
    usable = usable_mask(mask)
    if usable is mask:
        return path
    beside = Path(path).with_name(f"{Path(path).stem}-box.png")
    if not beside.is_file():
        masks.write_mask(beside, usable)
    return str(beside)
