"""The engine formats to which a run can be exported. A new one is a file `to_<format>.py` and a row in `FORMATS`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from skinaudit.errors import InvalidInputError
from skinaudit.export.build import Build, Check
from skinaudit.export.precision import graphs_for
from skinaudit.export.to_aotinductor import build_aotinductor, check_aotinductor
from skinaudit.export.to_openvino import build_openvino
from skinaudit.export.to_pytorch import build_pytorch
from skinaudit.export.to_tensorrt import build_tensorrt, build_tensorrt_rtx, check_tensorrt, check_tensorrt_rtx


@dataclass(frozen=True)
class Format:
    """An engine format. graphs: for each precision, the name in PRECISIONS of the ONNX graph from which it is built.

    suffix: of its files. runtime: name of the runtime that opens them. library: module that must be installed to build
    it. build: None if the typed graph itself is the engine. options: fields of BuildOptions that it accepts. check:
    checks these options before anything is built.
    """

    suffix: str
    runtime: str
    library: str
    graphs: Mapping[str, str]
    build: Build | None
    options: tuple[str, ...] = ()
    check: Check | None = None

    @property
    def installed(self) -> bool:
        """Whether its library is installed."""
        return find_spec(self.library) is not None


_OF_PLANS = (
    "version_compatible", "hardware_compatible", "targets", "refit", "strip", "timing_cache", "workspace", "batches",
)  # fmt: skip

FORMATS: Mapping[str, Format] = {
    "onnx": Format(".onnx", "onnxruntime", "onnxruntime", graphs_for("onnx"), None),
    "tensorrt": Format(".plan", "tensorrt", "tensorrt", graphs_for("tensorrt"), build_tensorrt, _OF_PLANS, check_tensorrt),
    "tensorrt-rtx": Format(
        ".rtx.plan", "tensorrt-rtx", "tensorrt_rtx", graphs_for("tensorrt-rtx"), build_tensorrt_rtx, _OF_PLANS,
        check_tensorrt_rtx,
    ),
    "openvino": Format(
        ".xml", "openvino", "openvino", {"fp32": "fp32", "fp16": "fp32", "int8": "fp32"}, build_openvino,
    ),
    "pytorch": Format(".pt2", "pytorch", "torch", {"fp32": "fp32"}, build_pytorch),
    "aotinductor": Format(
        ".aoti.pt2", "aotinductor", "torch", {name: name for name in ("fp32", "fp16", "bf16")}, build_aotinductor,
        ("provider",), check_aotinductor,
    ),
}  # fmt: skip
"""Formats by their names on the command line."""


def default_formats(precision: str) -> tuple[str, ...]:
    """The formats written by default in this precision: ONNX and, if a TensorRT builder is installed, a plan.

    Raises InvalidInputError for a precision that none of them has.
    """
    plans = [name for name in ("tensorrt", "tensorrt-rtx") if name in FORMATS and FORMATS[name].installed]
    fitting = tuple(name for name in ("onnx", *plans[:1]) if precision in FORMATS[name].graphs)
    if not fitting:
        offering = ", ".join(name for name, form in FORMATS.items() if precision in form.graphs) or "none"
        raise InvalidInputError(f"{precision}: has no default format here; name one with --format: {offering}")
    return fitting


def format_of(output: Path) -> str:
    """The format for a file name. If several formats share its suffix, the first one whose library is installed."""
    fitting = [name for name, form in FORMATS.items() if output.name.endswith(form.suffix)]
    fitting.sort(key=lambda name: (not FORMATS[name].installed, -len(FORMATS[name].suffix)))
    if not fitting:
        suffixes = ", ".join(dict.fromkeys(form.suffix for form in FORMATS.values()))
        raise InvalidInputError(f"{output}: an output file ends in one of {suffixes}")
    return fitting[0]
