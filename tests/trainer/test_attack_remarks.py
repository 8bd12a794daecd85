"""A set that spends little of its eps, or whose images gave no gradient, is named when it is crafted."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np

from skinaudit.artifacts.adversarial_set import AdversarialSet, open_set
from skinaudit.artifacts.attack_record import LOSS_GRADIENT, NO_GRADIENT, POINTS, AttackRecord
from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.trainer.attack_remarks import attack_remarks

COUNT = 100


def pair(
    make_set: Callable[..., Path], folder: Path, *, steps: np.ndarray, silent: int = 0, kept_share: float = 1.0
) -> tuple[AdversarialSet, AdversarialSet]:
    """Grey images, moved by `steps` each, in a set of eps 4/255, of which `silent` had no gradient."""
    grey = np.full((COUNT, 3, 8, 8), 100, np.uint8)
    clean = open_set(make_set(folder / "clean", images=grey))
    gradient = np.where(np.arange(COUNT) < silent, NO_GRADIENT, LOSS_GRADIENT).astype(np.uint8)
    share = np.full(COUNT, kept_share, np.float32)
    record = AttackRecord(gradient, np.zeros((COUNT, POINTS), np.float32), np.zeros(COUNT, np.int32), share)
    moved = (grey + steps[:, None, None, None]).astype(np.uint8)
    threat = ThreatModel("linf", Fraction(4))
    path = make_set(folder / "pgd", images=moved, threat_model=threat, clean=clean.images_digest, attack=record)
    return open_set(path), clean


def test_a_sound_set_is_not_remarked_on(make_set: Callable[..., Path], tmp_path: Path) -> None:
    steps = np.where(np.arange(COUNT) < 60, 4, 1)
    assert attack_remarks(*pair(make_set, tmp_path, steps=steps)) == ()


def test_the_median_counts_and_not_the_largest(make_set: Callable[..., Path], tmp_path: Path) -> None:
    steps = np.where(np.arange(COUNT) < 40, 4, 1)
    (remark,) = attack_remarks(*pair(make_set, tmp_path, steps=steps))
    assert remark.startswith("pgd linf 4/255: after rounding to 8 bit, half of the images use at most 25% of eps")


def test_silent_images_are_counted(make_set: Callable[..., Path], tmp_path: Path) -> None:
    (remark,) = attack_remarks(*pair(make_set, tmp_path, steps=np.full(COUNT, 4), silent=3))
    assert remark.startswith("pgd linf 4/255: the attack had no gradient on 3 of 100 images")


def test_what_rounding_took_is_said(make_set: Callable[..., Path], tmp_path: Path) -> None:
    (remark,) = attack_remarks(*pair(make_set, tmp_path, steps=np.full(COUNT, 4), kept_share=0.6))
    assert "half of the images keep at most 60% of the perturbation's effect" in remark
