from __future__ import annotations

from dataclasses import replace

import numpy as np
from linear_run import compared, entry
from numpy.typing import NDArray

from skinaudit.audit.checks import Evidence, Severity
from skinaudit.audit.checks.not_robust import check

LABELS = np.arange(1400) % 7


def attacked(honest: Evidence, answers: NDArray[np.int64], labels: NDArray[np.int64]) -> Evidence:
    clean = entry(compared(labels, labels, labels), clean=True)
    return replace(honest, sets=(clean, entry(compared(answers, answers, labels, attacked=True))))


DAMAGES = {
    "collapsed": lambda honest: attacked(honest, np.where(np.arange(1400) < 1300, (LABELS + 1) % 7, LABELS), LABELS),
}


def test_a_collapsed_model_is_called_not_robust(honest: Evidence) -> None:
    (finding,) = check(DAMAGES["collapsed"](honest))
    assert finding.severity is Severity.WARNING
    assert "the model itself is not robust" in finding.text


def test_a_robust_accuracy_below_a_constant_answers_is_noted_where_the_balanced_one_is_above(honest: Evidence) -> None:
    """Half of each class right, where one class is more than half of the images."""
    labels = np.where(np.arange(1400) < 800, 1, LABELS)
    half = np.where(np.arange(1400) % 2 == 0, (labels + 1) % 7, labels)
    (finding,) = check(attacked(honest, half, labels))
    assert finding.severity is Severity.NOTE
    assert "robust accuracy 50.0%" in finding.text
