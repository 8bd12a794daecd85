from __future__ import annotations

import numpy as np
import pytest

from skinaudit.artifacts.lesions import effective_lesions
from skinaudit.audit.figures.lesions import KNOWN_FROM, design_effect, differing_lesions
from skinaudit.audit.figures.statistics import accuracy_interval, paired_drop, wilson_interval


def test_lesions_of_equal_size_count_fully_and_others_less() -> None:
    assert effective_lesions(np.arange(12) // 3) == 4
    assert effective_lesions(np.arange(7)) == 7
    assert effective_lesions(np.array([0, 0, 0, 5])) == pytest.approx(16 / 10)


def test_lesions_that_differ_from_the_rest() -> None:
    groups = np.arange(12) // 3
    assert differing_lesions(np.zeros(12, np.int64), groups) == 0
    assert differing_lesions(np.eye(12, dtype=np.int64)[0] + np.eye(12, dtype=np.int64)[11], groups) == 2
    assert differing_lesions(np.where(np.arange(12) < 10, 1, 0), groups) == 1


@pytest.mark.parametrize("value", [0, 1])
def test_where_nothing_varies_images_of_a_lesion_count_once(value: int) -> None:
    """Nothing is known of how they go together, whether all are lost or none."""
    assert design_effect(np.full(399, value), np.arange(399) * 10 // 399) == pytest.approx(39.9, abs=0.1)
    assert design_effect(np.array([1, 0, -1, 0]), np.zeros(4, np.int64)) == 4


def test_with_many_differing_lesions_the_data_decide() -> None:
    generator = np.random.default_rng(0)
    effects = []
    for lesions in (KNOWN_FROM, 50 * KNOWN_FROM):
        alone = np.zeros(4 * lesions * 10, np.int64)
        alone[generator.choice(len(alone) // 4, lesions, replace=False) * 4] = 1
        effects.append(design_effect(alone, np.arange(len(alone)) // 4))
    assert effects[0] == pytest.approx(4, abs=0.1)
    assert effects[1] == pytest.approx(1 + 3 / 50, abs=0.05)


def test_agreement_on_images_of_few_lesions_shows_little() -> None:
    """399 images of ten lesions without a lost one: a lesion in ten may be lost and unseen."""
    right = np.ones(399, bool)
    few, many = (paired_drop(right, right, groups) for groups in (np.arange(399) * 10 // 399, np.arange(399)))
    assert many.interval.high < 0.01
    assert few.interval.high > 0.25


def test_an_accuracy_of_few_lesions_is_known_as_badly() -> None:
    interval = accuracy_interval(np.ones(500, bool), np.arange(500) // 100)
    assert interval == wilson_interval(5, 5)
