"""Training batches with a fixed share of COVID-19: the report's up-sampling (section 3.2.1)."""

import math

import keras
import numpy as np

from xraylib.config import CLASS_NAMES, COVID


class UpsampledBatches(keras.utils.PyDataset):
    """Batches in which exactly round(rate x batch) images show COVID-19.

    The other classes come once per epoch in a new order; COVID-19 images are dealt from a
    shuffled pack that is shuffled again when it is used up, so that all come equally often. The
    last batch is short, with the same share. Order depends on seed and epoch alone: a resumed
    training sees what an undisturbed one sees.
    """

    def __init__(self, views, labels, batch_size=100, rate=0.30, seed=0):
        """Hold the images, or whatever stands for them.

        Args:
            views: sequence of arrays (N, ...), the same images in different random transforms:
                each time an image comes, one of its views is drawn. One view is a list of one.
            labels: int (N,), ids into `CLASS_NAMES`.
            batch_size: images in a batch.
            rate: share of COVID-19, 0 to below 1; 0 takes every image once per epoch.
            seed: of order and views.

        Raises:
            ValueError: lengths differ, the rate is out of range, or the images that it needs
                are not there.
        """
        super().__init__()
        self.views, self.labels = list(views), np.asarray(labels)
        if any(len(view) != len(self.labels) for view in self.views):
            raise ValueError("every view needs as many images as there are labels")
        if not 0 <= rate < 1:
            raise ValueError(f"the up-sampling rate is {rate}; it must be from 0 to below 1")
        self.batch_size, self.rate, self.seed = batch_size, rate, seed
        self.covid = np.flatnonzero(self.labels == COVID)
        self.others = np.flatnonzero(self.labels != COVID)
        if rate == 0:
            self.others = np.arange(len(self.labels))
        elif round(rate * batch_size) == 0:
            raise ValueError(f"rate {rate} of {batch_size} images is not one COVID-19 image")
        elif not len(self.covid):
            raise ValueError("no COVID-19 image to up-sample: choose rate 0, or another split")
        self.others_per_batch = batch_size - round(rate * batch_size)
        if self.others_per_batch == 0 or not len(self.others):
            raise ValueError("no image of the other classes fits into a batch")
        self.start_epoch(0)

    def __len__(self) -> int:
        return math.ceil(len(self.others) / self.others_per_batch)

    def __getitem__(self, index: int):
        """Return a batch: inputs (B, ...), targets float32 (B, 3) one-hot."""
        rows, which = self.batches[index]
        inputs = np.empty((len(rows), *self.views[0].shape[1:]), self.views[0].dtype)
        for number, view in enumerate(self.views):
            here = np.flatnonzero(which == number)
            inputs[here] = view[rows[here]]
        return inputs, np.eye(len(CLASS_NAMES), dtype=np.float32)[self.labels[rows]]

    def on_epoch_end(self):
        self.start_epoch(self.epoch + 1)

    def start_epoch(self, epoch: int) -> None:
        """Deal the batches of an epoch, counted from 0."""
        self.epoch = epoch
        rng = np.random.default_rng([self.seed, epoch])
        others = rng.permutation(self.others)
        self.batches, pack = [], np.empty(0, np.int64)
        for start in range(0, len(others), self.others_per_batch):
            part = others[start : start + self.others_per_batch]
            n_covid = self._covid_beside(len(part))
            while len(pack) < n_covid:
                pack = np.concatenate([pack, rng.permutation(self.covid)])
            rows = rng.permutation(np.concatenate([part, pack[:n_covid]]))
            pack = pack[n_covid:]
            self.batches.append((rows, rng.integers(len(self.views), size=len(rows))))

    def _covid_beside(self, n_others: int) -> int:
        if n_others == self.others_per_batch:
            return self.batch_size - n_others
        return round(n_others * self.rate / (1 - self.rate))
