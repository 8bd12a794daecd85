"""DICOM pictures as pydicom writes them; skipped where it is not installed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from skinaudit.errors import MissingDependencyError
from skinaudit.trainer.data.decode import Decoded, decode_file
from skinaudit.trainer.data.unreadable import Unreadable


def write(path: Path, pixels: NDArray[Any], kind: str, *, stored: int = 8, signed: bool = False, **attributes: Any) -> Path:
    """An uncompressed picture: uint8 or uint16 (H, W) or (H, W, 3)."""
    pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed: pip install 'skinaudit[dicom]'")
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, VLPhotographicImageStorage

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = VLPhotographicImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = pydicom.Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.Rows, dataset.Columns = pixels.shape[:2] if "NumberOfFrames" not in attributes else pixels.shape[1:3]
    dataset.SamplesPerPixel = 3 if pixels.shape[-1] == 3 else 1
    if dataset.SamplesPerPixel == 3:
        dataset.PlanarConfiguration = 0
    dataset.PhotometricInterpretation = kind
    dataset.BitsAllocated = 8 * pixels.dtype.itemsize
    dataset.BitsStored, dataset.HighBit = stored, stored - 1
    dataset.PixelRepresentation = int(signed)
    for name, value in attributes.items():
        setattr(dataset, name, value)
    dataset.PixelData = pixels.tobytes()
    dataset.save_as(path, enforce_file_format=True)
    return path


def colour(path: Path) -> tuple[int, ...]:
    result = decode_file(path, size=8)
    assert isinstance(result, Decoded), result
    pixels = result.pixels.reshape(3, -1)
    assert (pixels == pixels[:, :1]).all()
    return tuple(pixels[:, 0].tolist())


@pytest.mark.parametrize(
    ("kind", "value", "dtype", "stored", "signed", "expected"),
    [
        ("MONOCHROME2", 200, np.uint8, 8, False, 200),
        ("MONOCHROME1", 200, np.uint8, 8, False, 55),
        ("MONOCHROME2", 0x0C80, np.uint16, 12, False, 200),
        ("MONOCHROME1", 0x0C80, np.uint16, 12, False, 55),
        ("MONOCHROME2", 40000, np.uint16, 16, False, 156),
        ("MONOCHROME2", 0, np.int16, 16, True, 128),
        ("MONOCHROME2", -32768, np.int16, 16, True, 0),
    ],
)
def test_grey(tmp_path: Path, kind: str, value: int, dtype: type, stored: int, signed: bool, expected: int) -> None:
    path = write(tmp_path / "a.dcm", np.full((8, 8), value, dtype), kind, stored=stored, signed=signed)
    assert colour(path) == (expected,) * 3


@pytest.mark.parametrize(("kind", "stored"), [("RGB", (200, 100, 50)), ("YBR_FULL", (124, 86, 182))])
def test_colour(tmp_path: Path, kind: str, stored: tuple[int, int, int]) -> None:
    """(200, 100, 50) is (124, 86, 182) as luma and two chroma channels, by ITU-R BT.601."""
    mean = colour(write(tmp_path / "a.dcm", np.full((8, 8, 3), stored, np.uint8), kind))
    assert np.abs(np.subtract(mean, (200, 100, 50))).max() <= 1


def test_palette(tmp_path: Path) -> None:
    tables = {}
    for name, entry in (("Red", 0xC800), ("Green", 0x6400), ("Blue", 0x3200)):
        tables[f"{name}PaletteColorLookupTableDescriptor"] = [2, 0, 16]
        tables[f"{name}PaletteColorLookupTableData"] = np.array([0, entry], np.uint16).tobytes()
    path = write(tmp_path / "a.dcm", np.ones((8, 8), np.uint8), "PALETTE COLOR", **tables)
    assert colour(path) == (200, 100, 50)


@pytest.mark.parametrize(
    ("kind", "attributes", "reason"),
    [
        ("MONOCHROME2", {"NumberOfFrames": 3}, "3 frames, expected one picture"),
        ("CMYK", {}, "DICOM with photometric interpretation CMYK; read are MONOCHROME1, MONOCHROME2, RGB"),
    ],
)
def test_what_is_refused(tmp_path: Path, kind: str, attributes: dict[str, int], reason: str) -> None:
    shape = (3, 8, 8) if attributes else (8, 8)
    result = decode_file(write(tmp_path / "a.dcm", np.zeros(shape, np.uint8), kind, **attributes), size=8)
    assert isinstance(result, Unreadable)
    assert result.reason.startswith(reason)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    content = write(tmp_path / "a.dcm", np.zeros((8, 8, 3), np.uint8), "RGB").read_bytes()
    for length in range(0, len(content), 23):
        (tmp_path / "a.dcm").write_bytes(content[:length])
        assert isinstance(decode_file(tmp_path / "a.dcm", size=8), Unreadable)
    (tmp_path / "b.dcm").write_bytes(b"no DICOM at all")
    assert decode_file(tmp_path / "b.dcm", size=8) == Unreadable("not a DICOM file")


def test_without_pydicom_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydicom", None)
    (tmp_path / "a.dcm").write_bytes(b"\0" * 128 + b"DICM")
    with pytest.raises(MissingDependencyError, match=r"a\.dcm: reading DICOM pictures needs pydicom.*skinaudit\[dicom\]"):
        decode_file(tmp_path / "a.dcm", size=8)
