"""Texts as rows of bytes padded with zeros, the only form in which a safetensors file can store them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def padded(texts: Sequence[str]) -> NDArray[np.uint8]:
    """Texts in UTF-8 as uint8 (N, L); L is the length of the longest text in bytes, at least 1."""
    width = max((len(text.encode()) for text in texts), default=0) or 1
    return np.frombuffer(np.array([text.encode() for text in texts], f"S{width}").tobytes(), np.uint8).reshape(-1, width)


def unpadded(rows: NDArray[Any]) -> tuple[str, ...]:
    """The texts of uint8 (N, L); raises UnicodeDecodeError if a row is not UTF-8."""
    return tuple(bytes(row).rstrip(b"\0").decode() for row in rows)
