"""Changes of files that keep most of their structure, so that they get past the first check of a reader."""

from __future__ import annotations

import io
import json
import random
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import onnx
from onnx import AttributeProto, ModelProto, TensorProto, helper

Mutation = Callable[[bytes, random.Random], bytes]

VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63), 10**400, 1e308, float("nan"), float("inf"), -0.0, 1e-320,
    "", "0", "\0", "\x1b[2KPASS", "\u202ePASS", "\ud800", "a" * 5000, "../../../etc/passwd", "/dev/zero", "1e999999999",
    "9" * 100_000, "1/0", "sha256:", "..", ".", "~", "NaN", [], {}, [[]], [None] * 1000, {"": None}, {"a": {"a": {}}},
)  # fmt: skip
BYTES = (b"", b"\0" * 64, b"\xff" * 64, b"\n" * 64, b"\x1b[2K", b"[" * 5000, b'{"a":' * 5000, b"a." * 50_000, b"%s%n")


def bytes_changed(content: bytes, chance: random.Random) -> bytes:
    """Cut, flipped, doubled, joined or with something put in between."""
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 8))):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(6):
            case 0:
                del data[at:]
            case 1 if at < len(data):
                data[at] ^= 1 << chance.randrange(8)
            case 2:
                data[at:at] = chance.choice(BYTES)
            case 3:
                del data[at : at + chance.randrange(1, 64)]
            case 4:
                start = chance.randrange(len(data) + 1)
                data[at:at] = data[start : start + chance.randrange(1, 256)]
            case _ if at < len(data):
                data[at] = chance.randrange(256)
    return bytes(data)


def plain_changed(value: Any, chance: random.Random) -> Any:
    """A JSON value with one of its places exchanged, removed, doubled or nested."""
    if isinstance(value, dict) and value and chance.random() < 0.85:
        key = chance.choice(list(value))
        match chance.randrange(10):
            case 0:
                return {name: item for name, item in value.items() if name != key}
            case 1:
                return {**value, chance.choice(("", "a" * 400, "x\x1b", key + ".b" * 20_000)): value[key]}
            case 2:
                return {key: value[key]}
        return {**value, key: plain_changed(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.8:
        at = chance.randrange(len(value))
        if chance.random() < 0.2:
            return value[:at] + value[at + 1 :]
        if chance.random() < 0.1:
            return value * 2
        return [*value[:at], plain_changed(value[at], chance), *value[at + 1 :]]
    if isinstance(value, int) and not isinstance(value, bool) and chance.random() < 0.5:
        return value + chance.choice((-1, 1, 2**40, -value, value))
    if isinstance(value, float) and chance.random() < 0.5:
        return value * chance.choice((-1, 0, 1.0001, 1e200))
    return chance.choice(VALUES)


def json_changed(content: bytes, chance: random.Random) -> bytes:
    """A JSON file with one value changed, or some of its bytes."""
    if chance.random() < 0.25:
        return bytes_changed(content, chance)
    return json.dumps(plain_changed(json.loads(content), chance)).encode("utf-8", "surrogatepass")


def toml_changed(content: bytes, chance: random.Random) -> bytes:
    """A TOML file with a value, a key or a line exchanged."""
    lines = content.decode().splitlines()
    at = chance.randrange(len(lines))
    key, _, _ = lines[at].partition("=")
    match chance.randrange(7):
        case 0:
            return bytes_changed(content, chance)
        case 1:
            lines[at] = key.strip() + ".b" * chance.choice((1, 40, 100_000)) + " = 1"
        case 2:
            lines.insert(at, lines[at])
        case 3:
            lines[at] = f"{key}= {'[' * chance.choice((2, 40, 100_000))}"
        case 4:
            lines[at] = (
                f"{key}= {chance.choice(('1e999999999', '9' * 100_000, '1979-05-27', 'nan', '-inf', '0x' + 'f' * 90))}"
            )
        case 5:
            lines[at] = "[" + ".".join(["a"] * chance.choice((2, 40, 100_000))) + "]"
        case _:
            value = chance.choice([item for item in VALUES if not isinstance(item, dict) and item is not None])
            lines[at] = f"{key}= {json.dumps(value)}"
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def table_changed(content: bytes, chance: random.Random) -> bytes:
    """A table with a cell, a row or its separators exchanged."""
    rows = [line.split(",") for line in content.decode().splitlines()]
    row = chance.choice(rows)
    match chance.randrange(6):
        case 0:
            return bytes_changed(content, chance)
        case 1:
            row[chance.randrange(len(row))] = str(chance.choice(VALUES))
        case 2:
            rows.append(row)
        case 3:
            return content.replace(b",", chance.choice((b";", b"\t", b'"', b"\0", b",,")))
        case 4:
            row[chance.randrange(len(row))] = '"' + "a" * chance.choice((10, 200_000))
        case _:
            del row[chance.randrange(len(row)) :]
    return "\n".join(",".join(cells) for cells in rows).encode("utf-8", "surrogatepass")


def tensors_changed(content: bytes, chance: random.Random) -> bytes:
    """A safetensors file with its length, its header or its data changed."""
    size = int.from_bytes(content[:8], "little")
    header, data = content[8 : 8 + size], content[8 + size :]
    match chance.randrange(5):
        case 0:
            return bytes_changed(content, chance)
        case 1:
            return struct.pack("<Q", chance.choice((0, 1, size - 1, size + 1, 2**31, 2**63, 2**64 - 1))) + header + data
        case 2:
            changed = bytes_changed(header, chance)
            return struct.pack("<Q", len(changed)) + changed + data
        case 3:
            return content[: 8 + size] + bytes_changed(data, chance)
        case _:
            changed = json.dumps(plain_changed(json.loads(header), chance)).encode("utf-8", "surrogatepass")
            return struct.pack("<Q", len(changed)) + changed + data


def graph_changed(content: bytes, chance: random.Random) -> bytes:
    """An ONNX file with nodes, edges, attributes, shapes, constants or texts exchanged."""
    if chance.random() < 0.2:
        return bytes_changed(content, chance)
    model = onnx.load_model_from_string(content)
    for _ in range(chance.choice((1, 1, 2, 4))):
        _one_change(model, chance)
    return model.SerializeToString()


OPERATORS = ("Loop", "If", "Scan", "Reshape", "Concat", "ConstantOfShape", "Range", "Expand", "DequantizeLinear", "Cast",
             "Gather", "Slice", "Conv", "Gemm", "Pow", "Unsqueeze", "Transpose", "Identity", "NoSuch", "")  # fmt: skip


def _one_change(model: ModelProto, chance: random.Random) -> None:
    graph = model.graph
    node = chance.choice(graph.node) if graph.node else graph.node.add()
    names = [name for user in graph.node for name in (*user.input, *user.output)] or [""]
    match chance.randrange(11):
        case 0:
            node.op_type = chance.choice(OPERATORS)
        case 1 if node.input:
            node.input[chance.randrange(len(node.input))] = chance.choice((*names, "", "nowhere", "\x1b[2K"))
        case 2 if node.input:
            del node.input[chance.randrange(len(node.input)) :]
        case 3:
            node.attribute.append(helper.make_attribute(chance.choice(("axis", "to", "perm", "value")), chance.choice((
                -1, 2**62, 1.0, "x", [2**40, 2**40], [0, 0], [-1] * 9))))  # fmt: skip
        case 4 if node.attribute:
            node.attribute[0].i = chance.choice((-(2**63), -1, 99, 2**62))
            node.attribute[0].type = chance.choice((AttributeProto.INT, AttributeProto.INTS, AttributeProto.TENSOR, 99))
        case 5 if graph.initializer:
            tensor = chance.choice(graph.initializer)
            tensor.dims[:] = chance.choice(([2**40, 2**40], [-1], [], [0], [2**31]))
        case 6 if graph.initializer:
            tensor = chance.choice(graph.initializer)
            tensor.data_type = chance.choice((TensorProto.STRING, TensorProto.BFLOAT16, TensorProto.INT4, 0, 99))
        case 7 if graph.initializer:
            tensor = chance.choice(graph.initializer)
            tensor.data_location = TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value=chance.choice(("/dev/zero", "../x", "", "nowhere.data", "\0")))
        case 8:
            _constant_of(model, chance)
        case 9:
            helper.set_model_props(model, {"classes": chance.choice(("[" * 9999, "{1: 'a', 'b': 'c'}", "x" * 2_000_000))})
        case _:
            _nested(node, chance.choice((1, 30, 90)))


def _constant_of(model: ModelProto, chance: random.Random) -> None:
    """A node whose answer is a constant of a size that no machine has."""
    kind = chance.choice(("ConstantOfShape", "Expand", "Range", "Tile"))
    sides = helper.make_tensor("sides", TensorProto.INT64, [2], [2**33, 2**20])
    model.graph.initializer.append(sides)
    bomb = helper.make_node(
        kind, {"Range": ["zero", "far", "zero"]}.get(kind, ["sides", "sides"][: 1 + (kind != "ConstantOfShape")]), ["bomb"]
    )
    model.graph.initializer.append(helper.make_tensor("zero", TensorProto.INT64, [], [1]))
    model.graph.initializer.append(helper.make_tensor("far", TensorProto.INT64, [], [2**40]))
    model.graph.node.insert(0, bomb)
    model.graph.node[-1].input.append("bomb")


def _nested(node: Any, depth: int) -> None:
    """Branches in branches."""
    for _ in range(depth):
        attribute = node.attribute.add()
        attribute.name, attribute.type = "body", AttributeProto.GRAPH
        node = attribute.g.node.add()
        node.op_type = "If"


def xml_changed(content: bytes, chance: random.Random) -> bytes:
    """An XML file with elements and attributes exchanged, or an entity that grows."""
    match chance.randrange(5):
        case 0:
            return bytes_changed(content, chance)
        case 1:
            levels = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))
            return f'<!DOCTYPE net [<!ENTITY e0 "aaaaaaaaaa">{levels}]><net>&e11;</net>'.encode()
        case 2:
            return b'<!DOCTYPE net [<!ENTITY x SYSTEM "file:///etc/passwd">]><net><layer type="&x;"/></net>'
        case 3:
            return b"<net>" * chance.choice((10, 100_000))
    root = ElementTree.fromstring(content)
    element = chance.choice(list(root.iter()))
    if element.attrib:
        element.set(chance.choice(list(element.attrib)), re.sub("[^ -~]", "?", str(chance.choice(VALUES))))
    if chance.random() < 0.5:
        element.extend(list(element))
    return ElementTree.tostring(root)


WORDS = (0, 1, -1, 4, -4, 8, 2**31 - 1, -(2**31), 2**16, 2**30)


def flatbuffer_changed(content: bytes, chance: random.Random) -> bytes:
    """A TFLite file with offsets, sizes and enumerations of its tables exchanged; seldom its weights."""
    if chance.random() < 0.15:
        return bytes_changed(content, chance)
    data = bytearray(content)
    words = struct.unpack(f"<{len(data) // 4}i", data[: len(data) // 4 * 4])
    tables = [at for at, word in enumerate(words) if word and abs(word) < len(data) - 4 * at]  # what may be an offset
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        at = chance.choice(tables if tables and chance.random() < 0.8 else range(len(words)))
        word = chance.choice(
            (*WORDS, words[at] + 4, words[at] - 4, -words[at], words[chance.choice(tables or [0])], -4 * at)
        )
        struct.pack_into("<i", data, 4 * at, max(-(2**31), min(2**31 - 1, word)))
    return bytes(data)


def program_changed(content: bytes, chance: random.Random) -> bytes:
    """A .pt2 file with a value of its description, a part, or the bytes of a part changed."""
    if chance.random() < 0.15:
        return bytes_changed(content, chance)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = [(member.filename, archive.read(member)) for member in archive.infolist()]
    at = chance.randrange(len(parts))
    described = [index for index, (name, _) in enumerate(parts) if name.endswith(".json")]
    method = zipfile.ZIP_STORED
    match chance.randrange(8):
        case 0:
            del parts[at]
        case 1:
            parts.append((chance.choice(PARTS), parts[at][1]))
        case 2:
            parts[at] = (parts[at][0], bytes_changed(parts[at][1], chance))
        case 3:
            method = zipfile.ZIP_DEFLATED
        case _:
            at = chance.choice(described)
            parts[at] = (parts[at][0], json_changed(parts[at][1], chance))
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", method) as archive:
        warnings.simplefilter("ignore")  # of a name twice
        for name, part in parts:
            archive.writestr(name, part)
    return buffer.getvalue()


PARTS = (
    "program/data/weights/model.pt", "program/data/weights/weight_0", "program/models/model.json", "../../x", "program/x.so",
    "program/data/aotinductor/model/a.so", "program/data/constants/script_object_0", "program/extra/a.py", "/etc/passwd",
)  # fmt: skip
"""Names of parts that a plain program has already, or has not."""


NUMBERS = (0, 1, 2, 7, 255, 256, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
"""What a size, a count or a place may be that is not right."""


def numbers_changed(content: bytes, chance: random.Random) -> bytes:
    """A binary file with numbers of 1, 2 or 4 bytes exchanged, mostly near its beginning; or some of its bytes."""
    if chance.random() < 0.3:
        return bytes_changed(content, chance)
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 4))):
        width = chance.choice((1, 2, 2, 4, 4))
        at = chance.randrange(min(len(data), chance.choice((64, 512, len(data)))) - width)
        number = chance.choice(NUMBERS) % 256**width
        data[at : at + width] = number.to_bytes(width, chance.choice(("little", "big")))
    return bytes(data)


def png_changed(content: bytes, chance: random.Random) -> bytes:
    """A PNG with a part changed, dropped, doubled or new; the check sums are right again, so that a decoder goes on."""
    parts, at = [], 8
    while at < len(content):
        (length,) = struct.unpack_from(">I", content, at)
        parts.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += length + 12
    index = chance.randrange(len(parts))
    kind, inner = parts[index]
    match chance.randrange(6):
        case 0:
            return bytes_changed(content, chance)
        case 1:
            del parts[index]
        case 2:
            parts.insert(chance.randrange(len(parts) + 1), parts[index])
        case 3:
            parts.insert(
                index, (chance.choice(CHUNKS), chance.choice((b"", b"\xff" * 8, inner, zlib.compress(bytes(10**5)))))
            )
        case _:
            parts[index] = kind, numbers_changed(inner, chance) if len(inner) > 8 else bytes_changed(inner, chance)
    framed = (
        struct.pack(">I", len(part)) + name + part + struct.pack(">I", zlib.crc32(name + part)) for name, part in parts
    )
    return content[:8] + b"".join(framed)


CHUNKS = (b"PLTE", b"tRNS", b"iCCP", b"zTXt", b"eXIf", b"acTL", b"fcTL", b"fdAT", b"pHYs", b"IEND", b"IHDR")
"""Parts of a PNG that a plain picture has once, or not."""


def archive_changed(content: bytes, chance: random.Random) -> bytes:
    """An archive with a part dropped, doubled, packed or changed."""
    if chance.random() < 0.15:
        return bytes_changed(content, chance)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = [(name, archive.read(name)) for name in archive.namelist()]
    at = chance.randrange(len(parts))
    name, inner = parts[at]
    match chance.randrange(5):
        case 0:
            del parts[at]
        case 1:
            parts.append((chance.choice((name, "../x", "")), chance.choice(parts)[1]))
        case _:
            parts[at] = name, numbers_changed(inner, chance) if len(inner) > 8 else bytes_changed(inner, chance)
    buffer, method = io.BytesIO(), chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", method) as archive:
        warnings.simplefilter("ignore")  # of a name twice
        for name, inner in parts:
            archive.writestr(name or "empty", inner)
    return buffer.getvalue()
