from __future__ import annotations

import io
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from skinaudit.audit.audit import audit_engine
from skinaudit.audit.judgement.result import AuditResult
from skinaudit.audit.reports.json_ import to_json
from skinaudit.audit.reports.parts.transfer_table import print_transfer
from skinaudit.audit.reports.terminal import print_audit
from skinaudit.audit.transfer import transfer_matrix

pytestmark = pytest.mark.usefixtures("opened")


def shown(show: Any, value: Any, *, width: int = 80) -> str:
    stream = io.StringIO()
    show(value, Console(file=stream, width=width))
    return stream.getvalue()


@pytest.fixture
def result(tmp_path: Path, lab: SimpleNamespace) -> AuditResult:
    return audit_engine(lab.plant(tmp_path / "run", settings={"fault": "rare"}).engine)


def test_json_round_trip_keeps_every_figure_and_order(result: AuditResult) -> None:
    value = to_json(result)
    text = json.dumps(value, allow_nan=False)
    assert json.loads(text) == value
    assert next(iter(value)) == "kind"
    assert value["kind"] == "skinaudit-audit/2"
    assert value["verdict"] == result.verdict.value
    attacked = value["sets"][1]["comparison"]
    drop = result.sets[1].comparison.drop
    assert drop is not None
    assert attacked["drop"]["interval"] == {"low": drop.interval.low, "high": drop.interval.high}
    assert attacked["classes"][0]["name"] == "mel"
    assert value["sets"][0]["comparison"]["attack_success"] is None
    assert json.dumps(to_json(result)) == text


def test_json_of_a_transfer_matrix(tmp_path: Path, lab: SimpleNamespace) -> None:
    matrix = transfer_matrix([lab.plant(tmp_path / "a").run, lab.plant(tmp_path / "b", seed=9).run])
    value = to_json(matrix)
    assert value["kind"] == "skinaudit-transfer/1"
    assert value["cells"][0][1]["accuracy"] == matrix.cells[0][1].accuracy


def test_terminal_report_fits_and_breaks_no_word(result: AuditResult) -> None:
    text = shown(print_audit, result)
    lines = text.splitlines()
    assert max(len(line.rstrip()) for line in lines) <= 80
    assert "…" not in text
    assert "\x1b" not in text
    assert lines[0].startswith("SYNTHETIC")
    assert "fp32 found in 1 of 1 layers" in text
    assert "lineage complete   white-box" in text
    assert any(line.startswith("FAIL: ") for line in lines[-3:])
    for entry in result.sets:
        judgement = result.judgement_of(entry.title)
        assert judgement is not None
        drop = entry.comparison.drop
        assert drop is not None
        line = next(line for line in lines if line.startswith(entry.title))
        assert line.rstrip().endswith(f"1.0  {judgement.verdict.value}")
        assert f"{100 * drop.value:+.1f} [" in line
    assert "melanoma" in text
    assert "always mel: accuracy 14.3%, balanced 14.3% (over 7 classes)" in text
    for finding in result.findings:
        assert finding.severity.value in text


def test_terminal_report_names_a_missing_control_in_its_head(tmp_path: Path, lab: SimpleNamespace) -> None:
    planted = lab.plant(tmp_path, settings={})
    planted.reference.unlink()
    assert (
        "control: not run, reference missing (fp32.onnx)"
        in shown(print_audit, audit_engine(planted.engine)).splitlines()[:5]
    )


def test_terminal_report_marks_transfer_and_what_was_not_compared(tmp_path: Path, lab: SimpleNamespace) -> None:
    planted = lab.plant(tmp_path / "this", settings={})
    planted.reference.unlink()
    other_run = lab.plant(tmp_path / "other", seed=9)
    text = shown(print_audit, audit_engine(planted.engine, sets=other_run.run / "sets"))
    assert "   transfer   " in text
    assert "pgd linf 24/255 *" in text
    assert "not compared" in text
    assert "INCONCLUSIVE: control not run" in text


def test_transfer_report(tmp_path: Path, lab: SimpleNamespace) -> None:
    runs = [lab.plant(tmp_path / "mobilenet").run, lab.plant(tmp_path / "vgg16", seed=9).run]
    matrix = transfer_matrix(runs)
    lines = shown(print_transfer, matrix).splitlines()
    assert max(len(line.rstrip()) for line in lines) <= 80
    cell = matrix.cells[1][0]
    for first, value, interval in ((3, cell.accuracy, cell.interval), (9, cell.balanced, cell.balanced_interval)):
        assert lines[first + 1].split() == ["crafted", "on", "\\", "tested", "on", "mobilenet", "vgg16"]
        assert [line.split()[0] for line in lines[first + 2 : first + 5]] == ["clean", "mobilenet", "vgg16"]
        assert f"{100 * value:.1f} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]" in lines[first + 4]
        assert interval.low < value < interval.high


def test_colour_only_where_the_console_has_it(result: AuditResult) -> None:
    stream = io.StringIO()
    print_audit(result, Console(file=stream, width=80, force_terminal=True, color_system="standard", no_color=False))
    assert "\x1b[1;31mFAIL" in stream.getvalue()


def test_many_classes_have_a_row_each(result: AuditResult, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skinaudit.audit.reports.parts.terminal_tables.MANY_CLASSES", 3)
    table = shown(print_audit, result, width=160).split("sensitivity, %, source -> engine")[1]
    for row in result.sets[0].comparison.classes:
        (line,) = re.findall(rf"^{row.name} .*", table, re.MULTILINE)
        assert line.split()[1] == f"{row.engine.count:,}"
        assert line.count("->") == len(result.sets)
