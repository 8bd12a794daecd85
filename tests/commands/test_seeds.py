"""A seed that no generator or no file takes ends in one line, whatever the command."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from skinaudit import cli
from skinaudit.audit.evidence.probing import plan_probes
from skinaudit.errors import InvalidInputError


@pytest.mark.parametrize("command", [("audit", "engine.onnx"), ("train",), ("attack", "run", "--attack", "fgsm"), ("demo",)])
@pytest.mark.parametrize("seed", ["-1", str(2**63), str(2**80)])
def test_a_seed_beyond_64_bits_is_a_usage_error(command: tuple[str, ...], seed: str) -> None:
    result = CliRunner().invoke(cli.commands, [*command, f"--seed={seed}"])
    assert result.exit_code == 2
    assert result.output.splitlines()[-1] == (
        f"Error: Invalid value for '--seed': {seed} is not in the range 0<=x<={2**63 - 1}."
    )


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_the_library_refuses_it_too(seed: int) -> None:
    with pytest.raises(InvalidInputError, match="seed of probe square: give a number from 0"):
        plan_probes(["square"], threat_model=None, images=2, queries=4, seed=seed)
    (plan,) = plan_probes(["square"], threat_model=None, images=2, queries=4, seed=2**63 - 1)
    assert plan.seed == 2**63 - 1
