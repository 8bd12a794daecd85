"""The figures of a study: small answers with known figures, alone and over seeds."""

from __future__ import annotations

import numpy as np
import pytest

from skinaudit.artifacts.contract import InputContract
from skinaudit.artifacts.study_folder import StudyModel
from skinaudit.audit.figures.statistics import accuracy_interval, balanced_interval
from skinaudit.audit.study import Answers, figures_of, over_seeds, rows_of

CONTRACT = InputContract(32, classes=("a", "b", "c"), malignant=("b", "c"))
LABELS = np.array([0, 0, 0, 1, 1, 2], np.int64)


def answers(predicted: list[int], *, seed: int = 0, attack: str = "pgd", crafted_on: StudyModel | None = None) -> Answers:
    logits = 5 * np.eye(3, dtype=np.float32)[predicted]
    model = StudyModel("mobilenet", "paper", True, "lesion", seed)
    return Answers(model, attack, crafted_on, logits, LABELS, np.arange(6), CONTRACT)


def test_the_figures_beside_an_accuracy() -> None:
    figures = figures_of(answers([0, 0, 1, 2, 0, 2]))
    assert (figures.images, figures.lesions) == (6, 6)
    assert figures.accuracy == pytest.approx(3 / 6)
    assert figures.balanced == pytest.approx((2 / 3 + 0 + 1) / 3)
    assert figures.first_sensitivity == 0.0  # of b: one is called c, the other a
    assert figures.malignant_sensitivity == pytest.approx(2 / 3)  # c for b is still called malignant
    # scores: benign 0 twice low, once high; malignant twice high, once low: 9 pairs, 4 won, 4 tied, 1 lost
    assert figures.area == pytest.approx((4 + 4 / 2) / 9)
    assert (figures.majority_share, figures.constant_balanced) == (pytest.approx(0.5), pytest.approx(1 / 3))
    assert figures.interval.low < 0.5 < figures.interval.high


def test_images_of_one_lesion_widen_the_interval() -> None:
    single = answers([0, 0, 0, 0, 0, 0])
    grouped = Answers(single.model, single.attack, None, single.logits, LABELS, np.array([0, 0, 0, 1, 1, 1]), CONTRACT)
    apart, together = figures_of(single).interval, figures_of(grouped).interval
    assert together.low < apart.low
    assert together.high > apart.high


def test_seeds_are_averaged_and_their_answers_pooled() -> None:
    first, second = answers([0, 0, 0, 1, 1, 2]), answers([0, 0, 0, 0, 0, 0], seed=1)
    figures = over_seeds([first, second], [figures_of(first), figures_of(second)])
    assert figures.accuracy == pytest.approx((1 + 1 / 2) / 2)
    assert figures.balanced == pytest.approx((1 + 1 / 3) / 2)
    assert (figures.images, figures.lesions) == (12, 6)
    assert figures.area == pytest.approx((1 + 0.5) / 2)


def test_what_differs_in_the_seed_alone_is_one_row() -> None:
    standard = StudyModel("mobilenet", "paper", False, "lesion", 0)
    right = [0, 0, 0, 1, 1, 2]
    rows = list(rows_of([answers(right, crafted_on=standard), answers(right, seed=1, crafted_on=standard), answers(right)]))
    assert [(sorted(row.by_seed), row.crafted_on) for row in rows] == [([0, 1], standard), ([0], None)]
    assert not rows[0].on_itself


def test_the_interval_of_a_balanced_accuracy_comes_from_those_of_its_classes() -> None:
    labels, groups = np.repeat([0, 1], [90, 10]), np.arange(100)
    right = np.arange(100) % 2 == 0
    large, small = accuracy_interval(right[:90], groups[:90]), accuracy_interval(right[90:], groups[90:])
    apart = balanced_interval(right, labels, groups)
    half = np.hypot(0.5 - large.low, 0.5 - small.low) / 2
    assert (apart.low, apart.high) == (pytest.approx(0.5 - half), pytest.approx(0.5 + half))
    together = balanced_interval(right, labels, groups // 4 * 4 + groups % 2)  # pairs of images, both right or both wrong
    assert together.high - together.low > 1.15 * (apart.high - apart.low)
    sure = balanced_interval(labels == 0, labels, groups)  # all right or all wrong, of few images
    assert sure.low < 0.5 < sure.high
