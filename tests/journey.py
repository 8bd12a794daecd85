"""The user's commands, run once for all tests, in a network namespace and under a fresh home, cache and temporary folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from skinaudit.tests.shared import built_once

SMALL = ("--images", "300", "--size", "32", "--width", "0.25", "--epochs", "1", "--threads", "1")
COMMANDS = {
    "train": ("train", *SMALL),
    "export": ("export", "--fp16", "--threads", "1"),
    "export for OpenVINO": ("export", "--format", "openvino", "--int8", "--threads", "1"),
    "audit": ("audit", "runs/latest/engines/fp16.onnx", "runs/latest/engines/int8.xml", "--threads", "1", "--jobs", "1"),
    "doctor": ("doctor",),
}
# Python imports a module of this name by itself when it starts. A lookup is refused, for machines without namespaces.
SITECUSTOMIZE = """
import os, sys

def witness(event, arguments):
    if event.split(".")[0] == "socket" and event not in ("socket.__new__", "socket.gethostname"):
        if event == "socket.connect" and isinstance(arguments[1], (str, bytes)):
            return  # a socket of this machine's own file system
        if event == "socket.sendmsg" and arguments[1] is None:
            return  # over a connection that is there already: a pair of sockets inside this machine
        with open(os.environ["WITNESS"], "a") as log:
            log.write(f"{event} {arguments[1:] if event == 'socket.connect' else arguments}\\n")
        raise OSError("no network in this test")

sys.addaudithook(witness)
"""
LOOKS_UP_TWICE = """
import ctypes, socket
try:
    socket.getaddrinfo("python.example", 443)
except OSError:
    pass
ctypes.CDLL(None).getaddrinfo(b"native.example", b"443", None, ctypes.byref(ctypes.c_void_p()))
"""
OUTGOING = ("Ip.OutRequests", "Ip.OutNoRoutes", "Ip6OutRequests", "Ip6OutNoRoutes")


@dataclass(frozen=True)
class Place:
    """A fresh home, cache and temporary folder below `folder`, and the command that makes a namespace, or none."""

    folder: Path
    namespace: Sequence[str]

    @property
    def seen_by_python(self) -> list[str]:
        log = self.folder / "witness.log"
        return log.read_text().splitlines() if log.exists() else []

    @property
    def written_files(self) -> list[str]:
        fresh = self.folder / "fresh"
        return sorted(str(path.relative_to(fresh)) for path in fresh.rglob("*") if not path.is_dir())


def run(place: Place, name: str, *command: str) -> dict[str, int]:
    """Run a command as a user without settings would; what its namespace counted in OUTGOING, empty without one.

    Not in the environment: what this package or the test's own machine has switched off already. OpenVINO keeps silent
    where CI is set, NNCF under pytest.
    """
    counters = place.folder / f"{name}.counters"
    fresh, elsewhere = place.folder / "fresh", place.folder / "elsewhere"
    passed_on = {key: os.environ[key] for key in ("PATH", "LD_LIBRARY_PATH", "LANG") if key in os.environ}
    environment = {
        **passed_on, "WITNESS": str(place.folder / "witness.log"),
        "HOME": str(fresh / "home"), "TMPDIR": str(fresh / "temporary"),
        "PYTHONPATH": os.pathsep.join([str(place.folder / "site"), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "SKINAUDIT_CACHE": str(elsewhere), "MPLCONFIGDIR": str(elsewhere), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    counted = 'out=$1; shift; "$@"; code=$?; cat /proc/net/snmp /proc/net/snmp6 > "$out"; exit $code'
    wrapped = [*place.namespace, "sh", "-c", counted, "sh", str(counters), *command] if place.namespace else list(command)
    work = place.folder / "work"
    process = subprocess.run(wrapped, cwd=work, env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert process.returncode in (0, 1, 3), process.stderr[-2000:]  # whatever a model of one epoch deserves
    return read_counters(counters.read_text()) if place.namespace else {}


def read_counters(text: str) -> dict[str, int]:
    """OUTGOING from /proc/net/snmp, whose lines come in pairs of names and values, and snmp6, one a line."""
    lines = [line.split() for line in text.splitlines()]
    pairs = [(names, values) for names, values in pairwise(lines) if names[0] == values[0]]
    tables = [(names[0].rstrip(":"), names[1:], values[1:]) for names, values in pairs]
    counts = {f"{table}.{name}": int(value) for table, *columns in tables for name, value in zip(*columns, strict=True)}
    counts |= {line[0]: int(line[1]) for line in lines if len(line) == 2}
    return {name: counts[name] for name in OUTGOING if name in counts}  # no IPv6, no such counters


def make_place(folder: Path) -> Place:
    for name in ("site", "work", "elsewhere", "fresh/home", "fresh/temporary"):
        (folder / name).mkdir(parents=True)
    (folder / "site" / "sitecustomize.py").write_text(SITECUSTOMIZE)
    return Place(folder, namespace_command())


def namespace_command() -> Sequence[str]:
    """The command that runs another one in an empty network namespace; empty where that is not allowed."""
    if shutil.which("unshare") and Path("/proc/net/snmp").exists():
        for command in (("unshare", "--net"), ("unshare", "--net", "--map-root-user")):
            if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0:
                return command
    return ()


@dataclass(frozen=True)
class Journey:
    """Where the commands ran, and what the namespace of each counted in OUTGOING."""

    place: Place
    counters: Mapping[str, Mapping[str, int]]


@pytest.fixture(scope="session")
def journey(tmp_path_factory: pytest.TempPathFactory) -> Journey:
    """All COMMANDS, one after the other, each in a process and a namespace of its own. Read only: copy it to change it."""
    for library in ("torch", "onnxruntime", "openvino", "nncf"):
        pytest.importorskip(library)

    def travel(folder: Path) -> None:
        place = make_place(folder / "place")
        program = (sys.executable, "-m", "skinaudit.cli")
        counters = {name: run(place, name, *program, *arguments) for name, arguments in COMMANDS.items()}
        (folder / "counters.json").write_text(json.dumps(counters))

    folder = built_once(tmp_path_factory, "journey", travel)
    place = Place(folder / "place", namespace_command())
    return Journey(place, json.loads((folder / "counters.json").read_text()))
