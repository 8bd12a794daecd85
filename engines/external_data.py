"""Where an ONNX graph keeps weights that are not in its own file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from onnx import GraphProto, ModelProto, TensorProto
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from skinaudit.artifacts.outside import inside


def external_files(model: ModelProto, path: Path) -> tuple[Path, ...]:
    """The files beside `path`, which the model was read from, that hold its weights, sorted; raises InvalidInputError for
    one that lies elsewhere."""
    locations = sorted({ExternalDataInfo(tensor).location for tensor in _external(model)})
    return tuple(inside(path.parent, location, named_by=str(path)) for location in locations)


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
