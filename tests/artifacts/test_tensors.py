"""The one reader of safetensors files."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from skinaudit.artifacts.tensors import read_tensors
from skinaudit.errors import InvalidInputError


def read(path: Path) -> object:
    return read_tensors(path, kind="file of numbers", again="make it again")


def write_typed(path: Path, dtype: str, size: int) -> None:
    """A file of one tensor of two elements of `size` bytes each."""
    header = json.dumps({"a": {"dtype": dtype, "shape": [2], "data_offsets": [0, 2 * size]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(2 * size))


def test_tensors_and_metadata_come_back(tmp_path: Path) -> None:
    arrays = {"a": np.arange(6, dtype=np.int16).reshape(2, 3), "b": np.array([True, False])}
    save_file(arrays, tmp_path / "x", metadata={"key": "value"})
    read_arrays, metadata = read_tensors(tmp_path / "x", kind="file", again="")
    assert metadata == {"key": "value"}
    assert read_arrays.keys() == arrays.keys()
    assert all(np.array_equal(read_arrays[name], arrays[name]) for name in arrays)


@pytest.mark.parametrize(("dtype", "size"), [("BF16", 2), ("F8_E4M3", 1), ("F8_E5M2", 1), ("F8_E8M0", 1)])
def test_a_type_that_numpy_does_not_have_is_refused(tmp_path: Path, dtype: str, size: int) -> None:
    write_typed(tmp_path / "x", dtype, size)
    with pytest.raises(InvalidInputError, match=f"x: tensor 'a' is {dtype}, which cannot be read here; make it again"):
        read(tmp_path / "x")


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff" * 40, struct.pack("<Q", 2**62) + b"{}"])
def test_what_is_no_such_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(InvalidInputError, match=r"x: truncated or not a safetensors file .*; make it again"):
        read(tmp_path / "x")


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x")
    with pytest.raises(InvalidInputError, match="x: is a pipe"):
        read(tmp_path / "x")
