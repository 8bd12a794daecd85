"""Steps that undo each other in real numbers, and codes whose type or steps another reader may miss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from skinaudit.artifacts.precisions import KINDS
from skinaudit.audit.evidence.matching import Allowed, DiffersError, Matcher
from skinaudit.engines.networks.of_onnx import network_of_model
from skinaudit.tests.engines.networks.test_of_onnx import SIZE, WIDE, classifier
from skinaudit.tests.faults.arithmetic_faults import (
    absorbed_image,
    absorbed_map,
    channel_near_the_largest_number,
    constant_of_two_kinds,
    image_through_bf16,
    overloaded,
    steps_near_the_largest_number,
    steps_near_zero,
    stored_in_8_bits,
)
from skinaudit.tests.faults.surgery import change, constant

ort = pytest.importorskip("onnxruntime")


def matched(model: ModelProto, *, precision: str = "fp32") -> bool:
    kind = KINDS[precision]
    allowed = Allowed(kind.layers, casts=kind.casts, rounding=kind.rounding, spread=kind.spread, factor=kind.factor)
    with np.errstate(all="ignore"):
        return Matcher(allowed).match(network_of_model(classifier()), network_of_model(model)).plain


def answers(model: ModelProto, images: NDArray[np.float32]) -> NDArray[np.float32]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    result: NDArray[np.float32] = session.run(None, {"image": images})[0]
    return result


def test_a_trigger_of_numbers_that_overflow_is_real_and_named() -> None:
    """Ordinary images are answered as before. For strong ones a channel overflows, and the answer is not finite."""
    model = classifier()
    channel_near_the_largest_number(model)
    images = np.random.default_rng(0).random((4, 3, SIZE, SIZE), np.float32)
    np.testing.assert_allclose(answers(model, images), answers(classifier(), images), rtol=1e-4, atol=1e-4)
    assert not np.isfinite(answers(model, 1e4 * images)).all()
    assert np.isfinite(answers(classifier(), 1e4 * images)).all()
    with pytest.raises(DiffersError, match="scales a channel by 1e\\+37"):
        matched(model)


OFF, COARSE = "between its steps, numbers are more than", "rounded more coarsely"
OTHER = "the run's model has"


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (steps_near_the_largest_number, OFF), (steps_near_zero, OFF), (absorbed_map, COARSE), (stored_in_8_bits, COARSE),
        (absorbed_image, OTHER), (constant_of_two_kinds, OTHER), (overloaded, OTHER), (image_through_bf16, OTHER),
    ],
)  # fmt: skip
def test_what_is_the_same_in_real_numbers_alone_is_named(edit: Callable[[ModelProto], None], named: str) -> None:
    model = classifier()
    edit(model)
    with pytest.raises(DiffersError, match=named):
        matched(model)


def test_an_image_cast_to_bf16_is_none_of_fp16() -> None:
    model = classifier()
    image_through_bf16(model)
    assert matched(model, precision="bf16")
    with pytest.raises(DiffersError, match="it casts to bf16"):
        matched(model, precision="fp16")


def test_steps_of_ordinary_size_are_folded() -> None:
    model = classifier()
    place = next(at for at, node in enumerate(model.graph.node) if node.op_type == "Conv")
    model.graph.node[place].output[0] = "sums"
    by = constant(model, np.float32(30))
    model.graph.node.insert(place + 1, helper.make_node("Mul", ["sums", by], ["more"]))
    model.graph.node.insert(place + 2, helper.make_node("Div", ["more", by], ["c0"]))
    assert matched(model)


def test_a_factor_of_a_product_as_a_whole_stays_small() -> None:
    """The sum is computed before it is multiplied, so it may overflow."""
    for alpha, fits in ((0.5, True), (1e-30, False)):
        model = classifier()
        gemm = next(node for node in model.graph.node if node.op_type == "Gemm")
        gemm.attribute.append(helper.make_attribute("alpha", alpha))
        weight = next(tensor for tensor in model.graph.initializer if tensor.name == "w")
        change(weight, lambda value, alpha=alpha: (value / alpha).astype(np.float32))
        if fits:
            assert matched(model)
        else:
            with pytest.raises(DiffersError):
                matched(model)


def test_a_bias_by_the_rows_of_the_batch_is_none_of_the_classes() -> None:
    model = classifier()
    change(next(tensor for tensor in model.graph.initializer if tensor.name == "b"), lambda value: value.reshape(1, 7))
    assert matched(model)
    change(next(tensor for tensor in model.graph.initializer if tensor.name == "b"), lambda value: value.reshape(7, 1))
    seven = np.random.default_rng(0).random((7, 3, SIZE, SIZE), np.float32)
    assert np.abs(answers(model, seven) - answers(classifier(), seven)).max() > 0.1
    with pytest.raises(DiffersError):
        matched(model)


def in_pairs(model: ModelProto, settings: Mapping[str, Any], zero: NDArray[Any] | None) -> None:
    """The first ReLU replaced by codes and what they stand for."""
    place = next(at for at, node in enumerate(model.graph.node) if node.op_type == "Relu")
    source, result = model.graph.node[place].input[0], model.graph.node[place].output[0]
    more = [constant(model, np.float32(0.03)), *([] if zero is None else [constant(model, zero)])]
    model.graph.node.remove(model.graph.node[place])
    model.graph.node.insert(place, helper.make_node("QuantizeLinear", [source, *more], ["codes"], **settings))
    model.graph.node.insert(place + 1, helper.make_node("DequantizeLinear", ["codes", *more], [result]))
    model.opset_import[0].version = 21


@pytest.mark.parametrize(
    ("settings", "zero", "fits"),
    [
        ({}, None, True), ({"output_dtype": TensorProto.UINT8}, None, True), ({}, np.uint8(0), True),
        ({"output_dtype": TensorProto.INT8}, None, False), ({}, np.int8(0), False),
        ({"output_dtype": TensorProto.UINT4}, None, False),
    ],
)  # fmt: skip
def test_codes_stand_in_for_a_relu_only_without_a_sign(settings: Mapping[str, Any], zero: Any, fits: bool) -> None:
    model = classifier()
    in_pairs(model, settings, zero)
    if fits:
        assert matched(model, precision="int8")
    else:
        with pytest.raises(DiffersError):
            matched(model, precision="int8")


def test_codes_with_a_step_for_each_block_are_not_read() -> None:
    """A step for each input of a square layer: read as one for each output, the weights would be right."""
    model = classifier()
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == "w2")
    value = numpy_helper.to_array(weight)
    steps = np.full(WIDE, np.abs(value).max() / 100, np.float32)
    codes = np.round(value / steps[0]).astype(np.int8)
    for shape, settings, fits in (((WIDE,), {}, True), ((1, WIDE, 1, 1), {"block_size": WIDE}, False)):
        model = classifier()
        model.opset_import[0].version = 21
        model.graph.initializer.remove(next(tensor for tensor in model.graph.initializer if tensor.name == "w2"))
        more = [constant(model, codes), constant(model, steps.reshape(shape))]
        model.graph.node.insert(0, helper.make_node("DequantizeLinear", more, ["w2"], axis=0, **settings))
        if fits:
            assert matched(model, precision="int8")
        else:
            with pytest.raises(DiffersError):
                matched(model, precision="int8")


def test_constants_in_half_precision_are_computed_in_it() -> None:
    """2048 added and taken off again leaves whole numbers in fp16, and the weights in fp32."""
    model = classifier()
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == "w2")
    half, large = numpy_helper.to_array(weight).astype(np.float16), np.float16(2048)
    model.graph.initializer.remove(weight)
    names = [constant(model, half), constant(model, large)]
    for number, (operator, inputs, result) in enumerate(
        (("Add", names, "moved"), ("Sub", ["moved", names[1]], "back"), ("Cast", ["back"], "w2"))
    ):
        settings = {"to": TensorProto.FLOAT} if operator == "Cast" else {}
        model.graph.node.insert(number, helper.make_node(operator, inputs, [result], **settings))
    with pytest.raises(DiffersError, match="other weights"):
        matched(model, precision="fp16")


@pytest.mark.parametrize(
    ("kind", "precision", "digits"), [(TensorProto.FLOAT16, "fp16", 11), (TensorProto.BFLOAT16, "bf16", 8)]
)
def test_of_two_numbers_beside_a_weight_only_the_nearer_one_is_its_rounding(kind: int, precision: str, digits: int) -> None:
    """The farther one is off by less than the largest rounding error of its binade."""
    for farther in (False, True):
        model = classifier()
        for name in ("w0", "w1", "w2", "w"):
            weight = next(tensor for tensor in model.graph.initializer if tensor.name == name)
            value = numpy_helper.to_array(weight).astype(np.float64)
            steps = np.ldexp(1.0, np.frexp(value)[1] - digits)
            nearer = np.round(value / steps)
            other = nearer + np.where(value / steps > nearer, 1, -1)
            near = np.abs(other * steps - value) <= np.abs(other * steps) * 2.0**-digits
            chosen = np.where(near, other, nearer) if farther and name == "w2" else nearer
            model.graph.initializer.remove(weight)
            numbers = (chosen * steps).reshape(-1).tolist()
            model.graph.initializer.append(helper.make_tensor(f"{name} stored", kind, value.shape, numbers))
            model.graph.node.insert(0, helper.make_node("Cast", [f"{name} stored"], [name], to=TensorProto.FLOAT))
        if not farther:
            assert matched(model, precision=precision)
        else:
            with pytest.raises(DiffersError, match="other weights"):
                matched(model, precision=precision)
