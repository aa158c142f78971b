"""Pairs of image and mask: what is refused, how they are split, how they are varied."""

import cv2
import numpy as np
import pytest
from conftest import make_manifest

from xraylib import lungs
from xraylib.images import ImageError
from xraylib.lungs import UNetConfig, training


def test_a_manifest_without_masks_is_refused(tmp_path):
    manifest = make_manifest(tmp_path, 4)
    with pytest.raises(ValueError, match="none of the 4 images has a mask"):
        lungs.check_pairs(manifest)


def test_an_empty_mask_is_refused_by_name(tmp_path):
    manifest = make_manifest(tmp_path, 4, with_masks=True)
    cv2.imwrite(manifest.mask_path[2], np.zeros((64, 64), np.uint8))
    with pytest.raises(ValueError, match="2-mask.png"):
        lungs.check_pairs(manifest)


def test_a_mask_of_another_size_is_refused_by_name(tmp_path):
    manifest = make_manifest(tmp_path, 4, with_masks=True)
    cv2.imwrite(manifest.mask_path[1], np.full((32, 64), 255, np.uint8))
    with pytest.raises(ImageError, match="1-mask.png"):
        lungs.check_pairs(manifest)


def test_only_rows_with_masks_are_pairs(tmp_path):
    manifest = make_manifest(tmp_path, 5, with_masks=True)
    manifest.loc[[0, 3], "mask_path"] = ""
    assert lungs.check_pairs(manifest).path.tolist() == manifest.path[[1, 2, 4]].tolist()


def test_no_patient_stands_on_two_sides_and_the_split_stays(tmp_path):
    manifest = make_manifest(tmp_path, 20, with_masks=True)
    manifest["patient_id"] = [f"patient-{i // 2}" for i in range(20)]
    split = lungs.split_pairs(manifest, UNetConfig())
    assert split.groupby("patient_id").split.nunique().max() == 1
    assert split.split.value_counts().to_dict() == {"train": 12, "test": 6, "val": 2}
    assert split.equals(lungs.split_pairs(manifest, UNetConfig()))


def test_two_patients_cannot_be_split(tmp_path):
    manifest = make_manifest(tmp_path, 2, with_masks=True)
    with pytest.raises(ValueError, match="2 patients"):
        lungs.split_pairs(manifest, UNetConfig())


def test_masks_drawn_on_another_version_are_set_aside(tmp_path):
    manifest = make_manifest(tmp_path, 6, with_masks=True).assign(source="cohen")
    manifest.loc[1, "mask_path"] = str(tmp_path / "ciaa199.pdf-001-c.png")
    manifest.loc[2, "mask_path"] = str(tmp_path / "covid-19-pneumonia-12.png")
    assert training.drawn_elsewhere(manifest).tolist() == [False, True, False, False, False, False]
    assert lungs.split_pairs(manifest, UNetConfig()).split.tolist().count("elsewhere") == 1
    assert not training.drawn_elsewhere(manifest.assign(source="A")).any()


def test_image_and_mask_are_moved_alike():
    mask = np.zeros((96, 96), bool)
    mask[20:70, 25:60] = True
    for seed in range(20):
        moved, moved_mask = training._move_pair(
            np.where(mask, 255, 0).astype(np.uint8), mask, np.random.default_rng(seed)
        )
        np.testing.assert_array_equal(moved > 127, moved_mask)
        assert moved_mask.any()


def test_varied_pairs_differ_and_are_repeatable():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (64, 64), dtype=np.uint8)
    mask = np.zeros((64, 64), bool)
    mask[16:48, 16:48] = True
    batches = [
        lungs.PairBatches(image[None], mask[None], UNetConfig(batch_size=3, steps=2), epoch)
        for epoch in (0, 0, 1)
    ]
    images, masks = batches[0][1]
    assert images.shape == masks.shape == (3, 64, 64, 1)
    assert images.dtype == np.float32
    assert 0 <= images.min() < images.max() <= 255
    np.testing.assert_array_equal(images, batches[1][1][0])
    assert not np.array_equal(images, batches[2][1][0])
    assert not np.array_equal(images[0], images[1])


def test_each_mask_goes_to_its_map_and_the_other_one_is_unknown():
    masks = np.zeros((2, 4, 4), bool)
    masks[:, 1:3] = True
    targets = training.map_targets(masks, ["in", "out"], 3)
    assert targets.shape == (2, 4, 4, 3)
    np.testing.assert_array_equal(targets[..., 0], masks)
    np.testing.assert_array_equal(targets[0, ..., 1], masks[0])
    np.testing.assert_array_equal(targets[1, ..., 2], masks[1])
    assert (targets[0, ..., 2] == -1).all() and (targets[1, ..., 1] == -1).all()
    assert training.map_targets(masks, None, 1).dtype == bool


def test_a_small_hospital_is_drawn_as_often_as_a_large_one(tmp_path):
    rows = make_manifest(tmp_path, 12).assign(source=["A"] * 10 + ["B"] * 2, heart="in")
    images = np.stack([np.full((16, 16), 10 * k, np.uint8) for k in range(12)])
    masks = np.ones(images.shape, bool)
    config = UNetConfig(size=16, batch_size=400, steps=1, maps=3)
    batches = training.PairBatches(images, masks, config, 0, rows)
    assert batches.chances[:10].sum() == pytest.approx(0.5)
    seen, targets = batches[0]
    assert seen.shape == (400, 16, 16, 1) and targets.shape == (400, 16, 16, 3)


def test_an_image_takes_over_the_grey_values_of_another_one():
    bright, dark = np.full((2, 32, 32), 200, np.uint8), np.full((2, 32, 32), 30, np.uint8)
    bright[:, 8:24], dark[:, 8:24] = 240, 60
    images, masks = np.concatenate([bright, dark]), np.ones((4, 32, 32), bool)
    plain = training.PairBatches(images, masks, UNetConfig(size=32), 0)
    dressed = training.PairBatches(images, masks, UNetConfig(size=32, borrowed_greys=1.0), 0)
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(plain._dress(0, rng), images[0])
    seen = [dressed._dress(0, rng) for _ in range(20)]
    assert {tuple(np.unique(image)) for image in seen} == {(30, 60), (200, 240)}
    assert all((image[8:24] > image[0, 0]).all() for image in seen)  # the picture stays
