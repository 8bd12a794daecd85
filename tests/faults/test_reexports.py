"""A gate that cries wolf is switched off: audits of honest exports of the same weights, all of them in bench/faults.py."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

from skinaudit.tests.faults.lab import WITHOUT_PROBE, Lab, judge
from skinaudit.tests.faults.reexports import CALLS, Reexport, reexports

IN_FP16 = ("as_exported", "untied_bias", "batch_norm_unfolded", "rescaled_layers")
"""Rewritten before the conversion, these round otherwise than the exporter's own fp16 graph; other rewrites hardly do."""


def chosen() -> Iterator[tuple[Reexport, tuple[int, int]]]:
    """Each rewrite in fp32 and some in fp16; the calls take turns, and the exporter's own graph gets all of them."""
    kept = [reexport for reexport in reexports() if reexport.precision == "fp32" or reexport.rewrite in IN_FP16]
    yield from zip(kept, cycle(CALLS), strict=False)
    yield from ((kept[0], call) for call in CALLS[1:])


def named(case: tuple[Reexport, tuple[int, int]]) -> str:
    reexport, (batch_size, threads) = case
    return f"{reexport.rewrite}-{reexport.precision}-{batch_size}-{threads}"


def test_there_are_a_hundred_and_every_rewrite_is_tried() -> None:
    assert len(set(reexports())) * len(CALLS) >= 100
    assert {reexport.rewrite for reexport, _ in chosen()} == {reexport.rewrite for reexport in reexports()}
    assert {reexport.rewrite for reexport, _ in chosen() if reexport.precision == "fp16"} == set(IN_FP16)
    assert len({(reexport, call) for reexport, call in chosen()}) == len(list(chosen()))


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=named(case), marks=[pytest.mark.slow] if case[0].precision == "fp16" else [])
        for case in chosen()
    ],
)
def test_an_honest_reexport_raises_no_alarm(case: tuple[Reexport, tuple[int, int]], lab: Lab) -> None:
    reexport, (batch_size, threads) = case
    settings = {} if batch_size == CALLS[0][0] else WITHOUT_PROBE
    outcome = judge(reexport.write(lab), batch_size=batch_size, threads=threads, **settings)
    assert outcome.verdict in ("PASS", "INCONCLUSIVE"), outcome.texts
    assert reexport.precision != "fp32" or outcome.verdict == "PASS", outcome.texts
