"""Store which images an engine classified correctly, as a short text. A later audit uses it to pair its images."""

from __future__ import annotations

import base64
import binascii

import numpy as np
from numpy.typing import NDArray

from skinaudit.errors import InvalidInputError


def pack_right(right: NDArray[np.bool_]) -> str:
    """bool (N,) -> base64 of its bits. The first image is the highest bit of the first byte; zeros fill the last byte."""
    return base64.b64encode(np.packbits(right).tobytes()).decode("ascii")


def unpack_right(text: str, *, images: int) -> NDArray[np.bool_]:
    """The inverse: bool (images,). Raises InvalidInputError for a text that pack_right cannot write for this many images."""
    try:
        packed = np.frombuffer(base64.b64decode(text, validate=True), np.uint8)
    except (binascii.Error, ValueError) as error:
        raise InvalidInputError(f"correct predictions are not base64 ({error})") from error
    if len(packed) != -(-images // 8) or np.unpackbits(packed)[images:].any():
        raise InvalidInputError(f"correct predictions do not match {images} images")
    return np.unpackbits(packed, count=images).astype(np.bool_)
