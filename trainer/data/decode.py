"""Picture files to square uint8 arrays: 8-bit RGB, upright, the whole frame resized with antialiasing.

The aspect ratio is not kept: the whole frame is squashed to a square.

Every picture becomes 8-bit RGB by these rules (docs/decisions/data.md):

- an orientation tag (EXIF) is applied;
- grey becomes three equal channels; palettes are applied; Pillow converts CMYK and YCbCr, without colour profiles;
- transparent parts get a white background;
- of 16 bits, the upper 8 count, as when Pillow reads 16-bit colour. A 16-bit picture that uses less than a sixteenth of its
  range is refused, because its real depth (usually 12 bits) is not stated;
- several frames, floating-point and 32-bit pixels, and pictures beyond the bounds of skinaudit.trainer.data.bounds are
  refused.

DICOM is read by skinaudit.trainer.data.dicom.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError, __version__, features

from skinaudit.artifacts.cores import cores
from skinaudit.artifacts.files import Progress, digest_file
from skinaudit.artifacts.outside import check_regular, open_regular
from skinaudit.errors import InvalidInputError, SkinauditError, in_one_line
from skinaudit.trainer.data import dicom, tiff
from skinaudit.trainer.data.bounds import decoding, too_large
from skinaudit.trainer.data.unreadable import Unreadable

# JPEG's scaled decoding (Image.draft) would be faster, but it is not the resize that the input contract names: it
# moves pixels by up to 19 of 255 on HAM10000.
_LIBJPEG = features.version("libjpeg_turbo") or features.version("jpg")
DECODER = f"whole frame, antialiased bilinear, 3; Pillow {__version__}, libjpeg {_LIBJPEG}"
"""Everything besides the file's bytes and the size that decides the pixels; part of the cache key."""

_FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP")
_OF_ONE_PICTURE = ("MPO", "TIFF")
"""Further frames of an MPO are previews or depth. Frames of a TIFF were counted before it was opened."""
_GREY = ("1", "L")
_TRANSPARENT = ("LA", "PA", "La", "RGBa")
_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
_CONVERTED = (*_GREY, *_TRANSPARENT, "RGB", "RGBA", "RGBX", "P", "CMYK", "YCbCr")
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Transformation that brings a picture upright, by the value of its tag (EXIF 2.3, 4.6.4); 1 is upright."""
_BATCH = 256

_SCANS = 100
"""Largest number of scans in a progressive JPEG; usual ones have about ten.

200 scans took 2.6 s at 16 megapixels in a file of 73 KB; 60,000 fit into 3 MB.
"""
_PIECE = 2**20

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True, eq=False)
class Decoded:
    """A picture in the requested size.

    turned: an orientation tag was applied. digest: of the RGB pixels of the whole frame. frame: its width and height.
    """

    pixels: NDArray[np.uint8]
    turned: bool
    digest: str
    frame: tuple[int, int]


def resize(image: Image.Image, *, size: int) -> NDArray[np.uint8]:
    """Squash an 8-bit image to uint8 (3, size, size) RGB; its pixels do not change if the size already fits."""
    rgb = image.convert("RGB")
    if rgb.size != (size, size):
        rgb = rgb.resize((size, size), Image.Resampling.BILINEAR)
    return np.ascontiguousarray(np.asarray(rgb, dtype=np.uint8).transpose(2, 0, 1))


def frame_digest(image: Image.Image) -> str:
    """Digest of the pixels and the shape of an RGB frame, independent of the file format."""
    value = hashlib.blake2b(repr(image.size).encode(), digest_size=16)
    value.update(image.tobytes())
    return value.hexdigest()


def decode_file(path: Path, *, size: int) -> Decoded | Unreadable:
    """Decode one JPEG, PNG, TIFF, WebP, BMP or DICOM file to uint8 (3, size, size); Unreadable if this fails.

    The file's content decides its format, not its name. A JPEG with damaged pixels and an intact end is decoded, because the
    format has no checksum. Raises MissingDependencyError for a DICOM file without pydicom.
    """
    try:
        check_regular(path, kind="image")
        if dicom.is_dicom(path):
            read = dicom.read_picture(path)
            return read if isinstance(read, Unreadable) else _finished(read, turned=False, size=size)
        if reason := tiff.why_not(path):
            return Unreadable(reason)
        with Image.open(path, formats=_FORMATS) as image:
            if reason := too_large(*image.size):
                return Unreadable(reason)
            frames = getattr(image, "n_frames", 1) if image.format not in _OF_ONE_PICTURE else 1
            if frames > 1:
                return Unreadable(f"{frames} frames, expected one picture")
            if image.info.get("progressive") and _has_many_scans(path):
                return Unreadable(f"more than {_SCANS} scans, of which each takes as long as a picture")
            # Loading drops the layout of the pixels and the tag of a TIFF. Reading the tag of a PNG loads the image.
            sixteen = _has_16_bits(image)
            with decoding(*image.size):
                turned = _turn(image) is not None
                image.load()
                turn = _turn(image)  # Pillow has already turned a TIFF
                rgb = _to_rgb(image if turn is None else image.transpose(turn), sixteen=sixteen)
                return rgb if isinstance(rgb, Unreadable) else _finished(rgb, turned=turned, size=size)
    except UnidentifiedImageError:
        return Unreadable("not a JPEG, PNG, TIFF, WebP, BMP or DICOM picture")
    except Image.DecompressionBombError:
        return Unreadable("more pixels than Pillow accepts")
    except InvalidInputError as error:
        return _unreadable(error)
    except (SkinauditError, MemoryError):
        raise
    except (OSError, SyntaxError, ValueError, EOFError, struct.error) as error:
        return Unreadable(f"corrupt: {error}")
    except Exception as error:  # a decoder may raise any error on bytes that its author did not foresee
        return Unreadable(f"corrupt: {in_one_line(error)}")


def _finished(rgb: Image.Image, *, turned: bool, size: int) -> Decoded:
    return Decoded(resize(rgb, size=size), turned, frame_digest(rgb), rgb.size)


def _has_many_scans(path: Path) -> bool:
    """Whether a JPEG has more than _SCANS scan markers. Its compressed data contain no markers."""
    count, last = 0, b""
    with open_regular(path, kind="image") as stream:
        while (piece := stream.read(_PIECE)) and count <= _SCANS:
            count += (last + piece).count(b"\xff\xda")
            last = piece[-1:] if piece[-1:] == b"\xff" else b""
    return count > _SCANS


def _turn(image: Image.Image) -> Image.Transpose | None:
    """The transformation that the tag asks for; None if there is no tag, or its EXIF data are damaged."""
    try:
        return _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except (SyntaxError, ValueError, TypeError, KeyError, EOFError, struct.error, UserWarning):
        return None


def _has_16_bits(image: Image.Image) -> bool:
    """Whether the file has 16 bits per channel. Pillow reads such colour as 8-bit RGB without saying so."""
    return image.mode in _SIXTEEN_BITS or any(";16" in str(tile[-1]) for tile in getattr(image, "tile", ()))


def _to_rgb(image: Image.Image, *, sixteen: bool) -> Image.Image | Unreadable:
    """Convert a loaded picture to 8-bit RGB, by the rules at the top of this file."""
    if image.mode in _SIXTEEN_BITS:
        image = Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    if image.mode not in _CONVERTED:
        return Unreadable(f"pixel format {image.mode}, expected 8-bit or 16-bit grey or colour")
    if image.mode in _TRANSPARENT or image.has_transparency_data:
        picture = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    rgb = image.convert("RGB")
    if sixteen and int(np.asarray(rgb).max()) < 16:
        return Unreadable("16-bit pixels that use less than 1/16 of their range; save it with 8 bits")
    return rgb


def decode_files(paths: Sequence[Path], *, size: int, progress: Progress | None = None) -> Iterator[Decoded | Unreadable]:
    """Decode many files in order, with one thread per core and a few hundred images in memory."""
    for done, image in enumerate(_threaded(lambda path: decode_file(path, size=size), paths), start=1):
        yield image
        if progress is not None:
            progress(done, len(paths))


def digest_copies(files: Sequence[tuple[Path, ...]]) -> list[str | Unreadable]:
    """sha256 (hexadecimal) of each image, from all files of its name; Unreadable if these files differ."""
    return list(_threaded(_digest_one, files))


def _unreadable(error: InvalidInputError) -> Unreadable:
    """The reason without the path, which would identify a machine."""
    return Unreadable(str(error).rpartition(": ")[2])


def _digest_one(copies: tuple[Path, ...]) -> str | Unreadable:
    try:
        digests = {digest_file(path).removeprefix("sha256:") for path in copies}
    except InvalidInputError as error:
        return _unreadable(error)
    if len(digests) > 1:
        return Unreadable(f"{len(copies)} files of this name that differ: {', '.join(path.parent.name for path in copies)}")
    return digests.pop()


def _threaded(function: Callable[[T], U], items: Sequence[T]) -> Iterator[U]:
    """Map over threads, in order and in batches, so results never pile up before a slow consumer."""
    with ThreadPoolExecutor(cores()) as pool:
        for start in range(0, len(items), _BATCH):
            yield from pool.map(function, items[start : start + _BATCH])
