"""Runs .xml, .onnx and .tflite files with OpenVINO on the CPU: fixed threads, the file's own precision, deterministic."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.logits import named_classes
from skinaudit.engines import onnx_graph
from skinaudit.engines.engine import Provider
from skinaudit.engines.integers import INTEGERS, Codes, codes_of_range
from skinaudit.engines.networks import of_onnx, of_openvino
from skinaudit.engines.runtime import Runtime
from skinaudit.engines.session import Port, SessionDescription
from skinaudit.errors import NO_ENGINE, EngineError, no_such_file, not_imported

LIBRARIES = ("openvino", "nncf")
WEIGHTED = frozenset(
    {"Convolution", "GroupConvolution", "ConvolutionBackpropData", "GroupConvolutionBackpropData", "MatMul"}
)
"""Types of layers that have weights."""

_EXECUTED = frozenset({"Convolution", "Deconvolution", "FullyConnected", "MatMul"})  # layer types in the CPU's own graph
_NAMES = {"f32": "fp32", "f16": "fp16", "bf16": "bf16", "i8": "int8", "u8": "int8"}
_KEEP_GRID = frozenset({"Relu", "Clamp", "MaxPool", "Pad"})  # quantised values stay quantised
_MOVES = frozenset({"Convert", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Multiply", "Subtract", "VariadicSplit"})

_CONDITIONAL: Mapping[str, str] = {
    "Select": "Where", "GreaterEqual": "GreaterOrEqual", "LessEqual": "LessOrEqual", "NotEqual": "Equal",
    "LogicalAnd": "And", "LogicalOr": "Or", "LogicalXor": "Xor", "LogicalNot": "Not", "TensorIterator": "Loop",
    "IsFinite": "IsInf",
}  # fmt: skip
"""Layers of onnx_graph.CONDITIONAL that have another name in OpenVINO."""


class OvSession:
    """A compiled OpenVINO model with one inference request."""

    def __init__(
        self,
        compiled: Any,
        description: SessionDescription,
        labels: tuple[str, ...] | None,
        codes: Sequence[Codes | None],
        *,
        where: str,
    ) -> None:
        self.description = description
        self.labels = labels
        self.inputs = tuple(map(_port, compiled.inputs))
        self.outputs = tuple(_port(value, port_codes) for value, port_codes in zip(compiled.outputs, codes, strict=True))
        self._outputs = {port.name: index for index, port in enumerate(self.outputs)}
        self._request = compiled.create_infer_request()
        self._where = where

    def run(self, tensor: NDArray[Any], *, input: str, output: str) -> NDArray[Any]:
        """See Session."""
        try:
            answers = self._request.infer([tensor])
        except RuntimeError as error:
            raise EngineError(f"{self._where}: OpenVINO failed: {_one_line(error)}") from error
        return np.array(answers[self._outputs[output]])


def open_session(path: Path, *, provider: Provider = "cpu", threads: int | None = None) -> OvSession:
    """Open a file with OpenVINO on the CPU.

    OpenVINO computes fp32 files in bfloat16 by default on CPUs that support it. Here it must use float32; it uses bfloat16
    only for files in bfloat16. Raises EngineError if the file is damaged or the provider is not cpu, MissingDependencyError
    without openvino.
    """
    if provider != "cpu":
        raise EngineError(
            f"{path}: provider {provider} was requested, but OpenVINO runs only on the CPU here; pass --provider cpu"
        )
    ov = _import(path)
    model = read_model(path)
    layers = found_precisions(model)
    settings: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": "bf16" if set(layers) == {"bf16"} else "f32",
    }
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    try:
        compiled = ov.Core().compile_model(model, "CPU", settings)
    except RuntimeError as error:
        raise EngineError(f"{path}: OpenVINO cannot compile it: {_one_line(error)}; export it again") from error
    description = SessionDescription(
        runtime="openvino",
        version=ov.__version__.partition("-")[0],
        provider="CPU",
        device=f"{platform.machine()} CPU",
        threads=int(compiled.get_property("INFERENCE_NUM_THREADS")),
        found=layers,
        executed=_executed_precisions(compiled.get_runtime_model()),
        settings={"inference_precision": settings["INFERENCE_PRECISION_HINT"]},
    )
    labels = onnx_graph.labels(onnx_graph.load(path)) if path.suffix.lower() == ".onnx" else None
    codes = [_codes(result) for result in model.get_results()]
    return OvSession(compiled, description, labels, codes, where=str(path))


def read_model(path: Path) -> Any:
    """Read a file into an OpenVINO model; raises EngineError if it is missing, damaged or lacks its weights."""
    ov = _import(path)
    if not path.is_file():
        raise EngineError(no_such_file(path, "engine", NO_ENGINE))
    if path.suffix.lower() == ".xml" and not path.with_suffix(".bin").is_file():
        raise EngineError(f"{path}: its weights {path.with_suffix('.bin').name} are missing; keep both files together")
    try:
        return ov.Core().read_model(path)
    except RuntimeError as error:
        raise EngineError(f"{path}: OpenVINO cannot read it: {_one_line(error)}; export it again") from error


def conditions_of_file(path: Path) -> Counter[str]:
    """Count the layers of an .xml file that make an answer depend on a condition, by ONNX's names.

    The file is read as text, without OpenVINO. Raises EngineError if it is not XML.
    """
    try:
        kinds = [layer.get("type", "") for layer in of_openvino.parsed(path).iter("layer")]
    except (OSError, ElementTree.ParseError, ValueError) as error:
        raise EngineError(f"{path}: truncated or not an OpenVINO file ({error}); export it again") from error
    return Counter(_CONDITIONAL.get(kind, kind) for kind in kinds if kind in _CONDITIONAL.keys() | onnx_graph.CONDITIONAL)


def predictions(model: Any, images: NDArray[np.uint8], *, batch: int = 64) -> NDArray[np.intp]:
    """The predicted class (M,) of a model for each image, computed in the same way as by `open_session`."""
    import openvino as ov

    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    request = compiled.create_infer_request()
    starts = range(0, len(images), batch)
    scaled = (images[start : start + batch].astype(np.float32) / np.float32(255) for start in starts)
    return np.concatenate([named_classes(request.infer([pixels])[0]) for pixels in scaled])


def found_precisions(model: Any) -> dict[str, int]:
    """Count weighted layers by the precision in the file, such as {"int8": 27, "fp32": 1}.

    A layer is int8 if its activation and its weights are both quantised. Otherwise its precision is the type of its stored
    weights; `int8-weights` means that only the weights are in 8 bit and the layer computes in float. A product of two
    computed tensors has no weights and is not counted.
    """
    counts: Counter[str] = Counter()
    for node in model.get_ops():
        if node.get_type_name() not in WEIGHTED:
            continue
        stored = _stored_type(node, 1)
        if stored is None:
            continue
        eight_bit = stored in ("i8", "u8")
        weights = eight_bit or _is_quantised(node.input_value(1).get_node())
        if weights and _is_quantised(node.input_value(0).get_node()):
            counts["int8"] += 1
        else:
            counts["int8-weights" if eight_bit else _NAMES.get(stored, stored)] += 1
    return dict(sorted(counts.items()))


def _stored_type(node: Any, position: int) -> str | None:
    """Element type of the constant behind an input; steps that only move, scale or convert are skipped. Or None."""
    source = node.input_value(position).get_node()
    while source.get_type_name() in (*_MOVES, "FakeQuantize") and source.get_input_size():
        source = source.input_value(0).get_node()
    if source.get_type_name() != "Constant":
        return None
    name: str = source.get_element_type().get_type_name()
    return name


def _is_quantised(node: Any) -> bool:
    while node.get_type_name() in (*_MOVES, *_KEEP_GRID) and node.get_input_size():
        node = node.input_value(0).get_node()
    return bool(node.get_type_name() in ("FakeQuantize", "Quantize"))


def _executed_precisions(runtime_model: Any) -> Mapping[str, int]:
    """Count layers by the type at the end of each kernel's name, such as brgconv_avx512_1x1_f32.

    `runtimePrecision` is not used: it says f16 for kernels in f32 if the file stores the weights in f16.
    """
    counts: Counter[str] = Counter()
    for node in runtime_model.get_ops():
        about = node.get_rt_info()
        if "layerType" in about and about["layerType"].value in _EXECUTED:
            kernel = about["primitiveType"].value
            counts[_NAMES.get(kernel.rpartition("_")[2].lower(), kernel)] += 1
    return dict(sorted(counts.items()))


def _codes(result: Any) -> Codes | None:
    """The codes of an integer output, from the rounding before it; None for float outputs and if no rounding is found."""
    node = result.input_value(0).get_node()
    if result.get_element_type().to_dtype() not in INTEGERS:
        return None
    while node.get_type_name() in ("Convert", "Reshape", "Transpose", "Squeeze", "Unsqueeze"):
        node = node.input_value(0).get_node()
    if node.get_type_name() != "FakeQuantize":
        return None
    bounds = [node.input_value(index).get_node() for index in range(1, 5)]
    if any(bound.get_type_name() != "Constant" or bound.get_data().size != 1 for bound in bounds):
        return None
    low, high, code_low, code_high = (float(bound.get_data().item()) for bound in bounds)
    return codes_of_range(low, high, code_low, code_high) if high > low and code_high > code_low else None


def _port(value: Any, codes: Codes | None = None) -> Port:
    shape = tuple(side.get_length() if side.is_static else None for side in value.get_partial_shape())
    kind = value.get_element_type().to_dtype()
    return Port(value.get_any_name() if value.get_names() else "", shape, np.dtype(kind).name, codes)


def _import(path: Path) -> Any:
    try:
        import openvino
    except ImportError as error:
        raise not_imported(error, "openvino", "openvino", f"{path}: opening it with OpenVINO") from error
    return openvino


def _one_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("Exception from", "Check '"))] or lines
    return " ".join(telling)[:300]


RUNTIME = Runtime(
    (".xml", ".tflite", ".onnx"),
    "cpu",
    open_session,
    on_request=(".onnx",),
    conditions={".xml": conditions_of_file},
    networks={".onnx": of_onnx.network_of_file, ".xml": of_openvino.network_of_file},
)
