from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
from linear_run import probed

from skinaudit.audit.checks import Earlier, Evidence, Finding, Severity
from skinaudit.audit.checks.own_sets import check
from skinaudit.audit.figures.fresh_attack import ProbeResult
from skinaudit.audit.judgement.result import Verdict


def on_own_sets(honest: Evidence, *probes: ProbeResult, findings: tuple[Finding, ...] = ()) -> Evidence:
    report = SimpleNamespace(
        sets=honest.sets, findings=findings, emulated=False, verdict=Verdict.PASS, engine_digest="other", by_image=True
    )
    earlier = Earlier(report, (None, None))  # type: ignore[arg-type]
    return replace(honest, baseline=earlier, own_sets=frozenset({honest.sets[1].title}), probes=probes)


DAMAGES = {"no fresh attack": on_own_sets}


@pytest.mark.parametrize(
    ("probe", "severities"),
    [
        (probed(replay=300, fresh=300, reference=300), [Severity.NOTE]),
        (probed(replay=300, fresh=400, reference=400), [Severity.NOTE, Severity.INCONCLUSIVE]),
        (probed(replay=300, fresh=300, reference=300, by_answers=False), [Severity.NOTE, Severity.INCONCLUSIVE]),
        (replace(probed(replay=300, fresh=300, reference=300), eps="1/255"), [Severity.NOTE, Severity.INCONCLUSIVE]),
        (replace(probed(replay=300, fresh=300, reference=300), images=99), [Severity.NOTE, Severity.INCONCLUSIVE]),
    ],
)
def test_only_a_strong_attack_by_answers_alone_settles_it(
    honest: Evidence, probe: ProbeResult, severities: list[Severity]
) -> None:
    assert [finding.severity for finding in check(on_own_sets(honest, probe))] == severities


def test_masked_gradients_of_the_baseline_are_a_warning(honest: Evidence) -> None:
    masked = (Finding(Severity.WARNING, "masking", None, "masked"),)
    findings = list(check(on_own_sets(honest, probed(replay=300, fresh=300, reference=300), findings=masked)))
    assert [finding.severity for finding in findings] == [Severity.NOTE, Severity.WARNING]
