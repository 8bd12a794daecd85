from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from linear_run import CONTRACT, change_inputs, change_set

from skinaudit.audit.checks import Evidence, Severity
from skinaudit.audit.checks.fidelity import EXPLAINED, check
from skinaudit.audit.evidence.halved_reference import HalvedAnswers
from skinaudit.audit.figures.drift import Drift, measure_drift
from skinaudit.engines.half import HALVES
from skinaudit.errors import InvalidInputError
from skinaudit.export.precision import PRECISIONS

LABELS = np.arange(1400) % 7


def drifted(noise: float) -> Drift:
    """Of a set whose logit margins are 1 and whose leads move by about `noise`."""
    source = np.eye(7, dtype=np.float32)[LABELS]
    moved = source + np.random.default_rng(0).normal(0, noise, source.shape).astype(np.float32)
    return measure_drift(source, moved, labels=LABELS, groups=np.arange(1400), contract=CONTRACT)


def moved(honest: Evidence, asked: Any, noise: float) -> Evidence:
    return change_inputs(change_set(honest, 1, drift=drifted(noise)), asked=asked)


DAMAGES = {"another function": lambda honest: moved(honest, "fp32", 1e-2)}


@pytest.mark.parametrize(
    ("asked", "noise", "odd"),
    [("fp32", 1e-5, False), ("fp32", 1e-2, True), ("fp16", 1e-2, False), ("fp16", 0.1, True), ("int8", 0.1, False),
     ("int8", 1.0, True)],
)  # fmt: skip
def test_logits_further_away_than_the_precision_explains(honest: Evidence, asked: str, noise: float, odd: bool) -> None:
    assert [finding.severity for finding in check(moved(honest, asked, noise))] == [Severity.INCONCLUSIVE] * odd


def halved(honest: Evidence, *, engine: float, rounding: float, executed: str) -> Evidence:
    """An fp16 engine whose leads move by about `engine`, where those of its reference in fp16 move by about `rounding`."""
    source = np.eye(7, dtype=np.float32)[LABELS]
    noise = np.random.default_rng(0).normal(0, 1, source.shape).astype(np.float32)
    answers = HalvedAnswers("pgd", source, source + engine * noise, source + rounding * noise)
    description = replace(honest.engine, executed={executed: 28})
    return change_inputs(replace(honest, halved_reference=(answers,), engine=description), asked="fp16")


@pytest.mark.parametrize(
    ("engine", "rounding", "executed", "odd"),
    [(0.004, 0.006, "fp32", False), (0.02, 0.006, "fp32", True), (0.06, 0.08, "fp32", False), (0.02, 0.006, "fp16", False),
     (0.06, 0.006, "fp16", True)],
)  # fmt: skip
def test_half_precision_explains_what_it_does_to_the_reference(
    honest: Evidence, engine: float, rounding: float, executed: str, odd: bool
) -> None:
    findings = list(check(halved(honest, engine=engine, rounding=rounding, executed=executed)))
    assert [finding.severity for finding in findings] == [Severity.INCONCLUSIVE] * odd


def test_openvino_quantises_otherwise(honest: Evidence) -> None:
    far = moved(honest, "int8", 1.0)
    assert list(check(far))
    assert not list(check(replace(far, engine=replace(far.engine, runtime="openvino"))))


def test_a_precision_without_a_bound_is_an_error(honest: Evidence) -> None:
    with pytest.raises(InvalidInputError, match=r"subject\.onnx: precision 'whim' has no known bound"):
        list(check(moved(honest, "whim", 0.0)))


def test_every_precision_that_is_exported_has_a_bound() -> None:
    assert {name.partition("-")[0] for name in PRECISIONS} <= set(EXPLAINED)
    assert set(HALVES) <= set(EXPLAINED)
