from __future__ import annotations

import numpy as np
import pytest

from skinaudit.artifacts.logits import lead, range_text


def test_the_lead_is_over_the_best_other_class_and_negative_where_one_wins() -> None:
    logits = np.array([[3, 1, 2], [3, 1, 2], [5, 5, 0], [-1e30, 1e30, 0]], np.float32)
    before = logits.copy()
    assert lead(logits, np.array([0, 1, 0, 1])).tolist() == [1, -2, 0, np.float64(np.float32(1e30))]
    assert (logits == before).all()


def test_a_lead_too_large_for_float32_stays_finite() -> None:
    largest = np.finfo(np.float32).max
    assert np.isfinite(lead(np.array([[largest, -largest]], np.float32), np.array([0]))).all()


@pytest.mark.parametrize(
    ("fraction", "text"),
    [(0.0, "0%"), (1e-9, "less than 0.0001%"), (2e-6, "0.0002%"), (4e-4, "0.04%"), (0.996e-2, "1%"), (12.5, "1,250.0%")],
)
def test_a_difference_of_logits_is_read_without_an_exponent(fraction: float, text: str) -> None:
    assert range_text(fraction) == f"by {text} of their range"
