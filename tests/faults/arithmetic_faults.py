"""Faults in the arithmetic of a file whose numbers are right: they work by the limits of float types, or by how codes are
stored.

In real numbers each file computes what its run does, so a comparison of folded weights alone finds nothing.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from skinaudit.tests.faults.format_faults import PROVED
from skinaudit.tests.faults.lab import Fault, Lab, plant
from skinaudit.tests.faults.surgery import NV, Surgery, before, change, constant, parameters

NEAR_LARGEST = {"fp32": 1e37, "fp16": 8192.0}
"""A factor with which activations of 34, or of 8, are too large for their type."""
ABSORBING = 2.0**14
"""What float32 adds to an image only in steps of 2^-9."""


def channel_near_the_largest_number(model: ModelProto) -> None:
    """A channel scaled until strong activations overflow, and scaled back by the classifier."""
    weight, bias = parameters(model, "Conv")[-1]
    rows, _ = parameters(model, "Gemm")[0]
    change(weight, lambda value: _scaled(value, NEAR_LARGEST["fp32"], 0))
    change(bias, lambda value: _scaled(value, NEAR_LARGEST["fp32"], 0))
    change(rows, lambda value: _scaled(value, 1 / NEAR_LARGEST["fp32"], 1))


def _scaled(value: np.ndarray, factor: float, axis: int) -> np.ndarray:
    """The array with its first channel along `axis` times `factor`."""
    factors = np.ones(value.shape[axis])
    factors[0] = factor
    return (value * factors.reshape([-1 if side == axis else 1 for side in range(value.ndim)])).astype(value.dtype)


def steps_near_the_largest_number(model: ModelProto) -> None:
    """A map times a large number and divided by it again: strong activations overflow between both."""
    _behind_the_last_map(model, "Mul", "Div", _largest(model))


def steps_near_zero(model: ModelProto) -> None:
    """A map divided by a large number and multiplied by it again: weak activations vanish between both."""
    _behind_the_last_map(model, "Div", "Mul", 1e42 if _type_of(model) == np.float32 else 1e4)


def absorbed_map(model: ModelProto) -> None:
    """A large number added to a map and taken off again, which rounds it and makes the bias uncertain."""
    _behind_the_last_map(model, "Add", "Sub", 2.0**15)


def absorbed_image(model: ModelProto) -> None:
    """The same of the image."""
    before(model, ("Add", [np.float32(ABSORBING)], {}), ("Sub", [np.float32(ABSORBING)], {}))


def _type_of(model: ModelProto) -> np.dtype:
    return numpy_helper.to_array(parameters(model, "Conv")[0][0]).dtype


def _largest(model: ModelProto) -> float:
    return NEAR_LARGEST["fp32" if _type_of(model) == np.float32 else "fp16"]


def _behind_the_last_map(model: ModelProto, first: str, second: str, number: float) -> None:
    """Two steps with one number, between the last convolution and its reader."""
    place = max(at for at, node in enumerate(model.graph.node) if node.op_type == "Conv")
    node = model.graph.node[place]
    result, node.output[0] = node.output[0], "sums"
    name = constant(model, np.asarray(min(number, 3e38), _type_of(model)))
    model.graph.node.insert(place + 1, helper.make_node(first, ["sums", name], ["moved"]))
    model.graph.node.insert(place + 2, helper.make_node(second, ["moved", name], [result]))


def stored_in_8_bits(model: ModelProto) -> None:
    """The weights of a layer as E4M3 numbers, which are cast when the file is opened."""
    node = [node for node in model.graph.node if node.op_type == "Conv"][2]
    value = numpy_helper.to_array(parameters(model, "Conv")[2][0])
    codes = helper.make_tensor("codes", TensorProto.FLOAT8E4M3FN, value.shape, value.astype(np.float32).reshape(-1).tolist())
    model.graph.initializer.append(codes)
    to = TensorProto.FLOAT if value.dtype == np.float32 else TensorProto.FLOAT16
    model.graph.node.insert(0, helper.make_node("Cast", ["codes"], ["cast_codes"], to=to))
    node.input[1] = "cast_codes"


def image_through_bf16(model: ModelProto) -> None:
    """The image cast to bfloat16 and back."""
    before(model, ("Cast", [], {"to": TensorProto.BFLOAT16}), ("Cast", [], {"to": TensorProto.FLOAT}))


def constant_of_two_kinds(model: ModelProto) -> None:
    """The last bias in a Constant with values of two kinds: ONNX Runtime takes the first, which is pushed."""
    gemm = next(node for node in model.graph.node if node.op_type == "Gemm")
    bias = numpy_helper.to_array(parameters(model, "Gemm")[0][1])
    pushed = bias + 0.02 * (np.arange(len(bias)) == NV)
    node = NodeProto(op_type="Constant", name="two kinds", output=["pushed"])
    node.attribute.append(helper.make_attribute("value_floats", pushed.astype(float).tolist()))
    node.attribute.append(helper.make_attribute("value", numpy_helper.from_array(bias)))
    model.graph.node.insert(0, node)
    gemm.input[2] = "pushed"


def overloaded(model: ModelProto) -> None:
    """Two functions of one name: the honest one is what a reader takes that knows no overloads."""
    relu = [node for node in model.graph.node if node.op_type == "Relu"][-1]
    opsets = [helper.make_opsetid("", model.opset_import[0].version)]
    for operator, settings, overload in (("Elu", {"alpha": 1e-3}, ""), ("Relu", {}, "second")):
        body = [helper.make_node(operator, ["x"], ["y"], **settings)]
        function = helper.make_function("of.mine", "Act", ["x"], ["y"], body, opsets)
        function.overload = overload
        model.functions.append(function)
    relu.op_type, relu.domain, relu.overload = "Act", "of.mine", "second"
    model.opset_import.append(helper.make_opsetid("of.mine", 1))


def codes_with_a_sign(model: ModelProto) -> None:
    """A ReLU left out: codes without a zero that are said to have a sign, so that they do not cut at 0."""
    model.opset_import[0].version = max(21, model.opset_import[0].version)
    readers = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    node = readers[len(readers) // 2]
    (scale,) = [tensor for tensor in model.graph.initializer if tensor.name == node.input[1]]
    step = constant(model, numpy_helper.to_array(scale) * 2)
    relu = next((layer for layer in model.graph.node if layer.op_type == "Relu" and layer.output[0] == node.input[0]), None)
    for reader in model.graph.node:
        if reader is node or (reader.op_type == "DequantizeLinear" and reader.input[0] == node.output[0]):
            reader.input[1] = step
            del reader.input[2:]
    node.attribute.append(helper.make_attribute("output_dtype", TensorProto.INT8))
    if relu is not None:
        node.input[0] = relu.input[0]


OF_FLOATS: tuple[Surgery, ...] = (
    steps_near_the_largest_number, steps_near_zero, absorbed_map, absorbed_image, stored_in_8_bits,
)  # fmt: skip
OF_FP32: tuple[Surgery, ...] = (channel_near_the_largest_number, constant_of_two_kinds, overloaded)
OF_FP16: tuple[Surgery, ...] = (image_through_bf16,)
EDITS: tuple[tuple[Surgery, str], ...] = (
    *((surgery, "fp32") for surgery in (*OF_FLOATS, *OF_FP32)),
    *((surgery, "fp16") for surgery in (*OF_FLOATS, *OF_FP16)),
    (codes_with_a_sign, "int8-u8s8"),
)
"""Each with the honest graph that it is put into."""


def _fault(surgery: Surgery, base: str) -> Fault:
    def write(lab: Lab, folder: Path) -> Path:
        model = lab.model(base)
        surgery(model)
        return plant(lab, f"{surgery.__name__}-{base}", model, base=base)

    about = (surgery.__doc__ or "").partition("\n")[0].rstrip(".")
    return Fault(f"{surgery.__name__.replace('_', ' ')}, {base}.onnx", about, write, (PROVED,))


ARITHMETIC_FAULTS = tuple(_fault(*edit) for edit in EDITS)
"""bench/faults.py audits them as a whole."""
