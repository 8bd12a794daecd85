"""Two processes never write the same run; what a killed one left is explained and taken over."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from skinaudit.artifacts.one_writer import one_writer
from skinaudit.errors import InvalidInputError

HOLD = """
import sys
from pathlib import Path
from skinaudit.artifacts.one_writer import one_writer
with one_writer(Path(sys.argv[1]), place="run"):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(lock: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_writer_is_told_who_the_first_is_and_may_write_after_it(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    with holder(lock) as process:
        with (
            pytest.raises(InvalidInputError, match=rf"^run: process {process.pid} on .* since \d{{4}}-"),
            one_writer(lock, place="run"),
        ):
            pass
        process.communicate("")
    assert not lock.exists()
    with one_writer(lock, place="run", say=pytest.fail):
        assert json.loads(lock.read_text())["pid"] == os.getpid()
    assert not lock.exists()


@pytest.mark.parametrize("kind", ["pipe", "link"])
def test_what_is_no_file_in_the_place_of_a_lock_is_named(tmp_path: Path, kind: str) -> None:
    lock = tmp_path / ".lock"
    (tmp_path / "precious").write_text("unchanged")
    os.mkfifo(lock) if kind == "pipe" else lock.symlink_to("precious")
    with pytest.raises(InvalidInputError, match=f"{lock}: "), one_writer(lock, place="run"):
        pass
    assert (tmp_path / "precious").read_text() == "unchanged"


def test_the_lock_of_a_killed_process_is_taken_over_in_one_line(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    with holder(lock) as process:
        process.send_signal(signal.SIGKILL)
    assert lock.exists()
    lines: list[str] = []
    with one_writer(lock, place="run", say=lines.append):
        pass
    (line,) = lines
    assert line.startswith(f"run: process {process.pid} on ")
    assert line.endswith("was stopped before it finished; this process continues")


def test_a_lock_of_another_machine_is_left_alone_and_says_what_to_do(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    lock.write_text(json.dumps({"pid": 1, "host": "elsewhere", "start": "2026-01-01 00:00:00 UTC"}))
    with (
        pytest.raises(InvalidInputError, match=rf"process 1 on elsewhere since .*if it has ended, delete {lock}$"),
        one_writer(lock, place="run"),
    ):
        pass
    assert lock.exists()


def test_a_writer_for_a_moment_waits_for_the_other_one(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    with holder(lock) as process:
        assert process.stdin is not None
        process.stdin.close()
        with one_writer(lock, place="run", wait=60):
            assert json.loads(lock.read_text())["pid"] == os.getpid()


@pytest.mark.parametrize("content", [b"", b"{", b"\xff" * 10, b'{"pid": -1}'])
def test_a_damaged_lock_that_nobody_holds_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / ".lock").write_bytes(content)
    with one_writer(tmp_path / ".lock", place="run", say=pytest.fail):
        pass


def test_a_link_in_the_place_of_a_lock_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("kept")
    (tmp_path / ".lock").symlink_to(tmp_path / "kept")
    with pytest.raises(InvalidInputError, match="cannot be made"), one_writer(tmp_path / ".lock", place="run"):
        pass
    assert (tmp_path / "kept").read_text() == "kept"


def test_the_lock_goes_with_an_error_of_the_work(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), one_writer(tmp_path / ".lock", place="run"):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())
