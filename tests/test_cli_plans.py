"""The command line over a fake GPU: export of every precision, audits with every check and probe, and Ctrl-C.

The plans of TensorRT-RTX are built by its real builder, those of TensorRT by a fake one; both run on the fake GPU, which
computes with ONNX Runtime. Children of the program see the same machine.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fake_gpu.fixture import absent_library, environment

from skinaudit.artifacts.files import digest_file
from skinaudit.artifacts.manifest import read_engine_manifest
from skinaudit.tests.processes import PATIENCE, Start
from skinaudit.tests.shared import built_once

pytest.importorskip("torch")

pytestmark = pytest.mark.skipif(absent_library() is not None, reason=f"{absent_library()} is not installed")

BUILT = {"tensorrt": ["fp32", "fp16", "fp8"], "tensorrt-rtx": ["bf16", "int8"]}
"""Each precision with one of the libraries; tests/export builds every one with TensorRT-RTX, whose builder is real."""
SUFFIXES = {"tensorrt": ".plan", "tensorrt-rtx": ".rtx.plan"}
PLANS = [f"{precision}{SUFFIXES[library]}" for library, precisions in BUILT.items() for precision in precisions]


@dataclass(frozen=True)
class Machine:
    """A folder with an exported run, and the notes of the fake GPU on its plans."""

    run: Path
    plans: Path

    def skinaudit(self, *arguments: str, **changes: Any) -> subprocess.CompletedProcess[str]:
        """Run the program as its own process; changes: of the fake machine."""
        return subprocess.run(
            [sys.executable, "-m", "skinaudit.cli", *arguments], cwd=self.run.parent, capture_output=True, text=True,
            timeout=500, env={**os.environ, **environment(self.plans, **changes)}, check=False,
        )  # fmt: skip

    def audit(self, *arguments: str, **changes: Any) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
        """Audit with a JSON report; the process and the report."""
        done = self.skinaudit("audit", *arguments, "--json", "--threads", "1", **changes)
        assert done.returncode in (0, 1, 3), done.stderr
        return done, json.loads(done.stdout)


@pytest.fixture(scope="module")
def machine(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """The tiny run, exported for both libraries."""

    def export(folder: Path) -> None:
        (folder / "notes").mkdir()
        shutil.copytree(tiny_run, folder / "run")
        here = Machine(folder / "run", folder / "notes")
        for library, precisions in BUILT.items():
            asked = [f"--{name}" for name in precisions]
            done = here.skinaudit("export", "run", "--format", library, *asked, "--threads", "1")
            assert done.returncode == 0, done.stderr

    folder = built_once(tmp_path_factory, "exported-plans", export)
    return Machine(folder / "run", folder / "notes")


@pytest.mark.parametrize("name", PLANS)
def test_an_export_compares_the_plan_itself(machine: Machine, name: str) -> None:
    manifest = read_engine_manifest(machine.run / "engines" / name)
    assert manifest.asked == name.partition(".")[0]
    assert manifest.parity.get("measured_on", "the engine") == "the engine"
    assert manifest.device == "NVIDIA H100 80GB HBM3"


@pytest.mark.parametrize(("batches", "suffix"), [((1, 8, 32), ".plan"), ((8, 8, 32), ".rtx.plan")])
def test_an_export_for_few_images_a_call_compares_the_plan_itself(
    machine: Machine, batches: tuple[int, ...], suffix: str
) -> None:
    """Parity reads 64 images at once."""
    output = f"small{suffix}"
    done = machine.skinaudit("export", "run", "--batches", *map(str, batches), "-o", output, "--threads", "1")
    assert done.returncode == 0, done.stderr
    manifest = read_engine_manifest(machine.run.parent / output)
    assert (manifest.parity["measured_on"], manifest.settings["batches"]) == ("the engine", list(batches))


def test_an_export_says_why_it_emulates(machine: Machine) -> None:
    done = machine.skinaudit("export", "run", "-o", "unseen.plan", "--threads", "1", driver=12020)
    assert done.returncode == 0, done.stderr
    cause = "running a plan is not possible: the NVIDIA driver supports CUDA 12.2 and cuda-python needs 13.5"
    assert f"fp32 tensorrt: not run here, its graph is emulated instead: {cause}" in done.stderr
    assert f"(the emulation of its ONNX graph, not the engine: {cause}" in done.stdout


def test_timings_are_kept_and_another_file_is_left_alone(machine: Machine) -> None:
    folder = machine.run.parent
    export = ("export", "run", "-o", "timed.plan", "--threads", "1", "--timing-cache")
    for _ in range(2):
        done = machine.skinaudit(*export, "timings")
        assert done.returncode == 0, done.stderr
    assert (folder / "timings").stat().st_size > 0
    (folder / "thesis.txt").write_text("Chapter 1")
    for place, words in (("thesis.txt", "not a timing cache"), ("thesis.txt/timings", "cannot be written")):
        done = machine.skinaudit(*export, place)
        assert done.returncode == 2
        assert f"{place}: {words}" in done.stderr
    assert (folder / "thesis.txt").read_text() == "Chapter 1"


@pytest.fixture(scope="module")
def reports(machine: Machine) -> dict[str, dict[str, Any]]:
    """Default audits of all plans, by one command."""
    engines = [f"run/engines/{name}" for name in PLANS]
    done = machine.skinaudit("audit", *engines, "--threads", "1", "--jobs", "2")
    assert done.returncode in (0, 1, 3), done.stderr
    return {name: json.loads((machine.run / "audits" / f"{name}.json").read_text()) for name in PLANS}


@pytest.mark.parametrize("name", PLANS)
def test_a_default_audit_of_a_default_plan_ends_in_a_verdict(reports: dict[str, dict[str, Any]], name: str) -> None:
    report = reports[name]
    about, rules = report["description"], {finding["rule"]: finding["severity"] for finding in report["findings"]}
    precision, is_rtx = name.partition(".")[0], name.endswith(SUFFIXES["tensorrt-rtx"])
    assert (about["provider"], about["batches"]) == ("cuda", [{"smallest": 1, "usual": 32, "largest": 128}])
    assert {1, 7, 32, 64, 128} <= set(report["consistency"]["sizes"])
    assert report["consistency"]["repeats"]
    assert report["asked"] == precision
    if is_rtx:
        assert about["executed"] is None
    else:
        assert about["executed"].keys() == {precision}
    assert rules.get("computed-precision") == (None if precision == "fp32" else "note")
    assert not {"precision", "determinism", "execution", "emulation"} & set(rules)
    assert rules.get("batch-dependence", "note") == "note"


def test_every_probe_attacks_a_plan(machine: Machine) -> None:
    probes = ["square", "spsa", "disagree", "whitebox"]
    typed = [word for name in probes for word in ("--probe", name)]
    settings = ["--probe-images", "8", "--probe-queries", "12", "--probe-eps", "2/255", "--batch", "200"]
    _, report = machine.audit("run/engines/fp16.plan", *typed, *settings)
    assert [probe["name"] for probe in report["probes"]] == [*probes, "square"]  # the one of every audit, in another radius
    assert [probe["eps"] for probe in report["probes"]] == [*["2/255"] * len(probes), "4/255"]
    assert max(report["consistency"]["sizes"]) == 128  # the audit's own 200 are split


def test_several_plans_on_the_second_device(machine: Machine) -> None:
    engines = [f"run/engines/{name}" for name in PLANS[:2]]
    typed = ("audit", *engines, "--device", "1", "--threads", "1", "--json", "--no-probe")
    done = machine.skinaudit(*typed, devices=("first", "second"))
    assert done.returncode in (1, 3), done.stderr
    reports = [json.loads((machine.run / "audits" / f"{name}.json").read_text()) for name in PLANS[:2]]
    assert {report["description"]["device"] for report in reports} == {"second"}
    assert all("--device 1" in " ".join(report["arguments"]) for report in reports)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"devices": ()},
            "needs a CUDA device, but there is none (cudaErrorNoDevice); audit it on a machine that can run it",
        ),
        ({"driver": 12020}, "the NVIDIA driver supports CUDA 12.2 and cuda-python needs 13.5"),
        ({"memory": 100_000}, "CUDA failed: cudaErrorMemoryAllocation"),
    ],
)
def test_a_machine_that_cannot_run_it_says_so_in_one_line(machine: Machine, changes: dict[str, Any], words: str) -> None:
    done = machine.skinaudit("audit", "run/engines/fp16.plan", "--threads", "1", **changes)
    assert done.returncode == 2
    assert done.stdout == ""
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_damaged_plan_ends_in_one_line(machine: Machine, tmp_path: Path) -> None:
    engines = tmp_path / "run" / "engines"
    shutil.copytree(machine.run, engines.parent)
    plan = engines / "fp16.plan"
    plan.write_bytes(plan.read_bytes()[:-40])
    manifest = json.loads((engines / "fp16.plan.json").read_text())
    manifest["engine"]["digest"] = digest_file(plan)
    (engines / "fp16.plan.json").write_text(json.dumps(manifest))
    done = machine.skinaudit("audit", str(plan), "--threads", "1")
    assert done.returncode == 2
    assert "cannot open it: " in done.stderr
    assert "Serialization" in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_interrupt_ends_an_audit(machine: Machine, start: Start) -> None:
    endless = ["--probe", "square", "--probe-queries", "1000000", "--probe-eps", "1/255"]  # which most images withstand
    arguments = ["audit", "run/engines/fp16.plan", *endless, "--threads", "1"]
    running = start(
        [sys.executable, "-m", "skinaudit.cli", *arguments], cwd=machine.run.parent,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **environment(machine.plans)},
    )  # fmt: skip
    assert running.stderr is not None
    for line in running.stderr:
        if line.startswith("probe square"):
            break
    os.killpg(running.pid, signal.SIGINT)
    out, _ = running.communicate(timeout=PATIENCE)
    assert (running.returncode, out) == (130, "")
