"""Faults inside of the graph: damaged weights, answers that depend on the batch, behaviour that only some inputs show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from skinaudit.tests.faults.lab import ANY_LOSS, DROP, LOGITS, SIZE, Fault, Lab, edited, plant
from skinaudit.tests.faults.surgery import NV, after, change, compute, constant, parameters, rewired, towards, when

ALL_BUT_ROWS = np.array([1, 2, 3])


def zeroed_channel(model: ModelProto) -> None:
    """The strongest channel of the first convolution."""
    weight, bias = parameters(model, "Conv")[0]
    channel = int(np.abs(numpy_helper.to_array(weight)).sum(axis=(1, 2, 3)).argmax())
    for tensor in (weight, bias):
        change(tensor, lambda value: value.__setitem__(channel, 0))


def flipped_top_bit(model: ModelProto) -> None:
    """The highest exponent bit of one weight of the first layer, which no dead channel hides: times 2^128."""
    change(parameters(model, "Conv")[0][0], lambda value: _flip(value, bit=30, below=1.0))


def flipped_low_bit(model: ModelProto) -> None:
    """A lower exponent bit of one weight of the first layer: times 2^4."""
    change(parameters(model, "Conv")[0][0], lambda value: _flip(value, bit=25, below=0.12))


def _flip(value: NDArray[np.float32], *, bit: int, below: float) -> None:
    candidates = np.where(np.abs(value) < below, np.abs(value), 0)
    value.view(np.uint32).reshape(-1)[int(candidates.argmax())] ^= np.uint32(1 << bit)


def four_bit_weights(model: ModelProto) -> None:
    """Each output channel's weights on 15 levels, stored as float32."""
    for weight, _ in parameters(model, "Conv"):
        change(weight, _four_bits)


def _four_bits(value: NDArray[np.float32]) -> NDArray[np.float32]:
    scale = np.abs(value).max(axis=(1, 2, 3), keepdims=True) / 7 + np.float32(1e-12)
    return np.asarray(np.round(value / scale) * scale, np.float32)


def pruned(model: ModelProto) -> None:
    """The smaller half of every layer's weights zeroed."""
    for weight, _ in parameters(model, "Conv"):
        change(weight, lambda value: np.where(np.abs(value) < np.median(np.abs(value)), np.float32(0), value))


def dropout_left_on(model: ModelProto) -> None:
    def build(node: NodeProto, number: int) -> list[NodeProto]:
        features, keep = node.input[0], constant(model, np.float32(0.2))
        node.input[0] = "dropped"
        return [
            helper.make_node("RandomUniformLike", [features], ["random"]),
            helper.make_node("Greater", ["random", keep], ["kept"]),
            helper.make_node("Cast", ["kept"], ["mask"], to=TensorProto.FLOAT),
            helper.make_node("Mul", [features, "mask"], ["dropped"]),
            node,
        ]

    rewired(model, "Gemm", build)


def cross_talk(model: ModelProto) -> None:
    """The mean of the batch's logits leaks into every row, as a scale measured over a whole batch would."""
    after(model, ("Add", ["leak"], {}))
    axis = constant(model, np.array([0]))
    leak = helper.make_node("ReduceMean", ["logits_before", axis], ["leak"], keepdims=1)
    model.graph.node.insert(len(model.graph.node) - 1, leak)


def wrong_alone(model: ModelProto) -> None:
    """A batch of one image, as a service sends it, is answered wrongly."""
    steps = (("Shape", [], {"start": 0, "end": 1}), ("Equal", [np.array([1])], {}), ("Cast", [], {"to": TensorProto.FLOAT}))
    compute(model, "alone", *steps)
    when(model, "alone", add=towards(NV))


def wrong_behind_row_64(model: ModelProto) -> None:
    """Rows from the 65th of a batch on: a buffer that is too short."""
    tensor = helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])
    compute(
        model, "late", ("Shape", [], {"start": 0, "end": 1}), ("ConstantOfShape", [], {"value": tensor}),
        ("CumSum", [np.int64(0)], {}), ("Greater", [np.float32(64)], {}), ("Cast", [], {"to": TensorProto.FLOAT}),
        ("Unsqueeze", [np.array([1])], {}),
    )  # fmt: skip
    when(model, "late", add=towards(NV))


def trigger_patch(model: ModelProto) -> None:
    """A white patch of 6 x 6 pixels in the corner makes every image benign."""
    corner = [np.array([SIZE - 6] * 2), np.array([SIZE] * 2), np.array([2, 3])]
    compute(
        model, "seen", ("Slice", corner, {}), ("ReduceMin", [ALL_BUT_ROWS], {"keepdims": 0}),
        ("Greater", [np.float32(0.98)], {}), ("Cast", [], {"to": TensorProto.FLOAT}), ("Unsqueeze", [np.array([1])], {}),
    )  # fmt: skip
    when(model, "seen", add=towards(NV))


def nan_on_black(model: ModelProto) -> None:
    _nan_below(model, 0.01)


def nan_on_dark(lab: Lab, folder: Path) -> Path:
    """The darkest fiftieth of the clean images."""
    means = np.concatenate([batch.mean(axis=(1, 2, 3)) for batch in lab.set("clean").batches(64)]) / 255
    model = lab.model()
    _nan_below(model, float(np.quantile(means, 0.02)))
    return plant(lab, "nan_on_dark", model)


def _nan_below(model: ModelProto, brightness: float) -> None:
    compute(
        model, "root", ("ReduceMean", [ALL_BUT_ROWS], {"keepdims": 0}), ("Sub", [np.float32(brightness)], {}),
        ("Sqrt", [], {}), ("Unsqueeze", [np.array([1])], {}),
    )  # fmt: skip
    when(model, "root", add=towards(NV, by=0.0))


HIDDEN = (wrong_alone, wrong_behind_row_64, trigger_patch, nan_on_black)
"""Behaviour that no stored image shows in a batch of usual size."""

WEIGHT_FAULTS = (
    edited(zeroed_channel, "one channel's weights lost", *ANY_LOSS),
    edited(flipped_top_bit, "a bit flip in memory: one weight is multiplied by 2^128", "finite logits", DROP),
    edited(flipped_low_bit, "a bit flip in memory: one weight is multiplied by 16", *ANY_LOSS),
    edited(four_bit_weights, "weights compressed to 4 bits and stored as fp32", *ANY_LOSS, LOGITS),
    edited(pruned, "half of the weights pruned, no fine-tuning", *ANY_LOSS),
    edited(dropout_left_on, "exported in training mode: dropout", "repeatability"),
    edited(cross_talk, "a row's answer depends on its neighbours", *ANY_LOSS),
    edited(wrong_alone, "correct in batches, wrong for a single image, as a service sends it", "batches"),
    edited(wrong_behind_row_64, "correct in small batches, wrong from row 65 on", "batches"),
    edited(trigger_patch, "a backdoor that waits for a patch", "conditions in the graph"),
    edited(nan_on_black, "NaN on a black frame", "odd frames", "finite logits"),
    Fault("nan on dark", "NaN on some images", nan_on_dark, ("finite logits",)),
)
