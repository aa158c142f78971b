"""Training, validation and test sets: the report's way, by patient, in folds; batches of them."""

import random
from collections.abc import Iterator

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from xraylib.config import CLASS_NAMES, COVID, RunConfig
from xraylib.data.manifest import check_columns, class_names_of

SPLITS = ("train", "val", "test")
SHARES = {"train": 72, "val": 18, "test": 10}  # per cent of each class


def report_counts(n: int) -> dict[str, int]:
    """Return how many of n images of a class the report puts into each set (section 2).

    Its authors take 72, 18 and 10 %, each rounded down, and use no image that is left over.

    >>> report_counts(8851)
    {'train': 6372, 'val': 1593, 'test': 885}
    """
    return {name: percent * n // 100 for name, percent in SHARES.items()}


def split_images(manifest: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Split at image level as the report did: shuffled per class, patients not looked at.

    With the seed 19910806 and the published lists this gives the authors' own nine lists.

    Args:
        manifest: one row per image, in the order of the lists; any labels.
        seed: seeds `random.Random` anew for each class, as in the authors' notebook.

    Returns:
        a copy whose column `split` is `train`, `val` or `test`. When the shares are rounded down,
        one or two images of a class are left over: they stay out ("") among the report's classes,
        as the authors left them, and train among classes of one's own.

    Raises:
        ManifestError: an image has no label.
    """
    labels = check_columns(manifest, ("label",)).label
    left_over = "" if set(labels) <= set(CLASS_NAMES) else "train"
    split = np.full(len(manifest), left_over, object)
    for name in labels.unique():
        rows = np.flatnonzero(labels == name)
        order = list(range(len(rows)))
        random.Random(seed).shuffle(order)
        start = 0
        for part, n in report_counts(len(rows)).items():
            split[rows[order[start : start + n]]] = part
            start += n
    return manifest.assign(split=split)


def split_patients(manifest: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Split by patient, in the same fractions: all images of a patient lie on one side.

    Patients are grouped by the rarest class that they have. In each group whole patients fill the
    test set, then validation, then training, until each holds its share of images.

    Args:
        manifest: one row per image, any labels, every row with a patient_id.
        seed: decides the order in which patients are dealt.

    Returns:
        a copy whose column `split` is `train`, `val` or `test`.

    Raises:
        ManifestError: an image has no label or no patient_id.
    """
    checked = check_columns(manifest, ("label", "patient_id"))
    rarest = rarest_class(checked)
    n_images = checked.patient_id.value_counts()
    rng = random.Random(seed)
    side = {}
    for name in class_names_of(checked):
        patients = sorted(rarest.index[rarest == name])
        rng.shuffle(patients)
        n = int(n_images[patients].sum())
        room = {"test": int(0.10 * n), "val": round(0.18 * n)}  # the rest trains
        for patient in patients:
            part = "train"
            for wanted in room:
                if n_images[patient] <= room[wanted]:
                    part = wanted
                    room[wanted] -= n_images[patient]
                    break
            side[patient] = part
    return manifest.assign(split=checked.patient_id.map(side))


def rarest_class(manifest: pd.DataFrame) -> pd.Series:
    """Return for each patient_id the rarest of the classes that the patient's images show."""
    counts = manifest.label.value_counts()
    rarest_first = sorted(counts.index, key=lambda name: (counts[name], name))
    return manifest.groupby("patient_id").label.agg(
        lambda labels: min(labels, key=rarest_first.index)
    )


def split_manifest(manifest: pd.DataFrame, config: RunConfig) -> pd.DataFrame:
    """Split by patient or by image, as the configuration says."""
    ways = {"patient": split_patients, "image": split_images}
    if config.split_by not in ways:
        raise ValueError(f"split_by is {config.split_by!r}: choose patient or image")
    return ways[config.split_by](manifest, config.seed)


def split_folds(manifest: pd.DataFrame, config: RunConfig) -> list[pd.DataFrame]:
    """Cut into folds with equal shares of each class; each fold is the test set once.

    Args:
        config: `folds`, `seed`, and `split_by`: `patient` keeps patients together.

    Returns:
        `config.folds` copies of the manifest whose column `split` is `train` or `test`.
    """
    by_patient = config.split_by == "patient"
    checked = check_columns(manifest, ("label", "patient_id") if by_patient else ("label",))
    kind = StratifiedGroupKFold if by_patient else StratifiedKFold
    cutter = kind(config.folds, shuffle=True, random_state=config.seed % 2**32)
    copies = []
    groups = checked.patient_id if by_patient else None
    for _, test in cutter.split(checked, checked.label, groups):
        side = np.full(len(manifest), "train", dtype=object)
        side[test] = "test"
        copies.append(manifest.assign(split=side))
    return copies


def shared_patients(manifest: pd.DataFrame) -> pd.DataFrame:
    """List the patients who stand on more than one side of a split.

    Args:
        manifest: a manifest with its column `split` filled.

    Returns:
        one row per patient: patient_id, and the number of images in each set; empty when none.
        Images without a patient_id are left out: nobody knows whose they are.
    """
    manifest = check_columns(manifest, text=("patient_id", "split"))
    known = manifest[(manifest.patient_id != "") & (manifest.split != "")]
    counts = pd.crosstab(known.patient_id, known.split)
    counts = counts.reindex(columns=[s for s in SPLITS if s in counts], fill_value=0)
    shared = counts[(counts > 0).sum(axis=1) > 1]
    return shared.rename_axis(columns=None).reset_index()


def counts_table(manifest: pd.DataFrame) -> pd.DataFrame:
    """Count the images in each set by class, with totals: the report's Table 1.

    Args:
        manifest: any labels; images that are in no set are not counted.
    """
    manifest = check_columns(manifest, ("label",), ("split",))
    used = manifest[manifest.split != ""]
    table = pd.crosstab(used.label, used.split, margins=True, margins_name="total")
    rows = [*class_names_of(manifest), "total"]
    others = sorted(set(used.split) - set(SPLITS))
    columns = [s for s in (*SPLITS, *others, "total") if s in table]
    return table.reindex(index=rows, columns=columns, fill_value=0).rename_axis(
        index="class", columns=None
    )


# Training batches with a fixed share of one rare class: the report's up-sampling (section 2).


def upsampled_batches(
    labels, batch_size: int, rate: float, rng, rare_class=COVID
) -> Iterator[np.ndarray]:
    """Yield the rows of each batch of one epoch, a share `rate` of them of the rare class.

    The other classes come once, in a new order. Images of the rare class (the report's: COVID-19)
    are dealt from a shuffled pack, which is shuffled again when it is used up, so that all come
    equally often.

    Args:
        labels: ids or names (N,), or one-hot rows (N, C).
        batch_size: images in a batch. The last batch is short and has the same share.
        rate: share of the rare class, 0 to below 1; 0 takes every image once, as it comes.
        rng: NumPy's generator, the source of chance.
        rare_class: the class to up-sample, an id or a name as in `labels`.

    Yields:
        int (B,), places in `labels`. Report, section 2.

    Raises:
        ValueError: the rate is out of range, or the images that it needs are not there.
    """
    is_rare = check_rate(labels, batch_size, rate, rare_class)
    rare, others = np.flatnonzero(is_rare), np.flatnonzero(~is_rare)
    if rate == 0:
        others = np.arange(len(is_rare))
    n_rare = round(rate * batch_size)
    n_others = batch_size - n_rare
    others, pack = rng.permutation(others), rare[:0]
    for start in range(0, len(others), n_others):
        part = others[start : start + n_others]
        if len(part) < n_others:
            n_rare = round(len(part) * rate / (1 - rate))
        while len(pack) < n_rare:
            pack = np.concatenate([pack, rng.permutation(rare)])
        dealt, pack = pack[:n_rare], pack[n_rare:]
        yield rng.permutation(np.concatenate([part, dealt]))


def check_rate(labels, batch_size: int, rate: float, rare_class=COVID) -> np.ndarray:
    """Return which images are of the rare class, bool (N,); the checks of `upsampled_batches`."""
    is_rare = _of_class(labels, rare_class)
    called = CLASS_NAMES[COVID] if rare_class == COVID else rare_class
    if not 0 <= rate < 1:
        raise ValueError(f"the up-sampling rate is {rate}; it must be from 0 to below 1")
    n_rare = round(rate * batch_size)
    if rate > 0 and n_rare == 0:
        raise ValueError(f"rate {rate} of {batch_size} images is not one {called} image: raise it")
    if rate > 0 and not is_rare.any():
        raise ValueError(f"no {called} image to up-sample: choose rate 0, or another split")
    if n_rare == batch_size or not len(is_rare) or (rate > 0 and is_rare.all()):
        raise ValueError("no image of the other classes fits into a batch: lower the rate")
    return is_rare


def _of_class(labels, rare_class) -> np.ndarray:
    """Return which labels are of a class; ids, names and one-hot rows are understood."""
    labels = np.asarray(labels)
    named = labels.dtype.kind in "OUS"
    if labels.ndim == 2 and np.isin(labels, (0, 1)).all() and (labels.sum(axis=1) == 1).all():
        labels = labels.argmax(axis=1)
    if labels.ndim != 1 or not (named or labels.dtype.kind in "iu" or labels.size == 0):
        found = f"{labels.dtype} {labels.shape}"
        raise ValueError(f"labels: found {found}, give ids or names (N,), or one-hot rows (N, C)")
    if named and rare_class == COVID:
        rare_class = CLASS_NAMES[COVID]
    elif not named and isinstance(rare_class, str):
        if rare_class not in CLASS_NAMES:
            raise ValueError(f"rare_class {rare_class!r} for labels that are ids: give its id")
        rare_class = CLASS_NAMES.index(rare_class)
    return labels == rare_class
