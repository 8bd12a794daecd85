"""Information stored in an ONNX file: precision of its weighted layers, and metadata. Needs only onnx and numpy."""

from __future__ import annotations

import ast
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnx.external_data_helper
import onnx.inliner
import onnx.numpy_helper
import onnx.shape_inference
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import GraphProto, ModelProto, NodeProto, TensorProto
from onnx.checker import ValidationError

from skinaudit.artifacts.outside import MAX_MODEL, check_regular, read_regular
from skinaudit.engines.external_data import external_files, unfolded_nodes
from skinaudit.engines.integers import Codes
from skinaudit.errors import NO_ENGINE, EngineError, no_such_file

NAMES: Mapping[int, str] = {
    TensorProto.FLOAT: "fp32",
    TensorProto.FLOAT16: "fp16",
    TensorProto.BFLOAT16: "bf16",
    TensorProto.DOUBLE: "fp64",
}
"""Names of the floating types in which a layer can compute."""

WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "FusedConv", "NhwcFusedConv", "FusedGemm", "FusedMatMul"})
"""Floating-point layers with weights, standard and ONNX Runtime's: input 0 is the activation, input 1 the weights."""

INTEGER = frozenset({"QLinearConv", "ConvInteger", "QLinearMatMul", "MatMulInteger", "QGemm"})
"""Layers that always compute in 8-bit integers, standard and ONNX Runtime's."""

CONDITIONAL = frozenset(
    {
        "If", "Loop", "Scan", "Where", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal", "And", "Or", "Xor",
        "Not", "NonZero", "OneHot", "IsNaN", "IsInf", "Sign",
    }
)  # fmt: skip
"""Operators that make an answer depend on a condition; a convolutional classifier has none of them."""

WEIGHTS, CONTRACT = "skinaudit.weights", "skinaudit.contract"
"""Metadata keys of an exported file: digest of the source weights, and the input contract as JSON."""

FP8 = frozenset({TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT8E5M2})
_EIGHT_BIT: Mapping[int, str] = {
    **dict.fromkeys((TensorProto.INT8, TensorProto.UINT8), "int8"),
    **dict.fromkeys(FP8, "fp8"),
}
_LONGEST = 2**20
"""Longest list of class names, in characters; a million classes is not a classifier of lesions."""
_MOST_NODES = 100_000
"""Largest number of nodes after functions are expanded; large classifiers have some thousands."""
_MOVES = frozenset({"Transpose", "Reshape", "Identity", "Flatten", "Squeeze", "Unsqueeze"})  # keep values and their type


@dataclass(frozen=True, eq=False)
class _Scope:
    """Names visible in a graph, including those of the enclosing graphs."""

    producer: Mapping[str, NodeProto]
    constants: Mapping[str, int]
    types: Mapping[str, int]


def conditions_of_file(path: Path) -> Counter[str]:
    """Count the CONDITIONAL operators of an ONNX file by name; raises the errors of `load`."""
    return conditional_operators(load(path))


def conditional_operators(model: ModelProto) -> Counter[str]:
    """Count the CONDITIONAL operators of a model by name, including those in functions and branches."""
    operators: Counter[str] = Counter()
    waiting: list[Iterable[NodeProto]] = [model.graph.node, *(function.node for function in model.functions)]
    while waiting:
        for node in waiting.pop():
            operators[node.op_type] += node.op_type in CONDITIONAL
            waiting += [attribute.g.node for attribute in node.attribute if attribute.HasField("g")]
            waiting += [graph.node for attribute in node.attribute for graph in attribute.graphs]
    return +operators


def load(path: Path) -> ModelProto:
    """Parse an ONNX file. External data is not read; it must be in the file's folder.

    Raises EngineError if the file is missing, truncated or not ONNX, InvalidInputError if it is not a regular file or if its
    external data is in another folder.
    """
    if not path.exists():
        raise EngineError(no_such_file(path, "engine", NO_ENGINE))
    content = read_regular(path, kind="engine", limit=MAX_MODEL, again="keep its weights in external data")
    model = parse(content, where=str(path))
    for file in external_files(model, path):
        if file.exists():
            check_regular(file, kind=f"weights of {path.name}")
    return model


def load_with_weights(path: Path) -> ModelProto:
    """Like `load`, and read the external data into the graph; raises EngineError if it cannot be read."""
    model = load(path)
    try:
        onnx.external_data_helper.load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, RuntimeError, ValidationError) as error:
        raise EngineError(f"{path}: its external data cannot be read ({error}); keep all of its files together") from error
    return model


def parse(content: bytes, *, where: str) -> ModelProto:
    """Parse the bytes of an ONNX file; raises EngineError, which names `where`, if they are truncated or not ONNX."""
    try:
        model = onnx.load_model_from_string(content)
    except (DecodeError, RecursionError) as error:
        raise EngineError(f"{where}: truncated or not an ONNX file ({error}); export it again") from error
    if not model.graph.node:
        raise EngineError(f"{where}: truncated or not an ONNX file (it has no graph); export it again")
    if len(model.graph.node) > _MOST_NODES:
        raise EngineError(
            f"{where}: has {len(model.graph.node):,} nodes, at most {_MOST_NODES:,} are read; it is not a classifier"
        )
    if unfolded_nodes(model) > _MOST_NODES:
        problem = "its functions call one another" if model.functions else "its branches hold nodes"
        raise EngineError(f"{where}: {problem} more than {_MOST_NODES:,} times; it is not a classifier")
    return model


def metadata(model: ModelProto) -> dict[str, str]:
    """The file's metadata as key and value pairs."""
    return {entry.key: entry.value for entry in model.metadata_props}


def labels(model: ModelProto) -> tuple[str, ...] | None:
    """Class names in the order of the columns, if the metadata has them; None otherwise.

    Read from skinaudit's own contract, or from a list (or a mapping from index to name) under `classes`, `labels` or
    `names`, as JSON or as a Python literal.
    """
    entries = metadata(model)
    for key in (CONTRACT, "classes", "labels", "names"):
        value = _literal(entries.get(key, ""))
        if isinstance(value, dict):
            value = value.get("classes", [value[index] for index in sorted(value, key=_kind_and_index)])
        if isinstance(value, list | tuple) and len(value) > 1 and all(isinstance(label, str) for label in value):
            return tuple(value)
    return None


def zipped_outputs(model: ModelProto) -> dict[str, tuple[str | int, ...]]:
    """Outputs that map each class to its probability for each image (ZipMap, as written by scikit-learn's converter).

    The value for each output name: the mapping's keys, in the order of the columns of ZipMap's input.
    """
    outputs = {value.name for value in model.graph.output}
    keys_of: dict[str, tuple[str | int, ...]] = {}
    for node in model.graph.node:
        if node.op_type == "ZipMap" and node.domain == "ai.onnx.ml" and node.output and node.output[0] in outputs:
            values = {attribute.name: attribute for attribute in node.attribute}
            texts = values["classlabels_strings"].strings if "classlabels_strings" in values else ()
            numbers = values["classlabels_int64s"].ints if "classlabels_int64s" in values else ()
            keys: list[str | int] = [text.decode("utf-8", "replace") for text in texts] or list(numbers)
            if len(set(keys)) == len(keys):
                keys_of[node.output[0]] = tuple(keys)
    return keys_of


def _kind_and_index(index: Any) -> tuple[str, Any]:
    """A sort key that also works for a mixture of numbers and texts."""
    return (type(index).__name__, index if isinstance(index, int | float | str) else str(index))


def output_codes(model: ModelProto) -> dict[str, Codes]:
    """The codes of each integer output made by a QuantizeLinear with one scale, by output name."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    outputs = {value.name for value in model.graph.output}
    codes = {}
    for node in model.graph.node:
        if node.op_type != "QuantizeLinear" or outputs.isdisjoint(node.output) or not set(node.input[1:2]) & set(constants):
            continue
        try:
            scale = onnx.numpy_helper.to_array(constants[node.input[1]])
            shift = constants.get(node.input[2]) if len(node.input) > 2 else None
            zero_point = 0 if shift is None else int(onnx.numpy_helper.to_array(shift).flat[0])
            if scale.size == 1:
                codes[node.output[0]] = Codes(float(scale.flat[0]), zero_point)
        except (ValueError, TypeError, IndexError):  # damaged constants: the runtime will refuse them
            continue
    return codes


def _literal(text: str) -> Any:
    if len(text) > _LONGEST:
        return None
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(text)
        # nested too deeply, which these parsers report in different ways
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            continue
    return None


def found_precisions(model: ModelProto) -> dict[str, int]:
    """Count the weighted layers by the precision in which the graph computes them, such as {"int8": 27, "fp32": 1}.

    An integer operator is int8. A layer is int8 or fp8 if its activation and its weights both come from a DequantizeLinear
    of such a tensor, because runtimes fuse that pattern. If only the weights are in 8 bit, or are fp16 and cast up, the
    layer counts as the type that they are cast to. A product of two computed tensors has no weights and is not counted.
    """
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    counts = Counter(_precisions(model.graph, _scope(model.graph, None)))
    if "unknown" in counts:
        model = onnx.shape_inference.infer_shapes(model)
        counts = Counter(_precisions(model.graph, _scope(model.graph, None)))
    return dict(sorted(counts.items()))


def _scope(graph: GraphProto, outer: _Scope | None) -> _Scope:
    constants = {tensor.name: tensor.data_type for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            constants.update((node.output[0], value.t.data_type) for value in node.attribute if value.name == "value")
    types = {value.name: value.type.tensor_type.elem_type for value in [*graph.input, *graph.value_info, *graph.output]}
    producer = {name: node for node in graph.node for name in node.output}
    if outer is None:
        return _Scope(producer, constants, {**types, **constants})
    return _Scope({**outer.producer, **producer}, {**outer.constants, **constants}, {**outer.types, **types, **constants})


def _precisions(graph: GraphProto, scope: _Scope) -> Iterable[str]:
    for node in graph.node:
        for attribute in node.attribute:
            for inner in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                yield from _precisions(inner, _scope(inner, scope))
        if node.op_type in INTEGER:
            yield "int8"
        elif node.op_type in WEIGHTED:
            activation, weights = node.input[:2]
            if node.op_type == "MatMul" and not (_is_constant(weights, scope) or _is_constant(activation, scope)):
                continue
            eight_bit = {_eight_bit(activation, scope), _eight_bit(weights, scope)}
            only = next(iter(eight_bit)) if len(eight_bit) == 1 else None
            yield only or NAMES.get(_type(weights, scope), "unknown")


def _is_constant(name: str, scope: _Scope) -> bool:
    if name in scope.constants:
        return True
    node = scope.producer.get(name)
    return node is not None and node.op_type in _MOVES | {"Cast", "DequantizeLinear"} and _is_constant(node.input[0], scope)


def _eight_bit(name: str, scope: _Scope) -> str | None:
    """`int8` or `fp8` if the value comes from a DequantizeLinear of such a tensor."""
    node = scope.producer.get(name)
    if node is None:
        return None
    if node.op_type in _MOVES:
        return _eight_bit(node.input[0], scope)
    return _EIGHT_BIT.get(_type(node.input[0], scope)) if node.op_type == "DequantizeLinear" else None


def _type(name: str, scope: _Scope) -> int:
    if name in scope.types:
        return scope.types[name]
    node = scope.producer.get(name)
    if node is None:
        return TensorProto.UNDEFINED
    attributes: dict[str, int] = {attribute.name: attribute.i for attribute in node.attribute}
    if node.op_type == "Cast":
        return attributes["to"]
    if node.op_type == "QuantizeLinear":
        if len(node.input) > 2 and node.input[2]:
            return _type(node.input[2], scope)
        return attributes.get("output_dtype", 0) or TensorProto.UINT8
    if node.op_type == "DequantizeLinear":
        return _type(node.input[1], scope)
    if node.op_type in _MOVES:
        return _type(node.input[0], scope)
    return TensorProto.UNDEFINED
