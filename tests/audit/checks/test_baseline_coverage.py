from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from skinaudit.audit.checks import Earlier, Evidence, Severity
from skinaudit.audit.checks.baseline_coverage import check
from skinaudit.audit.evidence.pairing import Pair
from skinaudit.audit.judgement.result import Verdict


def against(
    honest: Evidence, *, verdict: Verdict = Verdict.PASS, emulated: bool = False, pairs: str = "both", digest: str = "other",
    by_image: bool = True,
) -> Evidence:  # fmt: skip
    """Against an earlier audit with the same sets. pairs: both, clean, other box or absent."""
    report = SimpleNamespace(
        sets=honest.sets, verdict=verdict, emulated=emulated, findings=(), engine_digest=digest, by_image=by_image
    )
    clean, attacked = (Pair(result, own=False) for result in honest.sets)
    chosen = {
        "both": (clean, attacked),
        "clean": (clean, None),
        "other box": (clean, Pair(replace(attacked.before, white_box=False), own=False)),
        "attacked": (None, attacked),
    }
    return replace(honest, baseline=Earlier(report, chosen[pairs]))  # type: ignore[arg-type]


DAMAGES = {
    "no adversarial set": lambda honest: against(honest, pairs="clean"),
    "no clean set": lambda honest: against(honest, pairs="attacked"),
    "white-box for one alone": lambda honest: against(honest, pairs="other box"),
    "the same file": lambda honest: against(honest, digest=honest.inputs.digest),
    "an emulation": lambda honest: against(honest, emulated=True),
}


@pytest.mark.parametrize("pairs", ["clean", "attacked", "other box"])
def test_pass_needs_a_clean_and_an_adversarial_set(honest: Evidence, pairs: str) -> None:
    findings = list(check(against(honest, pairs=pairs)))
    assert any(finding.severity is Severity.INCONCLUSIVE and finding.set is None for finding in findings)


def test_the_earlier_verdict_is_noted(honest: Evidence) -> None:
    assert list(check(against(honest))) == []
    (finding,) = check(against(honest, verdict=Verdict.FAIL))
    assert (finding.severity, finding.text) == (Severity.NOTE, "the baseline's own verdict was FAIL")


def test_a_report_without_answers_by_image_is_noted(honest: Evidence) -> None:
    (finding,) = check(against(honest, by_image=False))
    assert finding.severity is Severity.NOTE
    assert "without predictions per image: its figures are not proved" in finding.text
