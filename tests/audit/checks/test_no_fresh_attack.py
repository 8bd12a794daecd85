from __future__ import annotations

from dataclasses import replace

import pytest
from linear_run import probed

from skinaudit.audit.checks import Evidence, Severity
from skinaudit.audit.checks.no_fresh_attack import check
from skinaudit.audit.figures.fresh_attack import ProbeResult
from skinaudit.audit.judgement.policy import Policy

PROBE = probed(replay=300, fresh=300, reference=300)
DAMAGES = {"no probe": lambda honest: replace(honest, probes=())}


def test_an_audit_without_one_cannot_pass_unless_the_policy_says_so(honest: Evidence) -> None:
    assert not list(check(honest))
    unprobed = DAMAGES["no probe"](honest)
    assert [finding.severity for finding in check(unprobed)] == [Severity.INCONCLUSIVE]
    permitted = replace(unprobed, policy=Policy(probe_required=False))
    assert [finding.severity for finding in check(permitted)] == [Severity.WARNING]


@pytest.mark.parametrize(
    ("probe", "enough"), [(PROBE, True), (replace(PROBE, eps="1/255"), False), (replace(PROBE, by_answers=False), False)]
)
def test_it_counts_by_answers_and_in_the_ball_of_a_set(honest: Evidence, probe: ProbeResult, enough: bool) -> None:
    assert len(list(check(replace(honest, probes=(probe,))))) == (not enough)
