from __future__ import annotations

from dataclasses import replace

import numpy as np
from linear_run import change_inputs, change_set

from skinaudit.audit.checks import Evidence, Severity
from skinaudit.audit.checks.attack_strength import check


def lost_to_rounding(honest: Evidence) -> Evidence:
    (attacked,) = honest.inputs.adversarial
    assert attacked.attack is not None
    record = replace(attacked.attack, kept=np.full(len(attacked), 0.5, np.float32))
    return change_inputs(honest, adversarial=(replace(attacked, attack=record),))


DAMAGES = {
    "half of eps": lambda honest: change_inputs(honest, spent=(np.full(700, 0.5),)),
    "all of eps on a few images": lambda honest: change_inputs(honest, spent=(np.where(np.arange(700) < 300, 1.0, 0.4),)),
    "lost to rounding": lambda honest: lost_to_rounding(honest),
    "the clean images": lambda honest: change_set(honest, 1, images_digest=honest.clean.images_digest),
    "better than clean": lambda honest: change_set(change_set(honest, 0, source_accuracy=0.5), 1, source_accuracy=0.6),
}


def test_each_is_said_of_the_set_that_it_is_about(honest: Evidence) -> None:
    for damage in DAMAGES.values():
        (finding,) = check(damage(honest))
        assert (finding.severity, finding.set) == (Severity.INCONCLUSIVE, honest.sets[1].title)


def test_nothing_is_said_of_a_set_that_was_crafted_on_another_model(honest: Evidence) -> None:
    assert list(check(change_set(DAMAGES["better than clean"](honest), 1, white_box=False))) == []
