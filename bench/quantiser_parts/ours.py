"""skinaudit's own quantisers, as `skinaudit export` runs them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from skinaudit.artifacts.manifest import versions
from skinaudit.bench.quantiser_parts.quantiser import Order, Quantiser
from skinaudit.engines.open import open_emulated, open_engine
from skinaudit.errors import missing
from skinaudit.export.build import Request
from skinaudit.export.precision import PRECISIONS
from skinaudit.export.to_onnx import serialise
from skinaudit.export.to_openvino import build_openvino


def _graph(name: str, order: Order) -> Path:
    path = order.folder / f"{name}.onnx"
    converted = PRECISIONS[name].convert(order.graph, order.calibration, where=str(path))
    path.write_bytes(serialise(converted.model, metadata={}))
    return path


def _openvino(order: Order) -> Path:
    path = order.folder / "int8.xml"
    build_openvino(Request(order.graph, "int8", order.calibration, order.run, path, str(path)))
    return path


def onnxruntime() -> Mapping[str, str]:
    """The version of ONNX Runtime, whichever distribution brings it."""
    installed = versions("onnxruntime", "onnxruntime-gpu")
    installed.pop("python")
    if not installed:
        raise missing("onnxruntime", "cpu", "int8 calibration")
    return installed


def openvino() -> Mapping[str, str]:
    """The versions of OpenVINO and NNCF."""
    installed = versions("openvino", "nncf")
    for library in ("openvino", "nncf"):
        if library not in installed:
            raise missing(library, "openvino", "int8 for OpenVINO")
    return {name: installed[name] for name in ("openvino", "nncf")}


QUANTISERS = (
    Quantiser("ours u8s8", "ONNX Runtime", partial(_graph, "int8-u8s8"), open_engine, onnxruntime),
    Quantiser("ours s8s8", "TensorRT", partial(_graph, "int8-s8s8"), open_emulated, onnxruntime),
    Quantiser("ours OpenVINO", "OpenVINO", _openvino, open_engine, openvino),
    Quantiser("ours fp8", "TensorRT", partial(_graph, "fp8"), open_emulated, onnxruntime),
)
