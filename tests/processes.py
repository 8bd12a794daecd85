"""Processes that tests start: each hears an interrupt as it does from a terminal, and none outlives its test."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

Start = Callable[..., "subprocess.Popen[str]"]

PATIENCE = 60.0
"""Seconds within which a process that was told to end shall be gone. A guard, not a measure."""
GRACE = 20.0
"""Seconds after a test in which helpers of its processes may still end by themselves."""
OF_PYTHON = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")
"""Helpers that Python keeps for as long as the process that runs the tests."""
ADOPTS = hasattr(os, "pidfd_open") and Path(f"/proc/self/task/{os.getpid()}/children").exists()
_PR_SET_CHILD_SUBREAPER = 36

if ADOPTS:  # children of a process that ended become children of this one, and can be seen
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As in a background job: every process that a test starts would inherit it and ignore an interrupt, too.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def children() -> set[int]:
    """The processes whose parent is this one."""
    identifiers: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # the thread ended meanwhile
            identifiers.update(map(int, (task / "children").read_text().split()))
    return identifiers


def members(group: int) -> set[int]:
    """The processes of a group."""
    identifiers = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[2]) == group:
                identifiers.add(int(folder.name))
    return identifiers


def still_running(processes: Iterable[int], *, within: float = PATIENCE) -> dict[int, str]:
    """Wait until all of them have ended; the command lines of those that have not, after so many seconds."""
    deadline = time.monotonic() + within
    running = {}
    for process in processes:
        try:
            descriptor = os.pidfd_open(process)
        except ProcessLookupError:
            continue
        try:
            command = Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if not select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
                running[process] = command
        finally:
            os.close(descriptor)
    return running


def kill(processes: Iterable[int]) -> None:
    """Kill processes and wait for their end."""
    for process in (targets := list(processes)):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    still_running(targets)


def end_new_children(before: set[int], *, within: float = GRACE) -> dict[int, str]:
    """Wait for every child that was not there before, then kill what is left with all its offspring; what that was."""
    killed: dict[int, str] = {}
    while new := {child for child in children() - before if not of_python(child)}:
        running = still_running(new, within=0 if killed else within)
        killed |= running
        kill(running)  # its own children become ours
        for child in new:
            with suppress(ChildProcessError):
                os.waitpid(child, os.WNOHANG)
    return killed


def of_python(process: int) -> bool:
    try:
        command = Path(f"/proc/{process}/cmdline").read_text(errors="replace")
    except OSError:
        return False
    return any(name in command for name in OF_PYTHON)


@pytest.fixture(autouse=ADOPTS)
def no_process_outlives_its_test(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves a process behind, and kill that process: it would slow down the next test."""
    before = children()
    yield
    if "browser" in request.fixturenames:  # kept open for all tests of its file
        return
    running = end_new_children(before)
    assert not running, f"left running: {running}"


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a program as the leader of its own group, as a shell does; the group is killed after the test."""
    started: list[subprocess.Popen[str]] = []

    def start_group(command: Sequence[str], **settings: Any) -> subprocess.Popen[str]:
        started.append(subprocess.Popen(command, text=True, start_new_session=True, **settings))
        return started[-1]

    yield start_group
    for process in started:
        with process:  # closes its pipes, waits
            if process.poll() is None:  # else its number may belong to another group by now; the guard sees what is left
                os.killpg(process.pid, signal.SIGKILL)
