from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from linear_run import compared, entry
from numpy.typing import NDArray

from skinaudit.audit.checks import Evidence, Severity
from skinaudit.audit.checks.constant_answer import check


def answering(honest: Evidence, engine: NDArray[np.int64], labels: NDArray[np.int64]) -> Evidence:
    """The source answers the same, so that no accuracy is lost."""
    return replace(honest, sets=(entry(compared(engine, engine, labels), clean=True), honest.sets[1]))


DAMAGES = {
    "always nv": lambda honest: answering(honest, np.ones(700, np.int64), np.arange(700) % 7),
    "one class alone": lambda honest: answering(honest, np.ones(500, np.int64), np.ones(500, np.int64)),
}


@pytest.mark.parametrize("answer", range(7))
@pytest.mark.parametrize("counts", [(90, 570, 44, 28, 96, 10, 12), (1, 5000, 1, 1, 1, 1, 1), (200,) * 7])
def test_a_constant_answer_fails(honest: Evidence, answer: int, counts: tuple[int, ...]) -> None:
    labels = np.repeat(np.arange(7), counts)
    (finding,) = check(answering(honest, np.full(len(labels), answer), labels))
    assert finding.severity is Severity.FAIL


def test_an_answer_barely_better_than_constant_is_undecided(honest: Evidence) -> None:
    engine = np.ones(70, np.int64)
    engine[0] = 0
    (finding,) = check(answering(honest, engine, np.repeat(np.arange(7), 10)))
    assert finding.severity is Severity.INCONCLUSIVE
    assert "cannot be distinguished from that of a constant answer, 14.3%" in finding.text
