"""The table of own test beside external validation."""

from __future__ import annotations

from skinaudit.audit.figures.external import ACCURACY, Estimate, ExternalFigure, ExternalResult
from skinaudit.audit.figures.statistics import Interval
from skinaudit.audit.reports.parts.wording import external_rows


def test_a_difference_has_no_signed_zero() -> None:
    own, external_estimate = Estimate(0.5, Interval(0.4, 0.6), 100), Estimate(0.5, Interval(0.4, 0.6), 100)
    figure = ExternalFigure("clean", ACCURACY, own, external_estimate, 0.5, 0.107, Interval(-0.0001, 0.216))
    (row,) = external_rows(ExternalResult("hospital-b", "Hospital B", "A", 0.95, (figure,), ()))
    assert row[-2:] == ("+10.7 [0.0, +21.6]", "chance")
