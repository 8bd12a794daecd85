"""How many CPU cores this process may use."""

from __future__ import annotations

import os


def cores() -> int:
    """CPU cores that are granted to this process: a container or a batch system may grant fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
