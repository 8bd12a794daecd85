"""Image files to square uint8 arrays: Pillow, RGB, the whole frame squashed with an antialiased bilinear filter."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError, __version__, features

from skinaudit.artifacts.files import Progress, digest_file
from skinaudit.artifacts.outside import open_regular
from skinaudit.errors import InvalidInputError

# JPEG's scaled decoding (Image.draft) would be faster, and would not be the resize that the input contract names: it
# moves pixels by up to 19 of 255 on HAM10000.
_LIBJPEG = features.version("libjpeg_turbo") or features.version("jpg")
DECODER = f"whole frame, antialiased bilinear, 1; Pillow {__version__}, libjpeg {_LIBJPEG}"
"""Everything beside the file's bytes and the size that decides the pixels: part of the cache key."""

_FORMATS = ("JPEG", "PNG")
_MODES = ("RGB", "RGBA", "L", "P", "CMYK")
_BATCH = 256
_PIXELS = 2**26
"""Of one image: five times those of the cameras in dermatoscopy, and 200 MB decoded."""

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True)
class Unreadable:
    """Stands in the place of an image or a digest that could not be had."""

    reason: str


def resize(image: Image.Image, *, size: int) -> NDArray[np.uint8]:
    """Squash an 8-bit image to uint8 (3, size, size) RGB; pixels are left as they are where the size already fits."""
    rgb = image.convert("RGB")
    if rgb.size != (size, size):
        rgb = rgb.resize((size, size), Image.Resampling.BILINEAR)
    return np.ascontiguousarray(np.asarray(rgb, dtype=np.uint8).transpose(2, 0, 1))


def decode_file(path: Path, *, size: int) -> NDArray[np.uint8] | Unreadable:
    """Decode one JPEG or PNG to uint8 (3, size, size); a truncated, damaged or foreign file comes back as Unreadable.

    Orientation tags are ignored. A JPEG with damaged pixels and an intact end decodes: the format carries no checksum.
    """
    try:
        with open_regular(path, what="image") as stream, Image.open(stream, formats=_FORMATS) as image:
            if image.width * image.height > _PIXELS:
                return Unreadable(f"more than {_PIXELS:,} pixels")
            if image.mode not in _MODES:
                return Unreadable(f"pixel format {image.mode}, expected 8-bit colour")
            return resize(image, size=size)
    except UnidentifiedImageError:
        return Unreadable("not a JPEG or PNG image")
    except Image.DecompressionBombError:
        return Unreadable("more pixels than Pillow accepts")
    except InvalidInputError as error:
        return _unreadable(error)
    except (OSError, SyntaxError, ValueError, EOFError, struct.error) as error:
        return Unreadable(f"corrupt: {error}")


def _unreadable(error: InvalidInputError) -> Unreadable:
    """The reason without the path, which tells of a machine."""
    return Unreadable(str(error).rpartition(": ")[2])


def decode_files(
    paths: Sequence[Path], *, size: int, progress: Progress | None = None
) -> Iterator[NDArray[np.uint8] | Unreadable]:
    """Decode many files in order, on as many threads as there are cores, holding a few hundred images at a time."""
    for done, image in enumerate(_threaded(lambda path: decode_file(path, size=size), paths), start=1):
        yield image
        if progress is not None:
            progress(done, len(paths))


def digest_copies(files: Sequence[tuple[Path, ...]]) -> list[str | Unreadable]:
    """The sha256 (hexadecimal) of each image, given all the files of its name; Unreadable where they differ."""
    return list(_threaded(_digest_one, files))


def _digest_one(copies: tuple[Path, ...]) -> str | Unreadable:
    try:
        digests = {digest_file(path).removeprefix("sha256:") for path in copies}
    except InvalidInputError as error:
        return _unreadable(error)
    if len(digests) > 1:
        return Unreadable(f"{len(copies)} files of this name that differ: {', '.join(path.parent.name for path in copies)}")
    return digests.pop()


def _threaded(function: Callable[[T], U], items: Sequence[T]) -> Iterator[U]:
    """Map in order over threads, in batches, so that results never pile up before a slow consumer."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for start in range(0, len(items), _BATCH):
            yield from pool.map(function, items[start : start + _BATCH])
