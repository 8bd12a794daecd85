"""Graphs of ONNX, OpenVINO and TFLite, and plans."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from skinaudit.bench.odd_parts.case import Case, Place

_TB = 2**40
_TYPE = TensorProto.FLOAT


def contract(name: str, content: Callable[[], bytes | str], *words: str) -> Callable[[Place], list[str]]:
    """A draft of a contract, which opens the file."""
    return lambda place: ["contract", place.write(name, content()), *words]


def graph(nodes: list[Any], *constants: Any, inputs: list[Any] | None = None) -> bytes:
    """A model as bytes."""
    image = helper.make_tensor_value_info("image", _TYPE, ["batch", 3, 8, 8])
    logits = helper.make_tensor_value_info("logits", _TYPE, ["batch", 3])
    body = helper.make_graph(nodes, "g", [image] if inputs is None else inputs, [logits], constants)
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()


def chain(length: int) -> bytes:
    """So many nodes, one behind the other."""
    names = ["image", *(f"n{index}" for index in range(length - 1)), "logits"]
    return graph([helper.make_node("Relu", [source], [target]) for source, target in pairwise(names)])


def nested(depth: int) -> bytes:
    """If in If in If; serialised, each holds the ones below it."""
    truth = numpy_helper.from_array(np.array(True), "truth")
    branch = helper.make_graph(
        [helper.make_node("Identity", ["image"], ["out"])], "b", [], [helper.make_tensor_value_info("out", _TYPE, None)]
    )
    last = branch
    for _ in range(depth):
        node = helper.make_node("If", ["truth"], ["out"], then_branch=branch, else_branch=last)
        branch = helper.make_graph([node], "b", [], [helper.make_tensor_value_info("out", _TYPE, None)])
    return graph([*branch.node, helper.make_node("Flatten", ["out"], ["logits"])], truth)


def outside(location: str, *, offset: int = 0, length: int | None = None) -> bytes:
    """A graph one of whose constants lies in this file."""
    constant = TensorProto(name="w", data_type=_TYPE, dims=[192, 3], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        if value is not None:
            constant.external_data.add(key=key, value=str(value))
    return graph(
        [helper.make_node("Flatten", ["image"], ["f"]), helper.make_node("MatMul", ["f", "w"], ["logits"])], constant
    )


def beside_a_pipe(place: Place) -> list[str]:
    """External data in a pipe beside the graph."""
    os.mkfifo(place.folder / "w.bin")
    return ["contract", place.write("a.onnx", outside("w.bin"))]


def beside_a_link(place: Place) -> list[str]:
    """External data behind a link beside the graph."""
    (place.folder / "w.bin").symlink_to("/dev/zero")
    return ["contract", place.write("a.onnx", outside("w.bin"))]


def shaped(*dims: int) -> bytes:
    """A constant that says to have these sides."""
    return graph([helper.make_node("Flatten", ["image"], ["f"]), helper.make_node("MatMul", ["f", "w"], ["logits"])],
                 TensorProto(name="w", data_type=_TYPE, dims=dims))  # fmt: skip


def huge_constant() -> bytes:
    """A constant that the runtime makes of a shape."""
    shape = numpy_helper.from_array(np.array([2**20, 2**20], np.int64), "s")
    return graph(
        [
            helper.make_node("ConstantOfShape", ["s"], ["c"]),
            helper.make_node("Flatten", ["image"], ["f"]),
            helper.make_node("MatMul", ["f", "c"], ["logits"]),
        ],
        shape,
    )


def endless() -> bytes:
    """A loop that does not end."""
    number, truth = numpy_helper.from_array(np.array(2**62), "n"), numpy_helper.from_array(np.array(True), "t")
    body = helper.make_graph(
        [helper.make_node("Identity", ["more"], ["again"]), helper.make_node("Relu", ["state"], ["next"])], "body",
        [helper.make_tensor_value_info("i", TensorProto.INT64, []),
         helper.make_tensor_value_info("more", TensorProto.BOOL, []),
         helper.make_tensor_value_info("state", _TYPE, None)],
        [helper.make_tensor_value_info("again", TensorProto.BOOL, []), helper.make_tensor_value_info("next", _TYPE, None)],
    )  # fmt: skip
    loop = helper.make_node("Loop", ["n", "t", "image"], ["x"], body=body)
    return graph(
        [loop, helper.make_node("GlobalAveragePool", ["x"], ["p"]), helper.make_node("Flatten", ["p"], ["logits"])],
        number,
        truth,
    )


def audited(content: Callable[[], bytes], *words: str) -> Callable[[Place], list[str]]:
    """An audit of a foreign graph, which runs it."""

    def build(place: Place) -> list[str]:
        place.write("c.toml", CONTRACT)
        options = ["--contract", "c.toml", "--sets", str(place.source / "sets")]
        return ["audit", place.write("a.onnx", content()), *options, *words]

    return build


def cycle() -> bytes:
    """Two nodes that wait for each other."""
    return graph(
        [
            helper.make_node("Relu", ["b"], ["a"]),
            helper.make_node("Relu", ["a"], ["b"]),
            helper.make_node("Flatten", ["b"], ["logits"]),
        ]
    )


def itself() -> bytes:
    """A node that waits for itself."""
    return graph([helper.make_node("Add", ["image", "a"], ["a"]), helper.make_node("Flatten", ["a"], ["logits"])])


def recursive() -> bytes:
    """A function that calls itself."""
    call = helper.make_node("F", ["x"], ["y"], domain="own")
    function = helper.make_function("own", "F", ["x"], ["y"], [call], [helper.make_opsetid("own", 1)])
    image, logits = (helper.make_tensor_value_info(name, _TYPE, ["batch", 3]) for name in ("image", "logits"))
    body = helper.make_graph([helper.make_node("F", ["image"], ["logits"], domain="own")], "g", [image], [logits])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    return onnx.helper.make_model(body, functions=[function], opset_imports=opsets, ir_version=9).SerializeToString()


CONTRACT = """[input]
size = 8
layout = "NCHW"
dtype = "float32"
colour = "RGB"
scale = "1/255"
mean = [0.0, 0.0, 0.0]
std = [1.0, 1.0, 1.0]
[output]
answer = "logits"
classes = ["mel", "nv", "bcc"]
"""
LAUGHS = (
    '<!DOCTYPE net [<!ENTITY a "ha">'
    + "".join(f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(12))
    + "]><net>&m;</net>"
)
FILE = '<!DOCTYPE net [<!ENTITY x SYSTEM "file:///etc/passwd">]><net name="&x;"/>'
CASES = (
    Case("ONNX: 1,000,000 nodes", contract("a.onnx", lambda: chain(1_000_000))),
    Case("ONNX: If in If, 20 deep", contract("a.onnx", lambda: nested(20)), codes=(0, 2)),
    Case("ONNX: cyclic graph", contract("a.onnx", lambda: cycle())),
    Case("ONNX: node that waits for itself", contract("a.onnx", lambda: itself())),
    Case("ONNX: function that calls itself", contract("a.onnx", lambda: recursive())),
    Case("ONNX: negative sides", contract("a.onnx", lambda: shaped(-1, -3))),
    Case("ONNX: sides beyond memory", contract("a.onnx", lambda: shaped(2**40, 2**20))),
    Case("ONNX: sides whose product is 0 modulo 2^64", contract("a.onnx", lambda: shaped(2**32, 2**32))),
    Case("ONNX: constant of a TB made by a shape", contract("a.onnx", lambda: huge_constant())),
    Case("ONNX: external data in /dev/zero", contract("a.onnx", lambda: outside("/dev/zero"))),
    Case("ONNX: external data above the folder", contract("a.onnx", lambda: outside("../../etc/passwd"))),
    Case("ONNX: external data in a pipe", beside_a_pipe),
    Case("ONNX: external data behind a link to /dev/zero", beside_a_link),
    Case("ONNX: external data at 2^62", contract("a.onnx", lambda: outside("a.onnx", offset=2**62, length=2304))),
    Case("ONNX: external data of length -1", contract("a.onnx", lambda: outside("a.onnx", length=-1))),
    Case("ONNX: external data whose length is a word", contract("a.onnx", lambda: outside("a.onnx", length="x"))),  # type: ignore[arg-type]
    Case("ONNX: 3 GB of holes", lambda place: ["contract", place.sparse("a.onnx", 3 * 10**9)]),
    Case("ONNX: 1 TB of holes", lambda place: ["contract", place.sparse("a.onnx", _TB)]),
    Case("ONNX: endless loop", contract("a.onnx", endless, "--limit-seconds", "5"), codes=(0, 2)),
    Case("ONNX: endless loop, audited", audited(endless, "--limit-seconds", "5")),
    Case("ONNX: message in message", contract("a.onnx", lambda: b"\x3a\x80\x80\x80\x80\x01" * 10_000)),
    Case("XML: entities of entities", contract("a.xml", lambda: LAUGHS)),
    Case("XML: a file as an entity", contract("a.xml", lambda: FILE)),
    Case("XML: 1,000,000 tags deep", contract("a.xml", lambda: "<net>" + "<a>" * 1_000_000)),
    Case("TFLite: root beyond the file", contract("a.tflite", lambda: struct.pack("<I4s", 2**31 - 8, b"TFL3") + bytes(64))),
    Case("TFLite: root in a circle", contract("a.tflite", lambda: struct.pack("<I4sii", 8, b"TFL3", -4, 4) * 8)),
    Case("TFLite: 1 TB of holes", lambda place: ["contract", place.sparse("a.tflite", _TB)]),
    Case("plan: noise", contract("a.plan", lambda: bytes(range(256)) * 64)),
    Case("plan: 1 TB of holes", lambda place: ["contract", place.sparse("a.rtx.plan", _TB)]),
)
