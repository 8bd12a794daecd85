from __future__ import annotations

from dataclasses import replace

from linear_run import probed

from skinaudit.audit.checks import Evidence, Severity
from skinaudit.audit.checks.disagreement import check
from skinaudit.audit.figures.fresh_attack import ProbeResult


def ungated(fresh: int) -> ProbeResult:
    return replace(probed(replay=400, fresh=fresh, reference=400), drop=None)


DAMAGES = {"points of disagreement": lambda honest: replace(honest, probes=(ungated(390),))}


def test_the_images_are_counted(honest: Evidence) -> None:
    (finding,) = check(DAMAGES["points of disagreement"](honest))
    assert finding.severity is Severity.WARNING
    assert finding.text.startswith("10 of 400 images have a point")
    assert list(check(replace(honest, probes=(ungated(400),)))) == []
    assert list(check(replace(honest, probes=(probed(replay=400, fresh=390, reference=400),)))) == []
