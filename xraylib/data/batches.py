"""Training batches with a fixed share of one rare class: the report's up-sampling (section 2)."""

from collections.abc import Iterator

import numpy as np

from xraylib.config import CLASS_NAMES, COVID


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
    """Return which images are of the rare class, bool (N,).

    Raises:
        ValueError: the labels are no ids, names or one-hot rows, or batches of this size cannot
            hold this share.
    """
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
