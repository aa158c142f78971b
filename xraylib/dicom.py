"""Radiographs from DICOM files, as a viewer would show them."""

from pathlib import Path

import numpy as np
import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import DeflatedExplicitVRLittleEndian

from xraylib.images import MAX_BYTES, MAX_PIXELS, ImageError

GREY = ("MONOCHROME1", "MONOCHROME2")


def read_grey(path) -> np.ndarray:
    """Decode a DICOM file into the grey values that a viewer shows at first.

    Stored values go through the file's rescale slope and intercept (or its modality table), then
    through its first VOI window (or its VOI table), and MONOCHROME1, where low values are bright,
    is inverted. Without a window the whole range of the stored bits is spread over 0..255.
    `images.read_grey` calls this for DICOM files.

    Args:
        path: of a DICOM file with one grey image of 8 to 16 bits, plain or compressed.

    Returns:
        uint8 (H, W), 0 black to 255 white.

    Raises:
        ImageError: no such file, not DICOM, damaged, colour, several frames, more than
            `MAX_PIXELS`, or compressed in a way that is not supported here.

    DICOM PS3.3, sections C.11.1 (modality) and C.11.2 (VOI).
    """
    path = Path(path)
    if not path.is_file():
        raise ImageError(path, "is a directory" if path.is_dir() else "no such file")
    if path.stat().st_size > MAX_BYTES:
        raise ImageError(path, f"a file of {path.stat().st_size:,} bytes; at most {MAX_BYTES:,}")
    try:
        # unpacking a deflated file takes whatever memory its writer chose
        if read_file_meta_info(path).get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
            raise ImageError(path, "a deflated DICOM file; store it in another transfer syntax")
        _check(path, pydicom.dcmread(path, stop_before_pixels=True))
        return _to_grey(path, pydicom.dcmread(path))
    except ImageError:
        raise
    except InvalidDicomError:
        raise ImageError(path, "not a DICOM file") from None
    except (NotImplementedError, RuntimeError) as error:  # no decoder for the compression
        raise ImageError(path, f"pixels that cannot be decoded here ({error})") from error
    except Exception as error:  # the parser meets damage in many ways
        raise ImageError(path, f"damaged DICOM file ({error or type(error).__name__})") from error


def _check(path: Path, header: pydicom.Dataset) -> None:
    """Raise `ImageError` for what is not one grey image of a bearable size."""
    kind = header.get("PhotometricInterpretation", "no photometric interpretation")
    if kind not in GREY or header.get("SamplesPerPixel", 1) != 1:
        raise ImageError(path, f"colour or unknown ({kind}); a radiograph is {' or '.join(GREY)}")
    if int(header.get("NumberOfFrames") or 1) != 1:
        raise ImageError(path, f"{header.NumberOfFrames} frames; a radiograph has one")
    height, width = int(header.get("Rows") or 0), int(header.get("Columns") or 0)
    if height * width == 0:
        raise ImageError(path, "holds no image")
    if height * width > MAX_PIXELS:
        raise ImageError(path, f"{width} x {height} pixels; at most {MAX_PIXELS:,}")
    if not 8 <= int(header.get("BitsStored") or 0) <= 16:
        raise ImageError(path, f"{header.get('BitsStored')} bits a pixel; 8 to 16 are read")


def _to_grey(path: Path, file: pydicom.Dataset) -> np.ndarray:
    stored = file.pixel_array
    if stored.ndim != 2:
        raise ImageError(path, f"pixels of shape {stored.shape} where (H, W) was declared")
    values = apply_voi_lut(apply_modality_lut(stored, file), file)
    low, high = _shown_range(file)
    grey = np.clip((values.astype(np.float64) - low) / (high - low), 0, 1)
    grey = np.round(grey * 255).astype(np.uint8)
    return 255 - grey if file.PhotometricInterpretation == "MONOCHROME1" else grey


def _shown_range(file: pydicom.Dataset) -> tuple[float, float]:
    """Return the values that become black and white once the tables and windows are applied."""
    for table in ("VOILUTSequence", "ModalityLUTSequence"):
        if file.get(table):
            return 0.0, 2.0 ** file[table][0].LUTDescriptor[2] - 1
    signed, bits = int(file.PixelRepresentation), int(file.BitsStored)
    ends = np.array([0, 2**bits - 1]) - signed * 2 ** (bits - 1)
    if "RescaleSlope" in file and "RescaleIntercept" in file:
        ends = ends * float(file.RescaleSlope) + float(file.RescaleIntercept)
    if ends[0] == ends[1]:
        raise ValueError(f"rescale slope {file.RescaleSlope}")
    # a window puts its lower end at ends[0] even where a negative slope makes that the larger one
    windowed = None not in (file.get("WindowCenter"), file.get("WindowWidth"))
    return tuple(ends) if windowed else (ends.min(), ends.max())
