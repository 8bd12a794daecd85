"""The guard that lets no process outlive its test, tried on processes that would."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from skinaudit.tests.processes import ADOPTS, Start, children, end_new_children, members, still_running

pytestmark = pytest.mark.skipif(not ADOPTS, reason="processes are looked for in /proc")

SLEEPER = "import time; print('ready', flush=True); time.sleep(1000)"
PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE, start_new_session=True)
child.stdout.readline()
print(child.pid, flush=True)
"""


def test_a_child_and_the_orphan_of_a_parent_that_ended_are_found_and_killed() -> None:
    before = children()
    with subprocess.Popen([sys.executable, "-c", SLEEPER], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        orphan = int(subprocess.run([sys.executable, "-c", PARENT, SLEEPER], stdout=subprocess.PIPE, check=True).stdout)
        assert children() - before == {child.pid, orphan}
        running = end_new_children(before, within=0)
    assert running.keys() == {child.pid, orphan}
    assert all("time.sleep(1000)" in command for command in running.values())
    assert children() == before
    assert not Path(f"/proc/{orphan}").exists()


def test_a_child_that_ends_by_itself_is_no_offence() -> None:
    before = children()
    with subprocess.Popen([sys.executable, "-c", ""]):
        assert end_new_children(before) == {}


def test_a_process_that_a_test_starts_hears_an_interrupt(start: Start) -> None:
    """Also where the tests themselves were started deaf, as a background job is."""
    process = start([sys.executable, "-c", SLEEPER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    process.stdout.readline()
    assert members(process.pid) == {process.pid}
    os.killpg(process.pid, signal.SIGINT)
    assert still_running([process.pid]) == {}
    assert process.wait() == -signal.SIGINT
