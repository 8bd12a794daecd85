"""Folders of pictures, and pictures that are none."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

from skinaudit.bench.odd_parts.case import Case, Place

_WORDS = ("--out", "new", "--epochs", "1", "--size", "32", "--threads", "1")


def png(width: int, height: int, *, body: bytes = b"", extra: bytes = b"") -> bytes:
    """A picture of one colour; body: its compressed rows."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    rows = body or zlib.compress((b"\0" + b"\x80" * 3 * width) * min(height, 100), 9)
    return b"\x89PNG\r\n\x1a\n" + head + extra + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def text_chunk(size: int) -> bytes:
    """A compressed text of so many bytes."""
    content = b"c\0\0" + zlib.compress(bytes(size), 9)
    return struct.pack(">I", len(content)) + b"zTXt" + content + struct.pack(">I", zlib.crc32(b"zTXt" + content))


def folder(change: Callable[[Path], None]) -> Callable[[Place], list[str]]:
    """A training on a folder of classes, with an odd thing in it."""

    def build(place: Place) -> list[str]:
        for name in ("mel", "nv"):
            (place.folder / "data" / name).mkdir(parents=True)
            for index in range(12):
                (place.folder / "data" / name / f"{name}{index}.png").write_bytes(png(40 + index, 40))
        change(place.folder / "data")
        return ["train", "--data", "data", *_WORDS]

    return build


def table(name: str) -> Callable[[Place], list[str]]:
    """A table of images with this name among them."""

    def build(place: Place) -> list[str]:
        rows = [f'"L{n}","{name}{n}",mel,histo,50,male,back' for n in range(9)]
        place.write("data/HAM10000_metadata.csv", "\n".join(("lesion_id,image_id,dx,dx_type,age,sex,localization", *rows)))
        place.write("data/a.jpg", png(8, 8))
        return ["train", "--data", "data", *_WORDS]

    return build


def crowd(data: Path) -> None:
    """200,000 empty files."""
    for index in range(200_000):
        os.close(os.open(data / "mel" / f"empty{index}.txt", os.O_CREAT))


def loop(data: Path) -> None:
    """A folder that holds itself, and a picture that is a link to itself."""
    (data / "mel" / "again").symlink_to(data)
    (data / "mel" / "self.png").symlink_to(data / "mel" / "self.png")


def holes(data: Path) -> None:
    """A picture of a TB."""
    with (data / "mel" / "huge.png").open("wb") as stream:
        stream.truncate(2**40)


CASES = (
    Case("pictures: a pipe among them", folder(lambda data: os.mkfifo(data / "mel" / "pipe.png"))),
    Case("pictures: a link to /dev/zero", folder(lambda data: (data / "mel" / "zero.png").symlink_to("/dev/zero"))),
    Case(
        "pictures: 60,000 x 60,000 pixels",
        folder(lambda data: (data / "mel" / "b.png").write_bytes(png(60_000, 60_000)) and None),
    ),
    Case(
        "pictures: 2^31 x 2^31 pixels",
        folder(lambda data: (data / "mel" / "b.png").write_bytes(png(2**31 - 1, 2**31 - 1, body=b"x")) and None),
    ),
    Case(
        "pictures: a text of 1 GB inside",
        folder(lambda data: (data / "mel" / "b.png").write_bytes(png(40, 40, extra=text_chunk(10**9))) and None),
    ),
    Case("pictures: a folder that holds itself", folder(loop)),
    Case("pictures: a folder called like a picture", folder(lambda data: (data / "mel" / "folder.png").mkdir()), codes=(0,)),
    Case("pictures: one of 1 TB of holes", folder(holes)),
    Case("pictures: 200,000 other files", folder(crowd), codes=(0, 2)),
    Case(
        "pictures: names with ESC",
        folder(lambda data: (data / "mel" / "a\x1b[2J\u202e.png").write_bytes(b"no picture") and None),
    ),
    Case("pictures: a folder of no UTF-8", folder(lambda data: (data / os.fsdecode(b"\xff\xfe")).mkdir()), codes=(0, 2)),
    Case("table: names that lead out", table("../../../etc/passwd")),
    Case("table: names with line breaks", table("a\nb")),
    Case("table: names with right-to-left marks", table("\u202ea")),
    Case("table: names of 100,000 signs", table("a" * 100_000)),
)
