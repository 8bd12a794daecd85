from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from linear_run import change_inputs

from skinaudit.artifacts.attack_record import LEAD_GRADIENT, LOSS_GRADIENT, NO_GRADIENT, POINTS, AttackRecord
from skinaudit.audit.checks import Evidence, Severity
from skinaudit.audit.checks.attack_quality import check


def with_gradients(honest: Evidence, *, silent: np.ndarray, rest: int = LOSS_GRADIENT) -> Evidence:
    """The honest sets with a record in which `silent` images had no gradient and the others had `rest`."""
    (attacked,) = honest.inputs.adversarial
    count = len(attacked)
    gradient = np.where(silent, NO_GRADIENT, rest).astype(np.uint8)
    record = AttackRecord(
        gradient, np.zeros((count, POINTS), np.float32), np.zeros(count, np.int32), np.ones(count, np.float32)
    )
    return change_inputs(honest, adversarial=(replace(attacked, attack=record),))


def first(honest: Evidence, share: float) -> np.ndarray:
    labels = honest.inputs.clean.labels
    return np.arange(len(labels)) < round(share * len(labels))


def without_gain(honest: Evidence, share: float, *, steps: int) -> Evidence:
    """The clean images' logits stored for a share of the adversarial ones."""
    (attacked,) = honest.inputs.adversarial
    logits = np.where(first(honest, share)[:, None], honest.inputs.clean.source_logits, attacked.source_logits)
    info = replace(attacked.info, settings={"steps": steps})
    return change_inputs(honest, adversarial=(replace(attacked, source_logits=logits, info=info),))


def malignant_only(honest: Evidence) -> np.ndarray:
    """A tenth of the melanomas: few of all images."""
    rows = np.flatnonzero(honest.inputs.clean.labels == 0)
    return np.isin(np.arange(len(honest.inputs.clean.labels)), rows[: len(rows) // 4])


WARNING, INCONCLUSIVE = Severity.WARNING, Severity.INCONCLUSIVE
CASES: dict[str, tuple[Callable[[Evidence], Evidence], Severity]] = {
    "some silent": (lambda honest: with_gradients(honest, silent=first(honest, 0.011)), WARNING),
    "many silent": (lambda honest: with_gradients(honest, silent=first(honest, 0.06)), INCONCLUSIVE),
    "silent cancers": (lambda honest: with_gradients(honest, silent=malignant_only(honest)), INCONCLUSIVE),
    "some unmoved": (lambda honest: change_inputs(honest, spent=(1.0 - first(honest, 0.02),)), WARNING),
    "most unmoved": (lambda honest: change_inputs(honest, spent=(1.0 - first(honest, 0.6),)), INCONCLUSIVE),
    "steps that lead nowhere": (lambda honest: without_gain(honest, 0.02, steps=40), WARNING),
    "noise": (lambda honest: without_gain(honest, 0.4, steps=40), INCONCLUSIVE),
    "one step of noise": (lambda honest: without_gain(honest, 0.6, steps=1), INCONCLUSIVE),
}
DAMAGES = {name: damage for name, (damage, _) in CASES.items()}


@pytest.mark.parametrize("case", CASES)
def test_images_that_were_not_attacked_are_said_by_their_share(honest: Evidence, case: str) -> None:
    damage, severity = CASES[case]
    findings = [finding for finding in check(damage(honest)) if finding.severity is not Severity.NOTE]
    assert [(finding.severity, finding.set) for finding in findings] == [(severity, honest.sets[1].title)]


def test_what_an_honest_attack_does_is_no_alarm(honest: Evidence) -> None:
    quiet = with_gradients(honest, silent=first(honest, 0.005))
    assert list(check(quiet)) == []
    assert list(check(without_gain(honest, 0.3, steps=1))) == []


def test_an_attack_that_raises_only_the_lead_of_a_wrong_class_made_progress(honest: Evidence) -> None:
    """One towards a single class may lower all others: the loss, which adds them up, can fall."""
    (attacked,) = honest.inputs.adversarial
    clean = honest.inputs.clean
    rows, labels = np.arange(len(clean)), clean.labels
    logits = np.zeros_like(clean.source_logits)
    logits[rows, labels] = 1.0
    risen = np.full_like(logits, -9.0)
    risen[rows, labels], risen[rows, (labels + 1) % logits.shape[1]] = 1.0, 0.5
    crafted = replace(attacked, source_logits=risen, info=replace(attacked.info, settings={"steps": 40}))
    findings = check(change_inputs(honest, clean=replace(clean, source_logits=logits), adversarial=(crafted,)))
    assert [finding for finding in findings if finding.severity is not Severity.NOTE] == []


def test_a_loss_that_was_rounded_away_is_counted(honest: Evidence) -> None:
    (finding,) = check(with_gradients(honest, silent=first(honest, 0.0), rest=LEAD_GRADIENT))
    assert finding.severity is Severity.NOTE
    assert finding.figures == {"rounded": len(honest.inputs.clean)}


def test_a_set_without_a_record_is_noted(honest: Evidence) -> None:
    (attacked,) = honest.inputs.adversarial
    (finding,) = check(change_inputs(honest, adversarial=(replace(attacked, attack=None),)))
    assert finding.severity is Severity.NOTE
