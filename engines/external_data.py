"""Parts of an ONNX graph that point to other files or can grow: external weights, and nested functions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from onnx import GraphProto, ModelProto, NodeProto, TensorProto
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from skinaudit.artifacts.outside import inside
from skinaudit.errors import InvalidInputError, in_one_line


def external_files(model: ModelProto, path: Path) -> tuple[Path, ...]:
    """The files beside `path` that hold the model's weights, sorted. `path`: the file of the model.

    Raises InvalidInputError for a file in another folder.
    """
    return tuple(inside(path.parent, location, named_by=str(path)) for location in external_names(model, where=str(path)))


def external_names(model: ModelProto, *, where: str) -> list[str]:
    """Names in the graph of the files that hold its weights, sorted.

    Raises InvalidInputError, which names `where`, if the position of weights in a file is not a number.
    """
    try:
        return sorted({ExternalDataInfo(tensor).location for tensor in _external(model)})
    except ValueError as error:
        raise InvalidInputError(
            f"{where}: the place of a weight in another file is no number ({in_one_line(error)}); export the graph again"
        ) from error


def unfolded_nodes(model: ModelProto) -> float:
    """Number of nodes after all functions of a graph are expanded; infinity if a function calls itself."""
    functions = {(function.domain, function.name): function for function in model.functions}
    known: dict[tuple[str, str], float] = {}

    def of_nodes(nodes: Iterable[NodeProto]) -> float:
        return sum(1 + of_call((node.domain, node.op_type)) + sum(map(of_nodes, _inner(node))) for node in nodes)

    def of_call(name: tuple[str, str]) -> float:
        if name in functions and name not in known:
            known[name] = float("inf")  # the value that a recursive call reads
            known[name] = of_nodes(functions[name].node)
        return known.get(name, 0)

    try:
        return of_nodes(model.graph.node)
    except RecursionError:
        return float("inf")


def _inner(node: NodeProto) -> Iterator[Iterable[NodeProto]]:
    """The nodes of each subgraph of a node."""
    for attribute in node.attribute:
        yield from (graph.node for graph in (attribute.g, *attribute.graphs))


def _external(model: ModelProto) -> Iterator[TensorProto]:
    yield from _of_graph(model.graph)
    for function in model.functions:
        for node in function.node:
            yield from (attribute.t for attribute in node.attribute if uses_external_data(attribute.t))


def _of_graph(graph: GraphProto) -> Iterator[TensorProto]:
    yield from (tensor for tensor in graph.initializer if uses_external_data(tensor))
    for node in graph.node:
        for attribute in node.attribute:
            yield from (tensor for tensor in (attribute.t, *attribute.tensors) if uses_external_data(tensor))
            for inner in (attribute.g, *attribute.graphs):
                yield from _of_graph(inner)
