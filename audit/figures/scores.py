"""How well scores separate malignant from benign images, and how reliable probabilities are; without any threshold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.logits import Indices
from skinaudit.artifacts.operating_point import Scores, malignant_scores
from skinaudit.artifacts.typed_json import Range, Share
from skinaudit.audit.figures.statistics import Interval, quantile, wilson_interval

BINS = 15
"""Number of bins of the expected calibration error, as in Guo et al., ICML 2017 (https://arxiv.org/abs/1706.04599)."""


@dataclass(frozen=True)
class RocArea:
    """Area under the ROC curve: the probability that a malignant image has the higher score; a tie counts half."""

    value: Share
    interval: Interval


@dataclass(frozen=True)
class AreaDrop:
    """The area of the source minus that of the engine on the same images, as fractions of 1."""

    value: float
    interval: Interval


@dataclass(frozen=True)
class ModelScores:
    """Figures of one model's probabilities on one set.

    area: None without malignant or without benign images, or if the contract names no malignant class. calibration_error: of
    the predicted class, see `calibration_error`. brier: see `brier_score`; 0 is right and certain, 2 wrong and certain.
    """

    area: RocArea | None
    calibration_error: Share
    brier: Annotated[float, Range(0, 2)]


@dataclass(frozen=True)
class ScoreComparison:
    """The figures of engine and source. Source fields and the drop are None if nothing was compared."""

    engine: ModelScores
    source: ModelScores | None
    area_drop: AreaDrop | None


def compare_scores(
    engine: NDArray[np.floating],
    source: NDArray[np.floating] | None,
    *,
    labels: Indices,
    groups: NDArray[np.int64],
    malignant: Sequence[int],
    confidence: float,
    probabilities: bool,
) -> ScoreComparison:
    """The figures of both models on the same images. engine, source: logits (N, classes). labels, groups: int64 (N,).

    probabilities: whether the engine's answers already are probabilities.
    """
    ill = np.isin(labels, malignant)
    areas: list[RocArea | None] = [None, None]
    drop = None
    if ill.any() and not ill.all():
        scores = [malignant_scores(engine, malignant, probabilities=probabilities)]
        scores += [] if source is None else [malignant_scores(source, malignant)]
        values, covariance = roc_areas(scores, ill, groups)
        areas = [_area(float(value), covariance, at, ill, groups, confidence) for at, value in enumerate(values)] + [None]
        drop = None if source is None else _drop(values, covariance, confidence)
    models = [
        ModelScores(area, calibration_error(shares, labels), brier_score(shares, labels))
        for area, shares in zip(areas, _probabilities(engine, source, probabilities), strict=False)
    ]
    return ScoreComparison(models[0], models[1] if len(models) > 1 else None, drop)


def roc_areas(
    scores: Sequence[Scores], ill: NDArray[np.bool_], groups: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """The areas (k,) of k models on the same images, and their covariance (k, k) with lesions as the unit.

    scores: float64 (N,) of each model. ill: bool (N,), with both values. groups: int64 (N,) lesion index. If each image is
    its own lesion, the covariance is that of DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988) 837-845; for clustered
    images it is that of Obuchowski, Biometrics 53 (1997) 567-578. None if fewer than two lesions are malignant, or fewer
    than two benign.
    """
    placed = [_placements(model, ill) for model in scores]
    areas = np.array([of_ill.mean() for of_ill, _ in placed])
    _, index = np.unique(groups, return_inverse=True)
    lesions, m, n = int(index.max()) + 1, int(ill.sum()), int((~ill).sum())
    of_malignant, of_benign = len(np.unique(index[ill])), len(np.unique(index[~ill]))
    if min(of_malignant, of_benign) < 2:
        return areas, None
    kinds = ((0, ill), (1, ~ill))
    sums = [[_by_lesion(part[kind] - area, index[rows], lesions) for part, area in zip(placed, areas, strict=True)]
            for kind, rows in kinds]  # fmt: skip
    sums_ill, sums_well = map(np.array, sums)
    cross = sums_ill @ sums_well.T * lesions / (lesions - 1) / (m * n)
    covariance = (
        sums_ill @ sums_ill.T * of_malignant / (of_malignant - 1) / m**2
        + sums_well @ sums_well.T * of_benign / (of_benign - 1) / n**2
        + cross
        + cross.T
    )
    return areas, covariance


def softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Probabilities, float64 (N, classes)."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def calibration_error(probabilities: NDArray[np.float64], labels: Indices, *, bins: int = BINS) -> float:
    """Expected calibration error of the predicted class: mean |confidence - share of correct answers| over bins.

    probabilities: (N, classes). labels: int64 (N,). The bins have equal numbers of images. With bins of equal width, nearly
    all images of a confident model would be in the last one, and the estimate would be worse (Roelofs et al., AISTATS 2022,
    https://arxiv.org/abs/2012.08668). Images of equal confidence share their correct answers, so their order does not
    matter.
    """
    confidence, right = probabilities.max(axis=1), (probabilities.argmax(axis=1) == labels).astype(np.float64)
    _, index = np.unique(confidence, return_inverse=True)
    right = (np.bincount(index, weights=right) / np.bincount(index))[index]
    order = np.argsort(confidence, kind="stable")
    parts = np.array_split(order, min(bins, len(order)))
    return float(sum(abs((confidence[part] - right[part]).sum()) for part in parts) / len(order))


def brier_score(probabilities: NDArray[np.float64], labels: Indices) -> float:
    """The mean squared distance of the probabilities from the truth, summed over classes, from 0 to 2.

    probabilities: (N, classes); labels: int64 (N,). Brier, Monthly Weather Review 78 (1950) 1-3.
    """
    truth = np.eye(probabilities.shape[1])[labels]
    return float(np.square(probabilities - truth).sum(axis=1).mean())


def _probabilities(
    engine: NDArray[np.floating], source: NDArray[np.floating] | None, already: bool
) -> list[NDArray[np.float64]]:
    own = engine.astype(np.float64) if already else softmax(engine)
    return [own] if source is None else [own, softmax(source)]


def _by_lesion(values: NDArray[np.float64], lesions: NDArray[np.intp], count: int) -> NDArray[np.float64]:
    return np.asarray(np.bincount(lesions, weights=values, minlength=count), np.float64)


def _placements(scores: Scores, ill: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """For each malignant image the share of benign ones below it; for each benign one the share of malignant ones above it.

    A tie counts half.
    """
    high, low = np.sort(scores[ill]), np.sort(scores[~ill])
    below = np.searchsorted(low, scores[ill], "left") + np.searchsorted(low, scores[ill], "right")
    upto = np.searchsorted(high, scores[~ill], "left") + np.searchsorted(high, scores[~ill], "right")
    return below / (2 * len(low)), 1 - upto / (2 * len(high))


def _area(
    value: float,
    covariance: NDArray[np.float64] | None,
    at: int,
    ill: NDArray[np.bool_],
    groups: NDArray[np.int64],
    confidence: float,
) -> RocArea:
    """The area with Wilson's interval, which stays between 0 and 1, for the number of trials with the area's variance.

    The number of trials is at most the number of lesions. A perfect order has no variance; the number of lesions of the
    rarer kind is then used.
    """
    rarer = min(len(np.unique(groups[ill])), len(np.unique(groups[~ill])))
    if covariance is None:
        return RocArea(value, Interval(0.0, 1.0))
    variance, spread = float(covariance[at, at]), value * (1 - value)
    trials = min(spread / variance, float(len(np.unique(groups)))) if variance > 0 and spread > 0 else float(rarer)
    return RocArea(value, wilson_interval(value * trials, trials, confidence=confidence))


def _drop(areas: NDArray[np.float64], covariance: NDArray[np.float64] | None, confidence: float) -> AreaDrop:
    """Source minus engine with Wald's interval; [0, 0] if both order all images in the same way."""
    value = float(areas[1] - areas[0])
    if covariance is None:
        return AreaDrop(value, Interval(-1.0, 1.0))
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    half = quantile(confidence) * math.sqrt(max(0.0, variance))
    return AreaDrop(value, Interval(max(-1.0, value - half), min(1.0, value + half)))
