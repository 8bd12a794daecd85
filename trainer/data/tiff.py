"""Checks the directories of a TIFF file before Pillow reads it, because Pillow parses every number that they list.

TIFF 6.0, section 2, https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf; BigTIFF has longer numbers.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import IO

from skinaudit.artifacts.outside import open_regular

_ORDERS = {b"II": "<", b"MM": ">"}
_PLAIN, _BIG = (
    42,
    43,
)  # versions of TIFF; Pillow accepts their two bytes in either order, and reads BigTIFF if the first is 43
_MOST_FRAMES = 100  # that are counted
_MOST_TAGS = 4096
_MOST_VALUES = 2**16
"""Longest list of numbers for one tag, such as the positions of strips: one for each row of the highest picture."""
_NUMBERS = (3, 4, 5, 8, 9, 10, 11, 12, 13, 16, 17, 18)
"""Types of values that Pillow parses into numbers; the others are texts and bytes."""


def why_not(path: Path) -> str:
    """Why a TIFF file is not read: several frames, or lists that are too long. Empty for one picture and other formats.

    Raises ValueError for directories that are cut off.
    """
    with open_regular(path, kind="image") as stream:
        head = stream.read(16)
        order = _ORDERS.get(head[:2])
        if order is None or len(head) < 16 or {*head[2:4]} not in ({0, _PLAIN}, {0, _BIG}):
            return ""
        big = head[2] == _BIG
        (at,) = struct.unpack(f"{order}Q", head[8:]) if big else struct.unpack(f"{order}I", head[4:8])
        seen = set[int]()
        while at and at not in seen and len(seen) <= _MOST_FRAMES:
            seen.add(at)
            longest, at = _directory(stream, at, order, big=big)
            if longest > _MOST_VALUES:
                return f"a tag of {longest:,} numbers, more than {_MOST_VALUES:,}"
    if len(seen) < 2:
        return ""
    return f"{len(seen) if len(seen) <= _MOST_FRAMES else f'more than {_MOST_FRAMES}'} frames, expected one picture"


def _directory(stream: IO[bytes], at: int, order: str, *, big: bool) -> tuple[int, int]:
    """Length of the longest list of numbers in the directory that starts here, and where the next one starts."""
    number, tag = (f"{order}Q", f"{order}HHQQ") if big else (f"{order}H", f"{order}HHII")
    following = f"{order}Q" if big else f"{order}I"
    if at >= 2**63:
        raise ValueError("a directory beyond its end")
    stream.seek(at)
    (count,) = struct.unpack(number, stream.read(struct.calcsize(number)))
    if count > _MOST_TAGS:
        raise ValueError(f"a directory of {count:,} tags")
    tags = struct.iter_unpack(tag, stream.read(count * struct.calcsize(tag)))
    longest = max((values for _, kind, values, _ in tags if kind in _NUMBERS), default=0)
    return longest, *struct.unpack(following, stream.read(struct.calcsize(following)))
