"""Training batches with a fixed share of COVID-19: the report's up-sampling (section 2)."""

from collections.abc import Iterator

import numpy as np

from xraylib.config import COVID


def upsampled_batches(labels, batch_size: int, rate: float, rng) -> Iterator[np.ndarray]:
    """Yield the rows of each batch of one epoch, a share `rate` of them COVID-19.

    The other classes come once, in a new order. COVID-19 images are dealt from a shuffled pack,
    which is shuffled again when it is used up, so that all come equally often.

    Args:
        labels: int (N,), ids into `CLASS_NAMES`.
        batch_size: images in a batch. The last batch is short and has the same share.
        rate: share of COVID-19, 0 to below 1; 0 takes every image once, as it comes.
        rng: NumPy's generator, the source of chance.

    Yields:
        int (B,), places in `labels`. Report, section 2.

    Raises:
        ValueError: the rate is out of range, or the images that it needs are not there.
    """
    labels = np.asarray(labels)
    check_rate(labels, batch_size, rate)
    covid, others = np.flatnonzero(labels == COVID), np.flatnonzero(labels != COVID)
    if rate == 0:
        others = np.arange(len(labels))
    n_covid = round(rate * batch_size)
    n_others = batch_size - n_covid
    others, pack = rng.permutation(others), covid[:0]
    for start in range(0, len(others), n_others):
        part = others[start : start + n_others]
        if len(part) < n_others:
            n_covid = round(len(part) * rate / (1 - rate))
        while len(pack) < n_covid:
            pack = np.concatenate([pack, rng.permutation(covid)])
        dealt, pack = pack[:n_covid], pack[n_covid:]
        yield rng.permutation(np.concatenate([part, dealt]))


def check_rate(labels: np.ndarray, batch_size: int, rate: float) -> None:
    """Raise a `ValueError` unless batches of this size can hold this share of COVID-19."""
    if not 0 <= rate < 1:
        raise ValueError(f"the up-sampling rate is {rate}; it must be from 0 to below 1")
    n_covid = round(rate * batch_size)
    if rate > 0 and n_covid == 0:
        raise ValueError(f"rate {rate} of {batch_size} images is not one COVID-19 image")
    if rate > 0 and not (labels == COVID).any():
        raise ValueError("no COVID-19 image to up-sample: choose rate 0, or another split")
    if n_covid == batch_size or not len(labels) or (rate > 0 and (labels == COVID).all()):
        raise ValueError("no image of the other classes fits into a batch")
