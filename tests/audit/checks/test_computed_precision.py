from __future__ import annotations

from dataclasses import replace

import pytest

from skinaudit.audit.checks import Evidence, Severity
from skinaudit.audit.checks.computed_precision import check
from skinaudit.audit.evidence.computed_precision import ComputedPrecision


def computed(honest: Evidence, *figures: float, unseen: str | None = None) -> Evidence:
    return replace(honest, computed_precision=ComputedPrecision("fp16", 64, *figures, unseen=unseen))


DAMAGES = {
    "answers of fp32": lambda honest: computed(honest, 1e-7, 3e-4),
    "nothing to compare with": lambda honest: computed(honest, unseen="no set holds the source's logits"),
}


@pytest.mark.parametrize(
    ("engine", "emulated", "severity", "words"),
    [
        (1e-7, 3e-4, Severity.FAIL, "fp16 was asked for, and the engine answers as fp32 does"),
        (2.9e-5, 3e-4, Severity.FAIL, "lie 3e-05 of their range"),
        (3.1e-5, 3e-4, Severity.NOTE, "rounds as fp16 does"),
        (1e-3, 3e-4, Severity.NOTE, "an emulation of fp16 3e-04"),
        (1e-7, 5e-7, Severity.INCONCLUSIVE, "fp16 changes nothing here"),
    ],
)
def test_the_rounding_tells_the_precision(
    honest: Evidence, engine: float, emulated: float, severity: Severity, words: str
) -> None:
    (finding,) = check(computed(honest, engine, emulated))
    assert finding.severity is severity
    assert words in finding.text


def test_what_could_not_be_compared_is_no_proof(honest: Evidence) -> None:
    (finding,) = check(computed(honest, unseen="no onnxruntime"))
    assert finding.severity is Severity.INCONCLUSIVE
    assert finding.text.endswith("nothing shows it: no onnxruntime")
    assert list(check(honest)) == []
