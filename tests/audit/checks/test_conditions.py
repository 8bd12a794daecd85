from __future__ import annotations

from dataclasses import replace

import pytest

from skinaudit.audit.checks import Evidence, Severity
from skinaudit.audit.checks.conditions import check
from skinaudit.audit.evidence.conditions import Conditions

DAMAGES = {
    "a trigger": lambda honest: replace(honest, conditions=Conditions("e.onnx", added=("Greater", "Where"))),
    "nothing to compare with": lambda honest: replace(honest, conditions=Conditions("e.onnx", unseen="it has Where")),
    "a reference that has it too": lambda honest: replace(honest, conditions=Conditions("e.onnx", shared=("Where",))),
}


@pytest.mark.parametrize(
    ("conditions", "severity", "words"),
    [
        (Conditions("e.onnx", added=("Greater", "Where")), Severity.INCONCLUSIVE, "the graph has Greater, Where"),
        (Conditions("e.onnx", unseen="it has Where, and why"), Severity.INCONCLUSIVE, "and why: predictions may"),
        (Conditions("e.onnx", shared=("Where",)), Severity.WARNING, "engine and reference both have Where"),
        (Conditions("g.onnx", built_from=True), Severity.NOTE, "searched in g.onnx; according to the manifest"),
    ],
)
def test_what_was_found_or_could_not_be_seen_is_said(
    honest: Evidence, conditions: Conditions, severity: Severity, words: str
) -> None:
    (finding,) = check(replace(honest, conditions=conditions))
    assert finding.severity is severity
    assert words in finding.text


def test_a_foreign_engine_has_no_reference(honest: Evidence) -> None:
    assert list(check(replace(honest, conditions=None))) == []
