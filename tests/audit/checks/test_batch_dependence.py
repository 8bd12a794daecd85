from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from skinaudit.audit.checks import Evidence, Severity
from skinaudit.audit.checks.batch_dependence import check
from skinaudit.engines.engine import BatchRange


def with_batches(
    honest: Evidence, *, ranges: tuple[BatchRange, ...] = (BatchRange(1, 32, 256),), **changes: Any
) -> Evidence:
    """The honest engine with other answers by batch; it takes `ranges` of batches, none for any."""
    consistency = replace(honest.consistency, identical=False, **changes)
    return replace(honest, consistency=consistency, engine=replace(honest.engine, batches=ranges))


DAMAGES = {
    "the batch changes logits": lambda honest: with_batches(honest, largest=0.1, flips=9),
    "the batch changes an answer": lambda honest: with_batches(honest, largest=1e-3, flips=1),
}


@pytest.mark.parametrize(
    ("changes", "severity"),
    [
        ({"largest": 1e-4}, Severity.NOTE),
        ({"largest": 1e-3, "flips": 1}, Severity.WARNING),
        ({"largest": 0.1, "flips": 9}, Severity.FAIL),
        ({"largest": 0.1, "flips": 1}, Severity.FAIL),
        ({"largest": 0.1, "flips": 0}, Severity.WARNING),
        ({"largest": 0.1, "flips": 3, "whole": 4000}, Severity.WARNING),
        ({"largest": 0.1, "flips": 30, "whole": 4000}, Severity.FAIL),
        ({"largest": 0.1, "flips": 3, "whole": 4000, "ranges": ()}, Severity.WARNING),
        ({"largest": 0.1, "flips": 300, "whole": 4000, "ranges": ()}, Severity.INCONCLUSIVE),
        ({"largest": 1e-3, "flips": 9, "whole": 4000}, Severity.WARNING),
        ({"largest": 1e-3, "flips": 30, "whole": 4000}, Severity.INCONCLUSIVE),
        ({"largest": 1e-3, "flips": 90, "whole": 4000}, Severity.FAIL),
    ],
)
def test_an_answer_that_depends_on_its_batch(honest: Evidence, changes: dict[str, Any], severity: Severity) -> None:
    assert [finding.severity for finding in check(with_batches(honest, **changes))] == [severity]
