"""Own test beside external images: a table where there is something to compare, and a line that says why not elsewhere."""

from __future__ import annotations

from dataclasses import replace

import pytest

from skinaudit.audit import reports
from skinaudit.audit.figures.external import Estimate, ExternalFigure, ExternalResult
from skinaudit.audit.figures.statistics import Interval
from skinaudit.audit.judgement.result import AuditResult
from skinaudit.audit.reports.parts.wording import NO_OWN_TEST

ESTIMATE = Estimate(0.5, Interval(0.4, 0.6), 100)


@pytest.mark.parametrize("form", ["terminal", "markdown", "html"])
@pytest.mark.parametrize("has_own_test", [False, True])
def test_a_table_without_an_own_test_is_a_line(audits: dict[str, AuditResult], form: str, has_own_test: bool) -> None:
    own, difference = (ESTIMATE, (0.0, Interval(-0.1, 0.1))) if has_own_test else (None, (None, None))
    figure = ExternalFigure("clean", "accuracy", own, ESTIMATE, 0.5, *difference)
    external = ExternalResult("hospital-b", "Hospital B", "A" if has_own_test else None, 0.95, (figure,), ())
    text = " ".join(reports.render(form, replace(audits["pass"], external=external)).split())
    assert (NO_OWN_TEST.lower() in text.lower()) is not has_own_test
    assert ("explained by" in text) is has_own_test


@pytest.mark.parametrize("form", ["terminal", "markdown", "html"])
def test_every_report_for_people_says_what_power_is(audits: dict[str, AuditResult], form: str) -> None:
    text = " ".join(reports.render(form, audits["pass"]).split())
    assert "probability that an engine as good as its source passes" in text
