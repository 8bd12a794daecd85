"""Facts recorded while pictures are decoded into the cache: which were turned, which are identical, and frame sizes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinaudit.trainer.data.cache import CacheEntry
from skinaudit.trainer.data.decode import Decoded
from skinaudit.trainer.data.unreadable import Unreadable

_TURNED, _ALIKE, _FRAMES = "turned", "alike", "frames"


class Reading:
    """Pictures on their way into the cache, with the facts recorded about them. Positions count only readable pictures.

    decode: yields every picture in order. It is called only if the cache does not have the pictures.
    """

    def __init__(self, decode: Callable[[], Iterator[Decoded | Unreadable]]) -> None:
        self._decode = decode
        self.details: dict[str, list[Any]] = {_TURNED: [], _ALIKE: [], _FRAMES: []}
        """For the cache: the positions that were turned, the width and height of each frame, and, once all are read, the
        positions of identical pictures."""

    def pixels(self) -> Iterator[NDArray[np.uint8] | Unreadable]:
        """Yield uint8 (3, size, size) for each picture, or the reason why it could not be read."""
        same_pixels: dict[str, list[int]] = defaultdict(list)
        position = 0
        for decoded in self._decode():
            if isinstance(decoded, Unreadable):
                yield decoded
                continue
            if decoded.turned:
                self.details[_TURNED].append(position)
            self.details[_FRAMES].append(list(decoded.frame))
            same_pixels[decoded.digest].append(position)
            position += 1
            yield decoded.pixels
        self.details[_ALIKE].extend(same for same in same_pixels.values() if len(same) > 1)


def pictures_of(entry: CacheEntry) -> NDArray[np.int64]:
    """Index of each picture's content, int64 (N,): position of the first picture with the same pixels."""
    pictures = np.arange(len(entry.images))
    for first, *copies in entry.details[_ALIKE]:
        pictures[copies] = first
    return pictures


def turned_of(entry: CacheEntry) -> int:
    """Number of pictures that an orientation tag turned."""
    return len(entry.details[_TURNED])


def frames_of(entry: CacheEntry) -> NDArray[np.int32]:
    """Width and height of each picture's whole frame in pixels, int32 (N, 2)."""
    return np.array(entry.details[_FRAMES], np.int32).reshape(-1, 2)
