"""Inputs and outputs of a plan. Tensors that cannot be exchanged as plain arrays are refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from skinaudit.engines.plans.plan_batches import Profile
from skinaudit.engines.plans.tensor_types import TensorType, tensor_type
from skinaudit.engines.session import Port
from skinaudit.errors import EngineError


@dataclass(frozen=True)
class PlanTensors:
    """types: of all tensors by name. profiles: of each input. inputs, outputs: the session's ports, for any batch size."""

    types: Mapping[str, TensorType]
    profiles: Mapping[str, tuple[Profile, ...]]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    @property
    def converted(self) -> str:
        """Tensors whose values differ from the bits in memory, such as `logits bf16`."""
        return ", ".join(f"{name} {kind.name.lower()}" for name, kind in self.types.items() if kind.converted)


def read_tensors(engine: Any, trt: Any, *, where: str) -> PlanTensors:
    """Read the descriptions of all tensors from the engine.

    Raises EngineError for a tensor on the host, in a vectorised format, or of a type that cannot be exchanged.
    """
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
    types = {name: _checked_type(engine, trt, name, where=where) for name in names}
    ports = {name: _port(engine, name, types[name]) for name in names}
    return PlanTensors(
        types,
        {name: _profiles(engine, name) for name in inputs},
        tuple(ports[name] for name in inputs),
        tuple(ports[name] for name in names if name not in inputs),
    )


def _checked_type(engine: Any, trt: Any, name: str, *, where: str) -> TensorType:
    if engine.get_tensor_location(name) != trt.TensorLocation.DEVICE:
        raise EngineError(f"{where}: tensor {name} is on the host (it is a shape), which is not supported")
    for profile in range(max(1, engine.num_optimization_profiles)):
        layout = engine.get_tensor_format(name, profile)
        if layout != trt.TensorFormat.LINEAR:
            raise EngineError(
                f"{where}: tensor {name} has the vectorised format {layout.name}; build the plan with linear inputs and "
                "outputs"
            )
    return tensor_type(engine.get_tensor_dtype(name).name, tensor=name, where=where)


def _port(engine: Any, name: str, kind: TensorType) -> Port:
    """The port. It accepts any batch size, because the session splits and pads."""
    shape = [None if side < 0 else int(side) for side in engine.get_tensor_shape(name)]
    return Port(name, (None, *shape[1:]) if shape else (), kind.outside)


def _profiles(engine: Any, name: str) -> tuple[Profile, ...]:
    fixed = tuple(int(side) for side in engine.get_tensor_shape(name))
    count = int(engine.num_optimization_profiles)
    if min(fixed, default=0) >= 0:
        return (Profile(fixed, fixed, fixed),) * max(1, count)
    return tuple(_profile(engine.get_tensor_profile_shape(name, number)) for number in range(count))


def _profile(limits: Sequence[Sequence[Any]]) -> Profile:
    smallest, usual, largest = (tuple(int(side) for side in shape) for shape in limits)
    return Profile(smallest, usual, largest)
