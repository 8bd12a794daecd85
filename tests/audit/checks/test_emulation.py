from __future__ import annotations

from dataclasses import replace

from skinaudit.audit.checks import Evidence, Severity
from skinaudit.audit.checks.emulation import check

DAMAGES = {
    "the graph ran": lambda honest: replace(honest, emulated=True),
    "the runtime emulated": lambda honest: replace(honest, engine=replace(honest.engine, settings={"emulation": "fp16"})),
}


def test_what_ran_instead_is_named(honest: Evidence) -> None:
    (finding,) = check(DAMAGES["the runtime emulated"](honest))
    assert finding.severity is Severity.INCONCLUSIVE
    assert finding.text.endswith("emulated it: fp16")
