from __future__ import annotations

from dataclasses import replace

from linear_run import change_inputs

from skinaudit.audit.checks import Evidence, Severity
from skinaudit.audit.checks.named_run import check
from skinaudit.audit.judgement.policy import Policy

NAMED, OTHER = f"sha256:{'1' * 64}", f"sha256:{'2' * 64}"
DAMAGES = {"another run": lambda honest: replace(change_inputs(honest, anchor=OTHER), policy=Policy(run=NAMED))}


def test_another_run_than_the_policy_names_forbids_a_pass(honest: Evidence) -> None:
    (finding,) = check(DAMAGES["another run"](honest))
    assert (finding.rule, finding.severity) == ("named-run", Severity.INCONCLUSIVE)
    assert finding.text == f"the policy names the run {NAMED}, but the engine's run is {OTHER}"
    (finding,) = check(replace(change_inputs(honest, anchor=None), policy=Policy(run=NAMED)))
    assert finding.text.endswith("but the engine's run is not available")


def test_the_named_run_and_a_policy_without_one_say_nothing(honest: Evidence) -> None:
    assert list(check(replace(change_inputs(honest, anchor=NAMED), policy=Policy(run=NAMED)))) == []
    assert list(check(change_inputs(honest, anchor=NAMED))) == []
