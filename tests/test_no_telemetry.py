"""Nothing phones home: commands run in a network namespace without routes, under a fresh home, cache and temporary folder.

Two witnesses watch them. An audit hook writes down what Python code looks up or connects to, in every process that it
starts. The kernel counts what the namespace could not route, whoever asked for it, native code of the runtimes too.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from skinaudit import no_telemetry

ROOT = Path(__file__).resolve().parents[1]
REPORTING = ("onnxruntime", "openvino", "nncf", "mlflow")
"""Libraries that report their use."""
SMALL = ("--images", "140", "--size", "32", "--width", "0.25", "--epochs", "1")
COMMANDS = {
    "train": ("train", *SMALL, "--threads", "1", "--out", "run"),
    "export": ("export", "run", "--format", "onnx", "--format", "openvino", "--fp32", "--int8", "--threads", "1"),
    "audit": ("audit", "run/engines/fp32.onnx", "run/engines/int8.xml", "--threads", "1", "--jobs", "1"),
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
    done = subprocess.run(wrapped, cwd=work, env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode in (0, 1, 3), done.stderr[-2000:]  # whatever a model of one epoch deserves
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


needs_namespace = pytest.mark.skipif(not namespace_command(), reason="unshare --net is not allowed here")


@dataclass(frozen=True)
class Journey:
    place: Place
    counters: Mapping[str, Mapping[str, int]]


@pytest.fixture(scope="module")
def journey(tmp_path_factory: pytest.TempPathFactory) -> Journey:
    """All COMMANDS, one after the other, each in a process and a namespace of its own."""
    for library in ("torch", "onnxruntime", "openvino", "nncf"):
        pytest.importorskip(library)
    place = make_place(tmp_path_factory.mktemp("journey"))
    program = (sys.executable, "-m", "skinaudit.cli")
    return Journey(place, {name: run(place, name, *program, *arguments) for name, arguments in COMMANDS.items()})


@needs_namespace
def test_the_witnesses_see_a_lookup_from_python_and_one_from_native_code(tmp_path: Path) -> None:
    place = make_place(tmp_path)
    counters = run(place, "lookups", sys.executable, "-c", LOOKS_UP_TWICE)
    assert [line for line in place.seen_by_python if "python.example" in line] == place.seen_by_python != []
    assert sum(counters.values()) > 0  # the hook refused the first lookup: these are of the second
    assert set(run(place, "nothing", sys.executable, "-c", "").values()) == {0}


def test_no_command_looks_up_a_host_or_connects(journey: Journey) -> None:
    assert journey.place.seen_by_python == []


@needs_namespace
@pytest.mark.parametrize("command", COMMANDS)
def test_native_code_sends_nothing_either(journey: Journey, command: str) -> None:
    assert set(journey.counters[command].values()) == {0}, journey.counters[command]


def test_no_usage_event_waits_in_home_cache_or_temporary_folder(journey: Journey) -> None:
    assert journey.place.written_files == []


def test_the_package_switches_everything_off_before_it_imports_anything_else() -> None:
    tree = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [ast.unparse(node) for node in imports] == ["from skinaudit import no_telemetry, thread_waiting"]
    assert "no_telemetry.switch_off()" in [ast.unparse(node) for node in tree.body]
    code = "import os, sys, skinaudit; print(os.environ['ORT_DISABLE_TELEMETRY'], *sys.modules)"
    switched = {**os.environ, "ORT_DISABLE_TELEMETRY": "0"}  # a user's own setting does not count
    first, *modules = subprocess.run(
        [sys.executable, "-c", code], env=switched, capture_output=True, text=True, check=True
    ).stdout.split()  # fmt: skip
    assert first == "1"
    assert no_telemetry.ABSENT in modules
    assert not set(REPORTING) & set(modules)


def test_no_script_imports_a_reporting_library_before_the_package() -> None:
    wrong = []
    scripts = [path for folder in ("bench", "examples") for path in (ROOT / folder).rglob("*.py")]
    assert len(scripts) > 10
    for path in scripts:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names = [str(node.module)] if isinstance(node, ast.ImportFrom) else names
            if any(name.split(".")[0] == "skinaudit" for name in names):
                break
            wrong += [f"{path}: {name}" for name in names if name.split(".")[0] in REPORTING]
    assert wrong == []
