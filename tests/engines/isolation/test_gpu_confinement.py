"""What the process of an engine on a GPU may do: all that CUDA needs, and neither the network nor other files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from skinaudit.engines.isolation.confine import UNCONFINED_GPU, missing_confinement

TRIED = """
import socket, subprocess, sys
from pathlib import Path
from skinaudit.engines.isolation.confine import confine

own, other = Path(sys.argv[1]), Path(sys.argv[2])
confine(reads=[], writes=[own], for_gpu=True)

def tried(name, call):
    try:
        call()
        print(name)
    except PermissionError:
        print("no", name)

tried("network", lambda: socket.socket(socket.AF_INET).close())
tried("datagrams", lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).close())
tried("other file", lambda: (other / "new").write_text("x"))
tried("reading", lambda: (other / "secret").read_text())
tried("own file", lambda: (own / "new").write_text("x"))
tried("local socket", lambda: socket.socket(socket.AF_UNIX).close())
tried("program", lambda: subprocess.run([sys.executable, "-c", "import socket; socket.socket()"], check=False, stderr=-3))
tried("mode", lambda: (own / "new").chmod(0o777))
"""
pytestmark = pytest.mark.skipif(bool(missing_confinement()), reason=f"not here: {missing_confinement()}")


def tried(tmp_path: Path, **variables: str) -> list[str]:
    """What a process could do after it confined itself."""
    (tmp_path / "own").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "secret").write_text("secret")
    ended = subprocess.run(
        [sys.executable, "-c", TRIED, str(tmp_path / "own"), str(tmp_path / "other")],
        env={**os.environ, **variables}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return ended.stdout.splitlines()


def test_an_engine_on_a_gpu_has_no_network_and_no_other_files(tmp_path: Path) -> None:
    assert tried(tmp_path) == [
        "no network", "no datagrams", "no other file", "no reading", "own file", "local socket", "program", "no mode",
    ]  # fmt: skip


def test_a_driver_that_does_not_bear_it_can_be_left_alone(tmp_path: Path) -> None:
    assert not [line for line in tried(tmp_path, **{UNCONFINED_GPU: "1"}) if line.startswith("no ")]
