"""The composite action, its shell lines as GitHub would run them."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

yaml = pytest.importorskip("yaml", reason="the tests of the CI files need pyyaml, of the extra `dev`")

ROOT = Path(__file__).resolve().parents[3]
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
Run = Callable[..., subprocess.CompletedProcess[str]]
EXPRESSION = re.compile(r"\$\{\{\s*([\w.-]+)\s*\}\}")


class Job:
    """What GitHub keeps between the steps of an action: inputs, the outputs of its steps, the summary."""

    def __init__(self, shell: Run, folder: Path, **inputs: str) -> None:
        self.shell, self.summary_file, self.output_file = shell, folder / "summary.md", folder / "output"
        named = {name.replace("_", "-"): value for name, value in inputs.items()}
        assert named.keys() <= ACTION["inputs"].keys()
        self.values = {f"inputs.{name}": item.get("default", "") for name, item in ACTION["inputs"].items()}
        self.values |= {f"inputs.{name}": value for name, value in named.items()}
        self.values["github.action_path"] = "/the/action"
        self.log = ""

    def run(self) -> int:
        """All steps; returns the exit code of the one that fails, or 0."""
        for step in ACTION["runs"]["steps"]:
            if "if" in step and not self.holds(step["if"]):
                continue
            inputs = {name: self.fill(text) for name, text in step["env"].items()}
            files = {"GITHUB_STEP_SUMMARY": str(self.summary_file), "GITHUB_OUTPUT": str(self.output_file)}
            process = self.shell(step["run"], **inputs, **files)
            self.log += process.stdout + process.stderr
            if self.output_file.exists() and "id" in step:
                lines = self.output_file.read_text().splitlines()
                self.values |= {
                    f"steps.{step['id']}.outputs.{name}": value for name, value in (line.split("=", 1) for line in lines)
                }
            if process.returncode:
                return process.returncode
        return 0

    def fill(self, text: str) -> str:
        return EXPRESSION.sub(lambda match: self.values.get(match[1], ""), text)

    def holds(self, condition: str) -> bool:
        name, _, value = condition.partition(" != ")
        assert value == "''"
        return bool(self.values[name])

    @property
    def outputs(self) -> dict[str, str]:
        return {name: self.fill(item["value"]) for name, item in ACTION["outputs"].items()}

    @property
    def summary(self) -> str:
        return self.summary_file.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "verdict", "code", "allow", "ends"),
    [
        ("pass", "PASS", "0", "false", 0),
        ("fail", "FAIL", "1", "false", 1),
        ("fail", "FAIL", "1", "true", 1),
        ("inconclusive", "INCONCLUSIVE", "3", "false", 3),
        ("inconclusive", "INCONCLUSIVE", "3", "true", 0),
        ("absent", "ERROR", "2", "true", 2),
    ],
)
def test_the_job_ends_as_the_verdict_says(
    shell: Run, workplace: Path, tmp_path: Path, name: str, verdict: str, code: str, allow: str, ends: int
) -> None:
    job = Job(shell, tmp_path, engines=f"{name}/engines/subject.onnx", allow_inconclusive=allow, install="")
    assert job.run() == ends, job.log
    assert job.outputs == {"verdict": verdict, "exit-code": code}
    assert job.summary.startswith(f"## {verdict}: ")
    assert ("::error" in job.log) is (ends != 0)
    assert ("::warning" in job.log) is (verdict == "INCONCLUSIVE" and ends == 0)
    reports = workplace / "skinaudit-reports"
    stem = f"{name}-engines-subject.onnx"
    if verdict == "ERROR":
        assert list(reports.iterdir()) == []
        assert "absent/engines/subject.onnx" in job.log
        return
    assert sorted(path.name for path in reports.iterdir()) == [f"{stem}.{end}" for end in ("json", "md", "sarif", "xml")]
    assert json.loads((reports / f"{stem}.json").read_text())["verdict"] == verdict
    suites = ET.parse(reports / f"{stem}.xml").getroot()
    assert (suites.get("failures"), suites.get("errors")) == ("0", "0") if verdict == "PASS" else ("1", "1")
    assert json.loads((reports / f"{stem}.sarif").read_text())["runs"][0]["invocations"][0]["exitCode"] == int(code)


def test_the_worst_of_several_engines_counts_and_all_are_reported(shell: Run, workplace: Path, tmp_path: Path) -> None:
    names = [f"{name}/engines/subject.onnx" for name in ("pass", "fail", "inconclusive")]
    job = Job(shell, tmp_path, engines="\n".join(["", *names, ""]), formats="", reports="out put", install="")
    assert job.run() == 1
    assert job.outputs == {"verdict": "FAIL", "exit-code": "1"}
    assert re.findall(r"^## (\w+): (\w+)/", job.summary, re.MULTILINE) == [
        ("PASS", "pass"), ("FAIL", "fail"), ("INCONCLUSIVE", "inconclusive")
    ]  # fmt: skip
    assert len(list((workplace / "out put").iterdir())) == 6


def test_an_error_counts_more_than_a_fail_and_an_old_report_is_no_new_one(
    shell: Run, workplace: Path, tmp_path: Path
) -> None:
    stale = workplace / "skinaudit-reports" / "absent-engines-subject.onnx.md"
    stale.parent.mkdir()
    stale.write_text("## PASS: long ago")
    engines = "fail/engines/subject.onnx\nabsent/engines/subject.onnx"
    job = Job(shell, tmp_path, engines=engines, install="")
    assert job.run() == 2
    assert job.outputs == {"verdict": "ERROR", "exit-code": "2"}
    assert "PASS" not in job.summary.splitlines()[-4]
    assert not stale.exists()
    empty_job = Job(shell, tmp_path, engines="\n", install="")
    assert empty_job.run() == 2
    assert "names no file" in empty_job.log


def test_every_input_reaches_the_audit(shell: Run, workplace: Path, tmp_path: Path) -> None:
    (workplace / "my policy.toml").write_text(
        "[margin]\ndefault = 99.0\n[sensitivity_margin]\ndefault = 99.0\nbenign = 99.0\n"
    )
    (workplace / "sets").symlink_to("pass/sets")
    engine, arguments = "pass/engines/subject.onnx", "--probe=square\n--probe-images=5\n--probe-queries=4\n"
    job = Job(
        shell, tmp_path, engines=engine, policy="my policy.toml", sets="sets", args=arguments, install="", formats="terminal"
    )
    assert job.run() == 3, job.log
    report = json.loads((workplace / "skinaudit-reports/pass-engines-subject.onnx.json").read_text())
    assert report["policy"]["margin"] == 99.0
    assert [probe["images"] for probe in report["probes"]] == [5]
    assert (workplace / "skinaudit-reports/pass-engines-subject.onnx.txt").read_text().startswith("SYNTHETIC")


def test_the_baseline_reaches_the_audit(shell: Run, workplace: Path, tmp_path: Path) -> None:
    job = Job(shell, tmp_path, engines="pass/engines/subject.onnx", baseline="absent.json", install="")
    assert job.run() == 2
    assert "absent.json" in job.log


def test_hostile_inputs_are_data(shell: Run, workplace: Path, tmp_path: Path) -> None:
    for text in ("$(touch owned)", "`touch owned`", "'; touch owned; '", '"; touch owned; "', "--help", "-o"):
        job = Job(shell, tmp_path, engines=text, policy=text, install="")
        assert job.run() == 2, text
        assert not (workplace / "owned").exists()
    for step in ACTION["runs"]["steps"]:
        assert "${{" not in step["run"], "an expression in shell lines is an injection; pass it through env"


def test_installing_asks_pip_for_this_action_and_the_extras(shell: Run, tmp_path: Path) -> None:
    job = Job(shell, tmp_path, engines="pass/engines/subject.onnx", install="cpu,report")
    assert job.run() == 0, job.log
    assert (tmp_path / "pip.log").read_text() == "-m pip install --quiet /the/action[cpu,report]\n"
