"""What this machine can build and run: runtimes, versions, devices, and how to install what is missing."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata

from skinaudit.engines.isolation.confine import landlock_version, missing_confinement
from skinaudit.engines.plans.cuda_device import cuda_devices
from skinaudit.errors import SkinauditError


@dataclass(frozen=True)
class RuntimeReport:
    """State of one runtime. version: None if it is absent or broken. devices: as the library reports them.

    builds, runs: kinds of engine files, in words. note: one line about a problem or another thing to know.
    """

    name: str
    version: str | None
    devices: tuple[str, ...]
    builds: str
    runs: str
    install: str
    note: str = ""


def examine() -> tuple[RuntimeReport, ...]:
    """Look at every runtime. A runtime that is absent or broken raises no error."""
    cuda, why_not = _cuda_devices("gpu")
    return (
        _report("torch", ("torch",), None, "checkpoints, ONNX, .pt2, .aoti.pt2", ".pt2 .aoti.pt2", "train", cuda=cuda),
        _onnxruntime(),
        _report("openvino", ("openvino",), _openvino_devices, ".xml in fp32 and fp16", ".xml .onnx .tflite", "openvino"),
        _report("nncf", ("nncf",), None, ".xml in int8", "", "openvino"),
        _report("tensorrt", ("tensorrt",), None, "plans", "plans on a GPU", "gpu", cuda=cuda, note=why_not),
        _report(
            "tensorrt-rtx", ("tensorrt_rtx_cu13", "tensorrt_rtx"), None, "plans (no GPU needed)", "plans on a GPU", "rtx",
            cuda=cuda, note=_cuda_devices("rtx")[1],
        ),
        _report("cuda-python", ("cuda-bindings", "cuda-python"), None, "", "memory and streams of plans", "gpu", cuda=cuda),
        _confinement(),
    )  # fmt: skip


def _confinement() -> RuntimeReport:
    """What keeps the process of an engine away from the network and from other files."""
    lacking = missing_confinement()
    version = None if lacking else f"Landlock {landlock_version()}, seccomp"
    advice = f"this system has no {lacking}, so engines are only limited in time and memory; use Linux 5.13 or newer"
    return RuntimeReport("confinement", version, (), "", "engines on a CPU" if version else "", advice)


def _report(
    name: str,
    distributions: tuple[str, ...],
    devices: Callable[[], tuple[str, ...]] | None,
    builds: str,
    runs: str,
    extra: str,
    *,
    cuda: tuple[str, ...] = (),
    note: str = "",
) -> RuntimeReport:
    version = next((installed for installed in map(_version, distributions) if installed), None)
    install = f"pip install 'skinaudit[{extra}]'"
    if version is None:
        return RuntimeReport(name, None, (), "", "", install)
    device_names = cuda
    if devices is not None:
        try:
            device_names = devices()
        except (ImportError, OSError, RuntimeError, AttributeError) as error:
            return RuntimeReport(name, None, (), "", "", install, f"{version} is installed but broken: {_one_line(error)}")
    return RuntimeReport(name, version, device_names, builds, runs, install, note)


def _onnxruntime() -> RuntimeReport:
    """Two distributions provide the same module; it breaks if both are installed, or after one of them was removed."""
    conflict = _version("onnxruntime") and _version("onnxruntime-gpu")
    note = (
        "onnxruntime and onnxruntime-gpu are both installed and break each other: remove both, then install one"
        if conflict
        else ""
    )
    name = "onnxruntime-gpu" if _version("onnxruntime-gpu") else "onnxruntime"
    return _report(
        name, ("onnxruntime", "onnxruntime-gpu"), _onnxruntime_providers, "int8 calibration", ".onnx", "cpu", note=note
    )  # fmt: skip


def _onnxruntime_providers() -> tuple[str, ...]:
    return tuple(importlib.import_module("onnxruntime").get_available_providers())


def _openvino_devices() -> tuple[str, ...]:
    return tuple(importlib.import_module("openvino").Core().available_devices)


def _cuda_devices(extra: str) -> tuple[tuple[str, ...], str]:
    """The CUDA devices, numbered as for --device, or why there are none. extra: the extra with cuda-python."""
    try:
        _, names = cuda_devices(purpose="running a plan", extra=extra)
    except SkinauditError as error:
        return (), str(error)
    return tuple(f"cuda:{index} {name}" for index, name in enumerate(names)), ""


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
