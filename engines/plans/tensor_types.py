"""Element types of a plan's tensors: their form in memory, and the numpy type used outside.

numpy has neither bfloat16 nor 8-bit floats. Such tensors are float32 outside and are converted here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skinaudit.errors import EngineError


@dataclass(frozen=True)
class TensorType:
    """One element type. memory: numpy type with the bits in memory. outside: numpy type of the values."""

    name: str
    memory: str
    outside: str

    @property
    def converted(self) -> bool:
        """Whether the values differ from the bits in memory."""
        return self.memory != self.outside

    def encoded(self, values: NDArray[np.generic]) -> NDArray[np.generic]:
        """Bits for values of the type `outside`, rounded to nearest, ties to even."""
        if self.name == "BF16":
            return _bf16_bits(values.astype(np.float32))
        if self.name == "FP8":
            return _fp8_bits(values.astype(np.float32))
        return values

    def decoded(self, bits: NDArray[np.generic]) -> NDArray[np.generic]:
        """Values of the type `outside` for bits of the type `memory`."""
        if self.name == "BF16":
            return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)
        if self.name == "FP8":
            return np.asarray(_FP8_VALUES[bits.astype(np.intp)])
        return bits


_TYPES = {
    kind.name: kind
    for kind in (
        TensorType("FLOAT", "float32", "float32"),
        TensorType("HALF", "float16", "float16"),
        TensorType("BF16", "uint16", "float32"),
        TensorType("FP8", "uint8", "float32"),
        TensorType("INT8", "int8", "int8"),
        TensorType("UINT8", "uint8", "uint8"),
        TensorType("INT32", "int32", "int32"),
        TensorType("INT64", "int64", "int64"),
        TensorType("BOOL", "bool", "bool"),
    )
}
"""By member name of the library's DataType."""


def tensor_type(name: str, *, tensor: str, where: str) -> TensorType:
    """The type with this name; raises EngineError for one that cannot be exchanged, such as INT4."""
    if name not in _TYPES:
        raise EngineError(f"{where}: tensor {tensor} is {name}, which is not supported; cast it to float32 in the graph")
    return _TYPES[name]


def _bf16_bits(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The upper half of float32, rounded. NaN stays NaN: its payload must not be rounded away."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    rounded = ((bits.astype(np.uint64) + 0x7FFF + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint64(16)).astype(
        np.uint16
    )
    return np.where(np.isnan(values), np.uint16(0x7FC0), rounded)


def _fp8_table() -> NDArray[np.float32]:
    """Values of all 256 codes of E4M3. It has no infinities: the largest value is 448, and 0x7f and 0xff are NaN."""
    codes = np.arange(256)
    exponent, mantissa = (codes >> 3) & 0xF, codes & 0x7
    magnitude = np.where(exponent == 0, mantissa / 8 * 2.0**-6, (1 + mantissa / 8) * 2.0 ** (exponent - 7.0))
    magnitude[(codes & 0x7F) == 0x7F] = np.nan
    return np.where(codes & 0x80, -magnitude, magnitude).astype(np.float32)


_FP8_VALUES = _fp8_table()
_FP8_NAN = np.uint8(0x7F)


def _fp8_bits(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The nearest code, ties to even; the largest code beyond 448, as TensorRT saturates."""
    magnitudes = _FP8_VALUES[:0x7F].astype(np.float64)
    middles = (magnitudes[:-1] + magnitudes[1:]) / 2
    size = np.abs(values).astype(np.float64)
    below, above = np.searchsorted(middles, size, side="left"), np.searchsorted(middles, size, side="right")
    codes = np.where(below % 2 == 0, below, above).astype(np.uint8)
    codes = codes | np.where(np.signbit(values), np.uint8(0x80), np.uint8(0))
    return np.where(np.isnan(values), _FP8_NAN, codes).astype(np.uint8)
