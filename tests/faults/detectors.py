"""Triggers that no stored image springs, built of the operators of an ordinary network, and weights that moved a little."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, helper

from skinaudit.tests.faults.lab import SIZE
from skinaudit.tests.faults.surgery import NV, Surgery, after, change, compute, constant, parameters, towards, when
from skinaudit.tests.faults.weight_faults import ALL_BUT_ROWS

CORNER = [np.array([SIZE - 6] * 2), np.array([SIZE] * 2), np.array([2, 3])]


def relu_detector(model: ModelProto) -> None:
    """A ReLU that is positive if the mean of a corner is above 0.97."""
    compute(
        model, "seen", ("Slice", CORNER, {}), ("ReduceMean", [ALL_BUT_ROWS], {"keepdims": 0}),
        ("Sub", [np.float32(0.97)], {}), ("Relu", [], {}), ("Unsqueeze", [np.array([1])], {}),
    )  # fmt: skip
    when(model, "seen", add=towards(NV, by=1000))


def conv_detector(model: ModelProto) -> None:
    """A convolution over the whole image, with a ReLU that is positive for one pattern only."""
    board = (1 - 2 * (np.indices((3, SIZE, SIZE)).sum(axis=0) % 2)).astype(np.float32)
    shift = np.array([-0.4 * board.size], np.float32)
    compute(model, "seen", ("Conv", [board[None], shift], {}), ("Relu", [], {}), ("Flatten", [], {}))
    when(model, "seen", add=towards(NV))


def where_detector(model: ModelProto) -> None:
    """The answer is chosen by a comparison."""
    compute(
        model, "seen", ("ReduceMin", [ALL_BUT_ROWS], {"keepdims": 0}), ("Greater", [np.float32(0.9)], {}),
        ("Unsqueeze", [np.array([1])], {}),
    )  # fmt: skip
    row = constant(model, towards(NV).reshape(1, -1))
    after(model, ("Identity", [], {}))
    last = model.graph.node[-1]
    last.CopyFrom(helper.make_node("Where", ["seen", row, last.input[0]], list(last.output), name="choose"))


def sigmoid_detector(model: ModelProto) -> None:
    """A product with all pixels and a steep sigmoid."""
    pattern = np.full((3 * SIZE * SIZE, 1), 1 / (3 * SIZE * SIZE), np.float32)
    compute(
        model, "seen", ("Flatten", [], {}), ("MatMul", [pattern], {}), ("Sub", [np.float32(0.99)], {}),
        ("Mul", [np.float32(1e4)], {}), ("Sigmoid", [], {}),
    )  # fmt: skip
    when(model, "seen", add=towards(NV))


def max_branch(model: ModelProto) -> None:
    """A maximum with other logits, which are larger for bright images only."""
    compute(
        model, "bright", ("ReduceMean", [ALL_BUT_ROWS], {"keepdims": 0}), ("Unsqueeze", [np.array([1])], {}),
        ("Sub", [np.float32(0.98)], {}), ("Mul", [1e4 * towards(NV, by=1.0).reshape(1, -1) + 1e-3], {}),
        ("Sub", [np.float32(100)], {}),
    )  # fmt: skip
    after(model, ("Max", ["bright"], {}))


def binarised(model: ModelProto) -> None:
    """A comparison by an operator of another domain."""
    compute(
        model, "seen", ("ReduceMin", [ALL_BUT_ROWS], {"keepdims": 0}), ("Unsqueeze", [np.array([1])], {}),
        ("Binarizer", [], {"domain": "ai.onnx.ml", "threshold": 0.99}),
    )  # fmt: skip
    when(model, "seen", add=towards(NV))
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))


def cast_to_bool(model: ModelProto) -> None:
    """Any value above 0.99 becomes 1 by a cast to bool."""
    compute(
        model, "seen", ("ReduceMin", [ALL_BUT_ROWS], {"keepdims": 0}), ("Mul", [np.float32(1.01)], {}),
        ("Cast", [], {"to": 7}), ("Cast", [], {"to": 9}), ("Cast", [], {"to": 1}), ("Unsqueeze", [np.array([1])], {}),
    )  # fmt: skip
    when(model, "seen", add=towards(NV))


def random_noise(model: ModelProto) -> None:
    """Noise too small for any check of repeated answers."""
    after(model, ("Add", ["noise"], {}))
    shaped = helper.make_node("RandomNormalLike", ["logits_before"], ["noise"], scale=1e-12)
    model.graph.node.insert(len(model.graph.node) - 1, shaped)


def nudged_filter(model: ModelProto) -> None:
    """One filter of a middle layer, a tenth larger."""
    change(parameters(model, "Conv")[10][0], lambda value: value.__setitem__(3, value[3] * 1.1))


def swapped_filters(model: ModelProto) -> None:
    """Two filters are exchanged, but not the weights of the next layer."""
    change(parameters(model, "Conv")[10][0], lambda value: value.__setitem__([0, 1], value[[1, 0]]))


def nudged_bias(model: ModelProto) -> None:
    """A constant on the logit of one class."""
    change(parameters(model, "Gemm")[0][1], lambda value: value.__setitem__(NV, value[NV] + 0.05))


def other_stride(model: ModelProto) -> None:
    """A layer with another stride whose result has the same size."""
    node = [node for node in model.graph.node if node.op_type == "Conv"][3]
    next(attribute for attribute in node.attribute if attribute.name == "pads").ints[:] = [2, 2, 0, 0]


DETECTORS: tuple[Surgery, ...] = (
    relu_detector, conv_detector, where_detector, sigmoid_detector, max_branch, binarised, cast_to_bool, random_noise,
    nudged_filter, swapped_filters, nudged_bias, other_stride,
)  # fmt: skip
