"""OpenVINO's files as layers: what is stored is read, and what is no layer of a classifier stays in sight."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np
import pytest
from numpy.typing import NDArray

from skinaudit.audit.evidence.matching import Allowed, DiffersError, Matcher
from skinaudit.engines.networks import layers
from skinaudit.engines.networks.layers import Layer, Window, constant, layers_of
from skinaudit.engines.networks.of_openvino import network_of_file
from skinaudit.errors import EngineError

KERNEL = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
SHIFT = np.linspace(-1, 1, 4, dtype=np.float32)
MEAN, STD = np.array([0.5, 0.4, 0.3], np.float32), np.array([0.2, 0.3, 0.4], np.float32)
PLAIN = {"strides": "1, 1", "dilations": "1, 1", "pads_begin": "1, 1", "pads_end": "1, 1", "auto_pad": "explicit"}


class File:
    """An .xml with its .bin as it is written layer by layer."""

    def __init__(self) -> None:
        self.layers: list[str] = []
        self.edges: list[str] = []
        self.weights = b""

    def add(
        self, kind: str, inputs: Sequence[int] = (), data: Mapping[str, str] | None = None, version: str = "opset1"
    ) -> int:
        number = len(self.layers)
        settings = "".join(f" {name}={quoteattr(value)}" for name, value in (data or {}).items())
        ports = "".join(f'<port id="{port}"/>' for port in range(len(inputs)))
        self.layers.append(
            f'<layer id="{number}" name="{kind}{number}" type="{kind}" version="{version}"><data{settings}/>'
            f"<input>{ports}</input></layer>"
        )
        self.edges += [
            f'<edge from-layer="{source}" from-port="0" to-layer="{number}" to-port="{port}"/>'
            for port, source in enumerate(inputs)
        ]
        return number

    def constant(self, value: NDArray[np.generic]) -> int:
        kinds = {"float32": "f32", "float16": "f16", "int8": "i8", "int64": "i64"}
        data = {
            "element_type": kinds[value.dtype.name], "shape": ", ".join(map(str, value.shape)),
            "offset": str(len(self.weights)), "size": str(value.nbytes),
        }  # fmt: skip
        self.weights += value.tobytes()
        return self.add("Const", data=data)

    def write(self, path: Path) -> Path:
        parts = f"<layers>{''.join(self.layers)}</layers><edges>{''.join(self.edges)}</edges>"
        path.write_text(f'<net version="11">{parts}</net>')
        path.with_suffix(".bin").write_bytes(self.weights)
        return path


def convolved(file: File, weight: int) -> int:
    """The image minus its mean, a convolution that has the division by the spread in it, and its bias."""
    image = file.add("Parameter", data={"shape": "?,3,8,8", "element_type": "f32"})
    centred = file.add("Add", [image, file.constant(-MEAN.reshape(1, 3, 1, 1))], {"auto_broadcast": "numpy"})
    result = file.add("Convolution", [centred, weight], PLAIN)
    return file.add("Add", [result, file.constant(SHIFT.reshape(1, 4, 1, 1))], {"auto_broadcast": "numpy"})


def of_run() -> Layer:
    normalised = layers.affine(layers.image(3, 8), constant(1 / STD), constant(-MEAN / STD), origin="normalise")
    window = Window((3, 3), pads=(1, 1, 1, 1))
    result = layers.convolution(normalised, constant(KERNEL), constant(SHIFT), window, groups=1, origin="convolution")
    return layers.activation(result, 0.0, np.inf, origin="relu")


def divided() -> NDArray[np.float32]:
    return KERNEL / STD.reshape(1, 3, 1, 1)


def compared(path: Path) -> None:
    assert Matcher(Allowed(("rounding", "cast"))).match(of_run(), network_of_file(path)).plain


def test_a_division_in_the_next_weights_and_codes_with_their_steps_are_explained(tmp_path: Path) -> None:
    steps = (np.abs(divided()).max(axis=(1, 2, 3), keepdims=True) / 127).astype(np.float32)
    for name, stored in (("fp32", None), ("fp16", divided().astype(np.float16)), ("int8", divided() / steps)):
        file = File()
        if stored is None:
            weight = file.constant(divided())
        elif name == "fp16":
            weight = file.add("Convert", [file.constant(stored)], {"destination_type": "f32"})
        else:
            codes = file.add("Convert", [file.constant(np.round(stored).astype(np.int8))], {"destination_type": "f32"})
            weight = file.add("Multiply", [codes, file.constant(steps)], {"auto_broadcast": "numpy"})
        file.add("Result", [file.add("ReLU", [convolved(file, weight)])])
        compared(file.write(tmp_path / f"{name}.xml"))


def test_one_other_number_among_the_weights_is_a_difference(tmp_path: Path) -> None:
    file, changed = File(), divided()
    changed[2, 1, 1, 1] += 0.01
    file.add("Result", [file.add("ReLU", [convolved(file, file.constant(changed))])])
    with pytest.raises(DiffersError, match="1 of its 4 channels have other weights than convolution"):
        compared(file.write(tmp_path / "changed.xml"))


@pytest.mark.parametrize(
    ("kind", "data", "version"),
    [
        ("ReLU", {}, "extension"),
        ("Sigmoid", {}, "opset1"),
        ("FakeQuantize", {"levels": "2"}, "opset1"),
        ("Clamp", {"min": "low", "max": "6"}, "opset1"),
    ],
)
def test_what_is_no_layer_stays_in_sight(tmp_path: Path, kind: str, data: dict[str, str], version: str) -> None:
    file = File()
    inputs = [convolved(file, file.constant(divided()))]
    if kind == "FakeQuantize":
        inputs += [file.constant(np.float32(bound).reshape(())) for bound in (0, 1, 0, 1)]
    file.add("Result", [file.add(kind, inputs, data, version)])
    network = network_of_file(file.write(tmp_path / "odd.xml"))
    assert [layer.settings[0] for layer in layers_of(network) if layer.kind == "other"] == [kind]


def test_roundings_of_eight_bits_are_roundings(tmp_path: Path) -> None:
    file = File()
    inputs = [convolved(file, file.constant(divided()))]
    inputs += [file.constant(np.float32(bound).reshape(())) for bound in (-1, 1.55, -1, 1.55)]
    file.add("Result", [file.add("FakeQuantize", inputs, {"levels": "256"})])
    network = network_of_file(file.write(tmp_path / "rounded.xml"))
    assert network.kind == "rounding"
    assert network.settings == pytest.approx((-1, 1.55, 0.01))


def test_damaged_files_are_one_line(tmp_path: Path) -> None:
    file = File()
    file.add("Result", [convolved(file, file.constant(divided()))])
    path = file.write(tmp_path / "short.xml")
    path.with_suffix(".bin").write_bytes(file.weights[:-1])
    with pytest.raises(EngineError, match=r"short\.xml: not a whole OpenVINO file .* is outside"):
        network_of_file(path)
    circle = File()
    circle.add("ReLU", [0])
    circle.add("Result", [0])
    with pytest.raises(EngineError, match="layer 0 depends on itself"):
        network_of_file(circle.write(tmp_path / "circle.xml"))


def edited(path: Path, edit: Callable[[str], str]) -> Path:
    """The run's model with its text changed."""
    file = File()
    relu = file.add("ReLU", [convolved(file, file.constant(divided()))])
    file.add("Result", [relu])
    written = file.write(path)
    written.write_text(edit(written.read_text()))
    return written


CLAMP = '<layer id="90" type="Clamp" version="opset1"><data min="0" max="0.3"/></layer>'


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("<edges>", f"<layers>{CLAMP}</layers><edges>", "a part layers"),
        ("</edges>", "</edges><edges></edges>", "a part edges"),
        ("</edges>", "</edges><pre-process/>", "a part pre-process"),
        ("</layers>", f"{CLAMP.replace('90', '0')}</layers>", "layer 0"),
        ("</edges>", '<edge from-layer="1" from-port="0" to-layer="3" to-port="0"/></edges>', "layer 3"),
        ("</layers>", '<layer id="90" type="Result" version="opset1"/></layers>', "one of 2 answers"),
        ('<data auto_broadcast="numpy"/>', '<data auto_broadcast="numpy"/><data/>', "a part twice"),
        ("</layers>", f"{CLAMP.replace('90', '06')}</layers>", "layer '06'"),
        ('to-layer="3" to-port="1"', 'to-layer="3" to-port="01"', "number '01'"),
        ('<port id="0"/><port id="1"/>', '<port id="1"/><port id="0"/>', "another order"),
        ('<data auto_broadcast="numpy"/>', '<data auto_broadcast="numpy"/><blobs/>', "OpenVINO does not write"),
        ('version="11"', 'version="9"', "version 9"),
    ],
)
def test_what_openvino_may_read_in_another_way_explains_nothing(tmp_path: Path, old: str, new: str, named: str) -> None:
    path = edited(tmp_path / "edited.xml", lambda text: text.replace(old, new, 1))
    assert named in network_of_file(path).origin
    with pytest.raises(DiffersError):
        compared(path)


@pytest.mark.parametrize(
    ("old", "new"), [('"1, 1"', '"0_1, 1"'), ('"1, 1"', '"1, \uff11"'), ('"1, 1"', '"1, 01"')], ids=ascii
)
def test_a_number_that_openvino_reads_in_another_way_is_none(tmp_path: Path, old: str, new: str) -> None:
    path = edited(tmp_path / "edited.xml", lambda text: text.replace(f"strides={old}", f"strides={new}"))
    assert any(layer.kind == "other" for layer in layers_of(network_of_file(path)))


def test_a_bound_that_openvino_reads_in_another_way_is_none(tmp_path: Path) -> None:
    for bound, kind in (
        ("6", "activation"),
        ("6.0", "activation"),
        ("6e0", "activation"),
        ("0_6", "other"),
        ("0x6", "other"),
    ):
        file = File()
        image = file.add("Parameter", data={"shape": "?,3,8,8", "element_type": "f32"})
        file.add("Result", [file.add("Clamp", [image], {"min": "0", "max": bound})])
        assert network_of_file(file.write(tmp_path / "clamp.xml")).kind == kind


def test_a_file_with_definitions_of_text_is_refused(tmp_path: Path) -> None:
    path = edited(tmp_path / "edited.xml", lambda text: f'<!DOCTYPE net [<!ENTITY e "">]>{text}')
    with pytest.raises(EngineError, match="DOCTYPE"):
        network_of_file(path)
