"""How threads of the numerical libraries wait for each other: without long spinning, so that they share the machine.

The package itself loads this module, so that it runs before torch is imported: OpenMP reads its variables only at its start.
"""

from __future__ import annotations

import os

VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""The variables that decide it. If the user has set one of them, all are left alone."""


def share_cores() -> None:
    """Let OpenMP's threads sleep while they wait, unless the environment already decides this.

    By default they spin for milliseconds. If another process keeps a core busy, the thread for which they wait may not be
    running, and they use the time that it needs: training fell from 119 to 3 images/s.
    """
    if not any(name in os.environ for name in VARIABLES):
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
