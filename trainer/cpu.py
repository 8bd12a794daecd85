"""How torch works on the CPU in this process: its threads, and the memory that it keeps."""

from __future__ import annotations

import ctypes
import os
import sys

import torch

VARIABLES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")
"""If the user has set one of them, glibc is left as it is."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # mallopt(3)
_KEPT = 1 << 30
_FROM_THE_SYSTEM = 32 << 20
"""The largest value that glibc chooses by itself. With more, memory is lost between tensors of nearly the same size."""


def prepare(threads: int) -> None:
    """Use this number of threads, and let glibc keep freed memory for the next layers instead of returning it.

    Otherwise a layer waits for new pages that the one before has just returned. Tensors above 32 MiB are still returned, and
    so is what exceeds 1 GiB at the end of a thread's memory. Other C libraries are left alone. It changes the whole process.
    """
    torch.set_num_threads(threads)
    if sys.platform != "linux" or any(name in os.environ for name in VARIABLES):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, _KEPT)
        mallopt(_MMAP_THRESHOLD, _FROM_THE_SYSTEM)
