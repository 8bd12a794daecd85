"""Pinned host memory and device memory for each tensor of a plan. They grow with the batch."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray


class DeviceBuffers:
    """Pairs of pinned and device memory by tensor name. The caller must make sure that no work still uses them."""

    def __init__(self, cuda: Any, check: Callable[[tuple[Any, ...]], Any]) -> None:
        """check: returns the result of a cuda-python call, or raises."""
        self._cuda, self._check = cuda, check
        self._buffers: dict[str, tuple[int, int, int]] = {}  # bytes, host pointer, device pointer; 0 if there is none

    def fits(self, name: str, size: int) -> bool:
        """Whether `reserve` would keep the current addresses."""
        return self._buffers.get(name, (0, 0, 0))[0] >= size

    def reserve(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[NDArray[Any], int]:
        """Host memory as an array of this shape, and the device address; both have at least the needed number of bytes."""
        count = int(np.prod(shape))
        size = max(1, count * dtype.itemsize)
        if not self.fits(name, size):
            self._free(name)
            host = int(self._check(self._cuda.cudaMallocHost(size)))
            self._buffers[name] = (0, host, 0)  # so that it is freed if the device has too little memory
            self._buffers[name] = (size, host, int(self._check(self._cuda.cudaMalloc(size))))
        reserved, host, device = self._buffers[name]
        raw = (ctypes.c_char * reserved).from_address(host)
        return np.frombuffer(memoryview(raw), dtype=dtype, count=count).reshape(shape), device

    def free(self) -> None:
        """Free all memory; a second call does nothing."""
        for name in list(self._buffers):
            self._free(name)

    def _free(self, name: str) -> None:
        _, host, device = self._buffers.pop(name, (0, 0, 0))
        if host:
            self._cuda.cudaFreeHost(host)
        if device:
            self._cuda.cudaFree(device)
