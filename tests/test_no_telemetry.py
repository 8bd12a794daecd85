"""Nothing phones home: commands run in a network namespace without routes, under a fresh home, cache and temporary folder.

Two witnesses watch them. An audit hook writes down what Python code looks up or connects to, in every process that it
starts. The kernel counts what the namespace could not route, whoever asked for it, native code of the runtimes too.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from skinaudit import no_telemetry
from skinaudit.tests.journey import COMMANDS, LOOKS_UP_TWICE, Journey, make_place, namespace_command, run

ROOT = Path(__file__).resolve().parents[1]
REPORTING = ("onnxruntime", "openvino", "nncf", "mlflow")
"""Libraries that report their use."""
needs_namespace = pytest.mark.skipif(not namespace_command(), reason="unshare --net is not allowed here")


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
    imports = [ast.unparse(node) for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [line for line in imports if "skinaudit" in line] == ["from skinaudit import no_telemetry, thread_waiting"]
    assert all(line.split()[1].split(".")[0] in {*sys.stdlib_module_names, "skinaudit"} for line in imports)
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
