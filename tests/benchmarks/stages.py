"""U-Net inference against the matrix product, and what a profile costs as a sum of stages."""

import tempfile

import numpy as np
from common import empty_features, gflop, real_manifest, seconds, sgemm_gflops

from xraylib import config, experiments, images, lungs, sources
from xraylib.experiments import comparisons
from xraylib.images import Preprocessing
from xraylib.lungs import masks, training
from xraylib.network import extract_features, fit_head, train_epoch


def unet_ratio() -> None:
    """(d) U-Net inference against the machine's own float32 matrix product."""
    manifest, data = real_manifest()
    network = masks.build_in_fast_precision(lungs.UNET_PROFILES["real"], pretrained=False)
    grey = [images.read_grey(path) for path in manifest.path[:256]]
    lungs.segment_images(network, grey[: masks.BATCH])  # the first call traces
    starts = range(0, len(grey), masks.BATCH)
    took = seconds(lambda: [lungs.segment_images(network, grey[i:][: masks.BATCH]) for i in starts])
    speed, cost, peak = len(grey) / took, gflop(network), sgemm_gflops()
    print(f"(d) lung masks of {len(grey)} images of {data}, cleaned: {speed:.1f} images/s")
    print(f"    = {speed * cost:.0f} GFLOP/s; sgemm {peak:.0f} GFLOP/s")
    print(f"    ratio {speed * cost / peak:.2f}")


def profile_stages() -> None:
    """(e) What a profile computes, as units times the seconds of one unit, measured on a slice."""
    for name in ("quick", "real"):
        settings, unet = config.profile(name), lungs.UNET_PROFILES[name]
        try:
            n = len(sources.provide(settings))
        except FileNotFoundError:
            n = 1124  # the real set, where it is not at hand
        train = round(n * (1 - 1 / settings.folds) / (1 - settings.upsampling_rate))
        unit = unit_seconds(settings, unet)
        trained = {experiments.VIEWS[view] for view in settings.grid_views}
        trained |= {cell.experiment.train for cell in comparisons.FACTORIAL}
        moving = sum(view.transform != "none" for view in trained)
        views = len(trained) - moving + moving * settings.augmented_views
        # experiments 1 to 3 and 1 by image; then in folds 1 by image, the grid, the factorial
        epochs = 4 * settings.epochs + settings.fold_epochs * settings.folds * (1 + len(trained))
        stages = {
            f"U-Net, {unet.epochs} epochs": unet.epochs * unet.steps * unit["U-Net step"],
            f"masks of {n} images": n * unit["mask"],
            f"features, {views} views of {n} images": n * views * unit["features"],
            f"heads, {epochs} epochs of about {train} images": epochs * train * unit["head"],
        }
        print(f"(e) profile {name}: {sum(stages.values()) / 60:.1f} minutes, the sum of")
        for stage, took in stages.items():
            print(f"    {took:6.0f} s  {stage}")


def unit_seconds(settings, unet) -> dict[str, float]:
    """Return the seconds of one unit of each stage, on phantoms."""
    table = sources.provide(config.profile("quick")).head(96)
    network = training.compile_unet(unet, start=None)
    pairs_read = lungs.read_pairs(table[:8], unet.size)
    batches = lungs.PairBatches(*pairs_read, unet.but(steps=10), 0)
    train_epoch(network, batches)  # the first call traces
    step = seconds(lambda: train_epoch(network, batches)) / 10
    grey = [images.read_grey(path) for path in table.path]
    lungs.segment_images(network, grey[: masks.BATCH])
    mask = seconds(lambda: lungs.segment_images(network, grey)) / len(grey)
    with empty_features():
        took = seconds(lambda: extract_features(table, Preprocessing(), settings.scaling))
        kept = extract_features(table, Preprocessing(), settings.scaling)
    maps, labels = np.concatenate([kept] * 10), np.resize([0, 1, 2], 960)
    short, long = settings.but(epochs=1), settings.but(epochs=5)
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as five:
        start = seconds(lambda: fit_head([maps], labels, None, short, one))
        whole = seconds(lambda: fit_head([maps], labels, None, long, five))
    return {
        "U-Net step": step,
        "mask": mask,
        "features": took / len(table),
        "head": (whole - start) / 4 / len(maps),
    }
