"""Radiographs as arrays: decode, resize, equalise. An image is uint8 (H, W), a mask bool (H, W)."""

import stat
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

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
        path: of a PNG or JPEG file of 1, 8 or 16 bit, grey, palette, RGB, RGBA or CMYK; or of a
            DICOM file, see `dicom.read_grey`.

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
            from xraylib import dicom  # which imports from here

            return dicom.read_grey(path)
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
    found = path.stat()
    if stat.S_ISDIR(found.st_mode):
        raise ImageError(path, "is a directory: name an image in it")
    if not stat.S_ISREG(found.st_mode):
        raise ImageError(path, "is a pipe, socket or device: copy the image into a file")
    if found.st_size == 0:
        raise ImageError(path, f"the file is empty{RETRY}")
    if found.st_size > MAX_BYTES:
        raise ImageError(path, f"{found.st_size:,} bytes; at most {MAX_BYTES:,}: shrink it")
    return found.st_size


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
        path: of a PNG or JPEG file.
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


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """Resize to a square as the report does: by area when shrinking, bilinear when enlarging.

    Args:
        image: uint8 (H, W), or bool (H, W) for a mask, which stays a mask.
        size: side of the result in pixels.

    Returns:
        (size, size), of the same dtype.
    """
    if image.dtype == bool:
        return resize(image.astype(np.uint8) * 255, size) > 127
    if image.shape == (size, size):
        return image
    shrinks = min(image.shape) >= size
    return cv2.resize(
        image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    )


def equalise(image: np.ndarray, method: str = "global") -> np.ndarray:
    """Spread the grey values over the whole range.

    Args:
        image: uint8 (H, W).
        method: `none`; `normalise`, a straight line that brings the darkest and the brightest
            per cent to 0 and 255; by the histogram `global`, the report's (section 3.2.2), or
            `clahe`, the local, contrast-limited kind of Zuiderveld (1994) with 8 x 8 tiles and
            clip limit 2.

    Returns:
        uint8 (H, W).
    """
    if method == "none":
        return image
    if method == "normalise":
        low, high = np.percentile(image, (1, 99))
        scaled = (image - low) * (255 / (high - low)) if high > low else image
        return np.rint(scaled).clip(0, 255).astype(np.uint8)
    if method == "global":
        return cv2.equalizeHist(image)
    if method == "clahe":
        return cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8)).apply(image)
    raise ValueError(f"no equalisation {method!r}: choose none, normalise, global or clahe")
