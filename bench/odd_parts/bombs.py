"""Pictures that unpack to more than they weigh, or claim more than they hold."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from PIL import Image

from skinaudit.bench.odd_parts.case import Case
from skinaudit.bench.odd_parts.pictures import folder, png

Content = Callable[[], bytes]
Entry = tuple[int, int, int, int]
"""Of a TIFF: tag, type, count, value or offset."""
_SHORT, _LONG = 3, 4
_ENDLESS = 2**32 - 1  # a length that DICOM leaves open; elsewhere the largest number of 32 bits


@cache
def zeros(length: int) -> bytes:
    """So many zeros, packed by deflate."""
    packer, piece = zlib.compressobj(6), bytes(2**22)
    pieces = [packer.compress(piece[: length - start]) for start in range(0, length, len(piece))]
    return b"".join((*pieces, packer.flush()))


def chunk(kind: bytes, content: bytes) -> bytes:
    """A part of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_of(width: int, height: int, *, bits: int, colour: int, rows: bytes, extra: bytes = b"") -> bytes:
    """A PNG of any kind of pixels; rows: packed."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + extra + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def small(*extra: bytes, rows: bytes = b"") -> bytes:
    """A PNG of 40 x 40 pixels with further parts."""
    return png(40, 40, extra=b"".join(extra), body=rows)


def in_format(name: str, mode: str = "RGB", size: tuple[int, int] = (64, 48), **settings: Any) -> bytes:
    """A flat picture as Pillow writes it."""
    buffer = io.BytesIO()
    Image.new(mode, size, 7).save(buffer, name, **settings)
    return buffer.getvalue()


def segment(marker: int, content: bytes) -> bytes:
    """A part of a JPEG."""
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def jpeg_with(*segments: bytes) -> bytes:
    """A JPEG with these parts in front."""
    whole = in_format("JPEG")
    return whole[:2] + b"".join(segments) + whole[2:]


def tiff(entries: Sequence[Entry], *, body: bytes = b"", following: int = 0) -> bytes:
    """A TIFF of one directory at 8; body: from byte 300 on. following: where the next directory is said to be."""
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    return (b"II*\0\x08\0\0\0" + directory + struct.pack("<I", following)).ljust(300, b"\0") + body


def grey(width: int, height: int, /, **changed: Entry) -> list[Entry]:
    """The entries of an 8-bit grey TIFF whose pixels begin at 300, with some of them replaced or added, by any name."""
    entries = {
        256: (256, _LONG, 1, width), 257: (257, _LONG, 1, height), 258: (258, _SHORT, 1, 8), 259: (259, _SHORT, 1, 1),
        262: (262, _SHORT, 1, 1), 273: (273, _LONG, 1, 300), 277: (277, _SHORT, 1, 1), 278: (278, _LONG, 1, height),
        279: (279, _LONG, 1, width * height),
    }  # fmt: skip
    return [*{**entries, **{entry[0]: entry for entry in changed.values()}}.values()]


def exif(entries: Sequence[Entry], **settings: Any) -> bytes:
    """EXIF data as a part of a JPEG."""
    return segment(0xE1, b"Exif\0\0" + tiff(entries, **settings))


def frames(count: int) -> bytes:
    """A TIFF of so many frames."""
    pieces, at = [b"II*\0\x08\0\0\0"], 8
    for index in range(count):
        entries = grey(4, 4)
        length = 2 + 12 * len(entries) + 4
        directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
        pieces.append(directory + struct.pack("<I", at + length if index + 1 < count else 0))
        at += length
    return b"".join(pieces)


def animated(count: int) -> bytes:
    """A WebP of so many different frames."""
    later_frames = [Image.new("RGB", (64, 48), (index % 256, index // 256, 0)) for index in range(1, count)]
    return in_format("WEBP", save_all=True, append_images=later_frames)


def bmp(width: int, height: int, packed: bytes) -> bytes:
    """A BMP of 256 colours whose rows are packed by runs."""
    start = 54 + 1024
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(packed), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", start + len(packed), 0, 0, start) + head + bytes(1024) + packed


def patched(content: bytes, at: int, replacement: bytes) -> bytes:
    """The bytes with some of them replaced."""
    return content[:at] + replacement + content[at + len(replacement) :]


def element(group: int, number: int, kind: str, value: bytes, *, length: int | None = None) -> bytes:
    """An element of a DICOM file. length: as it says."""
    value += b" " * (len(value) % 2)
    stated = len(value) if length is None else length
    head = struct.pack("<HH", group, number) + kind.encode()
    return head + (struct.pack("<xxI", stated) if kind in ("OB", "OW", "SQ") else struct.pack("<H", stated)) + value


def dicom(
    rows: int,
    columns: int,
    pixels: bytes,
    *,
    syntax: str = "1.2.840.10008.1.2.1",
    bits: int = 8,
    samples: int = 1,
    kind: str = "MONOCHROME2",
    first: bytes = b"",
    extra: bytes = b"",
    length: int | None = None,
) -> bytes:
    """A DICOM file. first, extra: elements before the others, and among them. length: what its pixels are said to take."""
    meta = element(2, 0x10, "UI", syntax.encode().ljust(len(syntax) + len(syntax) % 2, b"\0"))
    numbers = {2: samples, 0x10: rows, 0x11: columns, 0x100: bits, 0x101: bits, 0x102: bits - 1, 0x103: 0}
    described = {number: element(0x28, number, "US", struct.pack("<H", value)) for number, value in numbers.items()}
    described[4] = element(0x28, 4, "CS", kind.encode())
    described[8] = extra
    body = first + b"".join(described[number] for number in sorted(described))
    group = element(2, 0, "UL", struct.pack("<I", len(meta)))
    return bytes(128) + b"DICM" + group + meta + body + element(0x7FE0, 0x10, "OB", pixels, length=length)


def packed_frame(frame: bytes) -> bytes:
    """One packed picture as DICOM holds it: an empty table of offsets, the picture, an end."""
    frame += b"\0" * (len(frame) % 2)
    item = b"\xfe\xff\x00\xe0"
    return item + bytes(4) + item + struct.pack("<I", len(frame)) + frame + b"\xfe\xff\xdd\xe0" + bytes(4)


def runs(count: int) -> bytes:
    """A picture of DICOM's RLE: so many runs of 128 zeros."""
    return struct.pack("<16I", 1, 64, *[0] * 14) + b"\x81\0" * count


def jpeg_2000(side: int) -> bytes:
    """A flat picture."""
    return in_format("JPEG2000", "L", (side, side), no_jp2=True)


def deflated() -> bytes:
    """A DICOM file that is packed as a whole, to a GB."""
    whole = dicom(40, 40, bytes(1600), syntax="1.2.840.10008.1.2.1.99")
    start = whole.index(struct.pack("<HH", 0x28, 2))
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    pieces = [packer.compress(whole[start:])] + [packer.compress(bytes(2**22)) for _ in range(256)]
    return whole[:start] + b"".join(pieces) + packer.flush()


def told_frames(number: str) -> bytes:
    """A DICOM file that says to have so many frames."""
    return dicom(40, 40, bytes(1600), extra=element(0x28, 8, "IS", number.encode()))


_RLE, _J2K = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.90"
_NESTED = struct.pack("<HH", 0x40, 0x275) + b"SQ" + struct.pack("<xxI", _ENDLESS) + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
REFUSED: Mapping[str, Content] = {
    "PNG: a colour profile of a GB": lambda: small(chunk(b"iCCP", b"x\0\0" + zeros(10**9))),
    "PNG: 100 texts of a MB": lambda: small(*(chunk(b"zTXt", b"k\0\0" + zeros(10**6)) for _ in range(100))),
    "PNG: a palette that is not there": lambda: png_of(40, 40, bits=8, colour=3, rows=zeros(41 * 40)),
    "PNG: 2^26 x 1 pixels": lambda: png_of(2**26, 1, bits=8, colour=0, rows=zeros(2**26 + 1)),
    "PNG: 1 x 2^26 pixels": lambda: png_of(1, 2**26, bits=8, colour=0, rows=zeros(2**27)),
    "PNG: a part of 2^31 bytes": lambda: small()[:33] + struct.pack(">I", 2**31 - 1) + b"IDATabc",
    "PNG: 0 x 0 pixels": lambda: png_of(0, 0, bits=8, colour=2, rows=b""),
    "JPEG: cut off in its pixels": lambda: in_format("JPEG")[:-40],
    "JPEG: height 0": lambda: in_format("JPEG").replace(struct.pack(">HH", 48, 64), struct.pack(">HH", 0, 64)),
    "TIFF: 65,535 frames": lambda: frames(65_535),
    "TIFF: a tile of 2^31 x 2^31": lambda: tiff(grey(40, 40, w=(322, _LONG, 1, 2**31 - 16), h=(323, _LONG, 1, 2**31 - 16),
                                                     at=(324, _LONG, 1, 300), n=(325, _LONG, 1, 16)), body=bytes(16)),
    "TIFF: 2^32 strips": lambda: tiff(grey(4, 4, strips=(273, _LONG, _ENDLESS, 300)), body=bytes(16)),
    "TIFF: a second directory of 10,000,000 strips": lambda: tiff(
        grey(4, 4), following=400, body=bytes(100) + struct.pack("<HHHIII", 1, 273, _LONG, 10**7, 500, 0) + bytes(4 * 10**7)
    ),
    "TIFF: 10,000,000 strips": lambda: tiff(
        grey(4, 10**7, at=(273, _LONG, 10**7, 300), n=(279, _LONG, 10**7, 300), rows=(278, _LONG, 1, 1)),
        body=bytes(4 * 10**7),
    ),
    "TIFF: 65,535 channels": lambda: tiff(grey(4, 4, samples=(277, _SHORT, 1, 65_535)), body=bytes(16)),
    "TIFF: pixels of 0 bits": lambda: tiff(grey(4, 4, bits=(258, _SHORT, 1, 0)), body=bytes(16)),
    "TIFF: a text as its width": lambda: tiff(grey(4, 4, width=(256, 2, 4, 0x30303030)), body=bytes(16)),
    "TIFF: floating point": lambda: in_format("TIFF", "F"),
    "TIFF: 32 bits": lambda: in_format("TIFF", "I"),
    "TIFF: 16 bits, of which 4 are used": lambda: tiff(
        grey(4, 4, bits=(258, _SHORT, 1, 16), n=(279, _LONG, 1, 32)), body=b"\x0f\0" * 16
    ),
    "WebP: a canvas of 2^24 x 2^24": lambda: patched(animated(2), 24, b"\xff" * 6),
    "WebP: 60 frames": lambda: animated(60),
    "GIF": lambda: in_format("GIF", "P"),
    "BMP: 2^31 rows": lambda: patched(in_format("BMP"), 22, struct.pack("<i", -(2**31))),
    "BMP: a palette of 2^32 colours": lambda: patched(in_format("BMP", "P"), 46, struct.pack("<I", _ENDLESS)),
    "BMP: a run in a row of 2^26": lambda: bmp(2**26, 1, b"\1\5\0\0\0\1"),
    "DICOM: deflated as a whole, a GB": deflated,
    "DICOM: RLE of 65,535 x 65,535": lambda: dicom(65_535, 65_535, packed_frame(runs(2**16)), syntax=_RLE, length=_ENDLESS),
    "DICOM: RLE longer than its picture": lambda: dicom(40, 40, packed_frame(runs(2**22)), syntax=_RLE, length=_ENDLESS),
    "DICOM: JPEG 2000 of 9,000 x 9,000": lambda: dicom(
        9000, 9000, packed_frame(jpeg_2000(9000)), syntax=_J2K, length=_ENDLESS
    ),
    "DICOM: JPEG 2000 larger than it says": lambda: dicom(
        40, 40, packed_frame(jpeg_2000(9000)), syntax=_J2K, length=_ENDLESS
    ),
    "DICOM: 20,000 sequences in one another": lambda: dicom(40, 40, b"")[:-12] + _NESTED * 20_000,
    "DICOM: 60,000 x 1,000 pixels in 10 bytes": lambda: dicom(1000, 60_000, bytes(10)),
    "DICOM: 200 bits a pixel": lambda: dicom(40, 40, bytes(1600), bits=200),
    "DICOM: 65,535 channels": lambda: dicom(40, 40, bytes(1600), samples=65_535, kind="RGB"),
    "DICOM: a palette that is not there": lambda: dicom(40, 40, bytes(1600), kind="PALETTE COLOR"),
    "DICOM: 2^31 frames": lambda: told_frames("2147483648"),
    "DICOM: 1e999999999 frames": lambda: told_frames("1e999999999"),
    "DICOM: two numbers of frames": lambda: told_frames("1\\2"),
    "DICOM: nothing": lambda: bytes(128) + b"DICM",
}  # fmt: skip
"""Each is named as the cause, and nothing else happens."""
READ: Mapping[str, Content] = {
    "PNG: 16 bits, four channels, 8,191 x 8,191": lambda: png_of(
        8191, 8191, bits=16, colour=6, rows=zeros(8191 * (8191 * 8 + 1))
    ),
    "PNG: 100,000 texts": lambda: small(*(chunk(b"tEXt", b"k%d\0v" % index) for index in range(100_000))),
    "PNG: 2^32 frames that are not there": lambda: small(chunk(b"acTL", struct.pack(">II", _ENDLESS, 0))),
    "PNG: 300,000 empty parts": lambda: small(chunk(b"IDAT", b"") * 300_000),
    "PNG: a GB behind its pixels": lambda: small(rows=zeros(10**9)),
    "PNG: EXIF data that hold themselves": lambda: small(chunk(b"eXIf", tiff([(0x8769, _LONG, 1, 8)], following=8))),
    "JPEG: CMYK": lambda: in_format("JPEG", "CMYK"),
    "JPEG: 65,535 tags of EXIF": lambda: jpeg_with(segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(60_000))),
    "JPEG: tags of 2^32 values": lambda: jpeg_with(exif([(0x112, _SHORT, _ENDLESS, 6), (0x10F, 2, _ENDLESS, 8)])),
    "JPEG: EXIF data that hold themselves": lambda: jpeg_with(exif([(0x8769, _LONG, 1, 8)], following=8)),
    "JPEG: a text as its orientation": lambda: jpeg_with(exif([(0x112, 2, 4, 0x30363636)])),
    "JPEG: two fractions as its orientation": lambda: jpeg_with(exif([(0x112, 5, 2, 300)], body=bytes(16))),
    "JPEG: 300 colour profiles of 64 KiB": lambda: jpeg_with(
        *(segment(0xE2, b"ICC_PROFILE\0" + bytes((index % 255 + 1, 255)) + bytes(65_000)) for index in range(300))
    ),
    "JPEG: 65,535 further pictures that are not there": lambda: jpeg_with(
        segment(0xE2, b"MPF\0" + tiff([(0xB000, 7, 4, 0x30303130), (0xB001, _LONG, 1, 65_535), (0xB002, 7, 16, 300)]))
    ),
    "TIFF: a directory that is its own next": lambda: tiff(grey(4, 4), body=bytes(16), following=8),
    "TIFF: a tag of 2^32 signs": lambda: tiff(grey(4, 4, text=(270, 2, _ENDLESS, 300)), body=bytes(16)),
    "TIFF: a GB behind its pixels": lambda: tiff(
        grey(40, 40, packing=(259, _SHORT, 1, 8), n=(279, _LONG, 1, len(zeros(10**9)))), body=zeros(10**9)
    ),
    "TIFF: CMYK": lambda: in_format("TIFF", "CMYK"),
    "WebP: 16,383 x 4,096 pixels": lambda: in_format("WEBP", "RGB", (16_383, 4096), lossless=True, quality=0, method=0),
    "BMP: 8,000 x 8,000 pixels of leaps": lambda: bmp(8000, 8000, b"\0\2\xff\xff" * 2000),
    "DICOM: pixels that are said to take 4 GB": lambda: dicom(40, 40, bytes(1600), length=_ENDLESS - 1),
    "DICOM: a name of signs that act on a terminal": lambda: dicom(
        40, 40, bytes(1600), first=element(8, 5, "CS", b"\x1b[2J\x1b[31mPASS")
    ),
}  # fmt: skip
"""Odd, but each holds one picture, which is read."""


def refused(content: Content) -> Callable[..., list[str]]:
    """A training on a folder with this picture."""
    return folder(lambda data: (data / "mel" / "bomb.png").write_bytes(content()) and None)


def all_read() -> Callable[..., list[str]]:
    """A training on a folder with all pictures that are read."""
    return folder(
        lambda data: [  # type: ignore[arg-type,return-value]
            (data / "mel" / f"odd{index}.png").write_bytes(content()) for index, content in enumerate(READ.values())
        ]
    )


CASES = (
    *(Case(f"bomb: {name}", refused(content)) for name, content in REFUSED.items()),
    Case(f"bomb: {len(READ)} odd pictures that are read", all_read(), codes=(0,)),
)
