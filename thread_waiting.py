"""How the threads of the numerical libraries wait for each other: without spinning for long, so that they share the machine.

Loaded by the package itself, so that it runs before torch is imported: OpenMP reads its variables once, at its start.
"""

from __future__ import annotations

import os

VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""What decides it in the environment. Where the user has set one of them, all are left alone."""


def share_cores() -> None:
    """Let OpenMP's threads sleep while they wait, unless the environment says something already.

    By default they spin for milliseconds. Where another process keeps a core busy, the thread that they wait for is then
    not running, and they take the time that it needs: training fell from 119 to 3 images/s.
    """
    if not any(name in os.environ for name in VARIABLES):
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
