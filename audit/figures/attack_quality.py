"""The quality of a stored attack, from its own record and from its effect on images and on the source's logits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.adversarial_set import AdversarialSet
from skinaudit.artifacts.attack_record import LEAD_GRADIENT
from skinaudit.artifacts.logits import lead, smooth_lead


@dataclass(frozen=True, eq=False)
class AttackQuality:
    """One adversarial set; masks are bool (N,).

    idle: images without an attack: no gradient to follow by the attack's own record, or equal to the clean image. silent,
    unmoved: the numbers of these two kinds. recorded: whether there is such a record. rounded: number of images whose
    cross-entropy was rounded away, so that the attack followed the smooth lead. no_gain: images whose loss on the source and
    whose lead of a wrong logit are both no greater than on the clean image; an attack increases one of the two. None for
    targeted attacks, and if the clean logits are another model's. steps: of the attack, 1 if it has no such setting.
    """

    idle: NDArray[np.bool_]
    silent: int
    unmoved: int
    recorded: bool
    rounded: int
    no_gain: NDArray[np.bool_] | None
    steps: int


def attack_quality(adversarial: AdversarialSet, clean: AdversarialSet, spent: NDArray[np.float64]) -> AttackQuality:
    """The figures of one set. spent: (N,), the share of eps that each image spends."""
    record, settings = adversarial.attack, adversarial.info.settings
    silent = np.zeros(len(adversarial), np.bool_) if record is None else record.silent
    unmoved = spent == 0
    no_gain = None
    if adversarial.info.source == clean.info.source and not settings.get("targeted"):
        no_gain = ~(_rises(smooth_lead, clean, adversarial) | _rises(_wrong_lead, clean, adversarial))
    steps = settings.get("steps", 1)
    return AttackQuality(
        idle=silent | unmoved,
        silent=int(silent.sum()),
        unmoved=int(unmoved.sum()),
        recorded=record is not None,
        rounded=0 if record is None else int((record.gradient == LEAD_GRADIENT).sum()),
        no_gain=no_gain,
        steps=steps if isinstance(steps, int) else 1,
    )


def _rises(
    measure: Callable[[NDArray[np.float32], NDArray[np.int64]], NDArray[np.float64]],
    clean: AdversarialSet,
    adversarial: AdversarialSet,
) -> NDArray[np.bool_]:
    """Mask (N,) of the images with a larger value of this measure of logits and labels than their clean ones."""
    before, after = (measure(opened.source_logits, clean.labels) for opened in (clean, adversarial))
    return np.asarray(after > before)


def _wrong_lead(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    return -lead(logits, labels)
