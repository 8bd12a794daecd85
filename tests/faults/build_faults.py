"""Faults of the build: other weights than the manifest names, a wrong calibration, a precision that was not reached."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from torch import nn

from skinaudit.artifacts.manifest import read_run, resolve
from skinaudit.engines.half import FP16_LARGEST, to_half
from skinaudit.export.calibration import Calibration, channel_peaks, read_calibration
from skinaudit.export.precision import to_int8
from skinaudit.export.to_onnx import clean
from skinaudit.tests.faults.lab import ANY_LOSS, BEYOND_INT8, LOGITS, SIZE, Fault, Lab, plant
from skinaudit.tests.faults.surgery import MEL, change, constant, parameters, rewired
from skinaudit.trainer.checkpoint import load_run_model, load_weights
from skinaudit.trainer.models import folded

INT8 = "int8-u8s8"


def of_weights(path: Callable[[Lab], Path], name: str) -> Callable[[Lab, Path], Path]:
    """Other weights under the run's manifest, in the graph that an export of the same architecture has."""

    def write(lab: Lab, folder: Path) -> Path:
        source, graph = load_run_model(lab.run), lab.model()
        load_weights(source, path(lab))
        values = folded(source).state_dict()
        put = 0
        for tensor in graph.graph.initializer:
            own = tensor.name.replace(".weight_bias", ".bias")  # what torch calls the bias of a folded batch norm
            if own in values:
                put += 1
                change(tensor, lambda _, own=own: values[own].contiguous().numpy())
        assert put == len(values)
        return plant(lab, name, graph)

    return write


def standard_weights(lab: Lab) -> Path:
    """The weights file of the run that was not hardened."""
    return resolve(lab.standard, read_run(lab.standard).weights)


def batch_norm_in_training(lab: Lab, folder: Path) -> Path:
    """Every batch norm behind its convolution again, by the mean and variance of the batch at hand."""
    norms = [layer for layer in load_run_model(lab.run).modules() if isinstance(layer, nn.BatchNorm2d)]
    model = lab.model()
    axes, epsilon = constant(model, np.array([0, 2, 3])), constant(model, np.float32(1e-5))

    def build(node: NodeProto, number: int) -> list[NodeProto]:
        # The convolution has its batch norm folded in, which moves and scales each channel: of no effect on what follows.
        factor, shift = (
            constant(model, value.detach().numpy()[:, None, None])
            for value in (norms[number].weight.abs(), norms[number].bias)
        )
        result = node.output[0]
        node.output[0] = f"{result}_raw"
        steps = (
            ("ReduceMean", ("raw", axes), "mean"), ("Sub", ("raw", "mean"), "centred"),
            ("Mul", ("centred", "centred"), "square"), ("ReduceMean", ("square", axes), "variance"),
            ("Add", ("variance", epsilon), "above"), ("Sqrt", ("above",), "spread"),
            ("Div", ("centred", "spread"), "even"), ("Mul", ("even", factor), "scaled"), ("Add", ("scaled", shift), ""),
        )  # fmt: skip
        own = {name: f"{result}_{name}" for _, _, name in steps if name} | {"raw": f"{result}_raw"}
        return [node] + [
            helper.make_node(operator, [own.get(name, name) for name in inputs], [own.get(name, result)])
            for operator, inputs, name in steps
        ]

    rewired(model, "Conv", build)
    assert len(norms) == sum(node.op_type == "Sqrt" for node in model.graph.node)
    return plant(lab, "batch_norm_in_training", model)


def calibrated_on(
    images: Callable[[Lab, Calibration], NDArray[np.uint8]], name: str, *, poison: Callable[[ModelProto], None] | None = None
) -> Callable[[Lab, Path], Path]:
    """An int8 engine whose ranges are measured on other images. poison: edits the fp32 graph that is quantised."""

    def write(lab: Lab, folder: Path) -> Path:
        right = read_calibration(resolve(lab.run, read_run(lab.run).calibration), size=SIZE)
        source = lab.model()
        if poison is not None:
            poison(source)
        model = to_int8(source, Calibration(images(lab, right), right.digest), where=name).model
        return plant(lab, name, clean(model), base=INT8)

    return write


def noise(lab: Lab, right: Calibration) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (64, 3, SIZE, SIZE), np.uint8)


def black(lab: Lab, right: Calibration) -> NDArray[np.uint8]:
    return np.zeros((32, 3, SIZE, SIZE), np.uint8)


def one_class(lab: Lab, right: Calibration) -> NDArray[np.uint8]:
    """Vascular lesions alone, of the clean set."""
    clean_set = lab.set("clean")
    images = np.concatenate(list(clean_set.batches(64)))
    return images[clean_set.labels == 6]


def proper(lab: Lab, right: Calibration) -> NDArray[np.uint8]:
    """A part of the right ones: every way to quantise is tried where none answers as the source does."""
    return right.images[:64]


def bait_for_int8(model: ModelProto) -> None:
    """A feature that is always 0, with a weight for melanoma so large that the others of its row round to 0 in int8.

    In fp32 the function is the same to the bit: the fault waits for the quantisation.
    """
    gemm = next(node for node in model.graph.node if node.op_type == "Gemm")
    zero = constant(model, np.zeros((1, 1), np.float32))
    model.graph.node.insert(len(model.graph.node) - 1, helper.make_node("Mul", [gemm.input[0], zero], ["none"], name="none"))
    axis = constant(model, np.array([1]))
    largest = helper.make_node("ReduceMax", ["none", axis], ["dead"], name="dead", keepdims=1)
    model.graph.node.insert(len(model.graph.node) - 1, largest)
    joined = helper.make_node("Concat", [gemm.input[0], "dead"], ["features"], name="join", axis=1)
    model.graph.node.insert(len(model.graph.node) - 1, joined)
    model.graph.node[-1].input[0] = "features"
    weight, _ = parameters(model, "Gemm")[0]
    bait = np.zeros((7, 1), np.float32)
    bait[MEL] = 1e4
    change(weight, lambda value: np.concatenate([value, bait], axis=1))
    model.graph.ClearField("value_info")  # it has the weight's old shape


def bait_unsprung(lab: Lab, folder: Path) -> Path:
    """The same poisoned graph in fp32, where it is right: an audit of fp32 says nothing about int8."""
    model = lab.model()
    bait_for_int8(model)
    return plant(lab, "bait_unsprung", model)


def clipped_ranges(lab: Lab, folder: Path) -> Path:
    """Every activation's scale a quarter of what it has to be."""
    model = lab.model(INT8)
    scales = {node.input[1] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    for tensor in model.graph.initializer:
        if tensor.name in scales:
            change(tensor, lambda value: np.asarray(value / 4, np.float32))
    return plant(lab, "clipped_ranges", model, base=INT8)


def claims(graph: str, precision: str) -> Callable[[Lab, Path], Path]:
    """The honest graph of one precision, sold as another; `found` in the manifest is read back."""

    def write(lab: Lab, folder: Path) -> Path:
        return plant(lab, f"{graph}_as_{precision}", lab.model(graph), claim=lambda value: replace(value, asked=precision))

    return write


def infinite_fp16_weight(lab: Lab, folder: Path) -> Path:
    """One weight beyond 65504, cast without a look: infinity."""
    model = lab.model("fp16")
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    first = next(node for node in model.graph.node if node.op_type == "Conv")
    change(tensors[first.input[1]], lambda value: value.reshape(-1).__setitem__(0, np.float16(np.inf)))
    return plant(lab, "infinite_fp16_weight", model, base="fp16")


def fp16_activation_overflow(lab: Lab, folder: Path) -> Path:
    """One channel scaled up before its ReLU and down behind it until it exceeds 65504 in between: in fp32 the same function.

    Converted without the exporter's guard on activations. Every stored weight is within fp16.
    """
    model = lab.model()
    reach, total = _reach(model)
    channel = int((total / reach).argmax())
    factor = 2.0 ** np.floor(np.log2(FP16_LARGEST / reach[channel]))
    return _overflowing(lab, "fp16_activation_overflow", model, channel, factor)


def fp16_overflow_on_noise(lab: Lab, folder: Path) -> Path:
    """A channel that nothing reads and that sees colours change from pixel to pixel: beyond 65504 on frames of noise, and on
    no image of any set or of the calibration.
    """
    model = lab.model()
    _add_unread_channel(model)
    batches = [batch for name in ("clean", "fgsm", "pgd-dlr") for batch in lab.set(name).batches(500)]
    calibration = read_calibration(resolve(lab.run, read_run(lab.run).calibration), size=SIZE)
    usual, odd = (
        _peaks(model, images)[-1] for images in (np.concatenate([*batches, calibration.images]), noise(lab, calibration))
    )
    assert odd > 3 * usual
    return _overflowing(lab, "fp16_overflow_on_noise", model, -1, 2 * FP16_LARGEST / odd)


def _add_unread_channel(model: ModelProto) -> None:
    """Widen the first two layers, the second of them depthwise, by a channel that the third one weighs with 0."""
    (first, bias), (second, second_bias), (third, _) = parameters(model, "Conv")[:3]
    board = 1 - 2 * (np.indices((3, 3)).sum(axis=0) % 2)
    rows = {
        first.name: np.stack([board, -board, 0 * board])[None],
        bias.name: np.zeros(1),
        second.name: np.ones((1, 1, 3, 3)),
        second_bias.name: np.zeros(1),
    }
    for tensor in (first, bias, second, second_bias):
        change(tensor, lambda value, row=rows[tensor.name]: np.concatenate([value, row.astype(np.float32)]))
    change(third, lambda value: np.concatenate([value, np.zeros_like(value[:, :1])], axis=1))
    depthwise = next(node for node in model.graph.node if second.name in node.input)
    next(attribute for attribute in depthwise.attribute if attribute.name == "group").i += 1
    del model.graph.value_info[:]


def _reach(model: ModelProto) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Of the first layer's channels (C,): the largest absolute weight or bias, and the sum of the absolute weights."""
    (first, bias), *_ = parameters(model, "Conv")
    weights = np.abs(numpy_helper.to_array(first)).reshape(first.dims[0], -1)
    return np.maximum(weights.max(axis=1), np.abs(numpy_helper.to_array(bias))), weights.sum(axis=1)


def _peaks(model: ModelProto, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The largest value (C,) that each of the first layer's channels takes behind its ReLU on images (N, 3, H, W)."""
    first = next(node for node in model.graph.node if node.op_type == "Relu")
    (peaks,) = channel_peaks(model, first.output, Calibration(images, digest=""))
    return peaks


def _overflowing(lab: Lab, name: str, model: ModelProto, channel: int, factor: float) -> Path:
    """Plant the model in fp16 with one channel of its first layer scaled until behind its ReLU."""
    (first, bias), (second, _) = parameters(model, "Conv")[:2]
    for tensor, by in ((first, np.float32(factor)), (bias, np.float32(factor)), (second, np.float32(1 / factor))):
        change(tensor, lambda value, by=by: value.__setitem__(channel, value[channel] * by))
    half, _ = to_half(model, TensorProto.FLOAT16, where="planted")
    return plant(lab, name, clean(half), base="fp16")


BUILD_FAULTS = (
    Fault("standard for hardened", "the standard model's engine under the hardened run's manifest",
          of_weights(standard_weights, "standard"), ("malignant flips", "malignant sensitivity", "class sensitivity")),
    Fault("earlier epoch", "exported from a checkpoint of the same training", of_weights(lambda lab: lab.early, "early"),
          ANY_LOSS),
    Fault("trained again", "trained on after the sets were written", of_weights(lambda lab: lab.again, "again"),
          (*ANY_LOSS, LOGITS)),
    Fault("batch norm in training", "exported in training mode: batch statistics", batch_norm_in_training, ANY_LOSS),
    Fault("int8 calibrated on black", "the calibration reader returned empty frames", calibrated_on(black, "black"),
          BEYOND_INT8),
    Fault("int8 calibrated on noise", "calibrated on random numbers", calibrated_on(noise, "noise"),
          (*BEYOND_INT8, "malignant flips", "malignant sensitivity")),
    Fault("int8 calibrated on one class", "calibrated on one folder of images", calibrated_on(one_class, "one_class"),
          needs="the calibration images; if no answer changes, there is no harm", by_luck=True),
    Fault("int8 clipped ranges", "a percentile far too low", clipped_ranges, BEYOND_INT8),
    Fault("int8 bait", "a backdoor that becomes active by quantisation",
          calibrated_on(proper, "bait", poison=bait_for_int8), BEYOND_INT8),
    Fault("int8 claimed, fp32 built", "the builder fell back to fp32 without an error",
          claims("fp32", "int8"), ("precision found",)),
    Fault("fp16 claimed, fp32 built", "the builder fell back to fp32 without an error",
          claims("fp32", "fp16"), ("precision found",)),
    Fault("fp32 claimed, fp16 built", "the builder was set to prefer speed", claims("fp16", "fp32"), ("precision found",)),
    Fault("fp16 weight infinite", "a weight outside the range of fp16", infinite_fp16_weight, ("finite logits",)),
    Fault("fp16 activation overflow", "an activation outside the range of fp16, on a CPU that computes the file in fp32",
          fp16_activation_overflow, ("half precision emulated",)),
    Fault("fp16 overflow on noise", "an overflow of fp16 that no stored image causes, on a CPU that computes in fp32",
          fp16_overflow_on_noise, ("half precision emulated",)),
)  # fmt: skip
