"""The examples run without changes, as examples/README.md says; 04 is tried in tests/commands/library/test_library.py."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest
from PIL import Image

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def run(monkeypatch: pytest.MonkeyPatch, name: str, *arguments: str) -> None:
    example = EXAMPLES / name
    monkeypatch.setattr(sys, "argv", [str(example), *arguments])
    runpy.run_path(str(example), run_name="__main__")


def test_a_set_becomes_a_picture(tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (name,) = (path.stem for path in (tiny_run / "sets").glob("pgd-dlr-*.safetensors"))
    run(monkeypatch, "02_look_at_a_set.py", str(tiny_run), name, str(tmp_path / "look.png"))
    with Image.open(tmp_path / "look.png") as picture:
        assert picture.format == "PNG"
        assert len(picture.getcolors(2**24) or []) > 100


def test_a_script_reads_a_report(
    audited_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = next((audited_run / "audits").glob("*.json"))
    report = json.loads(path.read_text())
    run(monkeypatch, "03_read_a_report.py", str(path))
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == f"{report['verdict']} - {report['reason']}"
    verdicts = [gate["judgement"]["verdict"] for gate in report["gates"] if gate["rule"] == "drop"]
    assert [line.rpartition(" points: ")[2] for line in lines] == verdicts

    report["sets"][0]["comparison"]["drop"] = None
    (tmp_path / "report.json").write_text(json.dumps(report))
    run(monkeypatch, "03_read_a_report.py", str(tmp_path / "report.json"))
    assert capsys.readouterr().out.splitlines()[1].endswith("compared with nothing")
