"""The command line as a user types it, in an empty folder."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
from click.testing import CliRunner
from command_line import in_process, remarks

from skinaudit import cli
from skinaudit.commands.library import run_folders
from skinaudit.tests.journey import Journey
from skinaudit.tests.processes import ADOPTS, PATIENCE, Start, members, still_running

ROOT = Path(__file__).resolve().parents[1]


def skinaudit(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the program as its own process."""
    return subprocess.run(
        [sys.executable, "-m", "skinaudit.cli", *arguments],
        cwd=cwd, capture_output=True, text=True, timeout=500, env={**os.environ, **environment}, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def workplace(journey: Journey, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the user's three commands have run, small."""
    folder = tmp_path_factory.mktemp("workplace") / "work"
    return Path(shutil.copytree(journey.place.folder / "work", folder, symlinks=True))


def test_three_commands(workplace: Path) -> None:
    process = skinaudit("audit", "runs/latest/engines/fp16.onnx", "--threads", "1", cwd=workplace)
    report = json.loads((workplace / "runs/latest/audits/fp16.onnx.json").read_text())
    assert process.returncode == {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 3}[report["verdict"]]
    assert process.stdout.startswith("SYNTHETIC images")
    assert f"\n{report['verdict']}" in process.stdout
    assert [entry["title"] for entry in report["sets"]] == ["clean", "fgsm linf 4/255", "pgd-dlr linf 4/255"]
    assert report["description"]["found"].keys() == {"fp16"}
    assert remarks(process.stderr) == []


def test_report_on_stdout_is_the_file(workplace: Path) -> None:
    process = in_process("audit", "runs/latest/engines/fp16.onnx", "--json", "--threads", "1", cwd=workplace)
    assert process.stdout == (workplace / "runs/latest/audits/fp16.onnx.json").read_text()


def test_one_audit_in_many_forms_at_once_and_later(workplace: Path) -> None:
    engine, audits = "runs/latest/engines/fp16.onnx", workplace / "runs/latest/audits"
    options = ["--report", "junit=reports/audit.xml", "--report", "sarif=reports/audit.sarif", "--report", "markdown=-"]
    process = in_process("audit", engine, *options, "-o", "kept.json", "--threads", "1", cwd=workplace)
    report = json.loads((workplace / "kept.json").read_text())
    assert process.returncode == {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 3}[report["verdict"]]
    assert process.stdout.startswith(f"## {report['verdict']}: {engine}".replace("_", r"\_"))
    assert sorted(path.name for path in (workplace / "reports").iterdir()) == ["audit.sarif", "audit.xml"]
    later = in_process("report", "kept.json", "--report", "markdown=-", "--report", "junit=later.xml", cwd=workplace)
    assert (later.returncode, later.stdout, later.stderr) == (0, process.stdout, "")
    assert (workplace / "later.xml").read_bytes() == (workplace / "reports" / "audit.xml").read_bytes()
    again = in_process("report", "kept.json", "--report", "json=-", cwd=workplace)
    assert again.stdout == (workplace / "kept.json").read_text()
    tables = in_process("report", "kept.json", cwd=workplace)
    assert tables.returncode == 0
    plain = in_process("report", "kept.json", "--report", "terminal=-", cwd=workplace).stdout
    assert [line.rstrip() for line in tables.stdout.splitlines()] == plain.splitlines()
    assert f"\n{report['verdict']}: " in tables.stdout
    (workplace / "kept.json").write_text("{}")
    for arguments, message in (
        (["audit", engine, "--report", "junit"], "--report junit: write FORMAT=FILE, such as junit=audit.xml"),
        (["audit", engine, "--report", "pdf=x"], "report format 'pdf': choose one of"),
        (["audit", engine, "--report", "json=-", "--json"], "--json: a --report is already written to standard output"),
        (["audit", engine, "--report", f"json={audits / 'fp16.onnx.json'}"], "something else goes to"),
        (["report", "kept.json"], "kept.json: kind should be skinaudit-audit/2, found null"),
        (["report", "absent.json"], "absent.json: no such JSON report of an audit"),
    ):
        wrong = in_process(*arguments, cwd=workplace)
        assert wrong.returncode == 2
        assert message in wrong.stderr
        assert len(wrong.stderr.splitlines()) == 1


def test_several_engines_at_once_and_compared_later(workplace: Path) -> None:
    engines = workplace / "runs/latest/engines"
    names = sorted(path.name for path in engines.iterdir() if ".onnx" in path.name)  # a plan may lie there, too
    assert {"fp16.onnx", "fp16.onnx.json", "fp32.onnx"} <= set(names)
    paths = [f"runs/latest/engines/{name}" for name in names]
    process = in_process("audit", *paths, "--json", "-o", "many/{engine}.json", cwd=workplace)
    assert "skipped runs/latest/engines/fp16.onnx.json: a manifest or a report" in process.stderr.splitlines()
    lineup = json.loads(process.stdout)
    verdicts = {entry["label"]: entry["verdict"] for entry in lineup["entries"]}
    assert verdicts.keys() == {"fp16.onnx", "fp32.onnx"}
    assert process.returncode == (1 if "FAIL" in verdicts.values() else 3 if "INCONCLUSIVE" in verdicts.values() else 0)
    for name, verdict in verdicts.items():
        assert json.loads((workplace / "many" / f"{name}.json").read_text())["verdict"] == verdict
    audits = [f"many/{label}.json" for label in verdicts]
    compared = in_process("compare", *audits, "--json", cwd=workplace)
    assert (compared.returncode, compared.stderr, json.loads(compared.stdout)) == (0, "", lineup)
    marked = in_process("compare", *audits, "--report", "markdown=-", "--report", "html=all.html", cwd=workplace)
    assert marked.stdout.startswith("## Audits\n")
    assert (workplace / "all.html").read_text().startswith("<!DOCTYPE html>")
    assert in_process("compare", *audits, cwd=workplace).stdout.startswith("engine ")
    for arguments, message in (
        (["compare", "runs/latest/run.json"], "run.json: kind should be skinaudit-audit/2"),
        (["compare", *audits, "--report", "junit=x"], "report format 'junit': choose one of html, json, markdown, terminal"),
        (["audit", *paths, "--report", "junit=x.xml"], "--report junit=x.xml: several engines would write to one place"),
        (["audit", f"{paths[0]}.json", f"{paths[0]}.json"], "none of the 2 files is an engine"),
    ):
        wrong = in_process(*arguments, cwd=workplace)
        assert (wrong.returncode, wrong.stdout) == (2, "")
        assert message in wrong.stderr.splitlines()[-1]
        assert "Traceback" not in wrong.stderr


def test_an_engine_that_cannot_be_audited_is_a_row_and_exit_code_2(workplace: Path, tmp_path: Path) -> None:
    engine = "runs/latest/engines/fp16.onnx"
    shutil.copy(workplace / engine, tmp_path / "bare.onnx")
    arguments = [engine, str(tmp_path / "bare.onnx"), "--report", "junit=rows/{engine}.xml", "--threads", "1"]
    process = in_process("audit", *arguments, cwd=workplace)
    assert process.returncode == 2
    assert re.search(r"^\d of 2  bare\.onnx  ERROR  .*no manifest beside it", process.stderr, re.MULTILINE)
    assert [line.split()[0] for line in process.stdout.splitlines() if " ERROR " in line] == ["bare.onnx"]
    assert [path.name for path in (workplace / "rows").iterdir()] == ["fp16.onnx.xml"]


def test_a_baseline_on_the_command_line(workplace: Path) -> None:
    engine = "runs/latest/engines/fp32.onnx"
    first = in_process("audit", engine, "-o", "last.json", "--threads", "1", cwd=workplace)
    process = in_process("audit", engine, "--baseline", "last.json", "-o", "next.json", "--threads", "1", cwd=workplace)
    assert "\nbaseline runs/latest/engines/fp32.onnx of run " in process.stdout
    assert process.returncode == first.returncode
    assert json.loads((workplace / "next.json").read_text())["baseline"]["sets"][0]["title"] == "clean"
    onto = in_process("audit", engine, "--baseline", "last.json", "-o", "last.json", cwd=workplace)
    assert onto.returncode == 2
    assert "its report would go to last.json, which is in use" in onto.stderr
    own = in_process("audit", engine, "--baseline-own-sets", "-o", "next.json", "--threads", "1", cwd=workplace)
    assert (own.returncode, own.stdout) == (2, "")
    assert own.stderr.splitlines()[-1].endswith("says how to compare with an earlier audit; name one with --baseline")


def test_a_run_that_cannot_be_written_to_gets_its_verdict(workplace: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(workplace / "runs/latest", tmp_path / "run"))
    shutil.rmtree(run / "audits", ignore_errors=True)
    (run / "audits").write_text("a file where the folder would be: nobody can write below it, not even root")
    engine, options = "run/engines/fp16.onnx", ["--threads", "1", "--seed", "0", "-o", "kept.json"]
    expected = in_process("audit", engine, *options, cwd=tmp_path)
    report = json.loads((tmp_path / "kept.json").read_text())
    assert expected.returncode == {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 3}[report["verdict"]]
    process = in_process("audit", engine, "--threads", "1", "--seed", "0", cwd=tmp_path)
    (line,) = remarks(process.stderr)
    assert line.startswith("run/audits/fp16.onnx.json: cannot be written, so this audit leaves no JSON report; --output")
    assert process.returncode == expected.returncode
    assert without_rates(process.stdout) == without_rates(expected.stdout.replace("report: kept.json\n", ""))
    printed = json.loads(in_process("audit", engine, "--json", "--threads", "1", "--seed", "0", cwd=tmp_path).stdout)
    assert printed["verdict"] == report["verdict"]
    several = in_process("audit", engine, "run/engines/fp32.onnx", cwd=tmp_path)
    assert several.returncode != 2
    assert sum("leaves no JSON report" in line for line in several.stderr.splitlines()) == 2
    for place in (["-o", "run/audits/a.json"], ["--report", "junit=run/audits/a.xml"]):
        refused = in_process("audit", engine, *place, cwd=tmp_path)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert refused.stderr == f"skinaudit: {' '.join(place).replace('-o', '--output')}{REFUSED[place[0]]}\n"


REFUSED = {
    "-o": ": cannot be written; choose another file",
    "--report": ": run/audits/a.xml cannot be written; choose another file",
}


def without_rates(text: str) -> str:
    """Without what the clock says."""
    return re.sub(r"[\d,]+ (images|queries)/s", "", text)


def test_the_advice_where_there_is_no_run_is_one_that_works(tmp_path: Path) -> None:
    process = in_process("export", cwd=tmp_path)
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr.startswith("skinaudit: no finished run here; train one with `skinaudit train`, or name the folder")


@pytest.mark.skipif(not ADOPTS, reason="processes are looked for in /proc")
def test_an_interrupt_ends_every_audit_and_leaves_nothing_half_written(workplace: Path, start: Start) -> None:
    paths = ["runs/latest/engines/fp16.onnx", "runs/latest/engines/fp32.onnx", "absent.onnx"]
    arguments = ["--probe", "square", "--probe-queries", "100000", "-o", "stopped/{engine}.json", "--jobs", "3"]
    running = start(
        [sys.executable, "-m", "skinaudit.cli", "audit", *paths, *arguments, "--threads", "1"],
        cwd=workplace, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert running.stderr is not None
    first = running.stderr.readline()  # the file that is not there is told soon; the others attack for minutes
    audits = members(running.pid)
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does
    out, errors = running.communicate(timeout=PATIENCE)
    assert first.startswith("1 of 3  absent.onnx  ERROR  ")
    assert (running.returncode, out) == (130, "")
    (line,) = remarks(errors.strip())
    assert line.startswith("skinaudit: interrupted; no partial file was left")
    assert not (workplace / "stopped").exists()
    assert len(audits) >= 3  # the command and its two audits
    assert still_running(audits | members(running.pid)) == {}


def test_attack_adds_a_set_that_the_audit_finds(workplace: Path) -> None:
    settings = ("--attack", "pgd", "--norm", "l2", "--eps", "64/255", "--steps", "3", "--threads", "1")
    process = in_process("attack", "runs/latest", *settings, cwd=workplace)
    assert process.returncode == 0, process.stderr
    audited = in_process("audit", "runs/latest/engines/fp16.onnx", "--json", "--threads", "1", cwd=workplace)
    assert "pgd l2 64/255" in [entry["title"] for entry in json.loads(audited.stdout)["sets"]]


def test_transfer_matrix_of_a_run_and_its_copy_has_four_equal_cells(workplace: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(workplace / "runs/latest", tmp_path / "copy")
    process = in_process(
        "transfer", "runs/latest", str(copied), "--attack", "pgd-dlr-linf-4", "--json", "--threads", "1", cwd=workplace
    )
    assert process.returncode == 0, process.stderr
    cells = json.loads(process.stdout)["cells"]
    assert cells[0][0] == cells[0][1] == cells[1][0] == cells[1][1]


def test_second_training_gets_its_own_folder_and_latest_follows(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    free = run_folders.free_folder("mobilenet-standard")
    assert free == Path("runs/mobilenet-standard-2")
    before = str(Path("runs/latest").readlink())
    run_folders.point_latest(free)
    assert str(Path("runs/latest").readlink()) == "mobilenet-standard-2"
    run_folders.point_latest(Path("runs") / before)
    assert str(Path("runs/latest").readlink()) == before


def test_help_names_every_command_and_examples() -> None:
    overview = CliRunner().invoke(cli.commands, ["--help"]).output
    assert "Exit codes: 0 PASS, 1 FAIL, 2 usage error" in overview
    for name in cli.commands.commands:
        text = CliRunner().invoke(cli.commands, [name, "--help"]).output
        assert name in overview
        assert f"skinaudit {name}" in text.split("Usage:")[1].split("\n", 1)[1]


def test_usage_error_is_short_and_exits_2(tmp_path: Path) -> None:
    process = in_process("train", "--eps", "4/255", "--arch", "resnet", cwd=tmp_path)
    assert process.returncode == 2
    assert "'resnet' is not one of" in process.stderr
    assert "Traceback" not in process.stderr


def test_the_end_is_not_spent_on_a_search_for_garbage() -> None:
    code = "import atexit, gc; atexit.register(lambda: print(gc.get_freeze_count())); from skinaudit import cli; cli.main()"
    process = subprocess.run([sys.executable, "-c", code, "--version"], capture_output=True, text=True, check=True)
    assert int(process.stdout.splitlines()[-1]) > 1000


@pytest.mark.slow
def test_demo_runs_the_whole_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    from skinaudit.commands.demo_run import PRECISIONS, DemoSettings, run_demo
    from skinaudit.trainer.reporter import Reporter

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
