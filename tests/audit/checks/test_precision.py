from __future__ import annotations

from dataclasses import replace

import pytest
from linear_run import change_inputs

from skinaudit.artifacts.manifest import BUILT_TYPED
from skinaudit.audit.checks import Evidence, Severity
from skinaudit.audit.checks.precision import check


def with_layers(honest: Evidence, asked: str, promised: dict[str, int], layers: dict[str, int]) -> Evidence:
    return replace(change_inputs(honest, asked=asked, found=promised), engine=replace(honest.engine, found=layers))


DAMAGES = {
    "fp32 where fp16 was asked for": lambda honest: with_layers(honest, "fp16", {"fp16": 28}, {"fp32": 28}),
    "nothing proves it": lambda honest: with_layers(honest, "fp16", {"fp16": 28}, {}),
}


@pytest.mark.parametrize(
    ("asked", "promised", "layers", "severities"),
    [
        ("fp16", {"fp16": 28}, {"fp16": 28}, []),
        ("fp16", {"fp16": 27, "fp32": 1}, {"fp16": 27, "fp32": 1}, [Severity.NOTE]),
        ("fp16", {"fp16": 28}, {"fp32": 28}, [Severity.FAIL]),
        ("fp16", {"fp32": 28}, {"fp32": 28}, [Severity.FAIL]),
        ("int8", {"int8": 14, "fp32": 14}, {"int8": 14, "fp32": 14}, [Severity.FAIL]),
        ("fp16", {"fp16": 28}, {"fp16": 27, "fp32": 1}, [Severity.FAIL]),
        ("fp16", {"fp16": 28}, {}, [Severity.INCONCLUSIVE]),
        ("fp16", {}, {"fp16": 28}, [Severity.FAIL]),
    ],
)
def test_precision_is_proved(
    honest: Evidence, asked: str, promised: dict[str, int], layers: dict[str, int], severities: list[Severity]
) -> None:
    assert [finding.severity for finding in check(with_layers(honest, asked, promised, layers))] == severities


def test_a_plan_is_known_by_the_network_of_its_build(honest: Evidence) -> None:
    evidence = with_layers(honest, "fp16", {"fp16": 28}, {})
    assert list(check(change_inputs(evidence, settings={"found_in": BUILT_TYPED}))) == []


def test_a_foreign_engine_promised_nothing(honest: Evidence) -> None:
    assert list(check(change_inputs(honest, manifest=None))) == []
