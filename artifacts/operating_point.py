"""The malignant score of an answer, and a run's operating points: thresholds above which an image is called malignant."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.contract import InputContract
from skinaudit.artifacts.logits import threshold_logit
from skinaudit.artifacts.typed_json import Count, Share
from skinaudit.errors import InvalidInputError

Scores = NDArray[np.float64]
"""Malignant scores as log-odds, one per image: higher means more malignant."""

DEFAULT_SPECIFICITY = 0.9
"""Default specificity of the operating point, for trainings and for policies."""


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold of the malignant score, fixed on the validation images of a run.

    specificity: the requested one. threshold: as log-odds; an image with a higher score is called malignant. reached,
    sensitivity: measured on the validation images, of which `benign` and `malignant` are the numbers; sensitivity is None if
    no image is malignant. Invariant: reached >= specificity.
    """

    specificity: Share
    threshold: float
    reached: Share
    sensitivity: Share | None
    benign: Count
    malignant: Count

    def __post_init__(self) -> None:
        if self.reached < self.specificity or not math.isfinite(self.threshold):
            raise InvalidInputError(
                f"operating point: threshold {self.threshold:g} reaches specificity {self.reached:g}, asked for "
                f"{self.specificity:g}"
            )

    @property
    def probability(self) -> float:
        """The threshold as the probability of a malignant class."""
        return 0.5 * (1 + math.tanh(self.threshold / 2))


def malignant_scores(logits: NDArray[np.floating], malignant: Sequence[int], *, probabilities: bool = False) -> Scores:
    """Log-odds of the summed softmax probability of the malignant classes, float64 (N,).

    The order is the same as for the summed probability, which float64 rounds to 1 for log-odds of 37 and more. logits: (N,
    classes). probabilities: if True, `logits` already are probabilities, and a score can be infinite. malignant: labels,
    some but not all.
    """
    benign = [label for label in range(logits.shape[1]) if label not in malignant]
    if not malignant or not benign:
        raise InvalidInputError("a malignant score needs malignant and benign classes; name them in the contract")
    answers = logits.astype(np.float64)
    if probabilities:
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(answers[:, list(malignant)].sum(axis=1)) - np.log(answers[:, benign].sum(axis=1)))
    return _log_sum(answers[:, list(malignant)]) - _log_sum(answers[:, benign])


def unshifted(logits: NDArray[np.floating], contract: InputContract) -> NDArray[np.floating]:
    """Logits whose softmax gives probabilities, (N, classes).

    A model with one column has logits from which the threshold's logit was subtracted, so that 0 decides; this is undone
    here.
    """
    if contract.positive is None or contract.threshold == 0.5:
        return logits
    shift = np.zeros(len(contract.classes))
    shift[contract.classes.index(contract.positive)] = threshold_logit(contract.threshold)
    return np.asarray(logits + shift)


def fix_operating_point(scores: Scores, ill: NDArray[np.bool_], *, specificity: float) -> OperatingPoint | None:
    """The lowest threshold at which at least `specificity` of the benign images are not above it; None if there is none.

    scores: float64 (N,) of validation images. ill: bool (N,). The threshold is halfway to the next score, so that rounding
    in an engine changes no validation image.
    """
    if not 0 < specificity < 1:
        raise InvalidInputError(f"specificity {specificity:g}: give a share between 0 and 1, such as {DEFAULT_SPECIFICITY}")
    benign = np.sort(scores[~ill])
    if len(benign) == 0:
        return None
    # 9 decimals, so that 0.9 * 10 images are 9 in spite of rounding
    last = benign[math.ceil(round(specificity * len(benign), 9)) - 1]
    above = scores[scores > last]
    threshold = float(last if len(above) == 0 else (last + above.min()) / 2)
    malignant = int(ill.sum())
    return OperatingPoint(
        specificity=specificity,
        threshold=threshold,
        reached=float((benign <= threshold).mean()),
        sensitivity=float((scores[ill] > threshold).mean()) if malignant else None,
        benign=len(benign),
        malignant=malignant,
    )


def _log_sum(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    largest = logits.max(axis=1)
    return np.asarray(largest + np.log(np.exp(logits - largest[:, None]).sum(axis=1)))
