"""Engines that claim more than they hold, or lead their readers elsewhere: kinds that change no bytes at random."""

from __future__ import annotations

import json
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import SparseTensorProto, TensorProto, helper, numpy_helper

from skinaudit.bench.odd_parts.case import Case, Place
from skinaudit.bench.odd_parts.graphs import CONTRACT, graph, outside
from skinaudit.bench.odd_parts.programs import Parts, first, foreign
from skinaudit.bench.odd_parts.tensors import sets

_MEAN = helper.make_node("GlobalAveragePool", ["image"], ["m"])
_FLAT = helper.make_node("Flatten", ["m"], ["f"])
_PRODUCT = helper.make_node("MatMul", ["f", "w"], ["logits"])
_WEIGHT = np.ones((3, 3), np.float32)
_READ = (0, 2)


def opened(content: Callable[[], bytes | str], name: str = "a.onnx") -> Callable[[Place], list[str]]:
    """A draft of a contract, which opens the file and asks it for an answer."""
    return lambda place: ["contract", "--limit-seconds", "20", "--", place.write(name, content())]


def changed(change: Callable[[Any], None]) -> Callable[[], bytes]:
    """A sound small graph, changed."""

    def content() -> bytes:
        model = onnx.load_model_from_string(graph([_MEAN, _FLAT, _PRODUCT], numpy_helper.from_array(_WEIGHT, "w")))
        change(model)
        return bytes(model.SerializeToString())

    return content


def sparse(model: Any) -> None:
    """The weight is a sparse one of 2^40 numbers, of which one is there."""
    del model.graph.initializer[:]
    values, place = numpy_helper.from_array(np.ones(1, np.float32), "w"), numpy_helper.from_array(np.zeros(1, np.int64), "i")
    model.graph.sparse_initializer.append(SparseTensorProto(values=values, indices=place, dims=[3, 2**39]))


def sides(*numbers: int) -> Callable[[Any], None]:
    """The input has these sides."""

    def change(model: Any) -> None:
        model.graph.input[0].CopyFrom(helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", *numbers]))

    return change


def batch(model: Any) -> None:
    """Every call takes 2^40 images."""
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2**40


def many_files(model: Any) -> None:
    """20,000 weights, each in a file of its own that is not there."""
    for index in range(20_000):
        weight = model.graph.initializer.add(name=f"w{index}", data_type=TensorProto.FLOAT, dims=[1])
        weight.data_location = TensorProto.EXTERNAL
        weight.external_data.add(key="location", value=f"w{index}.bin")


def two_forms(model: Any) -> None:
    """A weight whose numbers are there twice, and differ."""
    model.graph.initializer[0].float_data.extend([7.0] * _WEIGHT.size)


def same_name(model: Any) -> None:
    """Two weights of one name."""
    model.graph.initializer.append(numpy_helper.from_array(2 * _WEIGHT, "w"))


def texts(model: Any) -> None:
    """A weight of texts, 100 MB."""
    model.graph.initializer.append(helper.make_tensor("t", TensorProto.STRING, [100], [b"x" * 10**6] * 100))


def grown(model: Any) -> None:
    """The image is padded to 2^40 numbers when it is answered."""
    pads = numpy_helper.from_array(np.array([0, 0, 0, 0, 0, 0, 2**20, 2**20]), "pads")
    model.graph.initializer.append(pads)
    model.graph.node.insert(0, helper.make_node("Pad", ["image", "pads"], ["padded"]))
    model.graph.node[1].input[0] = "padded"


def versions(ir: int, opset: int) -> Callable[[Any], None]:
    """Versions that nobody has."""

    def change(model: Any) -> None:
        model.ir_version, model.opset_import[0].version = ir, opset

    return change


_XML = """<?xml version="1.0"{more}?><net name="n" version="11"><layers>
<layer id="0" name="image" type="Parameter" version="opset1"><data shape="1,3,8,8" element_type="f32"/>
<output><port id="0" precision="FP32"><dim>1</dim><dim>3</dim><dim>8</dim><dim>8</dim></port></output></layer>
<layer id="1" name="w" type="Const" version="opset1">
<data element_type="f32" shape="{shape}" offset="{offset}" size="{size}"/>
<output><port id="0" precision="FP32"><dim>{shape}</dim></port></output></layer></layers><edges/></net>"""


def xml(*, shape: str = "4", offset: int = 0, size: int = 16, **given: str) -> Callable[[Place], list[str]]:
    """A network with one constant, and weights of 16 bytes. given: replaces a text of the file."""

    def build(place: Place) -> list[str]:
        content = _XML.format(more="", shape=shape, offset=offset, size=size)
        for old, new in given.items():
            content = content.replace(old, new)
        place.write("a.bin", bytes(16))
        return ["contract", place.write("a.xml", content)]

    return build


def beside(make: Callable[[Path], None]) -> Callable[[Place], list[str]]:
    """A network whose weights file is something else."""

    def build(place: Place) -> list[str]:
        words = xml()(place)
        (place.folder / "a.bin").unlink()
        make(place.folder / "a.bin")
        return words

    return build


def utf_16(place: Place) -> list[str]:
    """Definitions that hide in another encoding."""
    text = '<?xml version="1.0" encoding="UTF-16"?><!DOCTYPE net [<!ENTITY x SYSTEM "file:///etc/passwd">]><net name="&x;"/>'
    place.write("a.bin", bytes(16))
    return ["contract", place.write("a.xml", text.encode("utf-16"))]


def long_weight(parts: Parts, marker: str) -> None:
    """A weight that says to have 2^60 numbers."""
    name = first(parts, "data/weights/", "_config.json")
    config = json.loads(parts[name])
    for entry in config["config"].values():
        meta = entry["tensor_meta"]
        meta["sizes"] = [{"as_int": 2**30}, {"as_int": 2**30}]
        meta["strides"] = [{"as_int": 0}, {"as_int": 0}]
    parts[name] = json.dumps(config).encode()


def calling(target: str) -> Callable[[Parts, str], None]:
    """A program whose first step calls something else."""

    def change(parts: Parts, marker: str) -> None:
        name = first(parts, "models/")
        model = json.loads(parts[name])
        model["graph_module"]["graph"]["nodes"][0]["target"] = target
        parts[name] = json.dumps(model).encode()

    return change


def many_parts(parts: Parts, marker: str) -> None:
    """50,000 further parts."""
    parts.update({f"data/weights/x{index}": b"" for index in range(50_000)})


def twice(place: Place) -> list[str]:
    """A set whose images stand twice in its description."""
    entry = '"images":{"dtype":"U8","shape":[1,3,2,2],"data_offsets":[%d,%d]}'
    return sets(f"{{{entry % (0, 12)},{entry % (12, 24)}}}".encode())(place)


def contract(old: str, new: str) -> Callable[[Place], list[str]]:
    """An audit with a contract one line of which is another."""

    def build(place: Place) -> list[str]:
        place.write("c.toml", CONTRACT.replace(old, new))
        place.write("a.onnx", changed(lambda model: None)())
        return ["audit", "a.onnx", "--contract", "c.toml", "--sets", str(place.source / "sets")]

    return build


def locked_archive(place: Place) -> list[str]:
    """A program whose parts ask for a password."""
    build = foreign(lambda parts, marker: None, "contract", "a.pt2")
    words = build(place)
    content = bytearray((place.folder / "a.pt2").read_bytes())
    for start, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        index = content.find(start)
        while index >= 0:
            content[index + at] |= 1
            index = content.find(start, index + 4)
    (place.folder / "a.pt2").write_bytes(bytes(content))
    assert zipfile.is_zipfile(place.folder / "a.pt2")
    return words


_FROM_FILE = "torch.ops.aten.from_file.default"
_NOISE = struct.pack("<I4s", 16, b"TFL3") + b"\xff" * 4096
_MANY = json.dumps([f"c{index}" for index in range(100_000)])
CASES = (
    Case("engine: ONNX, a sparse weight of 2^40 numbers", opened(changed(sparse))),
    Case("engine: ONNX, an image of 100,000 x 100,000", opened(changed(sides(3, 100_000, 100_000)))),
    Case("engine: ONNX, a batch of 2^40", opened(changed(batch))),
    Case("engine: ONNX, a side of 2^62", opened(changed(sides(3, 2**62, 2**62)))),
    Case("engine: ONNX, a side of -1", opened(changed(sides(3, -1, -8)))),
    Case("engine: ONNX, 20,000 files of weights", opened(changed(many_files))),
    Case("engine: ONNX, a weight in two forms", opened(changed(two_forms)), codes=_READ),
    Case("engine: ONNX, two weights of one name", opened(changed(same_name)), codes=_READ),
    Case("engine: ONNX, texts of 100 MB", opened(changed(texts)), codes=_READ),
    Case("engine: ONNX, padded to 2^40 numbers", opened(changed(grown))),
    Case("engine: ONNX, opset 2^62", opened(changed(versions(9, 2**62)))),
    Case("engine: ONNX, version -1 of the format", opened(changed(versions(-1, 17))), codes=_READ),
    Case("engine: ONNX, weights in a file called by a line break", opened(lambda: outside("a\n\x1b[2JPASS"))),
    Case("engine: ONNX, called by a line break", opened(lambda: b"\n", "a\nPASS\x1b[2J.onnx")),
    Case("engine: ONNX, called like an option", opened(lambda: b"\n", "--help.onnx")),
    Case("engine: XML, a constant at 2^63", xml(offset=2**63)),
    Case("engine: XML, a constant of 2^62 numbers", xml(shape=str(2**62), size=2**64 - 1)),
    Case("engine: XML, a constant of -4 numbers", xml(shape="-4")),
    Case("engine: XML, a number of 5,000 digits", xml(shape="9" * 5000)),
    Case("engine: XML, 300,000 attributes", xml(**{"<net ": "<net " + " ".join(f'a{n}="1"' for n in range(300_000)) + " "})),
    Case("engine: XML, definitions in UTF-16", utf_16),
    Case("engine: XML, weights in a pipe", beside(os.mkfifo)),
    Case("engine: XML, weights behind a link to /dev/zero", beside(lambda path: path.symlink_to("/dev/zero"))),
    Case(
        "engine: TFLite, noise behind its mark",
        opened(lambda: struct.pack("<I4s", 16, b"TFL3") + b"\xff" * 4096, "a.tflite"),
    ),
    Case("engine: .pt2, weights of 2^60 numbers", foreign(long_weight, "contract", "a.pt2")),
    Case("engine: .pt2, a step that reads a file", foreign(calling(_FROM_FILE), "contract", "a.pt2")),
    Case("engine: .pt2, a step of os.system", foreign(calling("os.system"), "contract", "a.pt2")),
    Case("engine: .pt2, a step of a method by name", foreign(calling("_operator.methodcaller"), "contract", "a.pt2")),
    Case("engine: .pt2, 50,000 further parts", foreign(many_parts, "contract", "a.pt2"), codes=_READ),
    Case("engine: .pt2, parts behind a password", locked_archive),
    Case("engine: set, its images described twice", twice),
    Case("engine: contract, a size of 10^9", contract("size = 8", "size = 1000000000")),
    Case("engine: contract, a scale of 1/10^400", contract('"1/255"', f'"1/{10**400}"')),
    Case("engine: contract, 100,000 classes", contract('["mel", "nv", "bcc"]', _MANY)),
)
