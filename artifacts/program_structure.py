"""The structure of a torch.export program: of a run's model when its training ends, or of a .pt2 file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from skinaudit.artifacts.structure import STEP, WEIGHT, Step, Structure


def structure_of(program: Any, *, size: int, prefix: str = "") -> Structure:
    """The structure of an exported program with one input and one output.

    prefix: start of its weights' names that weights.safetensors lacks. Keyword arguments follow the others in the order of
    the operator's schema; those left out in between get the schema's defaults.
    """
    signature = program.graph_signature
    lifted = {
        **signature.inputs_to_parameters, **signature.inputs_to_buffers, **signature.inputs_to_lifted_tensor_constants
    }  # fmt: skip
    names = {name: target.removeprefix(prefix) for name, target in lifted.items()}
    steps = [
        Step(node.name, str(node.target).removeprefix("aten."), tuple(_arguments(node, names)))
        for node in program.graph.nodes
        if node.op == "call_function"
    ]
    loose = {target: value for target, value in _loose(program).items() if target in lifted.values()}
    return Structure(
        input=signature.user_inputs[0],
        output=signature.user_outputs[0],
        size=size,
        steps=tuple(steps),
        constants={name.removeprefix(prefix): tuple(map(float, value.flatten())) for name, value in sorted(loose.items())},
        shapes={name.removeprefix(prefix): tuple(value.shape) for name, value in sorted(loose.items())},
    )


def _loose(program: Any) -> dict[str, Any]:
    """Tensors outside the state dict: constants, and buffers that are not saved."""
    unsaved = program.graph_signature.non_persistent_buffers
    return {**program.constants, **{name: value for name, value in program.named_buffers() if name in unsaved}}


def _arguments(node: Any, names: dict[str, str]) -> Iterator[Any]:
    schema = getattr(node.target, "_schema", None)
    given = list(node.args)
    if schema is not None:
        rest = schema.arguments[len(given) :]
        last = max((place + 1 for place, parameter in enumerate(rest) if parameter.name in node.kwargs), default=0)
        given += [node.kwargs.get(parameter.name, parameter.default_value) for parameter in rest[:last]]
    else:
        given += list(node.kwargs.values())
    yield from (_plain(argument, names) for argument in given)


def _plain(argument: Any, names: dict[str, str]) -> Any:
    """A JSON value; any other value is written as its text, which matches nothing."""
    if isinstance(argument, list | tuple):
        return [_plain(item, names) for item in argument]
    if hasattr(argument, "op") and hasattr(argument, "name"):
        return f"{WEIGHT}{names[argument.name]}" if argument.name in names else f"{STEP}{argument.name}"
    return argument if argument is None or isinstance(argument, bool | int | float) else str(argument)
