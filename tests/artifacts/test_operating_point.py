"""The malignant score against the plain softmax sum, and thresholds against their definition."""

from __future__ import annotations

import numpy as np
import pytest

from skinaudit.artifacts.contract import InputContract
from skinaudit.artifacts.operating_point import OperatingPoint, fix_operating_point, malignant_scores, unshifted
from skinaudit.errors import InvalidInputError


def test_the_score_is_the_log_odds_of_the_summed_probability() -> None:
    logits = np.random.default_rng(0).normal(0, 3, (50, 7)).astype(np.float32)
    shares = np.exp(logits.astype(np.float64))
    shares /= shares.sum(axis=1, keepdims=True)
    malignant = shares[:, [0, 2, 3]].sum(axis=1)
    scores = malignant_scores(logits, (0, 2, 3))
    np.testing.assert_allclose(scores, np.log(malignant / (1 - malignant)), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(malignant_scores(shares, (0, 2, 3), probabilities=True), scores, rtol=1e-6, atol=1e-6)


def test_the_score_orders_images_whose_probability_is_rounded_to_one() -> None:
    logits = np.array([[0, 60], [0, 50], [0, 70]], np.float32)
    assert list(np.argsort(malignant_scores(logits, (1,)))) == [1, 0, 2]


@pytest.mark.parametrize("malignant", [(), (0, 1)])
def test_a_score_needs_both_kinds_of_classes(malignant: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInputError, match="malignant and benign"):
        malignant_scores(np.zeros((1, 2), np.float32), malignant)


def test_the_threshold_is_the_lowest_that_reaches_the_specificity() -> None:
    benign, malignant = np.arange(10.0), np.array([7.5, 8.5, 20.0])
    scores, ill = np.concatenate([benign, malignant]), np.arange(13) >= 10
    point = fix_operating_point(scores, ill, specificity=0.9)
    assert point == OperatingPoint(0.9, 8.25, 0.9, 2 / 3, 10, 3)  # halfway from 8, the ninth benign one, to 8.5
    assert fix_operating_point(scores[:0], ill[:0], specificity=0.9) is None


def test_ties_of_benign_scores_stay_on_one_side() -> None:
    scores = np.array([0.0, 1.0, 1.0, 1.0, 2.0])
    point = fix_operating_point(scores, np.zeros(5, np.bool_), specificity=0.4)
    assert point is not None
    assert (point.threshold, point.reached, point.sensitivity) == (1.5, 0.8, None)


@pytest.mark.parametrize("specificity", [0.0, 1.0, -1.0, float("nan")])
def test_a_specificity_lies_between_none_and_all(specificity: float) -> None:
    with pytest.raises(InvalidInputError, match="between 0 and 1"):
        fix_operating_point(np.zeros(2), np.array([True, False]), specificity=specificity)


def test_a_point_that_does_not_reach_its_specificity_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="reaches specificity"):
        OperatingPoint(0.9, 0.0, 0.8, None, 10, 0)


def test_the_score_of_a_model_of_one_column_is_its_own_logit() -> None:
    contract = InputContract(32, classes=("nv", "mel"), malignant=("mel",), positive="mel", threshold=0.2)
    logit = np.array([-3.0, 0.0, 2.0])
    stored = np.stack([np.zeros(3), logit - np.log(0.2 / 0.8)], axis=1).astype(np.float32)
    np.testing.assert_allclose(malignant_scores(unshifted(stored, contract), (1,)), logit, atol=1e-6)
