"""The structure of a run's model, recorded when its training ends: operators, connections and settings, without the
weights.

With this file and weights.safetensors, the computation of an engine file can be checked without torch and without
running any engine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from skinaudit.artifacts.files import write_json
from skinaudit.artifacts.plain_values import read_json
from skinaudit.artifacts.typed_json import build
from skinaudit.errors import InvalidInputError

_KIND = "skinaudit-structure/1"
_AGAIN = "restore it or train again"
STEP, WEIGHT = "step:", "weight:"
"""Start of an argument that is the result of a step, and of one that is a tensor of the weights or of `constants`."""


@dataclass(frozen=True)
class Step:
    """One operator. operator: torch's name, such as `conv2d.default`.

    arguments: in the operator's order. Each is a number, a list of numbers, null, or a text that starts with STEP or WEIGHT.
    """

    name: str
    operator: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class Structure:
    """A model from the image to the logits. steps: in the order of computation; the image is the step `input`.

    constants: tensors that are not among the weights, such as those of the normalisation, flattened; shapes: their shapes.
    Invariant: each step uses only earlier ones.
    """

    input: str
    output: str
    size: int
    steps: tuple[Step, ...]
    constants: Mapping[str, tuple[float, ...]]
    shapes: Mapping[str, tuple[int, ...]]

    def __post_init__(self) -> None:
        known = {self.input}
        for step in self.steps:
            for argument in step.arguments:
                if isinstance(argument, str) and argument.startswith(STEP) and argument.removeprefix(STEP) not in known:
                    raise InvalidInputError(f"step {step.name} uses {argument}, but no earlier step produces it")
            known.add(step.name)
        if self.output not in known:
            raise InvalidInputError(f"output {self.output} is not produced by any step")
        for name, values in self.constants.items():
            shape = self.shapes.get(name, (-1,))
            if min(shape, default=0) < 0 or math.prod(shape) != len(values):
                raise InvalidInputError(f"constants.{name} should have as many numbers as its entry in shapes says")


def write_structure(path: Path, structure: Structure) -> None:
    """Write it as JSON, atomically; equal structures give equal bytes."""
    write_json(path, {"kind": _KIND, **asdict(structure)})


def read_structure(path: Path) -> Structure:
    """Read a file written by `write_structure`; raises InvalidInputError if it is damaged or of another kind."""
    value = read_json(path, kind="record of a model's structure", again=_AGAIN)
    kind = value.pop("kind", None)
    if kind != _KIND:
        raise InvalidInputError(f"{path}: kind should be {_KIND}; {_AGAIN}")
    structure: Structure = build(Structure, value, where=str(path), again=_AGAIN)
    return structure
