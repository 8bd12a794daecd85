from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from linear_run import change_inputs

from skinaudit.artifacts.external import ExternalSets
from skinaudit.artifacts.pictures import STATISTICS
from skinaudit.audit.checks import Evidence, Severity
from skinaudit.audit.checks.external_images import check
from skinaudit.audit.evidence.external import ExternalImages
from skinaudit.audit.figures.external import ExternalResult, looks

DESCRIBED = ExternalSets("hospital-b", "Hospital B", "sha256:0", {}, {}, {})


def external(honest: Evidence, *, shift: float = 0.0, **changes: Any) -> Evidence:
    own = np.random.default_rng(0).normal(100, 10, (300, len(STATISTICS))).astype(np.float32)
    there = np.random.default_rng(1).normal(100 + shift, 10, (300, len(STATISTICS))).astype(np.float32)
    images = ExternalImages(DESCRIBED, False, "A", True, 0, 0, 0, (), there, own)
    result = ExternalResult("hospital-b", "Hospital B", "A", 0.95, (), looks(own, there, confidence=0.95))
    return replace(change_inputs(honest, recorded=None, external=replace(images, **changes)), external=result)


DAMAGES = {
    "training images": lambda honest: external(honest, trained_on=3),
    "images of the own test": lambda honest: external(honest, tested_on=3),
    "no run": lambda honest: external(honest, run_dataset=None),
    "a run of an earlier version": lambda honest: external(honest, recorded=False),
    "names of the run's images": lambda honest: external(honest, same_names=4),
    "another camera": lambda honest: external(honest, shift=15),
}
INCONCLUSIVE, WARNING = Severity.INCONCLUSIVE, Severity.WARNING
SEVERITIES = (INCONCLUSIVE, INCONCLUSIVE, INCONCLUSIVE, WARNING, WARNING, WARNING)


@pytest.mark.parametrize(("damage", "severity"), [*zip(DAMAGES, SEVERITIES, strict=True)])
def test_what_the_run_has_seen_forbids_a_pass(honest: Evidence, damage: str, severity: Severity) -> None:
    assert [finding.severity for finding in check(DAMAGES[damage](honest))] == [Severity.NOTE, severity]


def test_other_images_that_look_the_same_are_only_named(honest: Evidence) -> None:
    assert [finding.rule for finding in check(external(honest))] == ["external"]
    foreign = external(honest, foreign=True, run_dataset=None, recorded=False)
    assert [finding.rule for finding in check(foreign)] == ["external"]
