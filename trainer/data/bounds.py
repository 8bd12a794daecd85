"""How large a picture may be, and how many large ones are decoded at the same time.

A file of a few kilobytes can contain a picture of any size, so its sides are checked before memory is allocated for its
pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

PIXELS = 2**26
"""Largest number of pixels of one picture: five times that of dermatoscopy cameras, and 200 MB when decoded."""
SIDE = 2**16 - 1
"""Longest side of a JPEG or DICOM picture. Other formats allow strips of a single pixel, which take long to resize."""
_LARGE = 2**24
_one_at_a_time = Lock()


def too_large(width: int, height: int) -> str:
    """Why a picture of this size is not decoded; empty if it may be decoded."""
    if width * height > PIXELS:
        return f"more than {PIXELS:,} pixels"
    return f"a side of more than {SIDE:,} pixels" if max(width, height) > SIDE else ""


@contextmanager
def decoding(width: int, height: int) -> Iterator[None]:
    """Wait until other threads have decoded large pictures: one needs up to 1.5 GB, and a machine may have many cores."""
    if width * height <= _LARGE:
        yield
        return
    with _one_at_a_time:
        yield
