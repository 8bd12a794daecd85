"""Sensitivity, specificity and predictive values at a threshold, by hand and by Bayes."""

from __future__ import annotations

import numpy as np
import pytest

from skinaudit.audit.figures.at_threshold import at_threshold, predictive_value
from skinaudit.audit.figures.right_answers import unpack_right

LABELS = (np.arange(200) < 100).astype(np.int64)  # 100 malignant, then 100 benign
ENGINE = (np.arange(200) < 70) | (np.arange(200) >= 190)  # 70 found, 10 false alarms
SOURCE = (np.arange(200) < 80) | (np.arange(200) >= 190)


def test_rates_and_paired_drops() -> None:
    figures = at_threshold(
        ENGINE, SOURCE, labels=LABELS, groups=np.arange(200), malignant=(1,), prevalence=None, confidence=0.95
    )
    assert (figures.engine.sensitivity.right, figures.engine.sensitivity.count) == (70, 100)
    assert (figures.engine.specificity.right, figures.engine.specificity.count) == (90, 100)
    assert figures.sensitivity_drop is not None
    assert figures.specificity_drop is not None
    assert (figures.sensitivity_drop.value, figures.sensitivity_drop.lost, figures.sensitivity_drop.gained) == (0.1, 10, 0)
    assert figures.specificity_drop.value == 0
    assert figures.engine.positive is None
    assert (unpack_right(figures.engine_calls, images=200) == ENGINE).all()
    assert (unpack_right(figures.source_calls, images=200) == SOURCE).all()


def test_predictive_values_are_those_of_bayes_at_the_stated_prevalence() -> None:
    figures = at_threshold(
        ENGINE, None, labels=LABELS, groups=np.arange(200), malignant=(1,), prevalence=0.02, confidence=0.95
    )
    assert figures.source is None
    assert figures.sensitivity_drop is None
    assert figures.engine.positive is not None
    assert figures.engine.negative is not None
    assert figures.engine.positive.value == pytest.approx(0.02 * 0.7 / (0.02 * 0.7 + 0.98 * 0.1))
    assert figures.engine.negative.value == pytest.approx(0.98 * 0.9 / (0.98 * 0.9 + 0.02 * 0.3))
    for value in (figures.engine.positive, figures.engine.negative):
        assert value.value is not None
        assert 0 <= value.interval.low < value.value < value.interval.high <= 1


def test_no_answer_of_a_kind_has_no_predictive_value() -> None:
    never = predictive_value((0, 50), (50, 50), prevalence=0.1, confidence=0.95)
    assert never.value is None
    assert 0 <= never.interval.low < never.interval.high <= 1
    assert predictive_value((0, 0), (5, 9), prevalence=0.1, confidence=0.95).value is None


@pytest.mark.parametrize("kind", [0, 1])
def test_a_set_without_one_kind_of_images(kind: int) -> None:
    rows = kind == LABELS
    figures = at_threshold(
        ENGINE[rows],
        SOURCE[rows],
        labels=LABELS[rows],
        groups=np.arange(100),
        malignant=(1,),
        prevalence=0.1,
        confidence=0.95,
    )
    drops = (figures.sensitivity_drop, figures.specificity_drop)
    assert (drops[0] is None, drops[1] is None) == (kind == 0, kind == 1)
    assert figures.engine.positive is not None
    assert figures.engine.positive.value is None
