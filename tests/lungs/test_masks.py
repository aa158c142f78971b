"""Predicted masks: cleaned, flagged, written once, read again."""

import cv2
import numpy as np
import pytest
from conftest import make_manifest

from xraylib import lungs, metrics, phantoms, pretrained
from xraylib.images import ImageError, read_mask
from xraylib.lungs import UNetConfig, masks

TINY = UNetConfig(size=32, filters=4, levels=2, encoder="scratch", epochs=1, steps=1, batch_size=2)


def discs(*places, side=100):
    image = np.zeros((side, side), np.uint8)
    for x, y, radius in places:
        cv2.circle(image, (x, y), radius, 1, -1)
    return image.astype(bool)


def test_the_two_largest_regions_stay():
    both = discs((25, 50, 20), (75, 50, 18))
    found = masks.clean_mask(both | discs((50, 8, 6)))
    assert (found ^ both).sum() < 20  # the opening may take a pixel off a rim
    assert not found[2:15, 44:57].any()


def test_holes_are_filled():
    found = masks.clean_mask(discs((25, 50, 20)) & ~discs((25, 50, 5)))
    assert found[50, 25]


def test_a_thin_bridge_is_cut():
    bridged = discs((25, 50, 15), (70, 50, 15))
    bridged[50, 25:70] = True
    assert not masks.clean_mask(bridged)[:, 47].any()


def test_probabilities_are_cut_at_the_threshold():
    probs = np.where(discs((25, 50, 20)), 0.6, 0.1)
    assert masks.clean_mask(probs).any()
    assert not masks.clean_mask(probs - 0.2).any()


def test_nothing_stays_nothing():
    assert not masks.clean_mask(np.zeros((40, 30))).any()


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, "small"), (0.1, ""), (0.4, ""), (0.7, ""), (0.71, "large")]
)
def test_flags(share, expected):
    assert masks.flag_share(share) == expected


@pytest.fixture(scope="module")
def folder(module_home):
    return lungs.train_unet(make_manifest(module_home / "pairs", 4, with_masks=True), TINY)


def test_masks_have_their_images_sizes_and_an_even_image_an_empty_one(folder):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (50, 70), dtype=np.uint8), np.zeros((40, 45), np.uint8)]
    found = masks.segment_images(masks.load_unet(folder), images)
    assert [mask.shape for mask in found] == [(50, 70), (40, 45)]
    assert all(mask.dtype == bool for mask in found)
    assert not found[1].any()


def test_every_image_gets_a_mask_that_is_used_again(folder, tmp_path, monkeypatch):
    manifest = make_manifest(tmp_path / "new", 3)
    cv2.imwrite(manifest.path[1], np.zeros((64, 64), np.uint8))
    first = masks.predict_masks(manifest, folder)
    assert first.mask_flag[1] == "small"
    for row in first.itertuples():
        mask = read_mask(row.mask_path, (64, 64))
        assert mask.mean() == pytest.approx(row.lung_share)
        assert set(np.unique(cv2.imread(row.mask_path, 0))) <= {0, 255}
    monkeypatch.setattr(masks, "segment_images", lambda *_: pytest.fail("predicted again"))
    assert masks.predict_masks(manifest, folder).equals(first)


def test_the_same_pixels_twice_in_a_batch_are_fine(folder, tmp_path):
    manifest = make_manifest(tmp_path / "new", 2)
    (tmp_path / "new" / "1.png").write_bytes((tmp_path / "new" / "0.png").read_bytes())
    found = masks.predict_masks(manifest, folder)
    assert found.mask_path[0] == found.mask_path[1]


def test_a_missing_image_is_named(folder, tmp_path):
    manifest = make_manifest(tmp_path / "new", 2)
    (tmp_path / "new" / "1.png").unlink()
    with pytest.raises(ImageError, match="1.png"):
        masks.predict_masks(manifest, folder)


def test_an_untrained_folder_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="lungs.train_unet"):
        masks.load_unet(tmp_path)


def test_the_packages_own_unet_finds_lungs_and_says_what_the_heart_is(home):
    drawn = [phantoms.make_phantom(label, seed) for seed, label in enumerate([0, 0, 1, 2])]
    found = {}
    for heart in lungs.HEART:
        model = lungs.load_unet("real", heart)
        assert model.output_shape[-1] == 1
        found[heart] = lungs.segment_images(model, [phantom.image for phantom in drawn])
    dices = [metrics.dice(p.lung_mask, m) for p, m in zip(drawn, found["out"], strict=True)]
    assert np.mean(dices) > 0.8  # drawn lungs, and it was taught by real ones
    areas = {heart: np.mean([mask.mean() for mask in part]) for heart, part in found.items()}
    assert areas["in"] > areas["out"]


def test_its_masks_are_kept_under_its_own_name(home, tmp_path):
    manifest = make_manifest(tmp_path / "new", 2)
    kept = masks.predict_masks(manifest).mask_path[0]
    assert pretrained.card("unet")["sha256"][:16] in kept


def test_a_way_with_the_heart_that_was_not_learnt_is_refused(folder):
    with pytest.raises(ValueError, match="a U-Net of one map"):
        lungs.load_unet(folder, "in")
    with pytest.raises(ValueError, match="choose one of drawn, in, out"):
        lungs.load_unet("real", "left")
