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
from skinaudit.audit.figures.external import external_result

DESCRIBED = ExternalSets("hospital-b", "Hospital B", "sha256:0", {}, {}, {})


def external(honest: Evidence, *, shift: float = 0.0, **changes: Any) -> Evidence:
    own = np.random.default_rng(0).normal(100, 10, (300, len(STATISTICS))).astype(np.float32)
    external_looks = np.random.default_rng(1).normal(100 + shift, 10, (300, len(STATISTICS))).astype(np.float32)
    images = ExternalImages(
        DESCRIBED, foreign=False, run_dataset="A", recorded=True, trained_on=0, tested_on=0, near_trained=0, near_tested=0,
        near_recorded=True, same_names=0, own_sets=(), looks=external_looks, own_looks=own,
    )  # fmt: skip
    changed = replace(images, **changes)
    result = external_result(changed, (), confidence=0.95)
    return replace(change_inputs(honest, recorded=None, external=changed), external=result)


FRAMES = {
    "own_frames": np.tile(np.array([[600, 450]], np.int32), (300, 1)),
    "frames": np.tile(np.array([[1024, 1024]], np.int32), (300, 1)),
}
DAMAGES = {
    "training images": lambda honest: external(honest, trained_on=3),
    "images of the own test": lambda honest: external(honest, tested_on=3),
    "copies of training images": lambda honest: external(honest, near_trained=3),
    "copies of the own test": lambda honest: external(honest, near_tested=1),
    "no run": lambda honest: external(honest, run_dataset=None),
    "a run of an earlier version": lambda honest: external(honest, recorded=False),
    "a run without cells": lambda honest: external(honest, near_recorded=False),
    "larger frames": lambda honest: external(honest, **FRAMES),
    "names of the run's images": lambda honest: external(honest, same_names=4),
    "another camera": lambda honest: external(honest, shift=15),
}
INCONCLUSIVE, WARNING = Severity.INCONCLUSIVE, Severity.WARNING
SEVERITIES = (*[INCONCLUSIVE] * 7, *[WARNING] * 3)


@pytest.mark.parametrize(("damage", "severity"), [*zip(DAMAGES, SEVERITIES, strict=True)])
def test_what_the_run_has_seen_forbids_a_pass(honest: Evidence, damage: str, severity: Severity) -> None:
    assert [finding.severity for finding in check(DAMAGES[damage](honest))] == [Severity.NOTE, severity]


def test_images_that_were_left_out_are_noted(honest: Evidence) -> None:
    findings = list(check(external(honest, described=replace(DESCRIBED, left_out={"near-copies": 7}))))
    assert [finding.severity for finding in findings] == [Severity.NOTE, Severity.NOTE]
    assert "7 near-copies" in findings[1].text


def test_other_images_that_look_the_same_are_only_named(honest: Evidence) -> None:
    assert [finding.rule for finding in check(external(honest))] == ["external"]
    foreign = external(honest, foreign=True, run_dataset=None, recorded=False)
    assert [finding.rule for finding in check(foreign)] == ["external"]


def test_frames_of_another_size_are_named(honest: Evidence) -> None:
    (finding,) = [candidate for candidate in check(external(honest, **FRAMES)) if candidate.rule == "external-looks"]
    assert finding.text.endswith("frame width 1,024 (training 600), frame height 1,024 (training 450)")
    same_frames = {**FRAMES, "frames": FRAMES["own_frames"]}
    assert [candidate.rule for candidate in check(external(honest, **same_frames))] == ["external"]
