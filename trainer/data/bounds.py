"""How large a picture may be, and how many large ones are decoded at once.

A file of a few kilobytes can hold a picture of any size, so its sides are checked before its pixels take memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

PIXELS = 2**26
"""Of one picture: five times those of the cameras in dermatoscopy, and 200 MB decoded."""
SIDE = 2**16 - 1
"""The longest side of a JPEG or DICOM picture. Other formats allow strips of a single pixel, which take long to resize."""
_LARGE = 2**24
_one_at_a_time = Lock()


def too_large(width: int, height: int) -> str:
    """Why a picture of this size is not decoded; nothing if it may be."""
    if width * height > PIXELS:
        return f"more than {PIXELS:,} pixels"
    return f"a side of more than {SIDE:,} pixels" if max(width, height) > SIDE else ""


@contextmanager
def decoding(width: int, height: int) -> Iterator[None]:
    """Wait for other large pictures that threads decode: one takes up to 1.5 GB, and a machine may have many cores."""
    if width * height <= _LARGE:
        yield
        return
    with _one_at_a_time:
        yield
