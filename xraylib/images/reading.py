"""Decode radiographs: PNG, JPEG and DICOM files become uint8 (H, W), masks bool (H, W)."""

import stat
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image, ImageOps, UnidentifiedImageError
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import DeflatedExplicitVRLittleEndian

MAX_PIXELS = 100_000_000  # a 10,000 x 10,000 radiograph; checked before memory is taken
MAX_BYTES = 500_000_000  # more than a radiograph of that size takes in any format
# JPEG takes a bit or more for 8 x 8 pixels; PNG packs 1032 bytes into one, of 8 pixels or fewer
MOST_PIXELS_A_BYTE = {"JPEG": 8 * 64, "MPO": 8 * 64, "PNG": 1032 * 8}
SUFFIXES = (".png", ".jpg", ".jpeg", ".dcm")
PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"  # how a file begins
CONVERT = "only PNG, JPEG and DICOM are read: convert it to PNG"
RETRY = ": copy or download it again"
KNOWN_BEGINNINGS = {  # of what is found under the name of a radiograph, and what to do about it
    PNG: f"damaged image (its header cannot be read){RETRY}",
    JPEG: f"damaged image (its header cannot be read){RETRY}",
    b"GIF8": f"a GIF image; {CONVERT}",
    b"BM": f"a BMP image; {CONVERT}",
    b"II*\0": f"a TIFF image; {CONVERT}",
    b"MM\0*": f"a TIFF image; {CONVERT}",
    b"RIFF": f"a WebP image; {CONVERT}",
    b"\0\0\0\x0cjP  ": f"a JPEG 2000 image; {CONVERT}",
    b"\xff\x4f\xff\x51": f"a JPEG 2000 image; {CONVERT}",
    b"%PDF": "a PDF document; export the image from it as PNG",
    b"PK\x03\x04": "a ZIP archive; unpack it",
    b"\x1f\x8b": "a gzip archive; unpack it",
    b"version https://git-lfs": "a Git LFS pointer and not the image; fetch it with git lfs pull",
    b"<!DOCTYPE": "a web page and not the image; download it again",
    b"<html": "a web page and not the image; download it again",
}


class ImageError(ValueError):
    """A file cannot be read as an image; the message names the file, the reason, the way out."""

    def __init__(self, path, reason: str):
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason

    def __reduce__(self):  # so that it comes whole out of another process
        return ImageError, (self.path, self.reason)


def read_grey(path) -> np.ndarray:
    """Decode a radiograph into grey values. The content decides, not the ending of the name.

    16-bit grey is scaled from its full range 0..65535; colour is weighted into luminance
    (ITU-R 601); transparent pixels become black; an animation gives its first frame; what EXIF
    says of the camera's orientation is applied, so that the image is the one that viewers show.

    A PNG file is checked by its checksums; rows that its writer left out are black. JPEG has no
    checksums: a file cut short is found, a few wrong bytes in its middle may not be.

    Args:
        path: the path of a PNG or JPEG file of 1, 8 or 16 bit, grey, palette, RGB, RGBA or CMYK; or
            of a DICOM file, see `_read_dicom`.

    Returns:
        uint8 (H, W), 0 black to 255 white.

    Raises:
        ImageError: no such file, another format, damaged, or more than `MAX_PIXELS`.
    """
    path = Path(path)
    try:
        size = _check_file(path)
        head = _head(path)
        named_so = head[128:] == b"DICM" or path.suffix.lower() == ".dcm"
        if named_so and not head.startswith((PNG, JPEG)):
            return _read_dicom(path)
        return _decode(path, head, size)
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError(path, _what_it_is(head)) from None
    except Image.DecompressionBombError:  # Pillow's own bound, before the size can be read
        raise ImageError(path, f"too many pixels; at most {MAX_PIXELS:,}: shrink it") from None
    except (FileNotFoundError, NotADirectoryError):
        link = path.is_symlink()
        raise ImageError(path, "a link to a missing file" if link else "no such file") from None
    except Exception as error:  # damage ends decoders in many ways: struct.error, KeyError, ...
        if isinstance(error, OSError) and error.errno:  # from the system; Pillow's have no number
            reason = f"cannot be read ({error.strerror}): check its name, place and permissions"
            raise ImageError(path, reason) from error
        raise ImageError(path, f"damaged image ({error or type(error).__name__}){RETRY}") from error


def _check_file(path: Path) -> int:
    """Return the bytes of a regular file; anything else could block or never end."""
    if "\0" in str(path):
        raise ImageError(path, "no such file")
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise ImageError(path, "is a directory: name an image in it")
    if not stat.S_ISREG(status.st_mode):
        raise ImageError(path, "is a pipe, socket or device: copy the image into a file")
    if status.st_size == 0:
        raise ImageError(path, f"the file is empty{RETRY}")
    if status.st_size > MAX_BYTES:
        raise ImageError(path, f"{status.st_size:,} bytes; at most {MAX_BYTES:,}: shrink it")
    return status.st_size


def _head(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(132)


def _what_it_is(head: bytes) -> str:
    known = (said for magic, said in KNOWN_BEGINNINGS.items() if head.startswith(magic))
    return next(known, "not a PNG or JPEG image: export it as PNG, or download it again")


def _decode(path: Path, head: bytes, size: int) -> np.ndarray:
    if head.startswith(PNG):
        with Image.open(path, formats=("PNG",)) as file:
            file.verify()  # the checksums, which decoding skips
    with Image.open(path, formats=("PNG", "JPEG")) as file:
        width, height = file.size
        if width * height > MAX_PIXELS:
            raise ImageError(path, f"{width} x {height} pixels; at most {MAX_PIXELS:,}: shrink it")
        if width * height > MOST_PIXELS_A_BYTE[file.format] * size:  # or they would be made up
            reason = f"{size:,} bytes are too few for {width} x {height} pixels"
            raise ImageError(path, f"damaged image ({reason}){RETRY}")
        ImageOps.exif_transpose(file, in_place=True)
        return _to_grey(file)


def _to_grey(file: Image.Image) -> np.ndarray:
    if file.mode.startswith("I"):  # 16 bit
        return (np.asarray(file).clip(0, 65535) // 257).astype(np.uint8)
    if file.mode == "P" and (file.palette is None or not file.palette.palette):
        raise ValueError("a palette image without its palette")
    if file.mode in ("P", "PA", "LA", "RGBA") or "transparency" in file.info:
        colour = file.convert("RGBA")
        file = Image.alpha_composite(Image.new("RGBA", colour.size, (0, 0, 0, 255)), colour)
    return np.asarray(file.convert("L"))


def read_mask(path, shape: tuple[int, int] | None = None) -> np.ndarray:
    """Read a mask file: whatever is brighter than half is inside.

    Args:
        path: the path of a PNG or JPEG file.
        shape: (H, W) of the image that the mask belongs to; other sizes raise.

    Returns:
        bool (H, W).

    Raises:
        ImageError: unreadable, or not of that shape.
    """
    mask = read_grey(path) > 127
    if shape is not None and mask.shape != tuple(shape):
        raise ImageError(path, f"mask of {mask.shape} (H, W) for an image of {tuple(shape)}")
    return mask


_DICOM_GREY = ("MONOCHROME1", "MONOCHROME2")


def _read_dicom(path) -> np.ndarray:
    """Decode a DICOM file into the grey values that a viewer shows at first.

    Stored values go through the file's rescale slope and intercept (or its modality table), then
    through its first VOI window (or its VOI table), and MONOCHROME1, where low values are bright,
    is inverted. Without a window the whole range of the stored bits is spread over 0..255.
    `images.read_grey` calls this for DICOM files.

    Args:
        path: the path of a DICOM file with one grey image of 8 to 16 bits, plain or compressed.

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
        _check_dicom(path, pydicom.dcmread(path, stop_before_pixels=True))
        return _dicom_to_grey(path, pydicom.dcmread(path))
    except ImageError:
        raise
    except InvalidDicomError:
        raise ImageError(path, "not a DICOM file") from None
    except (NotImplementedError, RuntimeError) as error:  # no decoder for the compression
        raise ImageError(path, f"pixels that cannot be decoded here ({error})") from error
    except Exception as error:  # the parser meets damage in many ways
        raise ImageError(path, f"damaged DICOM file ({error or type(error).__name__})") from error


def _check_dicom(path: Path, header: pydicom.Dataset) -> None:
    """Raise `ImageError` for what is not one grey image of a bearable size."""
    kind = header.get("PhotometricInterpretation", "no photometric interpretation")
    if kind not in _DICOM_GREY or header.get("SamplesPerPixel", 1) != 1:
        raise ImageError(
            path, f"colour or unknown ({kind}); a radiograph is {' or '.join(_DICOM_GREY)}"
        )
    if int(header.get("NumberOfFrames") or 1) != 1:
        raise ImageError(path, f"{header.NumberOfFrames} frames; a radiograph has one")
    height, width = int(header.get("Rows") or 0), int(header.get("Columns") or 0)
    if height * width == 0:
        raise ImageError(path, "holds no image")
    if height * width > MAX_PIXELS:
        raise ImageError(path, f"{width} x {height} pixels; at most {MAX_PIXELS:,}")
    if not 8 <= int(header.get("BitsStored") or 0) <= 16:
        raise ImageError(path, f"{header.get('BitsStored')} bits a pixel; 8 to 16 are read")


def _dicom_to_grey(path: Path, file: pydicom.Dataset) -> np.ndarray:
    stored = file.pixel_array
    if stored.ndim != 2:
        raise ImageError(path, f"pixels of shape {stored.shape} where (H, W) was declared")
    values = apply_voi_lut(apply_modality_lut(stored, file), file)
    low, high = _dicom_range(file)
    grey = np.clip((values.astype(np.float64) - low) / (high - low), 0, 1)
    grey = np.round(grey * 255).astype(np.uint8)
    return 255 - grey if file.PhotometricInterpretation == "MONOCHROME1" else grey


def _dicom_range(file: pydicom.Dataset) -> tuple[float, float]:
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
