"""The number of CPU cores that this process may use."""

from __future__ import annotations

import os


def cores() -> int:
    """CPU cores granted to this process. A container or a batch system may grant fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
