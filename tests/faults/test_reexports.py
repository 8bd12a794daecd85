"""A gate that cries wolf is switched off: a hundred audits of honest exports of the same weights."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

from skinaudit.tests.faults.lab import Lab, judge
from skinaudit.tests.faults.reexports import CALLS, Reexport, reexports


def test_there_are_a_hundred() -> None:
    assert len(set(reexports())) * len(CALLS) >= 100


@pytest.mark.parametrize("reexport", tuple(reexports()), ids=lambda one: f"{one.rewrite}-{one.precision}")
def test_an_honest_reexport_raises_no_alarm(reexport: Reexport, lab: Lab) -> None:
    engine = reexport.write(lab)
    for batch_size, threads in CALLS:
        outcome = judge(engine, batch_size=batch_size, threads=threads)
        assert outcome.verdict in ("PASS", "INCONCLUSIVE"), outcome.texts
        assert reexport.precision != "fp32" or outcome.verdict == "PASS", outcome.texts
