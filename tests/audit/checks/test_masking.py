from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from linear_run import probed

from skinaudit.audit.checks import Evidence, Severity
from skinaudit.audit.checks.masking import check
from skinaudit.audit.figures.fresh_attack import ProbeResult
from skinaudit.audit.figures.statistics import paired_drop
from skinaudit.audit.judgement.gates import judge

RIGHT = np.ones(1400, np.bool_)


def gained(honest: Evidence, images: int, *probes: ProbeResult, own: bool = False) -> Evidence:
    """Under attack the source loses `images` of 1,400 more than the engine."""
    drop = paired_drop(np.arange(1400) >= images, RIGHT, np.arange(1400))
    attacked = replace(honest.sets[1], comparison=replace(honest.sets[1].comparison, drop=drop))
    sets = (honest.clean, attacked)
    own_sets = frozenset({attacked.title} if own else ())
    return replace(honest, sets=sets, probes=probes, gates=judge(sets, probes, honest.policy), own_sets=own_sets)


DAMAGES = {
    "far better than its source": lambda honest: gained(honest, 60),
    "fresh attacks find more": lambda honest: gained(honest, 0, probed(replay=300, fresh=260, reference=260)),
}


@pytest.mark.parametrize(
    ("images", "probe", "expected"),
    [
        (0, None, []),
        (3, None, []),
        (10, None, [Severity.WARNING]),
        (60, None, [Severity.INCONCLUSIVE]),
        (60, probed(replay=300, fresh=300, reference=300), [Severity.WARNING]),
        (60, probed(replay=300, fresh=320, reference=320), [Severity.INCONCLUSIVE]),
        (60, probed(replay=300, fresh=320, reference=390), [Severity.INCONCLUSIVE]),
        (0, probed(replay=300, fresh=260, reference=260), [Severity.INCONCLUSIVE]),
    ],
)
def test_masked_gradients(honest: Evidence, images: int, probe: ProbeResult | None, expected: list[Severity]) -> None:
    """A gain under replay is doubtful, beyond the margin it forbids PASS until a passed probe that is as strong settles it;
    and a fresh attack that finds more than the stored images forbids PASS by itself."""
    findings = list(check(gained(honest, images, *([probe] if probe else []))))
    assert [finding.severity for finding in findings] == expected


@pytest.mark.parametrize(
    ("probe", "expected"),
    [
        (None, Severity.INCONCLUSIVE),
        (probed(replay=300, fresh=320, reference=320), Severity.INCONCLUSIVE),
        (probed(replay=300, fresh=300, reference=300), Severity.WARNING),
    ],
)
def test_any_gain_over_the_source_has_to_be_settled_on_own_sets(
    honest: Evidence, probe: ProbeResult | None, expected: Severity
) -> None:
    (finding,) = check(gained(honest, 10, *([probe] if probe else []), own=True))
    assert finding.severity is expected
