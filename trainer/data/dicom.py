"""DICOM pictures through pydicom, an optional library: one frame, grey, colour or palette, up to 16 bits.

Grey is scaled from the stored bits (BitsStored) to 8. MONOCHROME1 is inverted, because 0 is white there. Palettes are
applied, and YBR becomes RGB. Windows (VOI) and rescaling belong to radiology and are not applied. Sizes are checked before
pixels are decompressed. A file that is compressed (deflated) as a whole is refused, because pydicom decompresses all of it.
Source: DICOM PS3.3, C.7.6.3 (image pixel module), https://dicom.nema.org/medical/dicom/current/output/html/part03.html
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from skinaudit.errors import in_one_line, missing
from skinaudit.trainer.data.bounds import decoding, too_large
from skinaudit.trainer.data.unreadable import Unreadable

if TYPE_CHECKING:
    from pydicom import Dataset

_PREAMBLE = 128
_GREY = ("MONOCHROME1", "MONOCHROME2")
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_PALETTE = "PALETTE COLOR"
_RLE_LONGEST = 1.1  # times the bytes of the pixels: a run of different values needs one more byte per 128
_RLE_HEADER = 1024
_SMALL = 2**28  # bytes of a file that always fits into memory


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM, by its content or else by its suffix."""
    with path.open("rb") as stream:
        stream.seek(_PREAMBLE)
        return stream.read(4) == b"DICM" or path.suffix.casefold() in (".dcm", ".dicom")


def read_picture(path: Path) -> Image.Image | Unreadable:
    """The one frame of a DICOM file as 8-bit RGB; Unreadable if it has several frames, no pixels or an unsupported form.

    Raises MissingDependencyError without pydicom.
    """
    try:
        from pydicom import dcmread
        from pydicom.errors import InvalidDicomError
        from pydicom.filereader import read_file_meta_info
    except ImportError as error:
        raise missing("pydicom", "dicom", f"{path.name}: reading DICOM pictures") from error
    try:
        syntax = read_file_meta_info(path).get("TransferSyntaxUID")
        if syntax is not None and syntax.is_deflated:
            return Unreadable("DICOM that is deflated as a whole; save it with another transfer syntax")
        try:
            dataset = dcmread(path)
        except MemoryError:
            if path.stat().st_size > _SMALL:
                raise
            return Unreadable("corrupt or not supported DICOM: says to have more bytes than there is memory")
        frames = int(dataset.get("NumberOfFrames") or 1)
        if "PixelData" not in dataset:
            return Unreadable("DICOM without pixels")
        if frames != 1:
            return Unreadable(f"{frames} frames, expected one picture")
        height, width = int(dataset.Rows), int(dataset.Columns)
        if reason := too_large(width, height) or _unlike(dataset, width, height):
            return Unreadable(reason)
        with decoding(width, height):
            return _rgb(dataset)
    except InvalidDicomError:
        return Unreadable("not a DICOM file")
    except MemoryError:
        raise
    except (AttributeError, KeyError, NotImplementedError, OSError, RuntimeError, TypeError, ValueError) as error:
        return Unreadable(f"corrupt or not supported DICOM: {' '.join(str(error).split())}")
    except Exception as error:  # pydicom may raise any error on values that its author did not foresee
        return Unreadable(f"corrupt or not supported DICOM: {in_one_line(error)}")


def _unlike(dataset: Dataset, width: int, height: int) -> str:
    """Why a compressed picture differs from the file's description; empty if it does not, or is not compressed.

    A picture of any size can be compressed to a few kilobytes, so the description alone is no limit.
    """
    if not dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        return ""
    from pydicom.encaps import get_frame
    from pydicom.uid import RLELossless

    packed = get_frame(dataset.PixelData, 0, number_of_frames=1)
    if dataset.file_meta.TransferSyntaxUID == RLELossless:
        whole = width * height * int(dataset.SamplesPerPixel) * int(dataset.BitsAllocated) // 8
        return "RLE data that are longer than the picture" if len(packed) > whole * _RLE_LONGEST + _RLE_HEADER else ""
    try:
        with Image.open(io.BytesIO(packed)) as picture:
            size = picture.size
    except UnidentifiedImageError:  # a format that Pillow does not know; the library that decompresses it checks its size
        return ""
    if size != (width, height):
        return f"a picture of {size[0]} x {size[1]} pixels in a file that says {width} x {height}"
    return ""


def _rgb(dataset: Dataset) -> Image.Image | Unreadable:
    from pydicom.pixels.processing import apply_color_lut
    from pydicom.pixels.utils import pixel_array

    kind = str(dataset.get("PhotometricInterpretation", "")).strip()
    stored = int(dataset.BitsStored)
    if kind in _COLOUR:
        pixels = _to_8_bits(pixel_array(dataset), stored, signed=False)  # already converted from YBR to RGB
    elif kind == _PALETTE:
        looked_up = apply_color_lut(pixel_array(dataset), dataset)
        pixels = _to_8_bits(looked_up, 8 * looked_up.dtype.itemsize, signed=False)
    elif kind in _GREY:
        grey = _to_8_bits(pixel_array(dataset), stored, signed=bool(dataset.get("PixelRepresentation", 0)))
        pixels = np.repeat((255 - grey if kind == _GREY[0] else grey)[..., None], 3, axis=-1)
    else:
        read = ", ".join((*_GREY, *_COLOUR, _PALETTE))
        return Unreadable(f"DICOM with photometric interpretation {kind or '(none)'}; read are {read}")
    if pixels.ndim != 3 or pixels.shape[-1] != 3:
        return Unreadable(f"DICOM with pixels of shape {pixels.shape}, expected one picture")
    return Image.fromarray(np.ascontiguousarray(pixels))


def _to_8_bits(pixels: NDArray[Any], stored: int, *, signed: bool) -> NDArray[np.uint8]:
    """The upper 8 of the stored bits. Fewer than 8 bits are spread over the whole range."""
    if not 1 <= stored <= 16:
        raise ValueError(f"{stored} bits stored")
    zero = 1 << (stored - 1) if signed else 0
    if int(pixels.min()) + zero < 0 or int(pixels.max()) + zero >= 1 << stored:
        raise ValueError(f"pixels outside of the {stored} bits that are stored")
    values = pixels.astype(np.int32) + zero
    scaled = values >> (stored - 8) if stored >= 8 else values * 255 // ((1 << stored) - 1)
    return np.asarray(scaled.astype(np.uint8))
