"""Stored logits that the reference does not give are seen, whatever their size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from skinaudit.artifacts.adversarial_set import AdversarialSet, open_set
from skinaudit.audit.evidence.reference import CONTROL_TOLERANCE, NEAR_TIE, check_reproduced
from skinaudit.errors import InvalidInputError


@pytest.fixture
def images(tmp_path: Path, lab: SimpleNamespace) -> AdversarialSet:
    return open_set(lab.plant(tmp_path, images=140).run / "sets" / "clean.safetensors")


def storing(images: AdversarialSet, logits: object) -> AdversarialSet:
    return replace(images, source_logits=np.asarray(logits, np.float32))


def test_what_rounding_explains_is_reproduced(images: AdversarialSet) -> None:
    noise = np.random.default_rng(0).normal(0, 1e-6, images.source_logits.shape)
    control = check_reproduced(images, (images.source_logits + noise).astype(np.float32))
    assert (control.ran, control.disagreements) == (True, 0)
    assert control.largest_difference is not None
    assert control.largest_difference < CONTROL_TOLERANCE
    assert check_reproduced(storing(images, np.zeros((140, 7))), np.zeros((140, 7), np.float32)).largest_difference == 0


@pytest.mark.parametrize("size", [1e6, 3e38])
def test_large_logits_of_some_images_hide_nothing_of_the_others(images: AdversarialSet, size: float) -> None:
    logits = images.source_logits.copy()
    logits[0] = [size, *[-size] * 6]
    stored = logits.copy()
    stored[1:] = np.roll(stored[1:], 1, axis=1)
    with pytest.raises(InvalidInputError, match=r"does not reproduce the stored logits: they differ by .* answers differ"):
        check_reproduced(storing(images, stored), logits)


@pytest.mark.parametrize("size", [1e6, 3e38])
def test_large_logits_everywhere_are_compared_as_well(images: AdversarialSet, size: float) -> None:
    stored = np.sign(images.source_logits) * np.float32(size)
    with pytest.raises(InvalidInputError, match="does not reproduce"):
        check_reproduced(storing(images, stored), images.source_logits)
    assert check_reproduced(storing(images, stored), stored).disagreements == 0


def answered_otherwise(lead: float, *, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Stored logits with a range of 1 and this lead of class 0, and again with class 1 in the lead in `count` rows."""
    stored = np.tile(np.array([0, -lead, -1, -1, -1, -1, -1], np.float64), (140, 1))
    again = stored.copy()
    again[:count, :2] = again[:count, 1::-1]
    return stored, again.astype(np.float32)


def test_an_answer_may_differ_on_a_near_tie_alone(images: AdversarialSet) -> None:
    stored, again = answered_otherwise(NEAR_TIE / 2, count=1)
    assert check_reproduced(storing(images, stored), again).disagreements == 1
    stored, again = answered_otherwise(2 * NEAR_TIE, count=1)  # within the tolerance of every logit
    with pytest.raises(InvalidInputError, match="1 of 140 answers differ, 1 of them beyond near ties"):
        check_reproduced(storing(images, stored), again)


def test_near_ties_are_few(images: AdversarialSet) -> None:
    stored, again = answered_otherwise(NEAR_TIE / 2, count=14)
    with pytest.raises(InvalidInputError, match="14 of 140 answers differ, 0 of them beyond near ties"):
        check_reproduced(storing(images, stored), again)
