"""Training a U-Net on pairs of image and mask, judging it, and comparing what to train it on."""

import csv
import hashlib
import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from .config import home
from .masks import clean_mask, predict_probs
from .pairs import PairBatches, check_pairs, read_pairs, split_pairs
from .unet import UNetConfig, bce_dice_loss, build_unet, dice, dice_metric, iou, iou_metric

WEIGHTS = "unet.weights.h5"


def train_unet(manifest, config: UNetConfig = UNetConfig(), folder=None, start=None) -> Path:
    """Train a U-Net, or return the folder of the one that was trained so before.

    Killed at any moment, it goes on from its last whole epoch when called again.

    Args:
        manifest: a table; the rows with a mask_path are the pairs. They are split by patient.
        config: the settings.
        folder: of the run; by default below `config.home("runs")`, named after a hash of the
            settings, the pairs' pixels and the first weights.
        start: the folder of a trained U-Net whose weights to begin with.

    Returns:
        the run folder: `config.json, split.csv, history.csv, unet.weights.h5, metrics.json`. The
        weights are those of the epoch with the best Dice on the validation patients;
        `metrics.json` holds the measures on the test patients, which chose nothing.

    Raises:
        ValueError, ImageError: as `pairs.check_pairs` and `pairs.split_pairs`.

    Section 3.2.3 of the report.
    """
