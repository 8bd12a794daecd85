"""Tries in a process of its own what may end the process: loading machine code of a damaged file, or of another machine."""

from __future__ import annotations

import subprocess
import sys

SECONDS = 300
_LONGEST = 300


def failure(code: str, *arguments: str) -> str | None:
    """Run Python code with these arguments; returns None where it ends well, else why it did not, in one line."""
    try:
        child = subprocess.run(
            [sys.executable, "-P", "-c", code, *arguments],  # -P: nothing is imported from the folder that we run in
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
