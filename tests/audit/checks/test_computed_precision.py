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
    "another precision": lambda honest: computed(honest, 3e-4, 3e-4, 0.0),
    "nothing to compare with": lambda honest: computed(honest, unseen="no set contains the source's logits"),
}


@pytest.mark.parametrize(
    ("engine", "emulated", "correlation", "severity", "words"),
    [
        (1e-7, 3e-4, 0.0, Severity.FAIL, "fp16 was requested, but the engine is too close to fp32"),
        (2.9e-5, 3e-4, 1.0, Severity.FAIL, "differ from the source's by 0.003% of their range"),
        (3.1e-5, 3e-4, 1.0, Severity.INCONCLUSIVE, "the rounding errors are too small for fp16"),
        (7.4e-5, 3e-4, 1.0, Severity.INCONCLUSIVE, "the rounding errors are too small for fp16"),
        (7.6e-5, 3e-4, 1.0, Severity.NOTE, "match fp16"),
        (3e-4, 3e-4, 0.31, Severity.NOTE, "the correlation of these errors is 0.31"),
        (3e-4, 3e-4, 0.29, Severity.INCONCLUSIVE, "the engine may compute in a different precision"),
        (3e-4, 3e-4, -1.0, Severity.INCONCLUSIVE, "the rounding errors do not match fp16"),
        (1.1e-3, 3e-4, 0.9, Severity.NOTE, "an emulation of fp16 by 0.03% of their range"),
        (1.3e-3, 3e-4, 0.9, Severity.INCONCLUSIVE, "the rounding errors are too large for fp16"),
        (1e-7, 5e-7, 1.0, Severity.INCONCLUSIVE, "fp16 makes no visible difference here"),
    ],
)
def test_the_rounding_tells_the_precision(
    honest: Evidence, engine: float, emulated: float, correlation: float, severity: Severity, words: str
) -> None:
    (finding,) = check(computed(honest, engine, emulated, correlation))
    assert finding.severity is severity
    assert words in finding.text


def test_what_could_not_be_compared_is_no_proof(honest: Evidence) -> None:
    (finding,) = check(computed(honest, unseen="no onnxruntime"))
    assert finding.severity is Severity.INCONCLUSIVE
    assert finding.text.endswith("so fp16 is not proved: no onnxruntime")
    assert list(check(honest)) == []
