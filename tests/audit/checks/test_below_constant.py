from __future__ import annotations

from dataclasses import replace

from linear_run import change_set

from skinaudit.audit.checks import Evidence, Severity
from skinaudit.audit.checks.below_constant import check
from skinaudit.audit.judgement.policy import Policy

DAMAGES = {"fewer right than always nevus": lambda honest: change_set(honest, 0, engine_accuracy=0.19, majority_share=0.67)}


def test_it_is_a_warning_unless_the_policy_forbids_agreement_only(honest: Evidence) -> None:
    below = DAMAGES["fewer right than always nevus"](honest)
    assert [finding.severity for finding in check(below)] == [Severity.WARNING]
    strict = replace(below, policy=Policy(agreement_only="inconclusive"))
    assert [finding.severity for finding in check(strict)] == [Severity.INCONCLUSIVE]
