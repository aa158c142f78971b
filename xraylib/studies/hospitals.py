"""Radiographs of several hospitals, what VGG16 says of them, and how well that tells the hospital.

No hospital at hand has all three classes: COVID-19 comes from publications and from one clinic, all
else from other places. A classifier can therefore learn the hospital and pass for knowing the
disease. Here images are turned into features; `unseen` teaches a classifier on them, and judges it
on hospitals that were left out.
"""

from functools import lru_cache
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm.auto import tqdm

from xraylib import files, images, lungs, network
from xraylib.config import CLASS_NAMES, home
from xraylib.images import Preprocessing
from xraylib.metrics import bootstrap_mean

OTHER = "other"  # sick, and none of the three classes: here tuberculosis
SIZE = 128  # side of a view in pixels: a third of the time that 224 takes
VIEWS = {
    "whole": Preprocessing(size=SIZE),
    "cropped": Preprocessing(equalise="clahe", crop=True, size=SIZE),
    "whole, masked": Preprocessing(region="lungs", size=SIZE),
    "cropped, masked": Preprocessing(region="lungs", equalise="clahe", crop=True, size=SIZE),
}
POOLS = {"block2_pool": 128, "block3_pool": 256, "block4_pool": 512, "block5_pool": 512}
BATCH = 16
PER_CELL = 100  # images of a class in a hospital that are used
FOLDS = 5
SMALLEST = 1e-8  # added before the square root, whose slope at 0 has no bound


def thin_hospitals(manifest: pd.DataFrame, per_cell: int = PER_CELL, seed: int = 0) -> pd.DataFrame:
    """Keep at most so many images of each class of each site, of as many patients as can be."""
    cell, shuffled = ["site", "label"], manifest.sample(frac=1, random_state=seed)
    turn = shuffled.groupby([*cell, "patient_id"]).cumcount()  # 0: a patient's first image
    ordered = shuffled.loc[turn.sort_values(kind="stable").index]
    return ordered.groupby(cell).head(per_cell).sort_index().reset_index(drop=True)


def pooled_features(manifest: pd.DataFrame, view: Preprocessing) -> np.ndarray:
    """Return what VGG16 sees of each image, averaged over the view; computed now or kept.

    Blocks 2 to 5 speak of ever larger things, from edges to shapes. Their maps are averaged over
    all places, so that what is seen counts and not where; the square root keeps a few strong
    answers from drowning the rest. The means of a block are then measured from their own mean, in
    their own standard deviation: how strongly the whole block answers says more of the film than
    of the lungs.

    Args:
        manifest: N rows, with masks where the view needs them.
        view: see `VIEWS`.

    Returns:
        float32 (N, 1408).
    """
    settings = network.FeatureSettings(view, "vgg16", taps=tuple(POOLS))
    target = home("features") / f"described-{network.content_key(manifest, settings)}.npy"
    rows = list(manifest.itertuples())

    def rest(done: int):
        for start in tqdm(range(done, len(rows), BATCH), desc="pooled features", unit=" batches"):
            batch = [_see(row, view) for row in rows[start : start + BATCH]]
            yield describe(np.stack(batch)).astype(np.float16)

    with files.locked(target):
        if not target.exists():
            network.grow_array(target, (len(rows), sum(POOLS.values())), BATCH, rest)
    return np.load(target).astype(np.float32)


def _see(row, view: Preprocessing) -> np.ndarray:
    image = images.read_grey(row.path)
    if not view.needs_mask:
        return view.apply(image)
    return view.apply(image, usable_mask(images.read_mask(row.mask_path, image.shape)))


def describe(views: np.ndarray) -> np.ndarray:
    """Return the features of views, uint8 (B, H, W), as float32 (B, 1408)."""
    predict = _predictor(views.shape[1], network.vgg16_weights_path())
    return predict(views[..., None].astype(np.float32)).numpy()


@lru_cache(maxsize=2)
def _predictor(size: int, _weights: Path):
    """Compile the network that describes views; again only for another size or other weights."""
    model = build_describer(size)
    return tf.function(lambda x: model(x, training=False), reduce_retracing=True)


def build_describer(size: int = SIZE) -> keras.Model:
    """Build the frozen VGG16 from views (B, size, size, 1), 0..255, to features (B, 1408)."""
    base = network.build_base("vgg16", size=size)
    blocks = []
    for name in POOLS:
        means = keras.layers.GlobalAveragePooling2D()(base.get_layer(name).output)
        roots = keras.ops.sqrt(means + SMALLEST)
        own = keras.ops.mean(roots, axis=1, keepdims=True)
        blocks.append((roots - own) / keras.ops.std(roots, axis=1, keepdims=True))
    return keras.Model(base.input, keras.layers.Concatenate()(blocks))


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


def which_hospital(features, manifest: pd.DataFrame, seed: int = 0) -> dict:
    """Measure how well features of normal lungs tell the hospital: no disease can help there.

    Args:
        features: float32 (N, D), or of any step on the way to the answer.
        manifest: the N rows.
        seed: of the folds by patient, and of the bootstrap.

    Returns:
        hospitals, their number; n; patients; recall, the mean over the hospitals, of a linear
        classifier in `FOLDS` folds by patient; low, high (95 %, by patient); chance.
    """
    normal = (manifest.label == CLASS_NAMES[0]).to_numpy()
    x, rows = features[normal], manifest[normal]
    site, patient = rows.site.to_numpy(), rows.patient_id.to_numpy()
    model = make_pipeline(StandardScaler(), RidgeClassifier(x.shape[1], class_weight="balanced"))
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    told = cross_val_predict(model, x, site, groups=patient, cv=folds)
    names, counts = np.unique(site, return_counts=True)
    weight = dict(zip(names, len(site) / (len(names) * counts), strict=True))
    mean = bootstrap_mean((told == site) * rows.site.map(weight).to_numpy(), patient, seed=seed)
    figures = {"recall": mean.value, "low": mean.low, "high": min(mean.high, 1.0)}
    sizes = {"hospitals": len(names), "n": len(rows), "patients": rows.patient_id.nunique()}
    return sizes | figures | {"chance": 1 / len(names)}
