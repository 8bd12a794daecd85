from __future__ import annotations

from dataclasses import replace

import pytest

from skinaudit.audit.checks import Evidence, Severity
from skinaudit.audit.checks.proof import check
from skinaudit.audit.evidence.proof import Lack, Proof
from skinaudit.audit.judgement.policy import Policy

DAMAGES = {
    "a node too many": lambda honest: replace(honest, proof=Proof("e.onnx", difference="Add_1 (Add): not of the run")),
    "weights that are missing": lambda honest: replace(honest, proof=Proof("e.onnx", "file", "weights are missing")),
    "a plan": lambda honest: replace(honest, proof=Proof("e.plan", "format", "its format cannot be read")),
}


def test_what_the_run_does_not_explain_forbids_a_pass(honest: Evidence) -> None:
    (finding,) = check(replace(honest, proof=Proof("e.onnx", difference="Add_1 (Add): the run's model has linear there")))
    assert (finding.rule, finding.severity) == ("unexplained", Severity.INCONCLUSIVE)
    assert finding.text.startswith("e.onnx: Add_1 (Add)")


def test_a_proved_file_says_nothing(honest: Evidence) -> None:
    assert list(check(replace(honest, proof=Proof("e.onnx")))) == []


@pytest.mark.parametrize(
    ("lack", "policy", "severity"),
    [
        ("file", "where readable", Severity.INCONCLUSIVE),
        ("format", "where readable", Severity.WARNING),
        ("record", "where readable", Severity.INCONCLUSIVE),
        ("format", "always", Severity.INCONCLUSIVE),
        ("record", "always", Severity.INCONCLUSIVE),
        ("file", "optional", Severity.WARNING),
    ],
)
def test_the_policy_decides_on_what_was_not_compared(honest: Evidence, lack: Lack, policy: str, severity: Severity) -> None:
    own = Policy(proof=policy)  # type: ignore[arg-type]
    (finding,) = check(replace(honest, proof=Proof("e.onnx", lack, "why not"), policy=own))
    assert (finding.rule, finding.severity) == ("unproved", severity)
    assert finding.text == "layers and weights of e.onnx are not proved: why not"


def test_a_foreign_engine_is_noted(honest: Evidence) -> None:
    foreign = replace(
        honest, inputs=replace(honest.inputs, manifest=None), proof=Proof("e.onnx", "format", "another tool's")
    )
    assert [finding.severity for finding in check(foreign)] == [Severity.NOTE]
