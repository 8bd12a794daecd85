"""The layers of an OpenVINO file (.xml with its .bin), read without OpenVINO.

Format: https://docs.openvino.ai/2025/documentation/openvino-ir-format.html
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from skinaudit.artifacts.outside import check_regular
from skinaudit.engines.networks.layers import Layer, image
from skinaudit.engines.networks.onnx_operators import OPERATORS, Call
from skinaudit.engines.networks.stored import Stored, halves_of_bf16, of_codes, plain, typed
from skinaudit.errors import EngineError

_TYPES: Mapping[str, tuple[str, int]] = {
    "f64": ("<f8", TensorProto.DOUBLE), "f32": ("<f4", TensorProto.FLOAT), "f16": ("<f2", TensorProto.FLOAT16),
    "bf16": ("<u2", TensorProto.BFLOAT16), "i8": ("<i1", TensorProto.INT8), "u8": ("<u1", TensorProto.UINT8),
    "i32": ("<i4", TensorProto.INT32), "i64": ("<i8", TensorProto.INT64), "u64": ("<u8", TensorProto.UINT64),
}  # fmt: skip
"""Element types by OpenVINO's name: numpy's and ONNX's type."""
_LEVELS = (255, 256)
_PARTS = frozenset({"layers", "edges", "rt_info", "meta_data"})
"""The parts of a file."""
_VERSIONS = frozenset({"10", "11"})
_LAYER_PARTS = frozenset({"data", "input", "output", "rt_info"})
_NUMBER = re.compile(r"0|[1-9][0-9]*", re.ASCII)
"""How OpenVINO writes the numbers of layers and ports. It reads 01 as 1."""
_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)", re.ASCII)
_REAL = re.compile(r"-?([0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?|inf)", re.ASCII)
"""Numbers that OpenVINO and Python read alike. Python reads 5_0 as 50, OpenVINO as 5, so such texts do not match."""
_UNFIT = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""Errors that mean: the layer's inputs do not fit any layer known here. It then becomes kind `other`."""
_ENDS = ("from-layer", "from-port", "to-layer", "to-port")
Value = Layer | Stored


@dataclass(frozen=True, eq=False)
class _Step:
    """One layer of the file. data: its settings, as text."""

    kind: str
    data: Mapping[str, str]
    inputs: list[Value]
    origin: str

    def integers(self, name: str) -> list[int]:
        return _integers(self.data[name])

    def real(self, name: str) -> float:
        return _real(self.data[name])

    def flag(self, name: str) -> bool:
        return self.data.get(name, "false").lower() in ("true", "1")


def _integers(text: str) -> list[int]:
    """Integers separated by commas; raises ValueError for text that OpenVINO may read differently."""
    parts = [part.strip(" ") for part in text.split(",")]
    if parts != [""] and not all(_INTEGER.fullmatch(part) for part in parts):
        raise ValueError(f"not a list of whole numbers: {text[:100]!r}")
    return [int(part) for part in parts if part]


def _real(text: str) -> float:
    """A real number; raises ValueError for text that OpenVINO may read differently."""
    if not _REAL.fullmatch(text):
        raise ValueError(f"not a number: {text[:100]!r}")
    return float(text)


def network_of_file(path: Path) -> Layer:
    """The output layer of an OpenVINO file; raises EngineError if the file or its weights are damaged."""
    try:
        net = parsed(path)
        check_regular(path.with_suffix(".bin"), kind="OpenVINO weights")
        weights = path.with_suffix(".bin").read_bytes()
        return _network(net, weights)
    except (OSError, ElementTree.ParseError, LookupError, ValueError) as error:
        raise EngineError(f"{path}: not a whole OpenVINO file with its weights ({error}); export it again") from error


class _WithoutDefinitions(ElementTree.TreeBuilder):
    """Refuses XML definitions of substitute text: OpenVINO's XML reader skips them, Python's applies them."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ValueError("it has a DOCTYPE, which files of OpenVINO do not have")


def parsed(path: Path) -> Element:
    """Parse the file's XML in the same way as OpenVINO.

    Raises ElementTree.ParseError for damaged XML, ValueError for a DOCTYPE, InvalidInputError if `path` is not a regular
    file.
    """
    check_regular(path, kind="engine")
    return ElementTree.parse(path, ElementTree.XMLParser(target=_WithoutDefinitions())).getroot()


def _ambiguous(net: Element) -> str:
    """Parts of the file that OpenVINO may read differently from this reader, in words; empty if there are none."""
    parts = Counter(part.tag for part in net)
    unusual = [tag for tag, times in parts.items() if tag not in _PARTS or times > 1]
    if unusual:
        return f"a part {unusual[0]} of the file, which OpenVINO does not write, or which occurs twice"
    if net.attrib.get("version") not in _VERSIONS:
        return f"version {net.attrib.get('version')} of the format, which is not read here"
    doubt = next(filter(None, map(_ambiguous_layer, net.iterfind("layers/layer"))), "")
    if doubt:
        return doubt
    ends_of_edges = (edge.attrib[name] for edge in net.iterfind("edges/edge") for name in _ENDS)
    odd = next((number for number in ends_of_edges if not _NUMBER.fullmatch(number)), None)
    if odd is not None:
        return f"an edge with the number {odd!r}"
    numbers = Counter(element.attrib["id"] for element in net.iterfind("layers/layer"))
    ends = Counter((edge.attrib["to-layer"], edge.attrib["to-port"]) for edge in net.iterfind("edges/edge"))
    twice = [*(n for n, times in numbers.items() if times > 1), *(end[0] for end, times in ends.items() if times > 1)]
    if twice:
        return f"layer {twice[0]}, which the file defines or connects twice"
    answers = sum(element.attrib["type"] == "Result" for element in net.iterfind("layers/layer"))
    return "" if answers == 1 else f"one of {answers} answers"


def _ambiguous_layer(layer: Element) -> str:
    """The same for one layer: numbers in unusual spelling, repeated parts, or ports out of order.

    OpenVINO takes the inputs in the order in which their ports are listed.
    """
    number = layer.attrib["id"]
    parts = Counter(part.tag for part in layer)
    ports = [port.attrib["id"] for port in layer.iterfind("input/port")]
    if not all(map(_NUMBER.fullmatch, (number, *ports))):
        return f"layer {number!r}, whose number or ports are not written as OpenVINO writes them"
    if any(tag not in _LAYER_PARTS or times > 1 for tag, times in parts.items()):
        return f"layer {number}, which has a part twice, or a part that OpenVINO does not write"
    if [int(port) for port in ports] != list(range(len(ports))):
        return f"layer {number}, whose inputs are listed in another order"
    return ""


def _source(edge: Element, elements: Mapping[str, Element]) -> str | None:
    """The layer where an edge starts; None if the edge does not start at that layer's first result."""
    number = edge.attrib["from-layer"]
    first = elements[number].find("output/port")
    return number if first is None or first.attrib["id"] == edge.attrib["from-port"] else None


def _network(net: Element, weights: bytes) -> Layer:
    doubt = _ambiguous(net)
    if doubt:
        return Layer("other", (), (), doubt, (doubt,))
    elements = {element.attrib["id"]: element for element in net.iterfind("layers/layer")}
    sources: dict[str, dict[int, str]] = {number: {} for number in elements}
    for edge in net.iterfind("edges/edge"):
        source = _source(edge, elements)
        if source is None:
            origin = f"another output of layer {edge.attrib['from-layer']}"
            return Layer("other", (), (), origin, (origin,))
        sources[edge.attrib["to-layer"]][int(edge.attrib["to-port"])] = source
    before = {number: [sources[number][port] for port in sorted(sources[number])] for number in elements}
    answers = [number for number, element in elements.items() if element.attrib["type"] == "Result"]
    values: dict[str, Value] = {}
    for number in _ordered(answers[:1], before):
        element = elements[number]
        origin = f"{element.attrib.get('name', number)} ({element.attrib['type']})"
        data = dict(element.find("data").attrib) if element.find("data") is not None else {}  # type: ignore[union-attr]
        step = _Step(element.attrib["type"], data, [values[source] for source in before[number]], origin)
        known = element.attrib.get("version", "").startswith("opset")
        values[number] = (_value(step, weights) if known else None) or _unknown(step)
    answer = values[answers[0]] if answers else None
    return answer if isinstance(answer, Layer) else Layer("other", (), (), "an output that does not depend on the image")


def _ordered(roots: list[str], before: Mapping[str, list[str]]) -> Iterator[str]:
    """Everything that the roots depend on, inputs first. Raises ValueError for a cycle."""
    done: set[str] = set()
    open_now: set[str] = set()
    waiting = [(root, False) for root in roots]
    while waiting:
        number, entered = waiting.pop()
        if entered:
            done.add(number)
            yield number
        elif number not in done:
            if number in open_now:
                raise ValueError(f"layer {number} depends on itself")
            open_now.add(number)
            waiting.append((number, True))
            waiting += [(source, False) for source in before[number] if source not in done]


def _unknown(step: _Step) -> Layer:
    inputs = tuple(value for value in step.inputs if isinstance(value, Layer))
    return Layer("other", inputs, (), step.origin, (step.kind, *sorted(step.data.items())))


def _value(step: _Step, weights: bytes) -> Value | None:
    """A constant or a layer; None for anything else."""
    if step.kind == "Const":
        return _constant(step.data, weights)
    try:
        if step.kind == "Parameter":
            _, channels, size, _ = _integers(step.data["shape"].replace("?", "-1"))
            return image(channels, size)
        if step.kind == "Result":
            return step.inputs[0]
        if step.inputs and all(isinstance(value, Stored) for value in step.inputs):
            return _folded(step, [value for value in step.inputs if isinstance(value, Stored)])
        if step.kind == "FakeQuantize":
            return _rounding(step)
        return _operator(step)
    except _UNFIT:
        return None


def _constant(data: Mapping[str, str], weights: bytes) -> Stored | None:
    if data["element_type"] not in _TYPES:
        return None
    kind, onnx_type = _TYPES[data["element_type"]]
    shape = _integers(data["shape"])
    (offset,), (size,) = _integers(data["offset"]), _integers(data["size"])
    if offset < 0 or size != math.prod(shape) * np.dtype(kind).itemsize or offset + size > len(weights):
        raise ValueError(f"a constant of shape {shape} is outside of the weights file")
    raw = np.frombuffer(weights, kind, math.prod(shape), offset).reshape(shape)
    return typed(halves_of_bf16(raw) if onnx_type == TensorProto.BFLOAT16 else raw, onnx_type)


def _folded(step: _Step, inputs: list[Stored]) -> Stored | None:
    """Result of a step with constant inputs only. Codes stay integers until they are multiplied by their scale."""
    first, second = inputs[0], inputs[1] if len(inputs) > 1 else None
    if step.kind == "Convert":
        floats = step.data["destination_type"] in ("f32", "f64")
        codes = first.raw.dtype.kind in "iu" and step.data["destination_type"] == "f16"
        return first if floats or codes else None
    if step.kind == "FakeQuantize":
        return _rounded(step, inputs)
    if second is None:
        return None
    move = _moved(step, second)
    if move is not None:
        return Stored(move(first.raw), move(first.slack))
    codes = first.raw.dtype.kind in "iu" and first.raw.dtype.itemsize <= 2
    if codes and step.kind == "Subtract" and second.constant.value.size and not np.mod(second.constant.value, 1).any():
        shifted = first.raw.astype(np.int16) - second.constant.value
        return Stored(shifted.astype(np.int16), np.zeros(shifted.shape))
    if codes and step.kind == "Multiply":
        return of_codes(first.constant.value, second.constant.value, bits=8)
    operation = {"Add": np.add, "Subtract": np.subtract, "Multiply": np.multiply, "Divide": np.divide}.get(step.kind)
    return None if operation is None else plain(operation(first.constant.value, second.constant.value))


def _moved(step: _Step, second: Stored) -> Callable[[NDArray[Any]], NDArray[Any]] | None:
    """The function of a step that moves numbers without changing them; None for other steps."""
    if step.kind == "Reshape":
        sides, kept = second.integers(), 0 if step.flag("special_zero") else None
        return lambda value: value.reshape([value.shape[at] if side == kept else side for at, side in enumerate(sides)])
    if step.kind == "Transpose":
        return lambda value: np.transpose(value, second.integers())
    if step.kind == "Unsqueeze":
        return lambda value: np.expand_dims(value, second.integers())
    if step.kind == "Squeeze":
        return lambda value: np.squeeze(value, second.integers())
    return None


def _rounded(step: _Step, inputs: list[Stored]) -> Stored | None:
    """Weights that OpenVINO rounds when it opens the file."""
    low, high = _bounds(step, inputs[1:])
    (levels,) = step.integers("levels")
    steps = (high - low) / (levels - 1)
    codes = np.round((np.clip(inputs[0].constant.value, low, high) - low) / steps) + np.round(low / steps)
    return of_codes(codes, steps, bits=8)


def _bounds(step: _Step, bounds: list[Stored]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Range of an 8-bit rounding; raises ValueError if the step does something else, such as applying a threshold."""
    low, high, out_low, out_high = (part.constant.value for part in bounds)
    same = np.allclose(low, out_low, rtol=1e-4, atol=1e-7) and np.allclose(high, out_high, rtol=1e-4, atol=1e-7)
    if step.integers("levels")[0] not in _LEVELS or not same or not (high > low).all():
        raise ValueError(step.origin)
    return low, high


def _rounding(step: _Step) -> Layer:
    source = step.inputs[0]
    if not isinstance(source, Layer):
        raise TypeError(step.origin)
    low, high = _bounds(step, [value for value in step.inputs[1:] if isinstance(value, Stored)])
    width = float((high - low).max()) / (step.integers("levels")[0] - 1)
    return Layer("rounding", (source,), source.shape, step.origin, (float(low.min()), float(high.max()), width))


def _operator(step: _Step) -> Layer | None:
    """The ONNX operator that does the same as this layer; None for unknown layers or unusual settings."""
    translate = _ONNX.get(step.kind)
    if translate is None:
        return None
    name, inputs, attributes = translate(step)
    return OPERATORS[name](Call(name, "", inputs, attributes, step.origin))


_Node = tuple[str, list[Any], dict[str, Any]]


def _window(step: _Step) -> dict[str, Any]:
    if step.data.get("auto_pad", "explicit") not in ("explicit", "notset", "valid"):
        raise ValueError(step.origin)
    valid = step.data.get("auto_pad") == "valid"
    pads = [0, 0, 0, 0] if valid else step.integers("pads_begin") + step.integers("pads_end")
    window: dict[str, Any] = {"strides": step.integers("strides"), "pads": pads}
    if "dilations" in step.data:
        window["dilations"] = step.integers("dilations")
    if "kernel" in step.data:
        window["kernel_shape"] = step.integers("kernel")
    if step.data.get("rounding_type", "floor") != "floor":
        raise ValueError(step.origin)
    return window


def _convolution(step: _Step) -> _Node:
    source, weight = step.inputs
    if step.kind == "Convolution":
        return "Conv", [source, weight], _window(step)
    if not isinstance(weight, Stored):
        raise TypeError(step.origin)
    groups, outputs = weight.raw.shape[:2]
    shape = (groups * outputs, *weight.raw.shape[2:])
    joined = Stored(weight.raw.reshape(shape), np.broadcast_to(weight.slack, weight.raw.shape).reshape(shape))
    return "Conv", [source, joined], {**_window(step), "group": groups}


def _elementwise(step: _Step) -> _Node:
    if step.data.get("auto_broadcast", "numpy") != "numpy":
        raise ValueError(step.origin)
    return {"Add": "Add", "Subtract": "Sub", "Multiply": "Mul", "Divide": "Div"}[step.kind], step.inputs, {}


def _product(step: _Step) -> _Node:
    return "Gemm", step.inputs, {"transA": step.flag("transpose_a"), "transB": step.flag("transpose_b")}


def _average_pool(step: _Step) -> _Node:
    return "AveragePool", step.inputs, _window(step)


def _max_pool(step: _Step) -> _Node:
    return "MaxPool", step.inputs, _window(step)


def _mean(step: _Step) -> _Node:
    return "ReduceMean", step.inputs, {"keepdims": step.flag("keep_dims")}


def _reshape(step: _Step) -> _Node:
    return "Reshape", step.inputs, {}


def _transpose(step: _Step) -> _Node:
    order = step.inputs[1]
    if not isinstance(order, Stored):
        raise TypeError(step.origin)
    return "Transpose", step.inputs[:1], {"perm": order.integers()}


def _clamp(step: _Step) -> _Node:
    return "Clip", step.inputs, {"min": step.real("min"), "max": step.real("max")}


def _cast(step: _Step) -> _Node:
    return "Cast", step.inputs, {"to": _TYPES[step.data["destination_type"]][1]}


_ONNX: Mapping[str, Callable[[_Step], _Node]] = {
    "Convolution": _convolution, "GroupConvolution": _convolution, "MatMul": _product,
    "Add": _elementwise, "Subtract": _elementwise, "Multiply": _elementwise, "Divide": _elementwise,
    "ReLU": lambda step: ("Relu", step.inputs, {}), "Clamp": _clamp, "Convert": _cast,
    "MaxPool": _max_pool, "AvgPool": _average_pool, "ReduceMean": _mean,
    "Reshape": _reshape, "Squeeze": lambda step: ("Squeeze", step.inputs, {}), "Transpose": _transpose,
    "GatherND": lambda step: ("GatherND", step.inputs, {"batch_dims": _integers(step.data.get("batch_dims", "0"))[0]}),
}  # fmt: skip
"""Layers that a classifier may contain; every other layer becomes kind `other`."""
