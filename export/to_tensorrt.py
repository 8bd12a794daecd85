"""Plans for TensorRT 10, TensorRT 11 and TensorRT-RTX: one builder, strongly typed, with the types of the ONNX graph."""

from __future__ import annotations

import importlib
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from skinaudit.artifacts.manifest import BUILT_TYPED
from skinaudit.engines.plans.error_log import ErrorLog
from skinaudit.errors import InvalidInputError, first_few, not_imported
from skinaudit.export.build import Build, BuildOptions, Built, Check, Request
from skinaudit.export.plan_options import add_profile, apply_options, check_batches, check_options
from skinaudit.export.timing_cache import check_timing_cache, keep_timing_cache, use_timing_cache

_EXTRAS = {"tensorrt": "gpu", "tensorrt_rtx": "rtx"}
_QUANTISERS = ("QuantizeLinear", "DequantizeLinear")
_SIGNED = (TensorProto.INT8, TensorProto.FLOAT8E4M3FN)


def build_plan(request: Request, *, library: str) -> Built:
    """Build a plan with `library`, `tensorrt` or `tensorrt_rtx`.

    TF32 is off, so fp32 really means fp32. `found` is counted in the strongly typed network, in which the builder can choose
    kernels but not types. Before the build, raises InvalidInputError, which names the ONNX nodes, for parts that the library
    would refuse or silently misread; MissingDependencyError without the library.
    """
    options = request.options
    _check_quantisers(request.graph, where=request.where)
    check_plan(options, where=request.where, library=library)
    trt = _imported(library, where=request.where)
    log = ErrorLog(trt)
    builder = trt.Builder(log.logger)
    # From TensorRT 11 on all networks are strongly typed and the flag does not exist.
    typed = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    kind = 0 if typed is None else 1 << int(typed)
    trial = builder.create_network(kind)  # kept in a variable: if the network is freed before its parser, the process ends
    _check_support(trt.OnnxParser(trial, log.logger), request)
    network = builder.create_network(kind)
    parser = trt.OnnxParser(network, log.logger)
    _parse(parser, request, log)
    config = builder.create_builder_config()
    add_profile(builder, config, network, options, where=request.where)
    flags = apply_options(trt, config, options, where=request.where)
    use_timing_cache(config, options.timing_cache)
    started = time.perf_counter()
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        with_flags = f" with {', '.join(flags)} (leave {'it' if len(flags) == 1 else 'them'} out)" if flags else ""
        raise InvalidInputError(f"{request.where}: {library} could not build it{with_flags}: {log.last()}")
    seconds = time.perf_counter() - started
    request.target.write_bytes(memoryview(plan))
    keep_timing_cache(config, options.timing_cache)
    settings = {
        "builder": f"{library} {trt.__version__}",
        "batches": list(options.batches),
        "flags": flags,
        "build_seconds": round(seconds, 2),
        "found_in": BUILT_TYPED,
    }
    incomplete = "a stripped plan runs only after its weights are added" if options.strip else None
    return Built(found=_layer_counts(trt, network), settings=settings, incomplete=incomplete)


def check_plan(options: BuildOptions, *, where: str, library: str) -> None:
    """Raise InvalidInputError for options that `library` does not support, MissingDependencyError without it.

    Builds nothing.
    """
    check_batches(options, where=where)
    check_timing_cache(options.timing_cache, library=library, where=where)
    check_options(_imported(library, where=where), options, where=where)


def _imported(library: str, *, where: str) -> Any:
    try:
        return importlib.import_module(library)
    except (ImportError, OSError) as error:
        raise not_imported(error, library, _EXTRAS[library], f"{where}: building a plan") from error


build_tensorrt: Build = partial(build_plan, library="tensorrt")
build_tensorrt_rtx: Build = partial(build_plan, library="tensorrt_rtx")
check_tensorrt: Check = partial(check_plan, library="tensorrt")
check_tensorrt_rtx: Check = partial(check_plan, library="tensorrt_rtx")


def _check_support(parser: Any, request: Request) -> None:
    """Refuse nodes that the library's parser does not support and name them all. Parsing itself stops at the first one.

    If the parser cannot be asked, or rejects the model without naming a node, parsing decides.
    """
    ask = getattr(parser, "supports_model_v2", None)
    if ask is None or ask(request.graph.SerializeToString()):
        return
    nodes = request.graph.graph.node
    supported = {index for group in range(parser.num_subgraphs) for index in parser.get_subgraph_nodes(group)}
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    refused = sorted({error.node() for error in errors if 0 <= error.node() < len(nodes)} - supported)
    if refused:
        reasons = {error.node(): _one_line(error.desc()) for error in errors}
        names = first_few([f"{nodes[index].name or f'number {index}'} ({nodes[index].op_type})" for index in refused])
        raise InvalidInputError(
            f"{request.where}: node{'s' * (len(refused) > 1)} {names} cannot be parsed: {reasons[refused[0]]}; export to "
            "onnx"
        )


def _parse(parser: Any, request: Request, log: ErrorLog) -> None:
    if parser.parse(request.graph.SerializeToString()):
        return
    if parser.num_errors:
        error = parser.get_error(0)
        node = error.node_name() or f"number {error.node()}"
        raise InvalidInputError(f"{request.where}: node {node} cannot be parsed: {_one_line(error.desc())}")
    raise InvalidInputError(f"{request.where}: the graph cannot be parsed: {log.last()}")


def _check_quantisers(graph: ModelProto, *, where: str) -> None:
    """Refuse quantisation that TensorRT would refuse late, or would wrongly read as signed and symmetric."""
    constants = {tensor.name: tensor for tensor in graph.graph.initializer}
    for node in graph.graph.node:
        if node.op_type not in _QUANTISERS:
            continue
        kind = _quantised_kind(node, constants)
        if kind not in _SIGNED:
            name = TensorProto.DataType.Name(kind).lower()
            raise InvalidInputError(
                f"{where}: {node.op_type} {node.name} has {name} where a plan takes signed types: build it from int8-s8s8"
            )
        for zero_point in (constants[name] for name in list(node.input[2:3]) if name in constants):
            if np.any(numpy_helper.to_array(zero_point).astype(np.float32)):
                raise InvalidInputError(
                    f"{where}: {node.op_type} {node.name} has a zero point other than 0: quantise symmetrically (int8-s8s8)"
                )


def _quantised_kind(node: NodeProto, constants: dict[str, TensorProto]) -> int:
    if len(node.input) > 2 and node.input[2] in constants:
        return constants[node.input[2]].data_type
    if node.op_type == "DequantizeLinear" and node.input[0] in constants:
        return constants[node.input[0]].data_type
    declared = [attribute.i for attribute in node.attribute if attribute.name == "output_dtype" and attribute.i]
    return declared[0] if declared else TensorProto.UINT8


def _layer_counts(trt: Any, network: Any) -> dict[str, int]:
    """Count convolutions, and products with a constant, by the type in which they compute."""
    producer = {}
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    for layer in layers:
        for index in range(layer.num_outputs):
            producer[layer.get_output(index).name] = layer
    return dict(sorted(Counter(_precisions(trt, layers, producer)).items()))


def _precisions(trt: Any, layers: list[Any], producer: dict[str, Any]) -> Iterator[str]:
    kinds = trt.LayerType
    names = {trt.DataType.FLOAT: "fp32", trt.DataType.HALF: "fp16", trt.DataType.BF16: "bf16"}
    moves = (kinds.SHUFFLE, kinds.IDENTITY)

    def origin(tensor: Any) -> Any:
        layer = producer.get(tensor.name)
        while layer is not None and layer.type in moves:
            layer = producer.get(layer.get_input(0).name)
        return layer

    for layer in layers:
        if layer.type not in (kinds.CONVOLUTION, kinds.DECONVOLUTION, kinds.MATRIX_MULTIPLY):
            continue
        inputs = [layer.get_input(index) for index in range(min(2, layer.num_inputs))]
        origins = [origin(tensor) for tensor in inputs if tensor is not None]
        sources = {None if origin_layer is None else origin_layer.type for origin_layer in origins}
        if layer.type == kinds.MATRIX_MULTIPLY and not sources & {kinds.CONSTANT, kinds.DEQUANTIZE}:
            continue  # a product of two computed tensors has no weights
        quantised = {
            origin_layer.get_input(0).dtype
            for origin_layer in origins
            if origin_layer is not None and origin_layer.type == kinds.DEQUANTIZE
        }
        if sources == {kinds.DEQUANTIZE}:
            yield "int8" if quantised == {trt.DataType.INT8} else "fp8"
        else:
            yield names.get(layer.get_output(0).dtype, "unknown")


def _one_line(message: str) -> str:
    return " ".join(message.split())[:300]
