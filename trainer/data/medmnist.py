"""MedMNIST's colour sets at 28, 64, 128 or 224 pixels: one `.npz` with its own split, without lesions and class names.

The classes of DermaMNIST, which is HAM10000, are known from the file's name. Classes of other files are named by their
numbers.

Yang et al., "MedMNIST v2", Scientific Data 10, 41 (2023), https://medmnist.com
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from skinaudit.artifacts.contract import CLASSES, MALIGNANT, MAX_CLASSES
from skinaudit.artifacts.files import Progress
from skinaudit.artifacts.outside import check_regular
from skinaudit.errors import InvalidInputError, SkinauditError, first_few, reason_of
from skinaudit.trainer.data.decode import Decoded, frame_digest, resize

MEDMNIST_CLASSES = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
"""DermaMNIST's order of the labels 0 to 6."""
_DERMA = "dermamnist"

PARTS = ("train", "val", "test")
_MOST = 2**32
"""Largest size of one array in bytes; the largest one of DermaMNIST at 224 pixels has 1.1 GB."""
_LARGE, _FOLDED = 2**28, 100
"""An array of at least this many bytes, compressed by this factor, is refused: photographs shrink only to about half."""
_HEADER = 2**14


@dataclass(frozen=True)
class MedmnistListing:
    """The labels of a file, in the order of its parts. The images have `side` x `side` pixels."""

    title: str
    side: int
    labels: tuple[int, ...]
    ids: tuple[str, ...]
    classes: tuple[str, ...]
    malignant: tuple[str, ...]
    official_split: tuple[int, ...]


def list_medmnist(path: Path) -> MedmnistListing:
    """Read labels and shapes without the pixels. The labels of DermaMNIST become indices into CLASSES.

    Raises InvalidInputError for a file that is not in MedMNIST's form: other keys, shapes or types, or labels out of range.
    """
    derma = path.stem.lower().startswith(_DERMA)
    labels: list[int] = []
    ids: list[str] = []
    parts: list[int] = []
    sides: set[int] = set()
    for number, part in enumerate(PARTS):
        count, side = _check_images(path, f"{part}_images")
        values = _read_labels(path, f"{part}_labels", count=count, classes=len(CLASSES) if derma else MAX_CLASSES)
        sides.add(side)
        labels.extend(values.tolist())
        ids.extend(f"{part}/{index:05d}" for index in range(count))
        parts.extend([number] * count)
    if len(sides) > 1:
        raise InvalidInputError(f"{path}: the parts have images of different sizes {sorted(sides)}; download it again")
    side = sides.pop()
    title = f"MedMNIST {path.stem}, {side}x{side} (no lesion ids: each image is its own lesion)"
    named = MEDMNIST_CLASSES if derma else tuple(map(str, range(max(labels) + 1)))
    classes = CLASSES if derma else named
    ours = tuple(classes.index(named[label]) for label in labels)
    return MedmnistListing(title, side, ours, tuple(ids), classes, MALIGNANT if derma else (), tuple(parts))


def read_images(path: Path, listing: MedmnistListing, *, size: int, progress: Progress | None = None) -> Iterator[Decoded]:
    """Yield each image at `size` x `size`; one part of the file is in memory at a time. Smaller images are enlarged."""
    done = 0
    for part in PARTS:
        for pixels in _read_array(path, f"{part}_images"):
            image = Image.fromarray(pixels)
            yield Decoded(resize(image, size=size), turned=False, digest=frame_digest(image), frame=image.size)
            done += 1
            if progress is not None:
                progress(done, len(listing.labels))


def _check_images(path: Path, key: str) -> tuple[int, int]:
    shape, dtype = _read_header(path, key)
    if dtype != np.uint8 or len(shape) != 4 or shape[3] != 3 or shape[1] != shape[2]:
        raise InvalidInputError(
            f"{path}: {key} is {dtype} {shape}, expected uint8 (N, side, side, 3); only sets in colour fit"
        )
    if 0 in shape:
        raise InvalidInputError(f"{path}: {key} is empty {shape}; download it again")
    return shape[0], shape[1]


def _read_labels(path: Path, key: str, *, count: int, classes: int) -> NDArray[np.int64]:
    shape, dtype = _read_header(path, key)
    if shape not in ((count, 1), (count,)) or dtype.kind not in "iu":
        raise InvalidInputError(f"{path}: {key} is {dtype} {shape}, expected whole numbers ({count}, 1), one per image")
    values = _read_array(path, key).reshape(-1).astype(np.int64)
    outside = values[(values < 0) | (values >= classes)]
    if outside.size:
        raise InvalidInputError(
            f"{path}: {outside.size} of {key} lie outside 0 to {classes - 1}, the first is {outside[0]}; download it again"
        )
    return values


def _read_array(path: Path, key: str) -> NDArray[Any]:
    with _member(path, key) as (stream, *_):
        array: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
    return array


@contextmanager
def _member(path: Path, key: str) -> Iterator[tuple[IO[bytes], int, int]]:
    """Open one array of the archive as a stream, with its uncompressed and compressed length in bytes.

    Errors inside the block name the file.
    """
    check_regular(path, kind="MedMNIST file")
    try:
        with zipfile.ZipFile(path) as archive:
            name = f"{key}.npy"
            if name not in archive.namelist():
                keys = [member.removesuffix(".npy") for member in archive.namelist()]
                raise InvalidInputError(
                    f"{path}: no {key}; a MedMNIST file has it, this one has {first_few(keys) or 'nothing'}"
                )
            with archive.open(name) as stream:
                yield stream, archive.getinfo(name).file_size, archive.getinfo(name).compress_size
    except (SkinauditError, MemoryError):
        raise
    except Exception as error:  # numpy reads the header as Python text, which can be anything here
        raise InvalidInputError(f"{path}: {key} cannot be read ({reason_of(error)}); download it again") from error


def _read_header(path: Path, key: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of one array, checked against its length, so a false shape never allocates memory."""
    with _member(path, key) as (stream, length, packed):
        if length > _MOST:
            raise InvalidInputError(f"{path}: {key} unpacks to {length:,} bytes, more than {_MOST:,}; no MedMNIST file does")
        if length > _LARGE and length > _FOLDED * packed:
            raise InvalidInputError(
                f"{path}: {key} unpacks from {packed:,} to {length:,} bytes, so it holds no photographs; download it again"
            )
        start = io.BytesIO(stream.read(_HEADER))  # a header may claim any length
        version = np.lib.format.read_magic(start)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(start)
        if length - start.tell() != math.prod(shape) * dtype.itemsize and not dtype.hasobject:
            raise InvalidInputError(f"{path}: {key} is shorter or longer than its shape {shape} says; download it again")
    return shape, dtype
