"""Runs code in a separate process if it may end the process, such as machine code of a damaged or foreign file."""

from __future__ import annotations

import subprocess
import sys

SECONDS = 300
_LONGEST = 300


def failure(code: str, *arguments: str) -> str | None:
    """Run Python code with these arguments; returns None on success, else the reason of the failure in one line."""
    try:
        child = subprocess.run(
            [sys.executable, "-P", "-c", code, *arguments],  # -P: imports nothing from the working folder
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"it did not open within {SECONDS} s"
    if child.returncode == 0:
        return None
    lines = [line.strip() for line in (child.stdout + child.stderr).split("\n") if line.strip()]
    if child.returncode < 0 or not lines:
        return f"its process ended with {child.returncode}"
    return lines[-1][:_LONGEST]
