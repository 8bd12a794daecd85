from __future__ import annotations

from dataclasses import replace

from linear_run import change_inputs

from skinaudit.artifacts.operating_point import OperatingPoint
from skinaudit.audit.checks import Evidence, Severity
from skinaudit.audit.checks.operating_point import check
from skinaudit.audit.evidence.operating import operating_point
from skinaudit.audit.judgement.policy import Policy

POINTS = tuple(OperatingPoint(share, share, share, 0.5, 100, 20) for share in (0.95, 0.9))


def recorded(honest: Evidence, *points: OperatingPoint, specificity: float | None, margin: float | None = None) -> Evidence:
    """The evidence of a run with these points, under a policy that names this specificity."""
    assert honest.inputs.recorded is not None
    inputs = change_inputs(honest, recorded=replace(honest.inputs.recorded, operating_points=points)).inputs
    policy = Policy(operating_specificity=specificity, operating_margin=margin)
    return replace(honest, inputs=inputs, policy=policy, operating=operating_point(inputs, specificity=specificity))


DAMAGES = {
    "another specificity": lambda honest: recorded(honest, *POINTS, specificity=0.8),
    "a bound without a threshold": lambda honest: recorded(honest, specificity=0.9, margin=5.0),
}


def test_a_specificity_that_the_run_did_not_record_warns_and_says_what_to_do(honest: Evidence) -> None:
    (finding,) = check(recorded(honest, *POINTS, specificity=0.8))
    assert finding.severity is Severity.WARNING
    assert "for specificity 0.95, 0.9, the policy names 0.8" in finding.text
    assert "--specificity 0.8" in finding.text


def test_where_the_policy_bounds_the_loss_it_forbids_a_pass(honest: Evidence) -> None:
    for points in (POINTS, ()):
        (finding,) = check(recorded(honest, *points, specificity=0.8, margin=5.0))
        assert finding.severity is Severity.INCONCLUSIVE


def test_a_run_of_an_earlier_version_is_no_finding(honest: Evidence) -> None:
    evidence = recorded(honest, specificity=None)
    assert list(check(evidence)) == []
    assert "earlier version" in evidence.operating.lacking


def test_without_a_named_specificity_the_lowest_is_taken(honest: Evidence) -> None:
    assert recorded(honest, *POINTS, specificity=None).operating.point == POINTS[1]
    assert recorded(honest, *POINTS, specificity=0.95).operating.point == POINTS[0]
