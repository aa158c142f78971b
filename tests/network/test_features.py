import os
import signal
import threading
import time
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
from conftest import make_manifest, start_child

from xraylib.images import ImageError, Preprocessing
from xraylib.network import features, stack
from xraylib.network.features import FeatureSettings, content_key
from xraylib.network.machinery import weights

WHOLE, LUNGS = Preprocessing(), Preprocessing("lungs")
BATCH = 2  # small, so that a few images make many batches

ROW_BYTES = 7 * 7 * 512 * 2  # float16


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(features, "BATCH", BATCH)


def files(home) -> list[str]:
    return sorted(f.name for f in (home / "features").iterdir() if f.suffix in (".npy", ".part"))


def extract(manifest, preprocessing=WHOLE, **settings) -> np.ndarray:
    return features.extract_features(manifest, preprocessing, "report", **settings)


def test_features_are_the_bases_outputs(stand_in_vgg16, tmp_path):
    manifest = make_manifest(tmp_path / "images", 5, with_masks=True)
    maps = extract(manifest, LUNGS)
    views = np.stack([features.load_view(row, LUNGS) for row in manifest.itertuples()])
    expected = stack.build_base("report")(views[..., None].astype(np.float32)).numpy()
    assert maps.dtype == np.float16 and maps.shape == (5, 7, 7, 512)
    assert isinstance(maps, np.memmap) and not maps.flags.writeable
    assert expected.std() > 0.01 and not np.array_equal(maps[0], maps[1])
    np.testing.assert_allclose(maps, expected, rtol=2e-3, atol=1e-3 * expected.max())


def test_bfloat16_features_are_nearly_those_of_float32(stand_in_vgg16, tmp_path):
    manifest = make_manifest(tmp_path / "images", 2)
    exact, rough = (extract(manifest, precision=p).astype(float) for p in ("float32", "bfloat16"))
    assert len(files(stand_in_vgg16)) == 2  # each in a file of its own
    assert 0 < np.linalg.norm(exact - rough) < 0.03 * np.linalg.norm(exact)


def test_a_second_call_computes_nothing(stand_in_vgg16, tmp_path, monkeypatch):
    manifest = make_manifest(tmp_path / "images", 2)
    first = np.array(extract(manifest))

    monkeypatch.setattr(features, "_write_features", lambda *_: pytest.fail("computed again"))
    np.testing.assert_array_equal(extract(manifest), first)


def test_random_views_differ_by_seed_and_image_and_come_again(stand_in_vgg16, tmp_path):
    moving = Preprocessing(transform="table2")
    manifest = make_manifest(tmp_path / "images", 1)
    one = extract(manifest, moving, transform_seed=1)
    other = extract(manifest, moving, transform_seed=2)
    still = extract(manifest)
    assert not np.array_equal(one, other) and not np.array_equal(one, still)
    row = next(manifest.itertuples())
    views = [features.load_view(row, moving, features.view_rng(*key)) for key in [(1, 0), (1, 1)]]
    assert not np.array_equal(*views)
    np.testing.assert_array_equal(
        views[0], features.load_view(row, moving, features.view_rng(1, 0))
    )


def test_the_key_changes_with_all_that_decides_and_with_nothing_else(home, tmp_path, monkeypatch):
    manifest = make_manifest(tmp_path / "images", 3, with_masks=True)
    moving = Preprocessing(transform="table2")

    def key(preprocessing=WHOLE, scaling="report", of=manifest, **settings):
        settings = {"precision": "float32"} | settings
        return content_key(of, FeatureSettings(preprocessing, scaling, **settings))

    keys = [
        key(),
        key(LUNGS),
        key(Preprocessing(size=96)),
        key(scaling="vgg16"),
        key(precision="bfloat16"),
        key(taps=("block4_pool",)),
        key(taps=("block4_pool", "block5_pool")),
        key(moving),
        key(moving, transform_seed=1),
        key(of=manifest[::-1]),
        key(of=manifest[:2]),
    ]
    before, before_lungs = keys[:2]
    mask, image = Path(manifest.mask_path[0]), Path(manifest.path[0])
    mask.write_bytes(Path(manifest.mask_path[1]).read_bytes())
    assert key() == before  # the whole image needs no mask
    keys.append(key(LUNGS))
    image.write_bytes(image.read_bytes() + b"\0")
    keys.append(key())
    monkeypatch.setattr(weights, "TENSORS_SHA256", "other")
    keys.append(key())
    assert len(set(keys)) == len(keys)
    monkeypatch.undo()
    assert key(transform_seed=1) == key()  # without a random transform the seed decides nothing
    assert key(of=manifest.assign(label="normal", split="test")) == key()
    moved = make_manifest(tmp_path / "elsewhere", 3, with_masks=True)
    again = make_manifest(tmp_path / "images", 3, with_masks=True)
    assert key(of=moved) == key(of=again) == before  # content, not place
    assert key(LUNGS, of=moved) == before_lungs


def test_a_damaged_image_is_named_and_leaves_no_features(stand_in_vgg16, tmp_path):
    manifest = make_manifest(tmp_path / "images", 7)
    whole = Path(manifest.path[6]).read_bytes()
    Path(manifest.path[6]).write_bytes(whole[:200])
    with pytest.raises(ImageError, match="6.png: damaged image"):
        extract(manifest)
    assert not any(name.endswith(".npy") for name in files(stand_in_vgg16))
    Path(manifest.path[6]).write_bytes(whole)
    assert extract(manifest).shape == (7, 7, 7, 512)


def test_a_missing_image_is_named(stand_in_vgg16, tmp_path):
    manifest = make_manifest(tmp_path / "images", 2)
    Path(manifest.path[1]).unlink()
    with pytest.raises(FileNotFoundError, match="1.png"):
        extract(manifest)


def test_a_missing_mask_and_a_mask_of_another_size_are_named(stand_in_vgg16, tmp_path):
    manifest = make_manifest(tmp_path / "images", 2, with_masks=True)
    nameless = manifest.assign(mask_path=[manifest.mask_path[0], ""])
    with pytest.raises(ValueError, match="1.png: this view needs a lung mask"):
        extract(nameless, LUNGS)
    larger = make_manifest(tmp_path / "larger", 2, with_masks=True, side=80)
    with pytest.raises(ImageError, match=r"1-mask.png: mask of \(80, 80\)"):
        extract(manifest.assign(mask_path=[manifest.mask_path[0], larger.mask_path[1]]), LUNGS)
    assert not any(name.endswith(".npy") for name in files(stand_in_vgg16))


def test_an_empty_mask_is_named(stand_in_vgg16, tmp_path):
    manifest = make_manifest(tmp_path / "images", 1, with_masks=True)
    black = np.zeros((64, 64), np.uint8)
    cv2.imwrite(manifest.mask_path[0], black)
    with pytest.raises(ValueError, match="0-mask.png: an empty mask"):
        extract(manifest, Preprocessing(crop=True))


def assert_goes_on(home, manifest, monkeypatch) -> None:
    """Check what three batches left, cut the fourth, compare the end with an undisturbed one."""
    (part,) = files(home)
    path = home / "features" / part
    assert path.suffix == ".part"
    with open(path, "rb") as file:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        start = file.tell()
    assert path.stat().st_size == start + 3 * BATCH * ROW_BYTES
    with open(path, "ab") as file:  # as if a kill had cut the next batch in its second row
        file.write(b"\xff" * (ROW_BYTES + 1000))
    read, load_view = [], features.load_view

    def listed(row, *rest):
        read.append(row.path)
        return load_view(row, *rest)

    monkeypatch.setattr(features, "load_view", listed)
    resumed = extract(manifest)
    assert read == manifest.path[6:].tolist()  # the six that were done are not read again
    assert files(home) == [f"{path.stem}.npy"]
    kept = Path(resumed.filename).read_bytes()
    os.remove(resumed.filename)
    undisturbed = Path(extract(manifest).filename).read_bytes()
    assert kept == undisturbed


def test_an_interrupted_extraction_goes_on_and_ends_byte_by_byte_alike(
    stand_in_vgg16, tmp_path, monkeypatch
):
    manifest = make_manifest(tmp_path / "images", 11)
    read_ahead = features.read_ahead

    def interrupted(*arguments):
        for number, batch in enumerate(read_ahead(*arguments)):
            if number == 3:
                raise KeyboardInterrupt
            yield batch

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(features, "read_ahead", interrupted)
        extract(manifest)
    assert_goes_on(stand_in_vgg16, manifest, monkeypatch)


KILLED_AFTER_THREE_BATCHES = """
from xraylib.images import Preprocessing
from xraylib.network import features
features.BATCH = 2
read_ahead = features.read_ahead
def killing(*arguments):
    for number, batch in enumerate(read_ahead(*arguments)):
        if number == 3:
            die()
        yield batch
features.read_ahead = killing
features.extract_features(manifest_at(sys.argv[1]), Preprocessing(), "report")
"""


@pytest.mark.slow
def test_a_killed_extraction_goes_on_and_ends_byte_by_byte_alike(
    stand_in_vgg16, tmp_path, monkeypatch
):
    manifest = make_manifest(tmp_path / "images", 11)
    manifest.to_csv(tmp_path / "manifest.csv", index=False)
    child = start_child(KILLED_AFTER_THREE_BATCHES, tmp_path / "manifest.csv")
    said, _ = child.communicate(timeout=120)
    assert child.returncode == -signal.SIGKILL, said
    assert_goes_on(stand_in_vgg16, manifest, monkeypatch)


def test_two_that_want_the_same_wait_for_each_other(stand_in_vgg16, tmp_path, monkeypatch):
    manifest = make_manifest(tmp_path / "images", 8)
    begun, computed, load_view = threading.Event(), [], features.load_view
    write_features = features._write_features

    def slowly(*arguments):
        begun.set()
        time.sleep(0.1)
        return load_view(*arguments)

    def counted(*arguments):
        computed.append(arguments)
        write_features(*arguments)

    monkeypatch.setattr(features, "load_view", slowly)
    monkeypatch.setattr(features, "_write_features", counted)
    other = threading.Thread(target=extract, args=[manifest])
    other.start()
    assert begun.wait(60) and not list((stand_in_vgg16 / "features").glob("*.npy"))
    waited_for = np.array(extract(manifest))
    other.join()
    assert len(computed) == 1
    assert [name[-4:] for name in files(stand_in_vgg16)] == [".npy"]
    assert waited_for.shape == (8, 7, 7, 512) and np.abs(waited_for).max(axis=(1, 2, 3)).all()


def test_the_network_is_built_once_for_all_views_and_anew_for_other_weights(
    stand_in_vgg16, tmp_path, monkeypatch
):
    features._predictor.cache_clear()
    built, build_base = [], stack.build_base

    def counted(*arguments):
        built.append(arguments)
        return build_base(*arguments)

    monkeypatch.setattr(features, "build_base", counted)
    manifest = make_manifest(tmp_path / "images", 2, with_masks=True)
    extract(manifest)
    extract(manifest, LUNGS)
    assert built == [("report",)]
    features.extract_features(manifest, WHOLE, "vgg16")
    assert built == [("report",), ("vgg16",)]
    monkeypatch.setattr(weights, "TENSORS_SHA256", "other")
    with pytest.raises(weights.WeightsError):  # asked for, and not at hand
        features.extract_features(manifest, WHOLE, "vgg16")
    assert len(built) == 3


def test_earlier_taps_are_averaged_down_and_stand_beside_block5(stand_in_vgg16, tmp_path):
    manifest = make_manifest(tmp_path / "images", 3)
    alone = extract(manifest)
    both = extract(manifest, taps=("block4_pool", "block5_pool"))
    assert both.shape == (3, 7, 7, 1024)
    np.testing.assert_array_equal(both[..., 512:], alone)
    base = stack.build_base("report")
    block4 = keras.Model(base.input, base.get_layer("block4_pool").output)
    views = np.stack([features.load_view(row, WHOLE) for row in manifest.itertuples()])
    maps = block4(views[..., None].astype(np.float32)).numpy()
    expected = maps.reshape(3, 7, 2, 7, 2, 512).mean((2, 4))
    np.testing.assert_allclose(both[..., :512], expected, rtol=2e-2, atol=1e-2 * expected.max())


@pytest.mark.slow
def test_the_whole_vgg16_gives_its_maps(whole_home, tmp_path):
    """On all of VGG16, and not on the thin twin of the other tests."""
    manifest = make_manifest(tmp_path / "images", 2)
    found = extract(manifest)
    views = np.stack([features.load_view(row, WHOLE) for row in manifest.itertuples()])
    expected = stack.build_base("report")(views[..., None].astype(np.float32)).numpy()
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-3 * expected.max())
