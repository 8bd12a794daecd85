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
from command_line import in_process
from fake_gpu.fixture import absent_library, environment, fake_machine

from skinaudit.artifacts.files import digest_file
from skinaudit.artifacts.manifest import read_engine_manifest
from skinaudit.engines.isolation.launching import in_this_process
from skinaudit.tests.processes import PATIENCE, Start
from skinaudit.tests.shared import built_once

pytest.importorskip("torch")

pytestmark = pytest.mark.skipif(absent_library() is not None, reason=f"{absent_library()} is not installed")

RTX = ".rtx.plan"
PLANS = ("fp32.plan", "fp16.plan", "int8.rtx.plan")
EACH = [*PLANS, *(pytest.param(name, marks=pytest.mark.slow) for name in ("fp8.plan", "bf16.rtx.plan"))]
"""One of the libraries each; tests/export builds every precision with TensorRT-RTX, whose builder is real."""


@dataclass(frozen=True)
class Machine:
    """A folder with an exported run, and the notes of the fake GPU on its plans."""

    run: Path
    plans: Path

    def skinaudit(self, *arguments: str, **changes: Any) -> subprocess.CompletedProcess[str]:
        """Run the command line in this process; changes: of the fake machine."""
        with fake_machine(self.plans, **changes):
            return in_process(*arguments, cwd=self.run.parent)

    def start_skinaudit(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the program as its own process, as users do."""
        return subprocess.run(
            [sys.executable, "-m", "skinaudit.cli", *arguments], cwd=self.run.parent, capture_output=True, text=True,
            timeout=500, env={**os.environ, **environment(self.plans)}, check=False,
        )  # fmt: skip

    def audit(self, *arguments: str, **changes: Any) -> dict[str, Any]:
        """Audit with a JSON report; the report."""
        process = self.skinaudit("audit", *arguments, "--json", "--threads", "1", **changes)
        assert process.returncode in (0, 1, 3), process.stderr
        report: dict[str, Any] = json.loads(process.stdout)
        return report

    def plan(self, name: str) -> str:
        """A plan of the run, exported where it is not there yet."""
        if not (self.run / "engines" / name).exists():
            library = "tensorrt-rtx" if name.endswith(RTX) else "tensorrt"
            option = f"--{name.partition('.')[0]}"
            process = self.skinaudit("export", "run", "--format", library, option, "--threads", "1")
            assert process.returncode == 0, process.stderr
        return f"run/engines/{name}"


@pytest.fixture(scope="module")
def machine(exported_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """The tiny run with PLANS."""

    def export(folder: Path) -> None:
        (folder / "notes").mkdir()
        machine_here = Machine(Path(shutil.copytree(exported_run, folder / "run")), folder / "notes")
        with in_this_process():
            for name in PLANS:
                machine_here.plan(name)

    built = built_once(tmp_path_factory, "exported-plans", export)
    folder = Path(shutil.copytree(built, tmp_path_factory.mktemp("plans") / "own"))
    return Machine(folder / "run", folder / "notes")


@pytest.mark.parametrize("name", EACH)
def test_an_export_compares_the_plan_itself(machine: Machine, name: str) -> None:
    manifest = read_engine_manifest(machine.run.parent / machine.plan(name))
    assert manifest.asked == name.partition(".")[0]
    assert manifest.parity.get("measured_on", "the engine") == "the engine"
    assert manifest.device == "NVIDIA H100 80GB HBM3"


@pytest.mark.parametrize(("batches", "suffix"), [((1, 8, 32), ".plan"), ((8, 8, 32), ".rtx.plan")])
def test_an_export_for_few_images_a_call_compares_the_plan_itself(
    machine: Machine, batches: tuple[int, ...], suffix: str
) -> None:
    """Parity reads 64 images at once."""
    output = f"small{suffix}"
    process = machine.skinaudit("export", "run", "--batches", *map(str, batches), "-o", output, "--threads", "1")
    assert process.returncode == 0, process.stderr
    manifest = read_engine_manifest(machine.run.parent / output)
    assert (manifest.parity["measured_on"], manifest.settings["batches"]) == ("the engine", list(batches))


def test_an_export_says_why_it_emulates(machine: Machine) -> None:
    process = machine.skinaudit("export", "run", "-o", "unseen.plan", "--threads", "1", driver=12020)
    assert process.returncode == 0, process.stderr
    cause = "running a plan is not possible: the NVIDIA driver supports CUDA 12.2 and cuda-python needs 13.5"
    assert f"fp32 tensorrt: not run here, its graph is emulated instead: {cause}" in process.stderr
    assert f"(measured on the emulation of its ONNX graph, not the engine: {cause}" in process.stdout


def test_timings_are_kept_and_another_file_is_left_alone(machine: Machine) -> None:
    folder = machine.run.parent
    export = ("export", "run", "-o", "timed.plan", "--threads", "1", "--timing-cache")
    for _ in range(2):
        process = machine.start_skinaudit(*export, "timings")
        assert process.returncode == 0, process.stderr
    assert (folder / "timings").stat().st_size > 0
    (folder / "thesis.txt").write_text("Chapter 1")
    for place, words in (("thesis.txt", "not a timing cache"), ("thesis.txt/timings", "cannot be written")):
        process = machine.start_skinaudit(*export, place)
        assert process.returncode == 2
        assert f"{place}: {words}" in process.stderr
    assert (folder / "thesis.txt").read_text() == "Chapter 1"


@pytest.mark.parametrize("name", EACH)
def test_a_default_audit_of_a_default_plan_ends_in_a_verdict(machine: Machine, name: str) -> None:
    report = machine.audit(machine.plan(name))
    description, rules = report["description"], {finding["rule"]: finding["severity"] for finding in report["findings"]}
    precision, is_rtx = name.partition(".")[0], name.endswith(RTX)
    assert (description["provider"], description["batches"]) == ("cuda", [{"smallest": 1, "usual": 32, "largest": 128}])
    assert {1, 7, 32, 64, 128} <= set(report["consistency"]["sizes"])
    assert report["consistency"]["repeats"]
    assert report["asked"] == precision
    if is_rtx:
        assert description["executed"] is None
    else:
        assert description["executed"].keys() == {precision}
    assert rules.get("computed-precision") == (None if precision == "fp32" else "note")
    assert not {"precision", "determinism", "execution", "emulation"} & set(rules)
    assert rules.get("batch-dependence", "note") == "note"


def test_every_probe_attacks_a_plan(machine: Machine) -> None:
    probes = ["square", "spsa", "disagree", "whitebox"]
    typed = [word for name in probes for word in ("--probe", name)]
    settings = ["--probe-images", "8", "--probe-queries", "12", "--probe-eps", "2/255", "--batch", "200"]
    report = machine.audit("run/engines/fp16.plan", *typed, *settings)
    assert [probe["name"] for probe in report["probes"]] == [*probes, "square"]  # the one of every audit, in another radius
    assert [probe["eps"] for probe in report["probes"]] == [*["2/255"] * len(probes), "4/255"]
    assert max(report["consistency"]["sizes"]) == 128  # the audit's own 200 are split


@pytest.mark.slow  # tests/audit: several engines, each with its own options of plans, and the second device
def test_several_plans_on_the_second_device(machine: Machine) -> None:
    engines = [f"run/engines/{name}" for name in PLANS[:2]]
    typed = ("audit", *engines, "--device", "1", "--threads", "1", "--json", "--no-probe", "--jobs", "2")
    process = machine.skinaudit(*typed, devices=("first", "second"))
    assert process.returncode in (1, 3), process.stderr
    reports = [json.loads((machine.run / "audits" / f"{name}.json").read_text()) for name in PLANS[:2]]
    assert {report["description"]["device"] for report in reports} == {"second"}
    assert all("--device 1" in " ".join(report["arguments"]) for report in reports)


def test_a_process_of_its_own_audits_a_plan(machine: Machine) -> None:
    process = machine.start_skinaudit("audit", "run/engines/fp16.plan", "--threads", "1", "--json", "--no-probe")
    report = json.loads(process.stdout)
    assert process.returncode == {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 3}[report["verdict"]]
    assert report["description"]["executed"].keys() == {"fp16"}


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
    process = machine.skinaudit("audit", "run/engines/fp16.plan", "--threads", "1", **changes)
    assert process.returncode == 2
    assert process.stdout == ""
    assert words in process.stderr
    assert process.stderr.count("\n") == 1


def test_a_damaged_plan_ends_in_one_line(machine: Machine, tmp_path: Path) -> None:
    engines = tmp_path / "run" / "engines"
    shutil.copytree(machine.run, engines.parent)
    plan = engines / "fp16.plan"
    plan.write_bytes(plan.read_bytes()[:-40])
    manifest = json.loads((engines / "fp16.plan.json").read_text())
    manifest["engine"]["digest"] = digest_file(plan)
    (engines / "fp16.plan.json").write_text(json.dumps(manifest))
    process = machine.skinaudit("audit", str(plan), "--threads", "1")
    assert process.returncode == 2
    assert "cannot open it: " in process.stderr
    assert "Serialization" in process.stderr
    assert process.stderr.count("\n") == 1


@pytest.mark.slow  # tests/test_cli.py interrupts audits of other engines
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
