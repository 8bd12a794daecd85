"""The command line as a user types it, in an empty folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
from click.testing import CliRunner

from skinaudit import cli

ROOT = Path(__file__).resolve().parents[1]
SMALL = ["--images", "300", "--size", "32", "--width", "0.25", "--epochs", "1", "--threads", "1"]


def skinaudit(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the program as its own process."""
    return subprocess.run(
        [sys.executable, "-m", "skinaudit.cli", *arguments],
        cwd=cwd, capture_output=True, text=True, timeout=500, env={**os.environ, **environment}, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the user's three commands have run, small."""
    folder = tmp_path_factory.mktemp("workplace")
    cache = str(tmp_path_factory.mktemp("cache"))
    for arguments in (["train", *SMALL], ["export", "--fp16", "--threads", "1"]):
        done = skinaudit(*arguments, cwd=folder, SKINAUDIT_CACHE=cache)
        assert done.returncode == 0, done.stderr
    return folder


def test_three_commands(workplace: Path) -> None:
    done = skinaudit("audit", "runs/latest/engines/fp16.onnx", "--threads", "1", cwd=workplace)
    report = json.loads((workplace / "runs/latest/audits/fp16.onnx.json").read_text())
    assert done.returncode == {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 3}[report["verdict"]]
    assert done.stdout.startswith("SYNTHETIC images")
    assert f"\n{report['verdict']}" in done.stdout
    assert [one["title"] for one in report["sets"]] == ["clean", "fgsm linf 4/255", "pgd linf 4/255"]
    assert report["description"]["found"].keys() == {"fp16"}
    assert done.stderr == ""


def test_report_on_stdout_is_the_file(workplace: Path) -> None:
    done = skinaudit("audit", "runs/latest/engines/fp16.onnx", "--json", "--threads", "1", cwd=workplace)
    assert done.stdout == (workplace / "runs/latest/audits/fp16.onnx.json").read_text()


def test_one_audit_in_many_forms_at_once_and_later(workplace: Path) -> None:
    engine, audits = "runs/latest/engines/fp16.onnx", workplace / "runs/latest/audits"
    given = ["--report", "junit=reports/audit.xml", "--report", "sarif=reports/audit.sarif", "--report", "markdown=-"]
    done = skinaudit("audit", engine, *given, "-o", "kept.json", "--threads", "1", cwd=workplace)
    kept = json.loads((workplace / "kept.json").read_text())
    assert done.returncode == {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 3}[kept["verdict"]]
    assert done.stdout.startswith(f"## {kept['verdict']}: {engine}".replace("_", r"\_"))
    assert sorted(path.name for path in (workplace / "reports").iterdir()) == ["audit.sarif", "audit.xml"]
    later = skinaudit("report", "kept.json", "--report", "markdown=-", "--report", "junit=later.xml", cwd=workplace)
    assert (later.returncode, later.stdout, later.stderr) == (0, done.stdout, "")
    assert (workplace / "later.xml").read_bytes() == (workplace / "reports" / "audit.xml").read_bytes()
    again = skinaudit("report", "kept.json", "--report", "json=-", cwd=workplace)
    assert again.stdout == (workplace / "kept.json").read_text()
    tables = skinaudit("report", "kept.json", cwd=workplace)
    assert tables.returncode == 0
    plain = skinaudit("report", "kept.json", "--report", "terminal=-", cwd=workplace).stdout
    assert [line.rstrip() for line in tables.stdout.splitlines()] == plain.splitlines()
    assert f"\n{kept['verdict']}: " in tables.stdout
    (workplace / "kept.json").write_text("{}")
    for arguments, message in (
        (["audit", engine, "--report", "junit"], "--report junit: write FORMAT=FILE, such as junit=audit.xml"),
        (["audit", engine, "--report", "pdf=x"], "report format 'pdf': choose among"),
        (["audit", engine, "--report", "json=-", "--json"], "--json: a --report goes to standard output already"),
        (["audit", engine, "--report", f"json={audits / 'fp16.onnx.json'}"], "something else goes to"),
        (["report", "kept.json"], "kept.json: is of kind 'None', not 'skinaudit-audit/1'"),
        (["report", "absent.json"], "absent.json: no such JSON report of an audit"),
    ):
        wrong = skinaudit(*arguments, cwd=workplace)
        assert wrong.returncode == 2
        assert message in wrong.stderr
        assert len(wrong.stderr.splitlines()) == 1


def test_attack_adds_a_set_that_the_audit_finds(workplace: Path) -> None:
    done = skinaudit(
        "attack", "runs/latest", "--attack", "pgd", "--norm", "l2", "--eps", "64/255", "--steps", "3", cwd=workplace
    )
    assert done.returncode == 0, done.stderr
    audited = skinaudit("audit", "runs/latest/engines/fp16.onnx", "--json", "--threads", "1", cwd=workplace)
    assert "pgd l2 64/255" in [one["title"] for one in json.loads(audited.stdout)["sets"]]


def test_transfer_matrix_of_a_run_and_its_copy_has_four_equal_cells(workplace: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(workplace / "runs/latest", tmp_path / "copy")
    done = skinaudit(
        "transfer", "runs/latest", str(copied), "--attack", "pgd-linf-4", "--json", "--threads", "1", cwd=workplace
    )
    assert done.returncode == 0, done.stderr
    cells = json.loads(done.stdout)["cells"]
    assert cells[0][0] == cells[0][1] == cells[1][0] == cells[1][1]


def test_second_training_gets_its_own_folder_and_latest_follows(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    free = cli._free_folder("mobilenet-standard")
    assert free == Path("runs/mobilenet-standard-2")
    before = str(Path("runs/latest").readlink())
    cli._point_latest(free)
    assert str(Path("runs/latest").readlink()) == "mobilenet-standard-2"
    cli._point_latest(Path("runs") / before)
    assert str(Path("runs/latest").readlink()) == before


def test_help_names_every_command_and_examples() -> None:
    overview = CliRunner().invoke(cli.commands, ["--help"]).output
    assert "Exit codes: 0 pass, 1 fail, 2 usage or unreadable input, 3 inconclusive" in overview
    for name in cli.commands.commands:
        text = CliRunner().invoke(cli.commands, [name, "--help"]).output
        assert name in overview
        assert f"skinaudit {name}" in text.split("Usage:")[1].split("\n", 1)[1]


def test_usage_error_is_short_and_exits_2(tmp_path: Path) -> None:
    done = skinaudit("train", "--eps", "4/255", "--arch", "resnet", cwd=tmp_path)
    assert done.returncode == 2
    assert "'resnet' is not one of" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_demo_runs_the_whole_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    from skinaudit.demo import PRECISIONS, DemoSettings, run_demo
    from skinaudit.trainer.train import Reporter

    monkeypatch.setenv("SKINAUDIT_CACHE", str(tmp_path / "cache"))
    console = Console(record=True, width=100, file=(tmp_path / "out").open("w"))
    settings = DemoSettings(
        images=200, size=32, width=0.25, eps=Fraction(4), standard_epochs=1, hardened_epochs=1, hardening_steps=1
    )
    audits = run_demo(
        tmp_path / "demo", seed=0, threads=1, console=console, report=Reporter(), settings=settings,
    )  # fmt: skip
    console.file.close()
    text = console.export_text()
    assert len(audits) == 2 * len(PRECISIONS)
    assert "SYNTHETIC" in text
    for graph in ("fp32", "fp16", "int8-u8s8"):
        assert f"standard {graph}.onnx" in text
        assert f"hardened {graph}.onnx" in text
