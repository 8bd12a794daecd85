from __future__ import annotations

from dataclasses import replace

import pytest
from linear_run import change_inputs

from skinaudit.artifacts.manifest import BUILT_TYPED
from skinaudit.audit.checks import Evidence, Severity
from skinaudit.audit.checks.execution import check
from skinaudit.audit.evidence.computed_precision import ComputedPrecision
from skinaudit.audit.evidence.half_precision import HalfPrecision


def computed(honest: Evidence, stored: dict[str, int], executed: dict[str, int] | None) -> Evidence:
    return replace(honest, engine=replace(honest.engine, found=stored, executed=executed))


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
        ("fp16", {"fp32": 19, "fp16": 9}, [Severity.FAIL]),
        ("fp16", {"fp32": 19, "unknown": 9}, [Severity.FAIL]),
        ("int8", {"fp32": 20}, [Severity.FAIL]),
        ("fp32", {"fp16": 20}, [Severity.FAIL]),
        ("fp32", {"fp16": 14, "fp32": 14}, [Severity.FAIL]),
        ("bf16", {"fp16": 14, "bf16": 14}, [Severity.FAIL]),
        ("fp16", {"fp16": 27, "fp32": 1}, [Severity.NOTE]),
        ("fp16", {"fp16": 20}, [Severity.NOTE]),  # 8 are fused
        ("fp16", {"fp16": 28}, []),
        ("fp16", {"fp16": 1}, [Severity.INCONCLUSIVE]),
        ("fp32", {"fp32": 28}, []),
        ("fp32", {"fp32": 12, "fp16": 1}, [Severity.NOTE]),
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
        assert findings[0].text.startswith("the runtime does not report the precision")


@pytest.mark.parametrize(
    ("asked", "executed"),
    [
        ("fp8", {"fp8": 14, "fp32": 14}),
        ("fp8", {"fp8": 13, "fp16": 15}),
        ("int8", {"int8": 10, "fp32": 18}),
        ("fp32", {"fp16": 3}),
        ("fp32", {"fp16": 3, "fp32": 2, "unknown": 1}),
    ],
)
@pytest.mark.parametrize("by_rounding", [False, True])
def test_half_of_the_layers_in_float_is_no_proof_and_no_failure(
    honest: Evidence, asked: str, executed: dict[str, int], by_rounding: bool
) -> None:
    """Builders leave depthwise layers, the first and the last one in float."""
    built = change_inputs(honest, asked=asked, found={asked: 28}, settings={"found_in": BUILT_TYPED})
    if by_rounding:
        built = replace(built, computed_precision=ComputedPrecision(asked, 64, 1e-2, 1e-2, 1.0))
    (finding,) = check(computed(built, {}, executed))
    assert finding.severity is Severity.INCONCLUSIVE
    assert finding.text.endswith(f"of 28 layers: this does not show that most layers compute in {asked}")


def test_a_report_of_few_layers_leaves_the_judgement_to_the_rounding(honest: Evidence) -> None:
    built = change_inputs(honest, asked="fp16", found={"fp16": 28}, settings={"found_in": BUILT_TYPED})
    built = replace(built, computed_precision=ComputedPrecision("fp16", 64, 1e-3, 1e-3, 1.0))
    (finding,) = check(computed(built, {}, {"fp16": 1, "fp32": 1}))
    assert finding.severity is Severity.NOTE
    assert finding.figures == {"layers": 28, "as asked": 1}
    assert "fp16 in 1, fp32 in 1 of 28 layers; the rounding errors of the outputs judge the other layers" in finding.text


@pytest.mark.parametrize(
    ("asked", "severities"),
    [("fp16", [Severity.NOTE]), ("bf16", [Severity.NOTE]), ("int8", [Severity.WARNING]), ("fp32", [])],
)
def test_a_typed_file_can_be_audited_where_the_runtime_reports_nothing(
    honest: Evidence, asked: str, severities: list[Severity]
) -> None:
    findings = list(check(computed(change_inputs(honest, asked=asked, found={asked: 28}), {asked: 28}, None)))
    assert [finding.severity for finding in findings] == severities
    assert all(f"layers in the file: {asked} in 28" in finding.text for finding in findings)


@pytest.mark.parametrize(
    ("half", "severity", "words"),
    [
        (HalfPrecision("fp16", 64, 0, 0, ()), Severity.NOTE, "predicts a different class for 0 of 64 images"),
        (HalfPrecision("bf16", 64, 0, 2, ()), Severity.INCONCLUSIVE, "predicts a different class for 2 of 64 images"),
        (HalfPrecision("fp16", 64, 3, 0, ("noise",)), Severity.FAIL, "NaN or infinity on 3 of 64 images"),
        (HalfPrecision("fp16", 64, 0, 0, ("noise", "white")), Severity.INCONCLUSIVE, "an input that is noise, white"),
        (HalfPrecision("fp16", unseen="no onnxruntime"), Severity.INCONCLUSIVE, "did not run: no onnxruntime"),
    ],
)
def test_an_overflow_anywhere_is_no_pass(honest: Evidence, half: HalfPrecision, severity: Severity, words: str) -> None:
    (finding,) = check(replace(honest, half_precision=half))
    assert finding.severity is severity
    assert words in finding.text
