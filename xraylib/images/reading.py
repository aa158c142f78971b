"""Decode radiographs: PNG, JPEG and DICOM files become uint8 (H, W), masks bool (H, W)."""

import io
import os
import stat
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pydicom
from PIL import Image, ImageOps, UnidentifiedImageError
from pydicom.pixels import apply_modality_lut, apply_voi_lut, get_decoder
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from xraylib import files

MAX_PIXELS = 100_000_000  # a 10,000 x 10,000 radiograph; checked before memory is taken
MAX_BYTES = 500_000_000  # more than a radiograph of that size takes in any format
# JPEG takes a bit or more for 8 x 8 pixels; PNG packs 1032 bytes into one, of 8 pixels or fewer
MOST_PIXELS_A_BYTE = {"JPEG": 8 * 64, "MPO": 8 * 64, "PNG": 1032 * 8}
DICOM_SUFFIXES = (".dcm", ".dicom")
SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", *DICOM_SUFFIXES)
OTHER_FORMATS = (".gif", ".bmp", ".tif", ".tiff", ".webp", ".jp2", ".j2k")  # named, not decoded
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

    16 bits are scaled from the range that the values fill: 8, 10, 12, 14 or 16 bits, for many
    files hold 12 bits in 16. Colour is weighted into luminance (ITU-R 601); transparent pixels
    become black; an animation gives its first frame; what EXIF says of the camera's orientation is
    applied, so that the image is the one that viewers show.

    A PNG file is checked by its checksums; rows that its writer left out are black. JPEG has no
    checksums: a file cut short is found, a few wrong bytes in its middle may not be.

    DICOM gives what a viewer shows at first. Stored values go through the file's rescale slope and
    intercept (or its modality table), then through its first VOI window (or its VOI table), and
    are inverted where low values are bright. Without a window the range of the stored bits, or of
    the fewer bits that the values fill, is spread over 0..255. Padding is left out of it, and
    black. DICOM PS3.3, sections C.11.1 (modality), C.11.2 (VOI), C.7.5.1.1.2 (padding).

    Args:
        path: a PNG or JPEG file of 1, 8 or 16 bit, grey, palette, RGB, RGBA or CMYK; or a DICOM
            file with one grey image of 8 to 16 bits, plain or compressed, also without preamble.

    Returns:
        uint8 (H, W), 0 black to 255 white.

    Raises:
        ImageError: no such file, another format, no radiograph, damaged, compressed in a way that
            needs a plugin, or more than `MAX_PIXELS`.
    """
    path = Path(path)
    try:
        size = _check_file(path)
        head = _head(path)
        if _is_dicom(path, head):
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


def _is_dicom(path: Path, head: bytes) -> bool:
    """Say whether a file is to be read as DICOM: by its mark, its name, or its first element."""
    if head.startswith((PNG, JPEG)):
        return False
    suffix = path.suffix.lower()
    named_so = suffix in DICOM_SUFFIXES or (suffix not in SUFFIXES and _is_bare_dicom(head))
    return head[128:] == b"DICM" or named_so


def _is_bare_dicom(head: bytes) -> bool:
    """Say whether bytes begin as a DICOM file without preamble does: group 2 or 8, low element."""
    little, big = head[:2] in (b"\2\0", b"\x08\0"), head[:2] in (b"\0\2", b"\0\x08")
    return len(head) == 132 and ((little and head[3] == 0) or (big and head[2] == 0))


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
        if head.startswith(PNG) and head[24] == 16 and head[25] in COLOUR_OR_ALPHA:
            file = _grey_of_wide_colour(path, file)
        ImageOps.exif_transpose(file, in_place=True)
        return _to_grey(file)


COLOUR_OR_ALPHA = (2, 4, 6)  # kinds of PNG: RGB, grey with alpha, RGB with alpha


def _grey_of_wide_colour(path: Path, file: Image.Image) -> Image.Image:
    """Return a colour PNG of 16 bits as grey of 8; Pillow would keep the upper eight alone."""
    file.load()  # finds most damage, and says more about it
    stored = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if stored is None or stored.dtype != np.uint16 or stored.shape[1::-1] != file.size:
        raise ValueError("its 16-bit colours cannot be decoded: save it again as 8-bit grey PNG")
    alpha = stored[..., 3:]
    luminance = cv2.cvtColor(stored, cv2.COLOR_BGRA2GRAY if alpha.size else cv2.COLOR_BGR2GRAY)
    top = _top_of_range(stored[..., :3])  # and not of luminance, which may fill fewer bits
    grey = luminance.astype(np.uint32) * 255 // top
    if alpha.size:
        grey = grey * alpha[..., 0] // _top_of_range(alpha)
    narrow = Image.fromarray(grey.astype(np.uint8))
    narrow.info = {key: value for key, value in file.info.items() if key != "transparency"}
    return narrow


def _to_grey(file: Image.Image) -> np.ndarray:
    if file.mode.startswith("I"):  # 16 bit
        values = np.asarray(file).clip(0, 65535).astype(np.int64)
        values[values == file.info.get("transparency", -1)] = 0
        return (values * 255 // _top_of_range(values)).astype(np.uint8)
    if file.mode == "P" and (file.palette is None or not file.palette.palette):
        raise ValueError("a palette image without its palette")
    if file.mode in ("P", "PA", "LA", "RGBA") or "transparency" in file.info:
        colour = file.convert("RGBA")
        file = Image.alpha_composite(Image.new("RGBA", colour.size, (0, 0, 0, 255)), colour)
    return np.asarray(file.convert("L"))


def _top_of_range(values: np.ndarray) -> int:
    """Return the largest value of the range that values from 0 up fill: 8, 10, 12, ... bits.

    >>> _top_of_range(np.array([0, 3000]))
    4095
    """
    bits = max(8, int(values.max(initial=0)).bit_length())
    return 2 ** (bits + bits % 2) - 1


DARK, BRIGHT = 25, 230  # grey values: 99 % of a dark image's pixels are at most, of a white's least
FEW_LEVELS = 32  # a radiograph of 8 bits has 150 and more grey values


def flag_image(image: np.ndarray) -> str:
    """Say what makes an image doubtful: nearly black, nearly white, few grey values; or "".

    Such an image was mostly written with a range that is not its own. It is read all the same.

    Args:
        image: uint8 (H, W).

    >>> flag_image(np.tile(np.arange(16, dtype=np.uint8), (32, 1)))
    'nearly black, 16 grey values'
    """
    levels = np.bincount(image.ravel(), minlength=256)
    flags = []
    if levels[DARK + 1 :].sum() < 0.01 * image.size:
        flags.append("nearly black")
    if levels[:BRIGHT].sum() < 0.01 * image.size:
        flags.append("nearly white")
    if (levels > 0).sum() < FEW_LEVELS:
        flags.append(f"{(levels > 0).sum()} grey values")
    return ", ".join(flags)


def read_radiograph(path) -> np.ndarray:
    """Decode as `read_grey`, and refuse an image of one grey value: no command can use it.

    Raises:
        ImageError: as `read_grey`; or all pixels are alike.
    """
    image = read_grey(path)
    if image.min() == image.max():
        raise ImageError(path, "all pixels are alike: it shows nothing, export it again")
    return image


SOFT = (64, 192)  # grey values between them are neither outside nor inside
MOST_OF_EDGE = 0.95  # of the outermost pixels: lungs may be cut by an edge, not by all four
MOST_SOFT, MOST_OF_ONE = 0.05, 0.01  # of the pixels: the soft edge of a mask, not a third region


def read_mask(path, shape: tuple[int, int] | None = None, empty: bool = True) -> np.ndarray:
    """Read a mask file. The grey values that it holds decide what is inside.

    Of two values, whatever they are, the higher is inside: 0 and 1, 1 and 2, black and red. More
    than two must lie near 0 and 255, but for a soft edge; then what is brighter than half is
    inside. A mask that goes all round the edge of the image and leaves out a part of the rest is
    turned inside out, and is refused.

    Args:
        path: the path of a PNG or JPEG file.
        shape: (H, W) of the image that the mask belongs to; other sizes raise.
        empty: whether a mask without any pixel inside is taken; what is cut by it needs one.

    Returns:
        bool (H, W).

    Raises:
        ImageError: unreadable, not of that shape, of values that can be read in two ways, all
            round the edge, or empty where that is not taken.
    """
    grey = read_grey(path)
    if shape is not None and grey.shape != tuple(shape):
        reason = (
            f"mask of {grey.shape} (H, W) for an image of {tuple(shape)}: export it in its size"
        )
        raise ImageError(path, reason)
    counts = np.bincount(grey.ravel(), minlength=256)
    mask = _inside(path, grey, counts)
    if not (empty or mask.any()):
        raise ImageError(path, f"an empty mask ({_said(counts)}): draw or predict it again")
    edge = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    if edge.mean() > MOST_OF_EDGE and not mask.all():
        reason = f"a mask that covers the edge of the image all round ({_said(counts)})"
        raise ImageError(path, f"{reason}: what is inside needs the higher of two values")
    return mask


def _inside(path, grey: np.ndarray, counts: np.ndarray) -> np.ndarray:
    levels = np.flatnonzero(counts)
    if len(levels) == 2:
        return grey == levels[1]
    soft = counts[slice(*SOFT)]
    near_the_ends = levels[0] < SOFT[0] and levels[-1] >= SOFT[1]
    is_edge = soft.sum() <= MOST_SOFT * grey.size and soft.max() <= MOST_OF_ONE * grey.size
    if levels.tolist() in ([0], [255]) or (near_the_ends and is_edge):
        return grey > 127
    reason = f"a mask of {len(levels)} grey values ({_said(counts)})"
    raise ImageError(path, f"{reason}: write it with two, 0 outside and 255 inside")


def _said(counts: np.ndarray) -> str:
    """Return the commonest grey values of a mask and the pixels of each, as text."""
    common = sorted(np.argsort(-counts, kind="stable")[:4])
    said = [f"{counts[value]:,} pixels of {value}" for value in common if counts[value]]
    return ", ".join(said) + (", ..." if (counts > 0).sum() > 4 else "")


MASK_FOLDERS = ("mask", "masks")  # hold no radiographs, wherever they are
BESIDE_IMAGES = ("lesions", "markers")  # neither do these beside a folder called images
SYSTEM_FILES = ("thumbs.db", "desktop.ini")
SYSTEM_FOLDERS = ("__macosx",)
NO_IMAGE = f"no image here or in folders below; images end in {', '.join(SUFFIXES)} or not at all"


class Found(NamedTuple):
    """The files of a folder and of the folders in it.

    Attributes:
        images: files that are called like an image, or have no ending and begin like one.
        others: every other file.
        left_out: how many files of the system (`._*`, `.DS_Store`, `Thumbs.db`, `__MACOSX`) and
            masks were passed over.
    """

    images: list[Path]
    others: list[Path]
    left_out: Counter

    def unused(self) -> Counter:
        """Return the kinds of all files but the images, and how many there are of each."""
        endings = (path.suffix.lower() or "no ending" for path in self.others)
        return self.left_out + Counter(f"with {ending}" for ending in endings)


def say_left_out(kinds: Counter) -> str:
    """Say on one line how many files of which kinds were passed over; the same from every command.

    >>> say_left_out(Counter({"of the system": 2, "with .txt": 1}))
    'left out: 3 files (2 of the system, 1 with .txt)'
    """
    n = kinds.total()
    said = ", ".join(f"{count} {files.printable(kind)}" for kind, count in kinds.items())
    return f"left out: {n} {'file' if n == 1 else 'files'}" + (f" ({said})" if said else "")


def find_images(folder) -> Found:
    """List the files of a folder and of the folders in it, sorted; links are followed.

    Raises:
        FileNotFoundError: no such folder.
        NotADirectoryError: it is a file.
    """
    folder = files.check_folder(folder)
    found, known = Found([], [], Counter()), set()
    for place, folders, names in os.walk(folder, followlinks=True):
        identity = os.path.realpath(place)
        if identity in known:  # a link that leads back
            folders.clear()
            continue
        known.add(identity)
        folders.sort()
        inside = {part.lower() for part in Path(place).relative_to(folder).parts}
        beside_images = (Path(place).parent / "images").is_dir()
        for name in sorted(names):
            path = Path(place, name)
            if _is_of_system(name) or any(_is_of_system(part) for part in inside):
                found.left_out["of the system"] += 1
            elif inside & set(MASK_FOLDERS) or (beside_images and inside & set(BESIDE_IMAGES)):
                found.left_out["that are masks"] += 1
            else:
                (found.images if _is_image(path) else found.others).append(path)
    found.images.sort()
    found.others.sort()
    return found


def _is_of_system(name: str) -> bool:
    return name.startswith(".") or name.lower() in SYSTEM_FILES + SYSTEM_FOLDERS


def _is_image(path: Path) -> bool:
    """Say whether a file is called like an image, or has no ending and begins like one."""
    suffix = path.suffix.lower()
    if suffix in SUFFIXES + OTHER_FORMATS:
        return True
    if suffix and not suffix[1:].isdigit():  # names made of numbers, 1.2.840.10008, have no ending
        return False
    try:
        _check_file(path)
        head = _head(path)
    except (ImageError, OSError):
        return False
    return head.startswith((PNG, JPEG)) or _is_dicom(path, head)


_DICOM_GREY = ("MONOCHROME1", "MONOCHROME2")
SYNTAXES = {  # by what pydicom finds out: implicit VR?, little endian?
    (True, True): ImplicitVRLittleEndian,
    (False, True): ExplicitVRLittleEndian,
    (False, False): ExplicitVRBigEndian,
}
OWN_PLUGINS = {"pillow", "pydicom"}  # what is there without the extra
PLUGIN = 'it needs a plugin: pip install "xraylib-book[dicom]"'


def _read_dicom(path: Path) -> np.ndarray:
    """Decode a DICOM file as `read_grey` says."""
    try:
        content = path.read_bytes()
        # unpacking a deflated file takes whatever memory its writer chose
        if f"{DeflatedExplicitVRLittleEndian}".encode() in content:
            raise ImageError(path, "a deflated DICOM file: store it in another transfer syntax")
        if content[128:132] != b"DICM" and not _is_bare_dicom(content[:132]):
            raise ImageError(path, "not a DICOM file: export it as DICOM or PNG")
        file = pydicom.dcmread(io.BytesIO(content), force=True)
        if "TransferSyntaxUID" not in file.file_meta:  # without preamble; pydicom has found it out
            file.file_meta.TransferSyntaxUID = SYNTAXES[file.original_encoding]
        _check_dicom(path, file)
        return _dicom_to_grey(path, file)
    except ImageError:
        raise
    except Exception as error:  # the parser meets damage in many ways
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(path, f"damaged DICOM file ({reason}){RETRY}") from error


def _check_dicom(path: Path, header: pydicom.Dataset) -> None:
    """Raise `ImageError` for what is not one grey image of a bearable size."""
    kind = header.get("PhotometricInterpretation", "no photometric interpretation")
    if "PixelData" not in header and "Rows" not in header:
        said = UID(header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID", ""))
        reason = f"holds no image; it is of the kind {said.name or 'unknown'}"
        raise ImageError(path, f"{reason}: name the radiograph that it belongs to")
    if kind not in _DICOM_GREY or header.get("SamplesPerPixel", 1) != 1:
        raise ImageError(
            path, f"colour or unknown ({kind}); a radiograph is {' or '.join(_DICOM_GREY)}"
        )
    if int(header.get("NumberOfFrames") or 1) != 1:
        raise ImageError(path, f"{header.NumberOfFrames} frames; a radiograph has one")
    height, width = int(header.get("Rows") or 0), int(header.get("Columns") or 0)
    if height * width == 0:
        raise ImageError(path, "holds no image: its rows or columns are 0")
    if height * width > MAX_PIXELS:
        raise ImageError(path, f"{width} x {height} pixels; at most {MAX_PIXELS:,}: shrink it")
    if not 8 <= int(header.get("BitsStored") or 0) <= 16:
        raise ImageError(path, f"{header.get('BitsStored')} bits a pixel; 8 to 16 are read")
    bits, highest = int(header.BitsStored), int(header.get("HighBit", header.BitsStored - 1))
    if highest != bits - 1:  # an old way, which pydicom would read from the wrong end
        reason = f"its {bits} bits end at bit {highest} and not at {bits - 1}"
        raise ImageError(path, f"{reason}: export it again, or as PNG")
    syntax = header.file_meta.TransferSyntaxUID
    if not syntax.is_compressed:
        return
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise ImageError(path, f"compressed as {syntax.name}: store it uncompressed") from None
    if not decoder.is_available:
        raise ImageError(path, f"compressed as {syntax.name}, {PLUGIN}")


def _dicom_to_grey(path: Path, file: pydicom.Dataset) -> np.ndarray:
    try:
        stored = file.pixel_array
    except (NotImplementedError, RuntimeError):
        syntax = file.file_meta.TransferSyntaxUID
        if syntax.is_compressed and set(get_decoder(syntax).available_plugins) <= OWN_PLUGINS:
            reason = f"compressed as {syntax.name}; what is installed cannot decode it"
            raise ImageError(path, f"{reason}, {PLUGIN}") from None
        raise
    if stored.ndim != 2:
        reason = f"pixels of shape {stored.shape} where (H, W) was declared{RETRY}"
        raise ImageError(path, reason)
    padding = _padding(file, stored)
    values = apply_voi_lut(apply_modality_lut(stored, file), file)
    low, high = _dicom_range(file, stored[~padding])
    grey = np.clip((values.astype(np.float64) - low) / (high - low), 0, 1)
    grey = np.round(grey * 255).astype(np.uint8)
    low_is_bright = file.PhotometricInterpretation == "MONOCHROME1"
    low_is_bright |= file.get("PresentationLUTShape") == "INVERSE"
    grey = 255 - grey if low_is_bright else grey
    return np.where(padding, 0, grey).astype(np.uint8)


def _padding(file: pydicom.Dataset, stored: np.ndarray) -> np.ndarray:
    """Return which pixels only fill the rectangle around the image, bool (H, W)."""
    first = file.get("PixelPaddingValue")
    if first is None:
        return np.zeros(stored.shape, bool)
    last = file.get("PixelPaddingRangeLimit", first)
    # a file may write a negative value as if it were unsigned
    low, high = sorted(np.array([int(first), int(last)]).astype(stored.dtype))
    return (stored >= low) & (stored <= high)


def _dicom_range(file: pydicom.Dataset, stored: np.ndarray) -> tuple[float, float]:
    """Return the values that become black and white once the tables and windows are applied."""
    for table in ("VOILUTSequence", "ModalityLUTSequence"):
        if file.get(table):
            return 0.0, 2.0 ** file[table][0].LUTDescriptor[2] - 1
    windowed = None not in (file.get("WindowCenter"), file.get("WindowWidth"))
    signed, bits = int(file.PixelRepresentation), int(file.BitsStored)
    ends = np.array([0, 2**bits - 1]) - signed * 2 ** (bits - 1)
    if not windowed and stored.size and stored.min() < stored.max():
        if stored.min() < 0:
            ends = np.array([stored.min(), stored.max()], int)
        else:
            ends = np.array([0, min(2**bits - 1, _top_of_range(stored))])
    if "RescaleSlope" in file and "RescaleIntercept" in file:
        ends = ends * float(file.RescaleSlope) + float(file.RescaleIntercept)
    if ends[0] == ends[1]:
        raise ValueError(f"rescale slope {file.RescaleSlope}")
    # a window puts its lower end at ends[0] even where a negative slope makes that the larger one
    return tuple(ends) if windowed else (ends.min(), ends.max())
