"""Side effects in the graph of an exported program. The layers are read from the results of its steps only."""

from __future__ import annotations

from collections import Counter
from typing import Any

_FRESH = frozenset(
    {"conv2d", "convolution", "linear", "batch_norm", "add", "sub", "mul", "div", "relu", "relu6", "hardtanh", "clamp",
     "lift_fresh_copy"}
)  # fmt: skip
"""Operators whose result shares no memory with other tensors. The result of a view, or of Dropout in evaluation, does."""


def ambiguous(program: Any, *, prefix: str) -> str:
    """Parts of a program that could change the answer without being among its inputs, in words; empty if there are none.

    A step may write into a tensor that another step reads. The answer then depends on that step, but the graph does not show
    it. A program may also give one name to two weights. prefix: start of its weights' names, to leave out.
    """
    signature, nodes = program.graph_signature, list(program.graph.nodes)
    changed = [*signature.buffers_to_mutate.values(), *signature.user_inputs_to_mutate.values()]
    if changed:
        return f"a program that changes {changed[0]} with each call"
    ports = [node.name for node in nodes if node.op == "placeholder"]
    if ports != [spec.arg.name for spec in signature.input_specs]:
        return "a program whose inputs are not those of its signature"
    (answers,) = (node.args[0] for node in nodes if node.op == "output")
    if [answer.name for answer in answers] != list(signature.user_outputs):
        return "a program whose outputs are not those of its signature"
    targets = [spec.target.removeprefix(prefix) for spec in signature.input_specs if spec.target is not None]
    twice = next((name for name, times in Counter(targets).items() if times > 1), "")
    if twice:
        return f"{twice}, which the program names twice"
    writing = next((node for node in nodes if _writes_elsewhere(node)), None)
    return "" if writing is None else f"{writing.name} ({writing.target}), which changes a tensor that others may read"


def _writes_elsewhere(node: Any) -> bool:
    """Whether a step writes into something other than a result that only it reads (an in-place ReLU does the latter)."""
    schema = getattr(node.target, "_schema", None)
    if node.op != "call_function" or schema is None or not schema.is_mutable:
        return False
    written = [argument for argument in schema.arguments if argument.is_write]
    return written != schema.arguments[:1] or not _is_own(node.args[0])


def _is_own(value: Any) -> bool:
    """Whether only one step reads this result, and nothing else shares its memory."""
    if value.op != "call_function" or len(value.users) != 1:
        return False
    name = str(value.target).removeprefix("aten.").partition(".")[0]
    if name.endswith("_"):
        return name.rstrip("_") in _FRESH and _is_own(value.args[0])
    return name in _FRESH
