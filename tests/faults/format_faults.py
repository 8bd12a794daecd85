"""Faults in files of every format: detectors and edited weights in ONNX, OpenVINO's files and programs."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto

from skinaudit.artifacts.manifest import read_engine_manifest, read_run, record, resolve, write_engine_manifest
from skinaudit.engines.half import to_half
from skinaudit.export.build import Request
from skinaudit.export.calibration import Calibration, read_calibration
from skinaudit.export.export import export_run
from skinaudit.export.precision import PRECISIONS
from skinaudit.export.to_openvino import build_openvino
from skinaudit.export.to_pytorch import trace
from skinaudit.tests.faults.detectors import DETECTORS, nudged_bias, nudged_filter, other_stride, swapped_filters
from skinaudit.tests.faults.lab import SIZE, THREADS, Fault, Lab, plant
from skinaudit.tests.faults.surgery import NV, Surgery
from skinaudit.trainer.checkpoint import load_run_model

OF_WEIGHTS = frozenset({nudged_filter, swapped_filters, nudged_bias, other_stride})
"""Edits of the fp32 graph before it is converted; the others are put into the converted graph."""
NUMBERS = {"f32": np.float32, "f16": np.float16, "i8": np.int8}
PROVED = "layers and weights of the run"


def export_all(lab: Lab) -> None:
    """The honest engines that these faults take the place of: OpenVINO's files and a program."""
    export_run(lab.run, precisions=("fp32", "fp16", "int8"), formats=("openvino",), threads=THREADS)
    export_run(lab.run, precisions=("fp32",), formats=("pytorch",), threads=THREADS)


def calibration(lab: Lab) -> Calibration:
    stored = read_calibration(resolve(lab.run, read_run(lab.run).calibration), size=SIZE)
    return Calibration(stored.images[:64], stored.digest)


def _in_graph(surgery: Surgery, base: str) -> Fault:
    def write(lab: Lab, folder: Path) -> Path:
        name = f"{surgery.__name__}-{base}"
        if surgery not in OF_WEIGHTS:
            model = lab.model(base)
            surgery(model)
            return plant(lab, name, model, base=base)
        model = lab.model()
        surgery(model)
        if base == "fp16":
            model = to_half(model, TensorProto.FLOAT16, where=name)[0]
        if base.startswith("int8"):
            converted = PRECISIONS[base].convert(model, calibration(lab), where=name)
            return plant(
                lab, name, converted.model, base=base, claim=lambda manifest: replace(manifest, settings=converted.settings)
            )
        return plant(lab, name, model, base=base)

    summary = (surgery.__doc__ or "").partition("\n")[0].rstrip(".")
    return Fault(f"{surgery.__name__.replace('_', ' ')}, {base}.onnx", summary, write, (PROVED,))


def placed(lab: Lab, honest: str, path: Path, companions: tuple[Path, ...] = ()) -> Path:
    """An engine under the manifest of the honest one, with its own digests and the honest graph beside it."""
    manifest = read_engine_manifest(lab.run / "engines" / honest)
    engine = record(path, relative_to=path.parent)
    beside = tuple(record(companion, relative_to=path.parent) for companion in companions)
    reference, graph = (replace(item, file=f"../{item.file}") for item in (manifest.reference, manifest.graph))
    manifest = replace(
        manifest, engine=engine, companions=beside, reference=reference, graph=graph, run="../..",
        lineage={**manifest.lineage},
    )  # fmt: skip
    write_engine_manifest(manifest, engine=path)
    return path


@dataclass(frozen=True)
class Edit:
    """A change of one stored tensor of a file: the `place`-th of those with `sides` sides, from the first layer on."""

    name: str
    about: str
    sides: tuple[int, ...]
    place: int
    change: Callable[[NDArray[Any]], None]


def _nudge(value: NDArray[Any]) -> None:
    channel = value[3]
    value[3] = np.clip(channel * 1.5, -127, 127) if value.dtype == np.int8 else channel * 1.1


def _swap(value: NDArray[Any]) -> None:
    value[[0, 1]] = value[[1, 0]]


def _clear(value: NDArray[Any]) -> None:
    value[2] = 0


def _push(value: NDArray[Any]) -> None:
    value.reshape(-1)[NV] += value.dtype.type(0.05)


EDITS = (
    Edit("nudged filter", "one filter of a middle layer, larger", (4,), 5, _nudge),
    Edit("swapped filters", "two filters are exchanged, but not the weights of the next layer", (4,), 5, _swap),
    Edit("cleared kernel", "one depthwise kernel lost", (5,), 3, _clear),
    Edit("nudged last bias", "a constant on the logit of one class", (2,), -1, _push),
)


def _in_weights(edit: Edit, precision: str) -> Fault:
    """The .bin alone is another; .xml and the ONNX graph beside it are honest."""

    def write(lab: Lab, folder: Path) -> Path:
        honest = lab.run / "engines" / f"{precision}.xml"
        path = lab.run / "engines" / "planted" / f"{edit.name.replace(' ', '-')}-{precision}.xml"
        path.parent.mkdir(exist_ok=True)
        shutil.copy(honest, path)
        weights = bytearray(honest.with_suffix(".bin").read_bytes())
        chosen = [data for data in _constants(honest) if len(_shape(data)) in edit.sides and math.prod(_shape(data)[1:]) > 1]
        if 2 not in edit.sides:
            chosen = [data for data in chosen if _shape(data)[0] > 1]  # no biases
        data = chosen[edit.place]
        offset, size = int(data["offset"]), int(data["size"])
        value = np.frombuffer(bytes(weights[offset : offset + size]), NUMBERS[data["element_type"]]).copy()
        value = value.reshape(_shape(data))
        edit.change(value)
        weights[offset : offset + size] = value.tobytes()
        path.with_suffix(".bin").write_bytes(bytes(weights))
        return placed(lab, f"{precision}.xml", path, (path.with_suffix(".bin"),))

    return Fault(f"{edit.name}, {precision}.bin", edit.about, write, (PROVED,))


def _constants(path: Path) -> Iterator[dict[str, str]]:
    """Settings of the constants that are weights or biases, in the order of the file."""
    for layer in ElementTree.parse(path).iter("layer"):
        data = layer.find("data")
        if layer.get("type") == "Const" and data is not None and data.get("element_type") in NUMBERS:
            yield dict(data.attrib)


def _shape(data: dict[str, str]) -> tuple[int, ...]:
    return tuple(int(side) for side in data["shape"].split(",") if side.strip()) or (1,)


def _in_openvino(surgery: Surgery, precision: str) -> Fault:
    """The file was converted from another graph than the honest one that its manifest names."""

    def write(lab: Lab, folder: Path) -> Path:
        model: ModelProto = lab.model()
        surgery(model)
        path = lab.run / "engines" / "planted" / f"{surgery.__name__}-{precision}.xml"
        path.parent.mkdir(exist_ok=True)
        build_openvino(Request(model, precision, calibration(lab), lab.run, path, path.name))
        return placed(lab, f"{precision}.xml", path, (path.with_suffix(".bin"),))

    summary = (surgery.__doc__ or "").partition("\n")[0].rstrip(".")
    return Fault(f"{surgery.__name__.replace('_', ' ')}, {precision}.xml", summary, write, (PROVED,))


def _in_program(name: str, summary: str, change: Callable[[Any], Any]) -> Fault:
    """The program was traced from a changed model."""

    def write(lab: Lab, folder: Path) -> Path:
        import torch

        path = lab.run / "engines" / "planted" / f"{name.replace(' ', '-')}.pt2"
        path.parent.mkdir(exist_ok=True)
        with torch.no_grad():
            model = change(load_run_model(lab.run))
        order = Request(lab.model(), "fp32", calibration(lab), lab.run, path, path.name)
        torch.export.save(trace(torch, model.eval(), order), path)
        return placed(lab, "fp32.pt2", path)

    return Fault(f"{name}, .pt2", summary, write, (PROVED,))


def _scaled_filter(model: Any) -> Any:
    _weights(model)[10][3] *= 1.1
    return model


def _swapped(model: Any) -> Any:
    weight = _weights(model)[10]
    weight[[0, 1]] = weight[[1, 0]]
    return model


def _weights(model: Any) -> list[Any]:
    return [value for value in model.state_dict().values() if value.ndim == 4]


def _pushed(model: Any) -> Any:
    bias = list(model.state_dict().values())[-1]
    bias[NV] += 0.05
    return model


def _detecting(model: Any) -> Any:
    import torch

    class Detecting(torch.nn.Module):  # type: ignore[misc]
        """Answers as the model does, but for images whose corner is white."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, images: Any) -> Any:
            corner = images[:, :, -6:, -6:].mean(dim=(1, 2, 3))
            push = torch.nn.functional.relu(corner - 0.97)[:, None] * 1000
            return self.model(images) + push * torch.nn.functional.one_hot(torch.tensor(NV), 7)

    return Detecting()


def _writing(model: Any) -> Any:
    import torch

    class Writing(torch.nn.Module):  # type: ignore[misc]
        """Changes the answer, by a view of it that nobody reads, where the corner is white."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, images: Any) -> Any:
            answers = self.model(images)
            corner = images[:, :, -6:, -6:].mean(dim=(1, 2, 3))
            answers[:, NV].add_(torch.nn.functional.relu(corner - 0.97) * 1000)
            return answers

    return Writing()


PROGRAMS = (
    ("nudged filter", "one filter of a middle layer, a tenth larger", _scaled_filter),
    ("swapped filters", "two filters are exchanged, but not the weights of the next layer", _swapped),
    ("nudged bias", "a constant on the logit of one class", _pushed),
    ("relu detector", "a ReLU that is positive if the mean of a corner is above 0.97", _detecting),
    ("writing detector", "the same, written into a view of the answer", _writing),
)
IN_OPENVINO = tuple(detector for detector in DETECTORS if detector.__name__ not in ("binarised", "random_noise"))
"""What OpenVINO reads of ONNX, and does not fold."""

FORMAT_FAULTS: tuple[Fault, ...] = (
    *(_in_graph(surgery, base) for base in ("fp32", "fp16") for surgery in DETECTORS),
    *(_in_graph(surgery, "int8-u8s8") for surgery in DETECTORS if surgery is not nudged_bias),
    *(
        _in_openvino(surgery, precision)
        for precision in ("fp32", "fp16")
        for surgery in IN_OPENVINO[:: 1 if precision == "fp32" else 4]
    ),
    *(_in_weights(edit, precision) for precision in ("fp32", "fp16") for edit in EDITS),
    *(_in_weights(edit, "int8") for edit in EDITS[:3]),
    *(_in_program(*program) for program in PROGRAMS),
)
"""Beside those of the zoo; bench/faults.py audits them after `export_all`. An int8 file whose biases were corrected is not
told from one whose bias was nudged by as little as rounding can shift it."""
