"""The malignant score of an answer, and the operating points of a run: from which score on an image is called malignant."""

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
"""Malignant scores, one an image, as log-odds: the higher, the more malignant."""

DEFAULT_SPECIFICITY = 0.9
"""That of the operating point which a training fixes, and which a policy names, if nothing else is asked for."""


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold of the malignant score, fixed on the validation images of a run.

    specificity: the one that was asked for. threshold: as log-odds; a score above it is called malignant. reached,
    sensitivity: on the validation images, of which benign and malignant are the numbers; sensitivity is None without a
    malignant one. Invariant: reached >= specificity.
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
        """The threshold as probability of a malignant class."""
        return 0.5 * (1 + math.tanh(self.threshold / 2))


def malignant_scores(logits: NDArray[np.floating], malignant: Sequence[int], *, probabilities: bool = False) -> Scores:
    """The log-odds of the summed softmax probability of the malignant classes, float64 (N,).

    The order is that of the summed probability itself, which float64 rounds to 1 from log-odds of 37 on. logits: (N,
    classes); with `probabilities` they are probabilities already, and a score can be infinite. malignant: labels, some and
    not all.
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
    """The logits of which a softmax gives probabilities, (N, classes).

    A model of one column has its logits less that of the threshold from which on its class is named, so that 0 decides.
    """
    if contract.positive is None or contract.threshold == 0.5:
        return logits
    shift = np.zeros(len(contract.classes))
    shift[contract.classes.index(contract.positive)] = threshold_logit(contract.threshold)
    return np.asarray(logits + shift)


def fix_operating_point(scores: Scores, ill: NDArray[np.bool_], *, specificity: float) -> OperatingPoint | None:
    """The lowest threshold at which at least `specificity` of the benign images lie at or below it; None without one.

    scores: float64 (N,) of validation images; ill: bool (N,). The threshold lies halfway to the next score, so that rounding
    of the engine decides no validation image.
    """
    if not 0 < specificity < 1:
        raise InvalidInputError(f"specificity {specificity:g}: give a share between 0 and 1, such as {DEFAULT_SPECIFICITY}")
    benign = np.sort(scores[~ill])
    if len(benign) == 0:
        return None
    last = benign[math.ceil(round(specificity * len(benign), 9)) - 1]  # 9: 0.9 * 10 images are 9, whatever the bits say
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
