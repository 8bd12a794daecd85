from __future__ import annotations

import numpy as np

from skinaudit.artifacts.logits import lead


def test_the_lead_is_over_the_best_other_class_and_negative_where_one_wins() -> None:
    logits = np.array([[3, 1, 2], [3, 1, 2], [5, 5, 0], [-1e30, 1e30, 0]], np.float32)
    before = logits.copy()
    assert lead(logits, np.array([0, 1, 0, 1])).tolist() == [1, -2, 0, np.float64(np.float32(1e30))]
    assert (logits == before).all()


def test_a_lead_too_large_for_float32_stays_finite() -> None:
    largest = np.finfo(np.float32).max
    assert np.isfinite(lead(np.array([[largest, -largest]], np.float32), np.array([0]))).all()
