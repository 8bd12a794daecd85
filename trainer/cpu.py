"""How torch works on the CPU in this process: its threads, and the memory that it keeps."""

from __future__ import annotations

import ctypes
import sys

import torch

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # mallopt(3)
_KEPT = 1 << 30
_FROM_THE_SYSTEM = 32 << 20
"""glibc's own largest value. Above it, memory would be lost between tensors of nearly the same size."""


def prepare(threads: int) -> None:
    """Use this number of threads, and let the C library keep up to 1 GiB of freed memory for the next layers.

    Otherwise glibc returns the memory of each layer to the system, and the next layer waits for new pages. An input gradient
    then takes a tenth longer. Other C libraries are left alone. This changes the whole process.
    """
    torch.set_num_threads(threads)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, _KEPT)
        mallopt(_MMAP_THRESHOLD, _FROM_THE_SYSTEM)
