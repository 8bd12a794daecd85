from __future__ import annotations

from dataclasses import replace

import pytest
from linear_run import change_inputs

from skinaudit.artifacts.manifest import BUILT_TYPED
from skinaudit.audit.checks import Evidence, Severity
from skinaudit.audit.checks.execution import check
from skinaudit.audit.evidence.half_precision import HalfPrecision


def computed(honest: Evidence, found: dict[str, int], executed: dict[str, int] | None) -> Evidence:
    return replace(honest, engine=replace(honest.engine, found=found, executed=executed))


DAMAGES = {
    "fp16 computed in fp32": lambda honest: computed(honest, {"fp16": 28}, {"fp32": 28}),
    "the emulation overflows": lambda honest: replace(honest, half_precision=HalfPrecision("fp16", 64, 3)),
    "fp32 where fp16 was asked for": lambda honest: computed(change_inputs(honest, asked="fp16"), {}, {"fp32": 28}),
    "nothing reported": lambda honest: computed(change_inputs(honest, asked="fp16"), {}, None),
    "no emulation": lambda honest: replace(honest, half_precision=HalfPrecision("fp16", unseen="no onnxruntime")),
}


def test_a_file_computed_in_another_precision_than_written_is_a_warning(honest: Evidence) -> None:
    (finding,) = check(computed(honest, {"fp16": 28}, {"fp32": 28}))
    assert finding.severity is Severity.WARNING
    assert "fp16 in 28" in finding.text
    assert "fp32 in 28" in finding.text
    assert list(check(computed(honest, {"int8": 27, "fp32": 1}, {"fp32": 1, "int8": 27}))) == []


@pytest.mark.parametrize(
    ("asked", "executed", "severities"),
    [
        ("fp16", None, [Severity.INCONCLUSIVE]),
        ("fp16", {}, [Severity.INCONCLUSIVE]),
        ("bf16", {"unknown": 20}, [Severity.INCONCLUSIVE]),
        ("fp16", {"fp16": 10, "unknown": 10}, [Severity.INCONCLUSIVE]),
        ("int8", None, [Severity.INCONCLUSIVE]),
        ("fp16", {"fp32": 20}, [Severity.FAIL]),
        ("fp16", {"fp32": 10, "fp16": 10}, [Severity.FAIL]),
        ("fp16", {"fp32": 12, "unknown": 8}, [Severity.FAIL]),
        ("int8", {"fp32": 20}, [Severity.FAIL]),
        ("fp32", {"fp16": 20}, [Severity.FAIL]),
        ("fp16", {"fp16": 19, "fp32": 1}, [Severity.NOTE]),
        ("fp16", {"fp16": 20}, []),
        ("fp32", {"fp32": 20}, []),
        ("fp32", None, []),
    ],
)
def test_a_plan_computes_what_its_runtime_reports(
    honest: Evidence, asked: str, executed: dict[str, int] | None, severities: list[Severity]
) -> None:
    """It has no types of its own, and what was typed when it was built proves nothing of the file."""
    built = change_inputs(honest, asked=asked, found={asked: 28}, settings={"found_in": BUILT_TYPED})
    findings = list(check(computed(built, {}, executed)))
    assert [finding.severity for finding in findings] == severities
    if Severity.INCONCLUSIVE in severities:
        assert findings[0].text.startswith("precision not reported by the runtime")


@pytest.mark.parametrize(
    ("asked", "severities"),
    [("fp16", [Severity.NOTE]), ("bf16", [Severity.NOTE]), ("int8", [Severity.WARNING]), ("fp32", [])],
)
def test_a_typed_file_can_be_audited_where_the_runtime_reports_nothing(
    honest: Evidence, asked: str, severities: list[Severity]
) -> None:
    findings = list(check(computed(change_inputs(honest, asked=asked, found={asked: 28}), {asked: 28}, None)))
    assert [finding.severity for finding in findings] == severities
    assert all(f"the file itself has {asked} in 28 layers" in finding.text for finding in findings)


@pytest.mark.parametrize(
    ("half", "severity", "words"),
    [
        (HalfPrecision("fp16", 64, 0, 0, ()), Severity.NOTE, "answers 0 of 64 images otherwise"),
        (HalfPrecision("bf16", 64, 0, 2, ()), Severity.INCONCLUSIVE, "answers 2 of 64 images otherwise"),
        (HalfPrecision("fp16", 64, 3, 0, ("noise",)), Severity.FAIL, "NaN or infinity on 3 of 64 images"),
        (HalfPrecision("fp16", 64, 0, 0, ("noise", "white")), Severity.INCONCLUSIVE, "a frame that is noise, white"),
        (HalfPrecision("fp16", unseen="no onnxruntime"), Severity.INCONCLUSIVE, "did not run: no onnxruntime"),
    ],
)
def test_an_overflow_anywhere_is_no_pass(honest: Evidence, half: HalfPrecision, severity: Severity, words: str) -> None:
    (finding,) = check(replace(honest, half_precision=half))
    assert finding.severity is severity
    assert words in finding.text
