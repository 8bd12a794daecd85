"""Honest exports of the same weights that differ in everything but the function: none may raise an alarm."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.shape_inference
import onnx.version_converter
import onnxruntime as ort
import onnxruntime.quantization as quantization
from onnx import ModelProto, NodeProto, helper, numpy_helper

from skinaudit.artifacts.manifest import read_engine_manifest, read_run, record, resolve, write_engine_manifest
from skinaudit.engines.onnxruntime_ import session_options
from skinaudit.export.calibration import read_calibration
from skinaudit.export.precision import PRECISIONS, to_fp16
from skinaudit.tests.faults.format_faults import calibration
from skinaudit.tests.faults.graph_faults import MEAN, STD
from skinaudit.tests.faults.lab import SIZE, Lab, plant
from skinaudit.tests.faults.surgery import change, constant, parameters, rewired

Rewrite = Callable[[ModelProto], ModelProto | None]


def as_exported(model: ModelProto) -> None:
    pass


def opset_21(model: ModelProto) -> ModelProto:
    return onnx.version_converter.convert_version(model, 21)


def opset_22(model: ModelProto) -> ModelProto:
    return onnx.version_converter.convert_version(model, 22)


def shapes_inferred(model: ModelProto) -> ModelProto:
    return onnx.shape_inference.infer_shapes(model, data_prop=True)


def renamed(model: ModelProto) -> None:
    """Every node and every value but the two ports has another name."""
    ports = {"image", "logits", ""}
    for number, node in enumerate(model.graph.node):
        node.name = f"layer{number}"
        node.input[:] = [name if name in ports else f"v_{name}" for name in node.input]
        node.output[:] = [name if name in ports else f"v_{name}" for name in node.output]
    for tensor in model.graph.initializer:
        tensor.name = f"v_{tensor.name}"
    model.graph.ClearField("value_info")


def reordered_initialisers(model: ModelProto) -> None:
    tensors = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in model.graph.initializer]
    model.graph.ClearField("initializer")
    model.graph.initializer.extend(reversed(tensors))


def untied_bias(model: ModelProto) -> None:
    """Convolutions without a bias, which is added behind them."""

    def build(node: NodeProto, number: int) -> list[NodeProto]:
        bias, result = node.input.pop(), node.output[0]
        value = next(numpy_helper.to_array(tensor) for tensor in model.graph.initializer if tensor.name == bias)
        node.output[0] = f"{result}_plain"
        return [node, helper.make_node("Add", [f"{result}_plain", constant(model, value.reshape(1, -1, 1, 1))], [result])]

    rewired(model, "Conv", build)


def batch_norm_unfolded(model: ModelProto) -> None:
    """Half of each convolution's scale and all of its bias back in a batch norm behind it."""

    def build(node: NodeProto, number: int) -> list[NodeProto]:
        bias, result = node.input.pop(), node.output[0]
        tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        shift = numpy_helper.to_array(tensors[bias])
        change(tensors[node.input[1]], lambda value: value / 2)
        ones, zeros = np.ones_like(shift), np.zeros_like(shift)
        node.output[0] = f"{result}_plain"
        inputs = [constant(model, value) for value in (2 * ones, shift, zeros, ones)]
        return [node, helper.make_node("BatchNormalization", [node.output[0], *inputs], [result], epsilon=0.0)]

    rewired(model, "Conv", build)


def permuted_channels(model: ModelProto) -> None:
    """The channels between the first pointwise convolution, the depthwise one behind it and the next in another order."""
    (first, bias), (depthwise, its_bias), (last, _) = parameters(model, "Conv")[2:5]
    order = np.random.default_rng(0).permutation(first.dims[0])
    for tensor in (first, bias, depthwise, its_bias):
        change(tensor, lambda value: value[order])
    change(last, lambda value: value[:, order])


def rescaled_layers(model: ModelProto) -> None:
    """A factor for each channel before every second ReLU and its reciprocal behind it."""
    layers, generator = parameters(model, "Conv"), np.random.default_rng(0)
    for (first, bias), (depthwise, _) in zip(layers[::2], layers[1::2], strict=False):
        factor = generator.uniform(0.5, 2, (first.dims[0], 1, 1, 1)).astype(np.float32)
        change(first, lambda value, scale=factor: value * scale)
        change(bias, lambda value, scale=factor: value * scale.reshape(-1))
        change(depthwise, lambda value, scale=factor: value / scale)


def normalised_by_product(model: ModelProto) -> None:
    def build(node: NodeProto, number: int) -> list[NodeProto]:
        scale = helper.make_node("Mul", [node.input[0], constant(model, 1 / STD)], ["scaled"])
        return [scale, helper.make_node("Sub", ["scaled", constant(model, MEAN / STD)], [node.output[0]])]

    first = next(node for node in model.graph.node if node.op_type == "Div")
    rewired(model, "Sub", lambda node, number: [])
    first.input[0] = "image"
    next(node for node in model.graph.node if node.op_type == "Div").input[0] = "image"
    rewired(model, "Div", build)


def pooled_by_operator(model: ModelProto) -> None:
    rewired(model, "ReduceMean", lambda node, _: [helper.make_node("GlobalAveragePool", node.input[:1], node.output)])
    rewired(model, "Reshape", lambda node, _: [helper.make_node("Flatten", node.input[:1], node.output, axis=1)])
    model.graph.ClearField("value_info")


def classifier_as_product(model: ModelProto) -> None:
    def build(node: NodeProto, number: int) -> list[NodeProto]:
        weight, bias = node.input[1:]
        tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        change(tensors[weight], lambda value: np.ascontiguousarray(value.T))
        product = helper.make_node("MatMul", [node.input[0], weight], ["product"])
        return [product, helper.make_node("Add", ["product", bias], list(node.output))]

    rewired(model, "Gemm", build)
    model.graph.ClearField("value_info")


def identities(model: ModelProto) -> None:
    rewired(
        model, "Relu", lambda node, _: [helper.make_node("Identity", node.input, [f"{node.output[0]}_same"]),
                                        helper.make_node("Relu", [f"{node.output[0]}_same"], node.output)],
    )  # fmt: skip


def relu_as_maximum(model: ModelProto) -> None:
    zero = constant(model, np.float32(0))
    rewired(model, "Relu", lambda node, _: [helper.make_node("Max", [node.input[0], zero], node.output)])


def constants_as_nodes(model: ModelProto) -> None:
    """Weights in Constant nodes, none stored as an initialiser."""
    tensors = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in model.graph.initializer]
    model.graph.ClearField("initializer")
    for tensor in reversed(tensors):
        model.graph.node.insert(0, helper.make_node("Constant", [], [tensor.name], value=tensor))


def optimised(level: str) -> Rewrite:
    """The file that ONNX Runtime itself writes after rewriting the graph."""

    def rewrite(model: ModelProto) -> ModelProto:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "optimised.onnx"
            options = session_options(threads=1)
            options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
            options.optimized_model_filepath = str(path)
            ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
            return onnx.load(str(path))

    return rewrite


REWRITES: Mapping[str, Rewrite] = {
    rewrite.__name__: rewrite
    for rewrite in (
        as_exported, opset_21, opset_22, shapes_inferred, renamed, reordered_initialisers, untied_bias, batch_norm_unfolded,
        permuted_channels, rescaled_layers, normalised_by_product, pooled_by_operator, classifier_as_product, identities,
        relu_as_maximum,
    )
}  # fmt: skip
FP32_ONLY: Mapping[str, Rewrite] = {
    "constants_as_nodes": constants_as_nodes,
    "optimised_offline_basic": optimised("ORT_ENABLE_BASIC"),
    "optimised_offline_extended": optimised("ORT_ENABLE_EXTENDED"),
    "optimised_offline_all": optimised("ORT_ENABLE_ALL"),
}
"""What the conversion to fp16 does not read: ONNX Runtime's own dialect, and constants that are nodes."""
IN_INT8 = (
    "as_exported", "untied_bias", "batch_norm_unfolded", "rescaled_layers", "normalised_by_product", "pooled_by_operator",
    "classifier_as_product", "relu_as_maximum",
)  # fmt: skip
LEVELS = ("BASIC", "EXTENDED", "ALL")
OPTIMISERS = ("onnxslim", "onnxsim")
"""Packages that rewrite a graph; tried where they are installed."""
CALLS = ((64, 1), (7, 2), (1, 1))
"""Batch size and threads of the audit."""


@dataclass(frozen=True)
class Reexport:
    """One honest engine: how its graph was rewritten, and in which precision."""

    rewrite: str
    precision: str

    def write(self, lab: Lab) -> Path:
        """Write it beside the lab's engines."""
        model = lab.model()
        model = {**REWRITES, **FP32_ONLY}[self.rewrite](model) or model
        if self.precision == "fp16":
            calibration = read_calibration(resolve(lab.run, read_run(lab.run).calibration), size=SIZE)
            model = to_fp16(model, calibration, where=self.rewrite).model
        return plant(lab, f"honest-{self.rewrite}-{self.precision}", model, base=self.precision)


def reexports() -> Iterator[Reexport]:
    """All of them; each is audited once for every one of CALLS."""
    yield from (Reexport(name, precision) for name in REWRITES for precision in ("fp32", "fp16"))
    yield from (Reexport(name, "fp32") for name in FP32_ONLY)


def further(lab: Lab, folder: Path) -> Iterator[tuple[str, str, Path]]:
    """More honest engines, by what was done and precision: int8 of rewritten graphs, files that ONNX Runtime's optimiser
    wrote, QOperator files, dynamic quantisation, OpenVINO's files and a program. `export_all` has to come before."""
    for name in IN_INT8:
        model = lab.model()
        converted = PRECISIONS["int8-u8s8"].convert(REWRITES[name](model) or model, calibration(lab), where=name)
        yield name, "int8", _claimed(lab, f"honest-{name}-int8", converted.model, converted.settings)
    for level in LEVELS:
        yield f"optimised_offline_{level.lower()}", "int8", optimised_file(lab, "int8-u8s8", level)
    for base in ("fp32", "fp16", "int8-u8s8"):
        yield "weights_in_another_file", base.partition("-")[0], _external(lab, base)
        for name in OPTIMISERS:
            model = _by_optimiser(name, lab.engine(base))
            if model is not None:
                yield name, base.partition("-")[0], plant(lab, f"honest-{base}-{name}", model, base=base)
    for name, model in (("qoperator", _qoperator(lab, folder)), ("dynamic", _dynamic(lab, folder))):
        yield name, "int8", _claimed(lab, f"honest-{name}", model, {})
    for name in ("fp32.xml", "fp16.xml", "fp32.pt2"):
        yield "as_exported", name, lab.run / "engines" / name


def optimised_file(lab: Lab, base: str, level: str) -> Path:
    """What ONNX Runtime's optimiser writes of an engine, under its manifest."""
    model = optimised(f"ORT_ENABLE_{level}")(lab.model(base))
    assert model is not None
    return plant(lab, f"honest-{base}-{level}", model, base=base)


def _by_optimiser(name: str, path: Path) -> ModelProto | None:
    try:
        package = importlib.import_module(name)
    except ImportError:
        return None
    if name == "onnxslim":
        return package.slim(str(path))
    simplified, sound = package.simplify(onnx.load(path))
    assert sound
    return simplified


def _external(lab: Lab, base: str) -> Path:
    """The weights beside the graph; axes and shapes stay in it, since ONNX Runtime reads them nowhere else."""
    path = plant(lab, f"honest-{base}-external", lab.model(base), base=base)
    manifest = read_engine_manifest(path)
    path.with_name(f"{path.name}.data").unlink(missing_ok=True)  # onnx would append to it
    onnx.save(lab.model(base), path, save_as_external_data=True, location=f"{path.name}.data", size_threshold=64)
    beside = record(path.with_name(f"{path.name}.data"), relative_to=path.parent)
    manifest = replace(manifest, engine=record(path, relative_to=path.parent), companions=(beside,))
    write_engine_manifest(replace(manifest, graph=manifest.engine), engine=path)
    return path


def _claimed(lab: Lab, name: str, model: ModelProto, settings: Mapping[str, Any]) -> Path:
    return plant(lab, name, model, base="int8-u8s8", claim=lambda manifest: replace(manifest, settings=settings))


def _qoperator(lab: Lab, folder: Path) -> ModelProto:
    images = calibration(lab).images.astype(np.float32) / np.float32(255)

    class Images(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._images = iter(images)

        def get_next(self) -> dict[str, Any] | None:
            image = next(self._images, None)
            return None if image is None else {"image": image[None]}

    target = folder / "qoperator.onnx"
    quantization.quantize_static(
        lab.engine("fp32"), target, Images(), quant_format=quantization.QuantFormat.QOperator, per_channel=True,
        weight_type=quantization.QuantType.QInt8,
    )  # fmt: skip
    return onnx.load(target)


def _dynamic(lab: Lab, folder: Path) -> ModelProto:
    quantization.quantize_dynamic(lab.engine("fp32"), folder / "dynamic.onnx")
    return onnx.load(folder / "dynamic.onnx")
