from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinaudit.artifacts.contract import InputContract
from skinaudit.artifacts.logits import predictions
from skinaudit.audit.figures.drift import LISTED, measure_drift

NAMES = InputContract(size=1, classes=("mel", "nv", "bcc"), malignant=("mel", "bcc"))


def drift(source: list[list[float]], engine: list[list[float]]):  # type: ignore[no-untyped-def]
    source_logits, engine_logits = np.array(source, np.float32), np.array(engine, np.float32)
    count = len(source_logits)
    return measure_drift(
        source_logits, engine_logits, labels=np.zeros(count, np.int64), groups=np.arange(count), contract=NAMES
    )


def test_the_drift_is_the_largest_change_of_the_answers_lead() -> None:
    measured = drift([[3.0, 1.0, 0.0]], [[2.5, 1.25, 0.0]])
    assert (measured.median, measured.largest, measured.median_margin) == pytest.approx((0.75, 0.75, 2.0))
    assert (measured.near_ties, measured.at_risk, measured.listed) == (0, 0, ())


def test_a_constant_added_to_all_logits_is_no_drift() -> None:
    measured = drift([[3.0, 1.0, 0.0]], [[13.0, 11.0, 10.0]])
    assert measured.largest == 0.0


def test_a_near_tie_is_counted_and_listed() -> None:
    measured = drift([[1.0, 0.9, 0.0], [9.0, 0.0, 0.0]], [[1.0, 1.2, 0.0], [9.1, 0.0, 0.0]])
    assert (measured.near_ties, measured.at_risk) == (1, 1)
    (near_tie,) = measured.listed
    assert (near_tie.index, near_tie.source_answer, near_tie.engine_answer, near_tie.flipped) == (0, "mel", "nv", True)
    assert near_tie.margin == pytest.approx(0.1, abs=1e-6)
    assert near_tie.drift == pytest.approx(0.3, abs=1e-6)


def test_an_image_is_at_risk_by_the_drift_seen_on_others() -> None:
    source = [[1.0, 0.9, 0.0], *[[9.0, 0.0, 0.0]] * 9]
    engine = [[1.0, 0.9, 0.0], *[[8.0, 0.0, 0.0]] * 9]
    measured = drift(source, engine)
    assert (measured.near_ties, measured.at_risk) == (0, 1)
    assert not measured.listed[0].flipped


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 3))
def test_whatever_flips_is_a_near_tie_and_at_risk(seed: int, noise: float) -> None:
    generator = np.random.default_rng(seed)
    source = generator.normal(0, 1, (60, 3)).astype(np.float32)
    engine = (source + generator.normal(0, noise, source.shape)).astype(np.float32)
    measured = measure_drift(source, engine, labels=np.zeros(60, np.int64), groups=np.arange(60), contract=NAMES)
    flipped = int((predictions(source) != predictions(engine)).sum())
    assert flipped <= measured.near_ties
    assert flipped <= measured.at_risk
    assert len(measured.listed) == min(LISTED, measured.at_risk)
    assert sum(near_tie.flipped for near_tie in measured.listed) == min(flipped, LISTED)
