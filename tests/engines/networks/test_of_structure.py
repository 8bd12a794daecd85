"""The recorded structure of a run's model as layers: what a damaged record says is never taken, and never a crash."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from skinaudit.artifacts.structure import Step, Structure
from skinaudit.engines.networks.layers import Layer
from skinaudit.engines.networks.of_structure import network_of
from skinaudit.errors import InvalidInputError

WEIGHTS = {
    "conv": np.ones((4, 3, 3, 3), np.float32), "scale": np.ones(4, np.float32), "linear": np.ones((2, 4), np.float32)
}  # fmt: skip
STEPS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "convolved": ("conv2d.default", ("step:image", "weight:conv", None, [2, 2], [1, 1])),
    "normed": ("batch_norm.default", ("step:convolved", *["weight:scale"] * 4, False, 0.1, 0.001, False)),
    "added": ("add.Tensor", ("step:normed", "step:normed")),
    "active": ("hardtanh.default", ("step:added", 0.0, 6.0)),
    "pooled": ("adaptive_avg_pool2d.default", ("step:active", [1, 1])),
    "flat": ("flatten.using_ints", ("step:pooled", 1)),
    "logits": ("linear.default", ("step:flat", "weight:linear")),
}
ODD: tuple[Any, ...] = (None, True, "word", "", 7, -1, 2**62, 1e300, [], [[1]], ["word"], [None], {"a": 1})


def network(*, step: str = "", place: int = 0, value: Any = None) -> Layer:
    """The network of STEPS, with one argument replaced."""

    def arguments(name: str) -> tuple[Any, ...]:
        own = STEPS[name][1]
        return tuple(value if (name, index) == (step, place) else argument for index, argument in enumerate(own))

    steps = tuple(Step(name, operator, arguments(name)) for name, (operator, _) in STEPS.items())
    return network_of(Structure("image", "logits", 8, steps, {}, {}), WEIGHTS)


def test_the_whole_record_is_read() -> None:
    assert network().shape == (2,)


@pytest.mark.parametrize("step", STEPS)
def test_no_argument_of_a_step_crashes(step: str) -> None:
    """It is read as another network, or refused by a line that names the step or one behind it."""
    messages = [refusal(step, place, value) for place in range(len(STEPS[step][1])) for value in ODD]
    assert any(messages)
    expected = re.compile(r"|step '\w+' has arguments that '[\w.]+' does not take \(.*\)")
    assert [message for message in messages if not expected.fullmatch(message)] == []


def refusal(step: str, place: int, value: Any) -> str:
    """What is said against a value in the place of an argument; empty if it is read."""
    try:
        network(step=step, place=place, value=value)
    except InvalidInputError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("shape", [(), (2,), (-1,), (3, -1), None])
def test_constants_that_do_not_fit_their_shape_are_refused(shape: tuple[int, ...] | None) -> None:
    shapes = {} if shape is None else {"mean": shape}
    with pytest.raises(InvalidInputError, match=r"constants\.mean should have as many numbers as its entry in shapes says"):
        Structure("image", "image", 8, (), {"mean": (0.1, 0.2, 0.3)}, shapes)
