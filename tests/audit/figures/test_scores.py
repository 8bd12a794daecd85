"""Areas, their variances and calibration against definitions computed in the plainest way."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from skinaudit.audit.figures.scores import brier_score, calibration_error, compare_scores, roc_areas, softmax

N = 60
RNG = np.random.default_rng(3)
ILL = RNG.random(N) < 0.4
SCORES = [np.round(RNG.normal(ILL * 1.0, 1), 1), np.round(RNG.normal(ILL * 0.7, 1), 1)]  # rounded: with ties


def wins(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """1, 1/2 or 0 for each pair of a malignant and a benign image."""
    difference = scores[ILL][:, None] - scores[~ILL][None, :]
    return (difference > 0) + 0.5 * (difference == 0)


def test_areas_and_covariance_are_those_of_delong() -> None:
    areas, covariance = roc_areas(SCORES, ILL, np.arange(N))
    pairs = [wins(scores) for scores in SCORES]
    np.testing.assert_allclose(areas, [pair.mean() for pair in pairs])
    rows, columns = (np.cov([pair.mean(axis=axis) for pair in pairs]) for axis in (1, 0))
    assert covariance is not None
    np.testing.assert_allclose(covariance, rows / ILL.sum() + columns / (~ILL).sum(), rtol=1e-10)


def test_copies_of_every_image_within_its_lesion_add_no_evidence() -> None:
    once = roc_areas(SCORES, ILL, np.arange(N))
    twice = roc_areas([np.tile(scores, 2) for scores in SCORES], np.tile(ILL, 2), np.tile(np.arange(N), 2))
    np.testing.assert_allclose(once[0], twice[0])
    assert once[1] is not None
    assert twice[1] is not None
    np.testing.assert_allclose(once[1], twice[1], rtol=1e-10)


def test_a_lesion_with_both_kinds_of_images_couples_them() -> None:
    """Obuchowski's covariance with clusters of three, pair by pair in loops."""
    groups = np.arange(N) // 3
    pairs, m, n = [wins(scores) for scores in SCORES], int(ILL.sum()), int((~ILL).sum())
    ill_groups, well_groups, lesions = groups[ILL], groups[~ILL], N // 3
    expected = np.zeros((2, 2))
    for first in range(2):
        for second in range(2):
            for lesion in range(lesions):
                a = [(pair.mean(axis=1) - pair.mean())[ill_groups == lesion].sum() for pair in (pairs[first], pairs[second])]
                b = [
                    (pair.mean(axis=0) - pair.mean())[well_groups == lesion].sum() for pair in (pairs[first], pairs[second])
                ]
                group_counts = len(set(ill_groups)), len(set(well_groups))
                expected[first, second] += a[0] * a[1] * group_counts[0] / (group_counts[0] - 1) / m**2
                expected[first, second] += b[0] * b[1] * group_counts[1] / (group_counts[1] - 1) / n**2
                expected[first, second] += (a[0] * b[1] + b[0] * a[1]) * lesions / (lesions - 1) / (m * n)
    covariance = roc_areas(SCORES, ILL, groups)[1]
    assert covariance is not None
    np.testing.assert_allclose(covariance, expected, rtol=1e-10)


def compared(engine: NDArray[np.float32], source: NDArray[np.float32] | None, labels: NDArray[np.int64], **changes: object):  # type: ignore[no-untyped-def]
    settings = {"malignant": (1,), "confidence": 0.95, "probabilities": False, **changes}
    return compare_scores(engine, source, labels=labels, groups=np.arange(len(labels)), **settings)  # type: ignore[arg-type]


def test_a_perfect_order_keeps_an_interval() -> None:
    labels = (np.arange(40) >= 30).astype(np.int64)
    logits = np.stack([np.zeros(40), np.arange(40.0)], axis=1).astype(np.float32)
    figures = compared(logits, logits, labels)
    assert figures.engine.area.value == 1.0
    assert 0.6 < figures.engine.area.interval.low < 0.8  # Wilson's of 10 of 10: 0.722
    assert (figures.area_drop.value, figures.area_drop.interval.low, figures.area_drop.interval.high) == (0, 0, 0)


def test_a_worse_engine_shows_a_drop_of_its_area() -> None:
    labels, generator = (np.arange(400) >= 300).astype(np.int64), np.random.default_rng(0)
    source = np.stack([np.zeros(400), generator.normal(2.0 * labels, 1)], axis=1).astype(np.float32)
    engine = np.stack([np.zeros(400), generator.normal(0.5 * labels, 1)], axis=1).astype(np.float32)
    figures = compared(engine, source, labels)
    assert figures.area_drop.interval.low > 0.1
    assert figures.source.area.interval.low <= figures.source.area.value <= figures.source.area.interval.high


@pytest.mark.parametrize(("malignant", "labels"), [((), [0, 1]), ((1,), [0, 0]), ((0, 1), [0, 1])])
def test_without_both_kinds_there_is_no_area_and_the_rest_stays(malignant: tuple[int, ...], labels: list[int]) -> None:
    logits = np.array([[1, 0], [0, 1]], np.float32)
    figures = compared(logits, None, np.array(labels), malignant=malignant)
    assert figures.engine.area is None
    assert figures.source is None
    assert figures.engine.brier > 0


def test_answers_that_are_probabilities_are_taken_as_they_are() -> None:
    logits = RNG.normal(0, 2, (N, 2)).astype(np.float32)
    labels = ILL.astype(np.int64)
    plain = compared(logits, None, labels).engine
    of_probabilities = compared(softmax(logits).astype(np.float32), None, labels, probabilities=True).engine
    assert of_probabilities.brier == pytest.approx(plain.brier, abs=1e-6)
    assert of_probabilities.area.value == pytest.approx(plain.area.value, abs=1e-6)


def test_calibration_error_in_bins_of_equal_size() -> None:
    confidence = np.array([0.6, 0.7, 0.8, 0.9])
    shares = np.stack([confidence, 1 - confidence], axis=1)
    labels = np.array([0, 1, 0, 0])
    # bins {0.6, 0.7} with half right and {0.8, 0.9} with all right: (|1.3 - 1| + |1.7 - 2|) / 4
    assert calibration_error(shares, labels, bins=2) == pytest.approx(0.15)
    assert calibration_error(shares, labels) == pytest.approx((0.4 + 0.7 + 0.2 + 0.1) / 4)  # a bin an image


def test_the_order_of_equally_confident_images_does_not_matter() -> None:
    shares = np.full((40, 2), 0.5)
    shares[:, 0] += 0.4
    labels = (np.arange(40) < 10).astype(np.int64)  # 30 of 40 right at 0.9
    for order in (np.arange(40), np.random.default_rng(0).permutation(40)):
        assert calibration_error(shares[order], labels[order]) == pytest.approx(0.15)


def test_brier_score_of_certain_answers() -> None:
    assert brier_score(np.eye(3), np.array([0, 1, 2])) == 0
    assert brier_score(np.eye(3), np.array([1, 2, 0])) == 2
    assert brier_score(np.full((1, 2), 0.5), np.array([0])) == pytest.approx(0.5)
