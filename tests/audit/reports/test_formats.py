"""What holds for every format, also for one that is added tomorrow."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from skinaudit.audit import reports
from skinaudit.audit.judgement.result import AuditResult
from skinaudit.errors import InvalidInputError

FOLDER = Path(reports.__file__).parent


def test_every_file_is_a_format() -> None:
    assert {path.stem.rstrip("_") for path in FOLDER.glob("*.py")} - {""} - {"__init"} == set(reports.names())
    assert {"json", "junit", "markdown", "sarif", "terminal"} <= set(reports.names())


@pytest.mark.parametrize("name", reports.names())
def test_a_format_tells_the_verdict_of_any_audit_and_ends_its_last_line(name: str, audits: dict[str, AuditResult]) -> None:
    for result in audits.values():
        text = reports.render(name, result)
        assert result.verdict.value in text
        assert result.engine.name in text
        assert text.endswith("\n")
        assert text == reports.render(name, replace(result))


def test_an_unknown_format_is_told_which_there_are() -> None:
    with pytest.raises(InvalidInputError, match=r"report format 'pdf': choose one of .*json, junit, markdown, sarif"):
        reports.render("pdf", None)  # type: ignore[arg-type]
