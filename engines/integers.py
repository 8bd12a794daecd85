"""Answers in 8-bit integers, as from fully quantised files: the codes are converted to the numbers that they represent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

INTEGERS = ("uint8", "int8")
TOLERANCE = 1e-3
_PERCENT = 100
"""Allowed difference between 1 and the sum of float probabilities."""


@dataclass(frozen=True)
class Codes:
    """Meaning of an integer tensor, as the file defines it: code c stands for (c - zero_point) * scale."""

    scale: float
    zero_point: int

    def decoded(self, codes: NDArray[Any]) -> NDArray[np.float32]:
        """The real numbers for integer codes of any shape."""
        return ((codes.astype(np.float32) - np.float32(self.zero_point)) * np.float32(self.scale)).astype(np.float32)


def codes_of_range(low: float, high: float, code_low: float, code_high: float) -> Codes:
    """The codes that map `low` to `code_low` and `high` to `code_high`."""
    scale = (high - low) / (code_high - code_low)
    return Codes(scale, round(code_low - low / scale))


def are_probabilities(answers: NDArray[Any], codes: Codes | None) -> bool:
    """Whether each row (N, classes) is non-negative and sums to 1, within the rounding of the codes if there are any."""
    slack = TOLERANCE + (0.0 if codes is None else answers.shape[1] * codes.scale / 2)
    sums = answers.sum(axis=1, dtype=np.float64)
    return bool((answers >= 0).all() and (np.abs(sums - 1) <= slack).all())


def as_shares(answers: NDArray[np.float32], codes: Codes | None) -> NDArray[np.float32] | None:
    """Probabilities (N, classes) whose rows sum to 1; percentages are divided by 100. None for other answers."""
    if are_probabilities(answers, codes):
        return answers
    shares = answers / np.float32(_PERCENT)
    return shares if codes is None and are_probabilities(shares, codes) else None


def log_odds(column: NDArray[np.float32], codes: Codes | None) -> NDArray[np.float64]:
    """Logits, float64, of probabilities. 0 and 1 are moved inwards by half a code step or a tiny float32 amount."""
    least = np.finfo(np.float32).eps / 4 if codes is None else codes.scale / 2
    exact = np.clip(column.astype(np.float64), 0.0, 1.0)
    above, below = np.maximum(exact, np.finfo(np.float32).tiny if codes is None else least), np.maximum(1 - exact, least)
    return np.asarray(np.log(above) - np.log(below))


def log_probabilities(answers: NDArray[np.float32], codes: Codes | None) -> NDArray[np.float32]:
    """Logarithms of probabilities. Zero counts as half a code step; without codes, as the smallest normal number."""
    least = np.finfo(np.float32).tiny if codes is None else np.float32(codes.scale / 2)
    logarithms: NDArray[np.float32] = np.log(np.maximum(answers, least))
    return logarithms
