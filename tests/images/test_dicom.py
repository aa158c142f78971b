"""DICOM files of every kind that radiographs come in, written here with pydicom."""

import io
import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pydicom
import pydicom.data
import pytest
from dicom_files import write
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    RLELossless,
)

from xraylib import images
from xraylib.images import ImageError, reading

RAMP8 = np.arange(256, dtype=np.uint8).reshape(16, 16)


def table(descriptor: list[int], values: np.ndarray) -> Dataset:
    """Return a lookup table of 16-bit entries."""
    item = Dataset()
    item.add_new("LUTDescriptor", "US", descriptor)
    item.add_new("LUTData", "OW", values.astype("<u2").tobytes())
    return item


@pytest.mark.parametrize(
    "bits, dtype", [(8, np.uint8), (10, np.uint16), (12, np.uint16), (16, np.uint16)]
)
def test_stored_bits_are_spread_over_the_grey_values(tmp_path, bits, dtype):
    top = 2**bits - 1
    stored = np.array([[0, top // 4, top // 2, top]], dtype)
    grey = images.read_grey(write(tmp_path / "a.dcm", stored, bits))
    assert grey.dtype == np.uint8 and grey.shape == (1, 4)
    np.testing.assert_array_equal(grey, np.round(stored / top * 255))


def test_eight_bits_stay_as_they_are(tmp_path):
    np.testing.assert_array_equal(images.read_grey(write(tmp_path / "a.dcm", RAMP8, 8)), RAMP8)


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
def test_fewer_bits_than_declared_are_spread_all_the_same(tmp_path, bits, kind):
    top = 2**bits - 1
    stored = (np.arange(256) * top // 255).astype(np.uint16).reshape(16, 16)
    path = write(tmp_path / "a.dcm", stored, 16, PhotometricInterpretation=kind)
    grey = images.read_grey(path).astype(int)
    assert np.abs((255 - grey if kind == "MONOCHROME1" else grey) - RAMP8).max() <= 1


def test_signed_values_that_fill_a_part_of_the_declared_range(tmp_path):
    stored = np.array([[-1000, 0, 3000]], np.int16)
    grey = images.read_grey(write(tmp_path / "a.dcm", stored, 16))
    assert grey.tolist() == [[0, 64, 255]]


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_and_no_part_of_the_range(tmp_path, kind):
    stored = np.array([[0, 1023, 2046, 4095, 60_000, 60_001]], np.uint16)
    padding = {"PixelPaddingValue": 60_000, "PixelPaddingRangeLimit": 60_001}
    padding["PhotometricInterpretation"] = kind
    grey = images.read_grey(write(tmp_path / "a.dcm", stored, 16, **padding))
    seen = [0, 64, 127, 255] if kind == "MONOCHROME2" else [255, 191, 128, 0]
    assert grey.tolist() == [[*seen, 0, 0]]


def test_negative_padding_may_be_written_unsigned(tmp_path):
    stored = np.array([[-2000, 0, 4095]], np.int16)
    path = write(tmp_path / "a.dcm", stored, 16, PixelPaddingValue=-2000)
    assert images.read_grey(path).tolist() == [[0, 0, 255]]
    signed = path.read_bytes()
    assert signed.count(b"\x28\0\x20\x01SS") == 1
    path.write_bytes(signed.replace(b"\x28\0\x20\x01SS", b"\x28\0\x20\x01US"))
    assert pydicom.dcmread(path).PixelPaddingValue == 63_536
    assert images.read_grey(path).tolist() == [[0, 0, 255]]


def test_signed_values(tmp_path):
    stored = np.array([[-2048, 0, 2047]], np.int16)
    grey = images.read_grey(write(tmp_path / "a.dcm", stored, 12))
    assert grey.tolist() == [[0, 128, 255]]


def test_monochrome1_is_inverted(tmp_path):
    path = write(tmp_path / "a.dcm", RAMP8, 8, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(images.read_grey(path), 255 - RAMP8)


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
def test_an_inverse_presentation_is_inverted_once(tmp_path, kind):
    shown = {"PhotometricInterpretation": kind, "PresentationLUTShape": "INVERSE"}
    path = write(tmp_path / "a.dcm", RAMP8, 8, **shown)
    np.testing.assert_array_equal(images.read_grey(path), 255 - RAMP8)


def test_the_first_window_is_applied(tmp_path):
    stored = np.array([[0, 1000, 1500, 2000, 4095]], np.uint16)
    window = {"WindowCenter": [1500.5, 10], "WindowWidth": [1001, 10]}
    grey = images.read_grey(write(tmp_path / "a.dcm", stored, 12, **window))
    assert grey.tolist() == [[0, 0, 128, 255, 255]]
    inverted = write(
        tmp_path / "b.dcm", stored, 12, PhotometricInterpretation="MONOCHROME1", **window
    )
    np.testing.assert_array_equal(images.read_grey(inverted), 255 - grey)


def test_rescaling_comes_before_the_window(tmp_path):
    stored = np.array([[0, 500, 1000]], np.uint16)
    rescaled = {"RescaleSlope": 2, "RescaleIntercept": -1000}
    path = write(tmp_path / "a.dcm", stored, 12, WindowCenter=0.5, WindowWidth=2001, **rescaled)
    assert images.read_grey(path).tolist() == [[0, 128, 255]]  # -1000, 0 and 1000


@pytest.mark.parametrize("window", [{}, {"WindowCenter": -2047, "WindowWidth": 4096}])
def test_a_negative_slope_turns_the_grey_values_round(tmp_path, window):
    stored = np.array([[0, 4095]], np.uint16)
    path = write(tmp_path / "a.dcm", stored, 12, RescaleSlope=-1, RescaleIntercept=0, **window)
    assert images.read_grey(path).tolist() == [[255, 0]]


def test_rescaling_alone_changes_nothing_to_see(tmp_path):
    path = write(tmp_path / "a.dcm", RAMP8, 8, RescaleSlope=3, RescaleIntercept=-7)
    np.testing.assert_array_equal(images.read_grey(path), RAMP8)


def test_tables(tmp_path):
    values = np.arange(256) ** 2  # 0..65025 of 16 bits
    shown = np.round(values / 65535 * 255).reshape(16, 16)
    lut = [table([256, 0, 16], values)]
    voi = write(tmp_path / "a.dcm", RAMP8, 8, VOILUTSequence=lut)
    np.testing.assert_array_equal(images.read_grey(voi), shown)
    modality = write(tmp_path / "b.dcm", RAMP8, 8, ModalityLUTSequence=lut)
    np.testing.assert_array_equal(images.read_grey(modality), shown)


def test_compressed_without_loss(tmp_path):
    path = write(tmp_path / "a.dcm", RAMP8, 8, RLELossless)
    np.testing.assert_array_equal(images.read_grey(path), RAMP8)


def test_compressed_as_jpeg_like_the_challenge(tmp_path):
    content = io.BytesIO()
    smooth = np.repeat(np.arange(0, 256, 4, dtype=np.uint8)[None], 64, axis=0)
    Image.fromarray(smooth).save(content, "JPEG", quality=95)
    pixels = encapsulate([content.getvalue()])
    path = write(tmp_path / "a.dcm", smooth, 8, JPEGBaseline8Bit, PixelData=pixels)
    assert np.abs(images.read_grey(path).astype(int) - smooth).max() <= 3


def test_read_grey_of_images_takes_dicom_under_any_name(tmp_path):
    named = write(tmp_path / "a.dcm", RAMP8, 8)
    unnamed = write(tmp_path / "IM-0001", RAMP8, 8)
    for path in (named, unnamed):
        np.testing.assert_array_equal(images.read_grey(path), RAMP8)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("name", ["a.dcm", "IM-0001"])
def test_a_file_without_preamble_is_read(tmp_path, syntax, name):
    whole = write(tmp_path / "whole.dcm", RAMP8, 8, syntax).read_bytes()
    with_meta, bare = whole[132:], whole[whole.index(b"\x08\0\x16\0") :]  # group 2, group 8
    for content in (with_meta, bare):
        (tmp_path / name).write_bytes(content)
        np.testing.assert_array_equal(images.read_grey(tmp_path / name), RAMP8)


def test_a_report_is_called_a_report():
    with pytest.raises(ImageError, match="holds no image; it is of the kind Basic Text SR"):
        images.read_grey(TEST_FILES / "reportsi.dcm")


PLUGINS = {  # compressed in ways that a plugin decodes
    "JPGExtended.dcm": "JPEG Extended",
    "JPEGLSNearLossless_08.dcm": "JPEG-LS Lossy",
    "MR_small_jpeg_ls_lossless.dcm": "JPEG-LS Lossless",
}
TEST_FILES = Path(pydicom.data.__file__).with_name("test_files")
BUNDLED = sorted(path for path in TEST_FILES.rglob("*") if path.is_file())


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("path", BUNDLED, ids=lambda path: path.name)
def test_every_file_that_comes_with_pydicom_is_an_image_or_has_a_named_reason(path):
    try:
        image = images.read_grey(path)
    except ImageError as error:
        assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
        assert re.search("[:;,] ", error.reason), "and a way out"
    else:
        assert image.dtype == np.uint8 and image.ndim == 2 and image.size > 0
        assert image.min() < image.max() or "dicomdirtests" in path.parts  # some there are blank


@pytest.mark.parametrize("name, syntax", PLUGINS.items())
def test_a_compression_that_needs_a_plugin_names_it_or_is_read(name, syntax):
    path = TEST_FILES / name
    if find_spec("pylibjpeg"):
        assert images.read_grey(path).ndim == 2
        return
    with pytest.raises(ImageError, match=f'{syntax}.*pip install "xraylib-book.dicom."'):
        images.read_grey(path)


def test_lossless_compressions_give_the_pixels_of_the_uncompressed_file():
    plain, *packed = (
        images.read_grey(TEST_FILES / f"MR_small{kind}.dcm")
        for kind in ("", "_RLE", "_jp2klossless", "_bigendian", "_implicit")
    )
    assert all(np.array_equal(plain, other) for other in packed)


def test_text_called_dicom_is_refused(tmp_path):
    (tmp_path / "a.dcm").write_text("not DICOM at all, " * 20)
    with pytest.raises(ImageError, match="a.dcm: not a DICOM file"):
        images.read_grey(tmp_path / "a.dcm")


def test_places_without_a_file(tmp_path):
    with pytest.raises(ImageError, match="gone.dcm: no such file"):
        images.read_grey(tmp_path / "gone.dcm")
    with pytest.raises(ImageError, match="is a directory"):
        images.read_grey(tmp_path)


REFUSED = {
    "colour": ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, r"colour .*\(RGB\)"),
    "palette": ({"PhotometricInterpretation": "PALETTE COLOR"}, "PALETTE COLOR"),
    "three samples": ({"SamplesPerPixel": 3}, "colour"),
    "frames": ({"NumberOfFrames": 12}, "12 frames; a radiograph has one"),
    "one bit": ({"BitsStored": 1}, "1 bits a pixel"),
    "upper bits": ({"HighBit": 15}, "its 8 bits end at bit 15 and not at 7"),
    "no rows": ({"Rows": 0}, "holds no image"),
    "slope 0": ({"RescaleSlope": 0, "RescaleIntercept": 1}, r"damaged .*rescale slope 0"),
}


@pytest.mark.parametrize("tags, message", REFUSED.values(), ids=REFUSED)
def test_what_is_no_radiograph_is_refused(tmp_path, tags, message):
    path = write(tmp_path / "a.dcm", RAMP8, 8, **tags)
    with pytest.raises(ImageError, match=f"a.dcm: {'.*' if message[0] == 'P' else ''}{message}"):
        images.read_grey(path)


def test_a_file_without_pixels_is_refused(tmp_path):
    path = write(tmp_path / "a.dcm", RAMP8, 8)
    file = pydicom.dcmread(path)
    del file.PixelData
    file.save_as(path)
    with pytest.raises(ImageError, match="a.dcm: damaged DICOM file"):
        images.read_grey(path)


def test_huge_dimensions_are_refused_before_decoding(tmp_path, monkeypatch):
    path = write(tmp_path / "a.dcm", RAMP8, 8, Rows=60_000, Columns=60_000)
    monkeypatch.setattr(reading, "_dicom_to_grey", lambda *arguments: pytest.fail("decoded"))
    with pytest.raises(ImageError, match="60000 x 60000 pixels; at most 100,000,000"):
        images.read_grey(path)


def test_huge_files_are_refused_before_parsing(tmp_path, monkeypatch):
    path = write(tmp_path / "a.dcm", RAMP8, 8)
    monkeypatch.setattr(reading, "MAX_BYTES", 100)
    with pytest.raises(ImageError, match="bytes; at most 100"):
        images.read_grey(path)


def test_deflated_files_are_refused_before_unpacking(tmp_path):
    path = write(tmp_path / "a.dcm", RAMP8, 8, DeflatedExplicitVRLittleEndian)
    with pytest.raises(ImageError, match="a deflated DICOM file"):
        images.read_grey(path)


def test_a_compression_without_decoder_is_named(tmp_path):
    pixels = encapsulate([b"\xff\xd8 some lossless JPEG"])
    path = write(tmp_path / "a.dcm", RAMP8, 8, JPEGLosslessSV1, PixelData=pixels)
    with pytest.raises(ImageError, match=r"a.dcm: compressed as JPEG Lossless.*plugin: pip"):
        images.read_grey(path)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
def test_truncated_files_are_refused(tmp_path, share):
    path = write(tmp_path / "a.dcm", RAMP8, 8)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ImageError, match="a.dcm: "):
        images.read_grey(path)


@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom says what it finds strange
def test_flipped_bytes_give_an_image_or_a_clear_error(tmp_path):
    path = write(tmp_path / "a.dcm", RAMP8, 8)
    content = bytearray(path.read_bytes())
    rng = np.random.default_rng(0)
    for _ in range(300):
        damaged = content.copy()
        for place in rng.integers(0, len(content), 3):
            damaged[place] = rng.integers(0, 256)
        path.write_bytes(damaged)
        try:
            grey = images.read_grey(path)
        except ImageError as error:
            assert str(error).startswith(str(path))
        else:
            assert grey.dtype == np.uint8 and grey.ndim == 2
