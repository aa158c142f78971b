"""A corpus of bad and odd files: what turns up under the name of a radiograph.

Every case says what must come of it: the exact grey values of a documented conversion, or the
reason of an `ImageError` (a regular expression of the whole text).
"""

import gzip
import io
import os
import socket
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pydicom
from PIL import Image

HEIGHT, WIDTH = 20, 30
GREY = (np.arange(HEIGHT * WIDTH) % 251).astype(np.uint8).reshape(HEIGHT, WIDTH)
FLAT = np.full((HEIGHT, WIDTH), 120, np.uint8)  # JPEG keeps it as it is
DAMAGED = r"damaged image \(.+\): copy or download it again"
CONVERT = "only PNG, JPEG and DICOM are read: convert it to PNG"
HEADER = r"damaged image \(its header cannot be read\): copy or download it again"
NO_IMAGE = "not a PNG or JPEG image: export it as PNG, or download it again"
NOT_HERE = "no such file"
CHECK = ": check its name, place and permissions"
TOO_MANY = r"(.+ pixels|too many pixels); at most 100,000,000: shrink it"
TURNED = {  # by EXIF's orientation: how the stored pixels have to be turned to be seen upright
    1: lambda image: image,
    2: np.fliplr,
    3: lambda image: np.rot90(image, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda image: np.rot90(image, -1),
    7: lambda image: np.rot90(image, 2).T,
    8: np.rot90,
}


@dataclass(frozen=True)
class Case:
    """A file and what reading it must give: grey values, or else the reason of the error."""

    name: str
    content: bytes
    grey: np.ndarray | None = None
    reason: str = ""


def chunk(kind: bytes, data: bytes, crc: int | None = None) -> bytes:
    crc = zlib.crc32(kind + data) if crc is None else crc
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


def png(width=WIDTH, height=HEIGHT, depth=8, colour=0, rows=None, before=b"", interlace=0) -> bytes:
    """Put a PNG together by hand, so that any part of it can be wrong."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    rows = b"".join(b"\0" + row.tobytes() for row in GREY) if rows is None else rows
    data = chunk(b"IDAT", zlib.compress(rows))
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + chunk(b"IHDR", header) + before + data + chunk(b"IEND", b"")


def saved(image, kind: str, **options) -> bytes:
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def turned(kind: str, image: np.ndarray, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(image, kind, exif=exif)


def with_sides(jpeg: bytes, width: int, height: int) -> bytes:
    """Change what a JPEG's header says of its sides."""
    place = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:place] + struct.pack(">HH", height, width) + jpeg[place + 4 :]


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("image.png", png())
    return buffer.getvalue()


def small_dicom(**changes) -> bytes:
    """Return a DICOM file with the pixels of `GREY`; changes are elements of its data set."""
    file = pydicom.Dataset()
    file.file_meta = pydicom.dataset.FileMetaDataset()
    file.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    file.SOPClassUID = pydicom.uid.ComputedRadiographyImageStorage
    file.SOPInstanceUID = "1.2.3"
    file.Rows, file.Columns = GREY.shape
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
    file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 8, 8, 7, 0
    file.PixelData = GREY.tobytes()
    for name, value in changes.items():
        setattr(file, name, value)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, file, enforce_file_format=True)
    return buffer.getvalue()


def dicoms() -> list[Case]:
    huge = small_dicom(Rows=60_000, Columns=60_000)
    dark = small_dicom(PhotometricInterpretation="MONOCHROME1")
    return [
        Case("radiograph.dcm", small_dicom(), grey=GREY),
        Case("really DICOM.png", small_dicom(), grey=GREY),
        Case("bright is low.DCM", dark, grey=255 - GREY),
        Case("really PNG.dcm", png(), grey=GREY),
        Case("cut.dcm", small_dicom()[:-300], reason="damaged DICOM file .+"),
        Case("colour.dcm", small_dicom(PhotometricInterpretation="RGB"), reason="colour .+"),
        Case("huge.dcm", huge, reason="60000 x 60000 pixels; at most 100,000,000.*"),
        Case("no rows.dcm", small_dicom(Rows=0), reason="holds no image.*"),
        Case("film.dcm", small_dicom(NumberOfFrames=30), reason="30 frames.+"),
    ]


def cut_short() -> list[Case]:
    whole = {"png": png(), "jpg": saved(FLAT, "JPEG")}
    whole["progressive.jpg"] = saved(GREY, "JPEG", progressive=True)
    cases = []
    for ending, content in whole.items():
        for share in (0.15, 0.5, 0.9):
            name = f"cut at {share:.0%} percent.{ending}"
            cases.append(Case(name, content[: int(share * len(content))], reason=DAMAGED))
    return [
        *cases,
        Case("no end.png", png()[:-12], reason=DAMAGED),
        Case("no end.jpg", whole["jpg"][:-2], reason=DAMAGED),
        Case("signature alone.png", png()[:8], reason=HEADER),
        Case("signature alone.jpg", b"\xff\xd8\xff", reason=DAMAGED),
    ]


def damaged_png() -> list[Case]:
    data = png().index(b"IDAT")
    bomb = zlib.compress(b"\0" * 20_000_000)
    text = chunk(b"zTXt", b"Comment\0\0" + bomb)
    profile = chunk(b"iCCP", b"profile\0\0" + bomb)
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 0, 0, 0, 0)
    twice = png(before=chunk(b"IHDR", header))
    sums = {
        "wrong sum of the header": flipped(png(), 29),
        "wrong sum of the pixels": flipped(png(), len(png()) - 13),
        "wrong pixels": flipped(png(), data + 40),
        "wrong sum of a note": png(before=chunk(b"tEXt", b"a\0b", crc=1)),
        "no compressed pixels": png(rows=b""),
        "text that unpacks to 20 MB": png(before=text),
        "chunk longer than the file": png(before=struct.pack(">I", 2**31 - 1) + b"tEXt"),
        "header cut": png()[:20],
        "a palette image without palette": png(colour=3),
    }
    cases = [Case(f"{name}.png", content, reason=DAMAGED) for name, content in sums.items()]
    return [
        *cases,
        Case("colour profile that unpacks to 20 MB.png", png(before=profile), reason=DAMAGED),
        Case("two headers.png", twice, grey=GREY),
        Case("rubbish after the end.png", png() + b"rubbish" * 100, grey=GREY),
        Case("12 bits.png", png(depth=12), reason=DAMAGED),
        Case("unknown colour type.png", png(colour=5), reason=DAMAGED),
        Case("no rows.png", png(height=0), reason=DAMAGED),
        Case("no columns.png", png(width=0), reason=DAMAGED),
        Case("no sides.jpg", with_sides(saved(FLAT, "JPEG"), 0, 0), reason=DAMAGED),
    ]


def huge() -> list[Case]:
    jpeg, few = saved(FLAT, "JPEG"), r"damaged image \([\d,]+ bytes are too few for .+"
    return [
        Case("a little too large.png", png(10_001, 10_000, rows=b""), reason=TOO_MANY),
        Case("far too large.png", png(2**31 - 1, 2**31 - 1, rows=b""), reason=TOO_MANY),
        Case("one endless row.png", png(2**30, 1, rows=b""), reason=TOO_MANY),
        Case("far too large.jpg", with_sides(jpeg, 65_500, 65_500), reason=TOO_MANY),
        Case("few bytes for its sides.jpg", with_sides(jpeg, 9_000, 9_000), reason=few),
        Case("few bytes for its sides.png", png(30, 2_097_172, rows=b"\0" * 9), reason=few),
    ]


def other_formats() -> list[Case]:
    formats = {
        "GIF": "a GIF image",
        "BMP": "a BMP image",
        "TIFF": "a TIFF image",
        "WEBP": "a WebP image",
        "JPEG2000": "a JPEG 2000 image",
    }
    cases = [
        Case(f"really {kind}.png", saved(FLAT, kind), reason=f"{said}; {CONVERT}")
        for kind, said in formats.items()
    ]
    frames = [Image.fromarray(GREY), Image.fromarray(FLAT)]
    moving = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    big_endian = b"MM\0*" + saved(FLAT, "TIFF")[4:]
    stream = saved(FLAT, "JPEG2000", no_jp2=True)
    page = b"<!DOCTYPE html><title>404 Not Found</title>"
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n"
    said = {
        "moving.gif": (moving, f"a GIF image; {CONVERT}"),
        "big-endian.tif": (big_endian, f"a TIFF image; {CONVERT}"),
        "stream.j2k": (stream, f"a JPEG 2000 image; {CONVERT}"),
        "page.jpg": (page, "a web page and not the image; download it again"),
        "bare page.png": (b"<html><body>", "a web page and not the image; download it again"),
        "pointer.png": (pointer, r"a Git LFS pointer and not the image; fetch .+ git lfs pull"),
        "scan.png": (b"%PDF-1.7 ...", "a PDF document; export the image from it as PNG"),
        "archive.png": (zipped(), "a ZIP archive; unpack it"),
        "packed.png": (gzip.compress(png()), "a gzip archive; unpack it"),
        "text.png": ("Röntgen, kein Bild".encode(), NO_IMAGE),
        "vector.png": (b'<?xml version="1.0"?><svg/>', NO_IMAGE),
        "one byte.png": (b"\x89", NO_IMAGE),
        "line breaks changed.png": (png().replace(b"\r\n", b"\n"), NO_IMAGE),
        "zeros.jpg": (bytes(1000), NO_IMAGE),
        "not really.dcm": (b"no DICOM at all" * 20, ".+DICOM.*"),
        "DICOM in name only.png": (
            bytes(128) + b"DICM",
            "holds no image; .+ name .+",
        ),
    }
    cases += [Case(name, content, reason=reason) for name, (content, reason) in said.items()]
    return [*cases, Case("empty.png", b"", reason="the file is empty: copy or download it again")]


def conversions() -> list[Case]:
    alpha = np.full(GREY.shape, 255, np.uint8)
    alpha[:, :10] = 0
    palette = Image.fromarray(GREY % 4, mode="P")
    palette.putpalette([0, 0, 0, 50, 50, 50, 100, 100, 100, 200, 200, 200])
    frames = [Image.fromarray(GREY), Image.fromarray(FLAT)]
    wide = cv2.imencode(".png", GREY.astype(np.uint16) * 257)[1].tobytes()
    coloured, twelve = np.dstack([GREY.astype(np.uint16)] * 3), GREY.astype(np.uint16) * 16
    from_twelve = (twelve.astype(int) * 255 // 4095).astype(np.uint8)
    colour = Image.fromarray(np.dstack([FLAT] * 3))
    narrow = np.packbits(GREY > 127, axis=1)
    bits = png(depth=1, rows=b"".join(b"\0" + row.tobytes() for row in narrow))
    rows = b"".join(b"\0" + row.tobytes() for row in GREY)
    three_rows = np.where(np.arange(HEIGHT)[:, None] < 3, GREY, 0)
    moving = saved(frames[0], "PNG", save_all=True, append_images=frames[1:])
    known = {
        "1 bit.png": (bits, np.where(GREY > 127, 255, 0)),
        "16 bits.png": (wide, GREY),
        "16 bits of colour.png": (cv2.imencode(".png", coloured * 257)[1].tobytes(), GREY),
        "12 bits in 16.png": (cv2.imencode(".png", twelve)[1].tobytes(), from_twelve),
        "12 bits in 16 of colour.png": (
            cv2.imencode(".png", np.dstack([twelve] * 3))[1].tobytes(),
            from_twelve,
        ),
        "palette.png": (saved(palette, "PNG"), np.array([0, 50, 100, 200])[GREY % 4]),
        "alpha.png": (saved(np.dstack([GREY, alpha]), "PNG"), GREY * (alpha > 0)),
        "colour.png": (saved(np.dstack([GREY] * 3), "PNG"), GREY),
        "colour and alpha.png": (saved(np.dstack([GREY] * 3 + [alpha]), "PNG"), GREY * (alpha > 0)),
        "one grey value transparent.png": (
            saved(GREY, "PNG", transparency=7),
            np.where(GREY == 7, 0, GREY),
        ),
        "moving.png": (moving, GREY),
        "fewer rows than declared.png": (png(rows=rows[: 3 * (WIDTH + 1)]), three_rows),
        "standard tables left out.jpg": (
            saved(FLAT, "JPEG").replace(b"\xff\xc4", b"\xff\xfe"),
            FLAT,
        ),
        "two pictures.jpg": (
            saved(colour, "MPO", save_all=True, append_images=[colour]),
            FLAT,
        ),
        "CMYK.jpg": (saved(colour.convert("CMYK"), "JPEG"), FLAT),
        "progressive.jpg": (saved(FLAT, "JPEG", progressive=True), FLAT),
        "really JPEG.png": (saved(FLAT, "JPEG"), FLAT),
        "really PNG.jpg": (saved(GREY, "PNG"), GREY),
        "no ending": (png(), GREY),
        "CAPITALS.PNG": (png(), GREY),
        "name with  spaces .png": (png(), GREY),
        "line\nbreak.png": (png(), GREY),
        "日本 – é\u202e.png": (png(), GREY),
        "-rf.png": (png(), GREY),
        "%s{0}.png": (png(), GREY),
        "rubbish after the end.jpg": (saved(FLAT, "JPEG") + b"rubbish", FLAT),
        "one pixel.png": (saved(FLAT[:1, :1], "PNG"), FLAT[:1, :1]),
        "unknown orientation.jpg": (turned("JPEG", FLAT, 9), FLAT),
    }
    cases = [Case(name, content, grey=grey) for name, (content, grey) in known.items()]
    for orientation, turn in TURNED.items():
        content = turned("PNG", GREY, orientation)
        cases.append(Case(f"orientation {orientation}.png", content, grey=turn(GREY)))
    steps = np.kron(np.array([[0, 80], [160, 240]], np.uint8), np.ones((16, 24), np.uint8))
    cases.append(Case("turned.jpg", turned("JPEG", steps, 6), grey=np.rot90(steps, -1)))
    return cases


CASES = [*cut_short(), *damaged_png(), *huge(), *other_formats(), *dicoms(), *conversions()]


def make_no_file(folder: Path) -> dict[Path, str]:
    """Make what has a name and is no file; return the reason of each."""
    (folder / "directory.png").mkdir()
    (folder / "dangling.png").symlink_to(folder / "gone.png")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    (folder / "pipe.png").unlink(missing_ok=True)
    os.mkfifo(folder / "pipe.png")
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(folder)  # the name of a socket must be short
        listener.bind("socket.png")
        os.chdir(here)
    (folder / "device.png").symlink_to("/dev/zero")
    with open(folder / "sparse.png", "wb") as file:
        file.truncate(600_000_000)
    special = "is a pipe, socket or device: copy the image into a file"
    return {
        folder / "directory.png": "is a directory: name an image in it",
        folder / "dangling.png": "a link to a missing file",
        folder / "loop.png": r"cannot be read \(.*symbolic links\)" + CHECK,
        folder / "pipe.png": special,
        folder / "socket.png": special,
        folder / "device.png": special,
        folder / "sparse.png": "600,000,000 bytes; at most 500,000,000: shrink it",
        folder / "missing.png": NOT_HERE,
        folder / "sparse.png" / "below a file.png": NOT_HERE,
        folder / "null\0character.png": NOT_HERE,
        folder / f"{'long' * 100}.png": r"cannot be read \(.*too long\)" + CHECK,
    }
