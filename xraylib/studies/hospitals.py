"""Radiographs of several hospitals: one manifest, folds that leave a hospital out, and shortcuts.

In `darkcovidnet` alone, all COVID-19 images and no others come from Cohen's collection: its source
is its class. `kermany` adds normal lungs and pneumonia of another hospital, and Cohen's metadata
say which publication a COVID-19 image comes from. So two questions can be asked of every view: how
well does it tell the hospital, and what does that do to the diagnosis elsewhere?
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from xraylib import lungs, network, sources
from xraylib.config import CLASS_NAMES, COVID, RunConfig, home, profile
from xraylib.images import Preprocessing, read_mask
from xraylib.metrics import bootstrap_mean
from xraylib.sources import PATIENTS

PARTS = ("darkcovidnet", "kermany")
PUBLISHERS = {  # the pages that Cohen's COVID-19 images were taken from
    "sirm.org": "Italian society",
    "radiopaedia.org": "teaching files",
    "app.figure1.com": "teaching files",
    "ams.edu.sg": "teaching files",
}
OTHER_PUBLISHERS = "journals"


def load_hospitals(config: RunConfig) -> pd.DataFrame:
    """Return the manifest `multisource`: darkcovidnet and kermany, with sites and sizes.

    Args:
        config: the settings of any profile; its dataset is replaced.

    Returns:
        a manifest as of `data.load_manifest` with three more columns: site, the source, for Cohen's
        images with the kind of publication (see `PUBLISHERS`); height and width, of the original
        file in pixels.

    Raises:
        FileNotFoundError: one of the parts is missing; says where it belongs.
    """
    parts = [_with_sizes(sources.provide(config.but(dataset=name)), name) for name in PARTS]
    manifest = pd.concat(parts, ignore_index=True).fillna("")
    return manifest.assign(site=_sites(manifest))


def manifest_with_masks(name: str) -> pd.DataFrame:
    """Return the images of all sources of a profile, with a lung mask for each.

    The masks are predicted for all images alike. Where the U-Net finds no lungs the mask is a
    central box, see `usable_mask`.

    Args:
        name: the name of a profile: `quick` gives phantoms, whose sources are their sites; the
            others `multisource`.

    Raises:
        FileNotFoundError: the data are missing; says where they belong.
    """
    config = profile(name)
    if config.dataset == "phantom":
        manifest = sources.provide(config)
        manifest["site"] = manifest.source
    else:
        manifest = load_hospitals(config)
    manifest = lungs.predict_masks(manifest, lungs.train_profile_unet(name))
    manifest["mask_path"] = [_usable_file(path) for path in manifest.mask_path]
    return manifest


def usable_mask(mask: np.ndarray) -> np.ndarray:
    """Return a mask, or a central box in place of one that cannot be both lungs.

    Args:
        mask: bool (H, W), predicted.

    Returns:
        bool (H, W), never empty.
    """
    if not lungs.flag_share(float(mask.mean())):
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
        manifest: a manifest with a column site.

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
        lungs.write_mask(beside, usable)
    return str(beside)


SHORTCUT_VIEWS = {
    "original": Preprocessing(),
    "lungs alone": Preprocessing(region="lungs"),
    "lungs cropped": Preprocessing(crop=True),
    "lungs cropped, bands alike": Preprocessing(crop=True, equalise="bands"),
    "lungs cropped, alone, bands alike": Preprocessing("lungs", "bands", True),
    "lungs erased": Preprocessing(region="lungs_erased"),
    "lung box blacked out": Preprocessing(region="lung_box_erased"),
    "silhouette": Preprocessing(region="silhouette"),
}
NO_PIXELS = "size and view position, no pixel"
QUESTIONS = ("hospital", "class, known hospitals", "class, unseen hospitals")
SHORTCUT_TAPS = ("block4_pool",)  # what the classifier for unseen hospitals looks at
PENALTY = 1000.0  # of the ridge, on standardised features: some times their number
FOLDS = 5


def measure_shortcuts(manifest: pd.DataFrame, views=None, per_cell: int = 100, seed: int = 0):
    """Measure what each view tells: the hospital, and the class in known and unseen hospitals.

    All answers are linear classifiers on the maps `SHORTCUT_TAPS` of the frozen VGG16, averaged
    over their cells; and one on what is known without a pixel. Every answer is a mean of recalls,
    so that guessing gives one over the number of answers.

    Args:
        manifest: a manifest with site and masks, see `studies.manifest_with_masks`.
        views: name -> Preprocessing; all of `SHORTCUT_VIEWS` by default.
        per_cell: at most so many images of each class of each source are used.
        seed: seeds their choice, of the folds and of the bootstrap.

    Returns:
        one row per view and question: view, question (of `QUESTIONS`), value, low, high
        (95 %, by patient), chance, n, seed.
    """
    manifest = thin_sources(manifest, per_cell, seed)
    rows = []
    for name, x in _shortcut_inputs(manifest, views or SHORTCUT_VIEWS).items():
        for question, predicted in _answers(x, manifest, seed).items():
            rows.append({"view": name, "question": question} | _balanced(predicted, seed))
    return pd.DataFrame(rows).assign(seed=seed)


def _shortcut_inputs(manifest: pd.DataFrame, views: dict) -> dict[str, np.ndarray]:
    inputs = {NO_PIXELS: _without_pixels(manifest)} if "height" in manifest else {}
    for name, view in views.items():
        maps = network.extract_features(manifest, view, "vgg16", taps=SHORTCUT_TAPS)
        inputs[name] = np.asarray(maps, np.float32).mean(axis=(1, 2))
    return inputs


def _without_pixels(manifest: pd.DataFrame) -> np.ndarray:
    """Return what the files' own records tell: sides, their ratio, the view position."""
    height, width = manifest.height.to_numpy(float), manifest.width.to_numpy(float)
    position = OneHotEncoder(sparse_output=False).fit_transform(manifest[["view"]])
    return np.column_stack([np.log(height), np.log(width), height / width, position])


def _answers(x, manifest: pd.DataFrame, seed: int) -> dict[str, pd.DataFrame]:
    """Return for each question a table of patient_id, truth, prediction and chance."""
    normal = (manifest.label == CLASS_NAMES[0]).to_numpy()
    of_normal = manifest[normal].reset_index(drop=True)
    return {
        "hospital": _in_folds(x[normal], of_normal, of_normal.source, seed),
        "class, known hospitals": _in_folds(x, manifest, manifest.label, seed),
        "class, unseen hospitals": _left_out(x, manifest),
    }


def _in_folds(x, manifest: pd.DataFrame, truth: pd.Series, seed: int) -> pd.DataFrame:
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    parts = []
    for train, test in folds.split(x, truth, manifest.patient_id):
        parts.append(_predict_split(x, manifest, truth.to_numpy(), train, test))
    return pd.concat(parts)


def _left_out(x, manifest: pd.DataFrame) -> pd.DataFrame:
    parts = []
    for _, fold in leave_one_out(manifest):
        train, test = (np.flatnonzero(fold.split == name) for name in ("train", "test"))
        parts.append(_predict_split(x, manifest, manifest.label.to_numpy(), train, test))
    return pd.concat(parts)


def _predict_split(x, manifest, truth, train, test) -> pd.DataFrame:
    model = make_pipeline(StandardScaler(), RidgeClassifier(PENALTY, class_weight="balanced"))
    model.fit(x[train], truth[train])
    patients = manifest.patient_id.to_numpy()[test]
    table = {"patient_id": patients, "truth": truth[test], "prediction": model.predict(x[test])}
    return pd.DataFrame(table)


def _balanced(predicted: pd.DataFrame, seed: int) -> dict:
    """Return the mean recall with its interval; an image's weight is one over its class's n."""
    classes = predicted.truth.nunique()
    counts = predicted.groupby("truth").truth.transform("size")
    weight = len(predicted) / (classes * counts)
    right = (predicted.truth == predicted.prediction) * weight
    mean = bootstrap_mean(right, predicted.patient_id, seed=seed)
    interval = {"value": mean.value, "low": mean.low, "high": min(mean.high, 1.0)}
    return interval | {"chance": 1 / classes, "n": len(predicted)}


def thin_sources(manifest: pd.DataFrame, per_cell: int = 100, seed: int = 0) -> pd.DataFrame:
    """Keep at most so many images of each class of each source."""
    shuffled = manifest.sample(frac=1, random_state=seed)
    kept = shuffled.groupby(["source", "label"]).head(per_cell)
    return kept.sort_index().reset_index(drop=True)
