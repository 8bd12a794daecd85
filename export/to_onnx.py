"""Exports a torch model to one clean ONNX graph: batch norm folded, dynamic batch, no trace of the machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import onnx
import onnx.checker
import onnx.helper
from onnx import GraphProto, ModelProto

from skinaudit.errors import InvalidInputError, not_imported

if TYPE_CHECKING:
    from torch import nn

OPSET = 20
"""The newest opset that onnxruntime 1.20, TensorRT 10 and OpenVINO 2025 can all read."""

_PROTOBUF_LIMIT = 2**31 - 1


def to_onnx(model: nn.Module, *, size: int, input_name: str = "image", output_name: str = "logits") -> ModelProto:
    """Export `model` in eval mode: float32 (batch, 3, size, size) in [0, 1] -> float32 (batch, classes).

    The same weights give the same bytes on every machine and in every folder. The model itself is not changed. Raises
    MissingDependencyError without torch or onnxscript, InvalidInputError for a graph that is too large for a single file.
    """
    try:
        import onnxscript  # noqa: F401 (torch names it only deep inside its own traceback)
        import torch
    except ImportError as error:
        raise not_imported(error, error.name or "torch", "train", "export to ONNX") from error
    was_training = model.training
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.eval().requires_grad_(False)  # without gradients, tracing takes two thirds of the time
    try:
        with torch.no_grad():
            program = torch.onnx.export(
                model,
                (torch.zeros(2, 3, size, size),),  # a batch of 1 would be treated as a constant
                dynamo=True,
                opset_version=OPSET,
                input_names=[input_name],
                output_names=[output_name],
                dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
                verbose=False,
            )
    finally:
        model.train(was_training)
        for parameter in learned:
            parameter.requires_grad_(True)
    assert program is not None  # torch returns None only for its older exporter
    exported: ModelProto = program.model_proto
    if exported.ByteSize() > _PROTOBUF_LIMIT:
        raise InvalidInputError(f"{type(model).__name__}: larger than the 2 GB of one ONNX file; train a narrower model")
    return clean(exported)


def clean(model: ModelProto) -> ModelProto:
    """Remove everything but the computation (stack traces, file paths, notes) in place and number the nodes; returns it."""
    model.ClearField("metadata_props")
    model.doc_string = ""
    graph = model.graph
    graph.name, graph.doc_string = "skinaudit", ""
    for part in _parts(graph):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    for number, node in enumerate(graph.node):
        node.name = f"{node.op_type}_{number}"
    return model


def serialise(model: ModelProto, *, metadata: Mapping[str, str]) -> bytes:
    """Bytes of an ONNX file with only `metadata` as metadata, fully checked; equal arguments give equal bytes."""
    model.ClearField("metadata_props")
    onnx.helper.set_model_props(model, dict(sorted(metadata.items())))
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _parts(graph: GraphProto) -> Iterable[onnx.NodeProto | onnx.TensorProto | onnx.ValueInfoProto]:
    yield from graph.node
    yield from graph.initializer
    yield from (*graph.input, *graph.output, *graph.value_info)
    yield from (attribute.t for node in graph.node for attribute in node.attribute if attribute.HasField("t"))
