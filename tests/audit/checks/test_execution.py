from __future__ import annotations

from dataclasses import replace

import pytest

from skinaudit.audit.checks import Evidence, Severity
from skinaudit.audit.checks.execution import check
from skinaudit.audit.evidence.half_precision import HalfPrecision


def computed(honest: Evidence, found: dict[str, int], executed: dict[str, int] | None) -> Evidence:
    return replace(honest, engine=replace(honest.engine, found=found, executed=executed))


DAMAGES = {
    "fp16 computed in fp32": lambda honest: computed(honest, {"fp16": 28}, {"fp32": 28}),
    "the emulation overflows": lambda honest: replace(honest, half_precision=HalfPrecision("fp16", 64, 3)),
    "no emulation": lambda honest: replace(honest, half_precision=HalfPrecision("fp16", unseen="no onnxruntime")),
}


def test_a_file_computed_in_another_precision_than_written_is_a_warning(honest: Evidence) -> None:
    (finding,) = check(computed(honest, {"fp16": 28}, {"fp32": 28}))
    assert finding.severity is Severity.WARNING
    assert "fp16 in 28" in finding.text
    assert "fp32 in 28" in finding.text
    assert list(check(computed(honest, {"int8": 27, "fp32": 1}, {"fp32": 1, "int8": 27}))) == []
    assert list(check(computed(honest, {"fp16": 28}, None))) == []


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
