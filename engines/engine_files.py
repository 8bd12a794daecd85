"""The files that an engine is made of, and one digest over all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from onnx import GraphProto, ModelProto, TensorProto
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from skinaudit.artifacts.files import digest_file, digest_parts
from skinaudit.engines import onnx_graph
from skinaudit.engines.isolation.remote import call_remote
from skinaudit.errors import InvalidInputError

_SECOND = {".xml": ".bin"}
"""Suffix of an engine file -> that of the file beside it that holds its weights."""


def digest_engine(path: Path) -> str:
    """The digest of an engine: of its file, or, where its weights lie in other files, one of all of them with their names.

    Raises InvalidInputError for a file that is missing, EngineError for an ONNX file that cannot be read.
    """
    beside = weight_files(path)
    if not beside:
        return digest_file(path)
    parts = [digest_file(path).encode()]
    for file in beside:
        parts += [file.relative_to(path.parent).as_posix().encode(), digest_file(file).encode()]
    return digest_parts(*parts)


def weight_files(path: Path) -> tuple[Path, ...]:
    """The files beside an engine's that hold its weights, sorted by name; empty for an engine of a single file.

    Raises as digest_engine.
    """
    suffix = path.suffix.lower()
    files = [path.with_suffix(_SECOND[suffix])] if suffix in _SECOND else []
    if suffix == ".onnx":
        files = [path.parent / location for location in call_remote(f"{__name__}:locations", str(path), path=path)]
    for file in files:
        if ".." in file.parts[len(path.parent.parts) :] or not file.is_file():
            raise InvalidInputError(f"{file}: holds weights of {path.name} but is missing; keep all of its files together")
    return tuple(files)


def locations(file: str) -> list[str]:
    """Names of the files in which an ONNX file keeps weights, sorted; called in a process of its own."""
    return sorted({ExternalDataInfo(tensor).location for tensor in _external(onnx_graph.load(Path(file)))})


def read_own_words(path: Path) -> tuple[str | None, tuple[str, ...] | None]:
    """What the metadata of an ONNX file says: the digest of its weights, and its class names; None where it does not.

    Raises EngineError for a file that cannot be read.
    """
    weights, classes = call_remote(f"{__name__}:own_words", str(path), path=path)
    return weights, None if classes is None else tuple(map(str, classes))


def own_words(file: str) -> tuple[str | None, tuple[str, ...] | None]:
    """The same, called in a process of its own."""
    model = onnx_graph.load(Path(file))
    return onnx_graph.metadata(model).get(onnx_graph.WEIGHTS), onnx_graph.labels(model)


def _external(model: ModelProto) -> Iterator[TensorProto]:
    yield from _of_graph(model.graph)
    for function in model.functions:
        for node in function.node:
            yield from (attribute.t for attribute in node.attribute if uses_external_data(attribute.t))


def _of_graph(graph: GraphProto) -> Iterator[TensorProto]:
    yield from (tensor for tensor in graph.initializer if uses_external_data(tensor))
    for node in graph.node:
        for attribute in node.attribute:
            if uses_external_data(attribute.t):
                yield attribute.t
            for inner in (attribute.g, *attribute.graphs):
                yield from _of_graph(inner)
