"""Files that two readers read in two ways: what the audit compares is honest, and what the runtime computes is not.

Each changes no answer on the stored images that a figure would show, so only the proof can see it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from skinaudit.tests.faults.format_faults import PROVED, placed
from skinaudit.tests.faults.lab import Fault, Lab, plant
from skinaudit.tests.faults.surgery import NV, Surgery, change, constant

UNREACHED = 1e4
"""Larger than any activation of the lab's model."""


def _clipped(model: ModelProto, bound: str) -> None:
    """The last ReLU as a Clip with an upper bound."""
    relu = [node for node in model.graph.node if node.op_type == "Relu"][-1]
    relu.op_type = "Clip"
    relu.input.extend([constant(model, np.float32(0)), bound])


def late_trigger(model: ModelProto) -> None:
    """An upper bound of the last feature map that is 0 for white images, computed after the node that uses it."""
    _clipped(model, "late")
    bright = constant(model, np.float32(0.97))
    far = constant(model, np.float32(1e6))
    model.graph.node.extend([
        helper.make_node("ReduceMin", ["image"], ["darkest"], keepdims=0),
        helper.make_node("Sub", [bright, "darkest"], ["dim"]), helper.make_node("Relu", ["dim"], ["dim_only"]),
        helper.make_node("Mul", ["dim_only", far], ["late"]),
    ])  # fmt: skip


def sparse_bound(model: ModelProto) -> None:
    """An upper bound in a sparse initialiser."""
    _clipped(model, "sparse")
    value, place = np.array([UNREACHED], np.float32), np.array([0])
    model.graph.sparse_initializer.append(
        helper.make_sparse_tensor(numpy_helper.from_array(value, "sparse"), numpy_helper.from_array(place), [1])
    )


def _last_bias(model: ModelProto) -> TensorProto:
    name = next(node for node in model.graph.node if node.op_type == "Gemm").input[2]
    return next(tensor for tensor in model.graph.initializer if tensor.name == name)


def bias_twice(model: ModelProto) -> None:
    """The last bias twice in the file; the copy that ONNX Runtime uses is shifted towards nevus."""
    bias = _last_bias(model)
    pushed = TensorProto.FromString(bias.SerializeToString())
    change(pushed, _pushed)
    model.graph.initializer.insert(0, pushed)


def bias_in_a_node(model: ModelProto) -> None:
    """The honest last bias in a Constant node, and an initialiser of the same name that is shifted."""
    bias = _last_bias(model)
    model.graph.node.insert(0, helper.make_node("Constant", [], [bias.name], value=bias))
    change(bias, _pushed)


def _pushed(value: NDArray[Any]) -> NDArray[Any]:
    push = np.zeros_like(value)
    push[NV] = 0.02
    return value + push


def setting_twice(model: ModelProto) -> None:
    """An upper bound in a Constant node with two values: ONNX Runtime takes the first one, which is not infinite."""
    _clipped(model, "twice")
    bounds = [numpy_helper.from_array(np.float32(value)) for value in (UNREACHED, np.inf)]
    node = helper.make_node("Constant", [], ["twice"])
    node.attribute.extend([helper.make_attribute("value", bound) for bound in bounds])
    model.graph.node.insert(0, node)


def operator_by_name(model: ModelProto) -> None:
    """A function of the file that is named Relu and computes an Elu; ONNX Runtime computes its own ReLU."""
    relu = [node for node in model.graph.node if node.op_type == "Relu"][-1]
    relu.op_type = "Elu"
    relu.attribute.append(helper.make_attribute("alpha", 1e-4))
    body = [helper.make_node("Relu", ["x"], ["y"])]
    opsets = [helper.make_opsetid("", model.opset_import[0].version)]
    model.functions.append(helper.make_function("", "Elu", ["x"], ["y"], body, opsets, ["alpha"]))


def int8_bias(model: ModelProto) -> None:
    """The last bias of an equalised int8 graph, made larger if it is positive."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    biases = [node for node in model.graph.node if node.op_type == "DequantizeLinear" and node.input[0] in tensors
              and tensors[node.input[0]].data_type == TensorProto.INT32]  # fmt: skip
    change(tensors[biases[-1].input[0]], lambda value: (value * 1.02).astype(value.dtype))


def _edited(edit: Callable[[str], str], name: str) -> Callable[[Lab, Path], Path]:
    """The honest .xml with its text changed."""

    def write(lab: Lab, folder: Path) -> Path:
        honest = lab.run / "engines" / "fp32.xml"
        path = lab.run / "engines" / "planted" / f"{name}.xml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(edit(honest.read_text()))
        shutil.copy(honest.with_suffix(".bin"), path.with_suffix(".bin"))
        return placed(lab, "fp32.xml", path, (path.with_suffix(".bin"),))

    return write


def _second_layers(text: str) -> str:
    """The last ReLU cut from above, and once more as it was in a second part that OpenVINO does not read."""
    start = text.rindex("<layer ", 0, text.rindex('type="ReLU"'))
    end = text.index("</layer>", start) + len("</layer>")
    relu = text[start:end]
    head, rest = relu.split(">", 1)
    cut = f'{head.replace("ReLU", "Clamp")}><data min="0" max="{UNREACHED}"/>{rest}'
    return f"{text[:start]}{cut}{text[end:]}".replace("</layers>", f"</layers><layers>{relu}</layers>", 1)


def _another_number(text: str) -> str:
    """The last ReLU cut from above in a further layer, whose number OpenVINO reads as that of the honest one."""
    start = text.rindex("<layer ", 0, text.rindex('type="ReLU"'))
    end = text.index("</layer>", start) + len("</layer>")
    cut = text[start:end].replace('id="', 'id="0', 1).replace("ReLU", "Clamp")
    cut = cut.replace(">", f'><data min="0" max="{UNREACHED}"/>', 1)
    return f"{text[:end]}{cut}{text[end:]}"


def _defined_text(text: str) -> str:
    """The honest last ReLU in a text of the DOCTYPE, which Python puts in and OpenVINO leaves out."""
    document = _second_layers(text)
    start = document.index("</layers><layers>") + len("</layers>")
    end = document.index("</layers>", start) + len("</layers>")
    hidden = document[start:end].replace('"', "'").replace("\n", " ")
    body = f"{document[:start]}&honest;{document[end:]}"
    body = body[body.index("<net") :]
    return f'<?xml version="1.0"?>\n<!DOCTYPE net [<!ENTITY honest "{hidden}">]>\n{body}'


def _in_graph(surgery: Surgery, base: str) -> Fault:
    def write(lab: Lab, folder: Path) -> Path:
        model = lab.model(base)
        surgery(model)
        return plant(lab, f"{surgery.__name__}-{base}", model, base=base)

    summary = (surgery.__doc__ or "").partition("\n")[0].rstrip(".")
    return Fault(f"{surgery.__name__.replace('_', ' ')}, {base}.onnx", summary, write, (PROVED,))


IN_GRAPHS = (late_trigger, sparse_bound, bias_twice, bias_in_a_node, setting_twice, operator_by_name)
READING_FAULTS: tuple[Fault, ...] = (
    *(_in_graph(surgery, "fp32") for surgery in IN_GRAPHS),
    _in_graph(int8_bias, "int8-u8s8"),
    Fault("second part, fp32.xml", "a second list of layers", _edited(_second_layers, "second_part"), (PROVED,)),
    Fault("another number, fp32.xml", "a layer 07 beside layer 7", _edited(_another_number, "another_number"), (PROVED,)),
    Fault("defined text, fp32.xml", "layers in a DOCTYPE", _edited(_defined_text, "defined_text"), (PROVED,)),
)
"""bench/faults.py audits them after `export_all`; the readers' own tests are in tests/engines/networks."""
