"""Store per-image facts of a report as short texts: labels, lesions, and the predictions of source and engine."""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.logits import Indices
from skinaudit.errors import InvalidInputError

_KIND = np.dtype("<u4")


@dataclass(frozen=True)
class ImageAnswer:
    """The answers to one image of a set, as class names.

    index: of the image in the set, from 0. label: the true class. lesion: number of its lesion. engine: the class that the
    engine predicts. source: that of the source model; None if nothing was compared with the engine.
    """

    index: int
    label: str
    lesion: int
    engine: str
    source: str | None

    @property
    def right(self) -> bool:
        """Whether the engine predicts the true class."""
        return self.engine == self.label


def pack_numbers(numbers: NDArray[Any]) -> str:
    """Integers (N,) from 0 to below 2^32 -> base64 of their deflated bytes, four per number, the least significant first."""
    return base64.b64encode(zlib.compress(numbers.astype(_KIND).tobytes(), 9)).decode("ascii")


def unpack_numbers(text: str, *, images: int, below: int) -> Indices:
    """The inverse: int64 (images,). Raises InvalidInputError for another text, and for numbers not below `below`."""
    size = images * _KIND.itemsize
    try:
        reader = zlib.decompressobj()
        content = reader.decompress(base64.b64decode(text, validate=True), size + 1)
    except (binascii.Error, ValueError, zlib.error) as error:
        raise InvalidInputError(f"predictions per image are not readable ({error})") from error
    if len(content) != size or not reader.eof:
        raise InvalidInputError(f"predictions per image do not match {images} images")
    numbers = np.frombuffer(content, _KIND).astype(np.int64)
    if (numbers >= below).any():
        raise InvalidInputError(f"predictions per image contain a number that is not below {below}")
    return numbers


def image_answers(
    *, classes: Sequence[str], images: int, labels: str, lesions: str, engine: str, source: str
) -> tuple[ImageAnswer, ...]:
    """The packed texts of a report as one answer per image. source: empty if nothing was compared."""
    count = len(classes)
    truth = unpack_numbers(labels, images=images, below=count)
    groups = unpack_numbers(lesions, images=images, below=2**32)
    answers = unpack_numbers(engine, images=images, below=count)
    sources: list[str | None] = [None] * images
    if source:
        sources = [classes[number] for number in unpack_numbers(source, images=images, below=count)]
    return tuple(
        ImageAnswer(index, classes[truth[index]], int(groups[index]), classes[answers[index]], sources[index])
        for index in range(images)
    )


def lesion_numbers(groups: NDArray[np.int64]) -> Indices:
    """Lesions (N,) numbered from 0 in the order of their original numbers, which may be any integers."""
    return np.unique(groups, return_inverse=True)[1].astype(np.int64)
