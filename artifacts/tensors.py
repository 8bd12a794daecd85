"""The one reader of safetensors files that are read whole: their tensors as arrays, or a one-line error."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from skinaudit.artifacts.outside import check_regular
from skinaudit.artifacts.printable import show
from skinaudit.errors import InvalidInputError, reason_of

_TYPES = ("BOOL", "U8", "I8", "U16", "I16", "F16", "U32", "I32", "F32", "U64", "I64", "F64", "C64")
"""Tensor types that numpy has, with safetensors' names. Others make the library fail with various errors.
"""


def read_tensors(path: Path, *, kind: str, again: str) -> tuple[dict[str, NDArray[Any]], Mapping[str, str]]:
    """The tensors of a file by name, and its metadata.

    kind: the kind of file for messages, such as `checkpoint`. again: what to do about a damaged one. Raises
    InvalidInputError if it is not a regular file (never waits for a pipe), for a truncated file or another format, and for a
    tensor type that numpy does not have.
    """
    check_regular(path, kind=kind)
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {}
            for name in file.keys():  # noqa: SIM118 (not a mapping)
                if (dtype := file.get_slice(name).get_dtype()) not in _TYPES:
                    raise InvalidInputError(f"{path}: tensor {show(name)} is {dtype}, which cannot be read here; {again}")
                arrays[name] = file.get_tensor(name)
            return arrays, file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise InvalidInputError(f"{path}: truncated or not a safetensors file ({reason_of(error)}); {again}") from error
