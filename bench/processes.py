"""Commands that end in time, with all that they started."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path


def run_for(command: Sequence[str], *, seconds: float, output: Path) -> int | None:
    """Run `command` in a process group of its own, what it prints to the file `output`; None where its time was over.

    Its group ends with it: also processes that it started and did not wait for, and also where this function is left by an
    exception, such as an interrupt, which a group of its own does not get from the terminal.
    """
    with running(command, output=output) as process:
        return code_within(process, seconds=seconds)


@contextmanager
def running(command: Sequence[str], *, output: Path) -> Iterator[subprocess.Popen[bytes]]:
    """As `run_for`, beside what the block does; the group ends with the block."""
    with output.open("wb") as stream:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
        )  # fmt: skip
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):  # nobody of the group is left
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def code_within(process: subprocess.Popen[bytes], *, seconds: float) -> int | None:
    """The exit code of a process that ends within `seconds` from now; None if it does not."""
    try:
        return process.wait(max(0.0, seconds))
    except subprocess.TimeoutExpired:
        return None
