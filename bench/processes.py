"""A command that ends in time, with all that it started."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path


def run_for(command: Sequence[str], *, seconds: float, output: Path) -> int | None:
    """Run `command` in a process group of its own, what it prints to the file `output`; None where its time was over.

    Its group ends with it: also processes that it started and did not wait for, and also where this function is left by an
    exception, such as an interrupt, which a group of its own does not get from the terminal.
    """
    with output.open("wb") as stream:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
        )  # fmt: skip
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        with suppress(ProcessLookupError):  # nobody of the group is left
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
