"""Opens an engine file with the runtime that fits it. A new runtime is one file here and one row in `RUNTIMES`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from skinaudit.artifacts.engine_contract import EngineContract
from skinaudit.engines import onnxruntime_ as ort
from skinaudit.engines import openvino_ as ov
from skinaudit.engines import pytorch_ as pyt
from skinaudit.engines import tensorrt_ as trt
from skinaudit.engines.engine import Engine, Provider
from skinaudit.engines.session import Session, SessionEngine
from skinaudit.errors import EngineError


class Opener(Protocol):
    """What a runtime's file offers."""

    def __call__(self, path: Path, *, provider: Provider, threads: int | None) -> Session:
        """Open the file at `path` or raise EngineError."""


@dataclass(frozen=True)
class Runtime:
    """How to open files with a runtime. provider: the usual one, where the user names none."""

    suffixes: tuple[str, ...]
    provider: Provider
    open: Opener


RUNTIMES: Mapping[str, Runtime] = {
    "onnxruntime": Runtime((".onnx",), "cpu", ort.open_session),
    "openvino": Runtime((".xml", ".tflite", ".onnx"), "cpu", ov.open_session),
    "pytorch": Runtime((".pt2",), "cpu", pyt.open_session),
    "tensorrt": Runtime((".plan", ".engine"), "cuda", trt.open_tensorrt),
    "tensorrt-rtx": Runtime((".plan", ".engine"), "cuda", trt.open_tensorrt_rtx),
}
"""Runtimes by name; of those that open a suffix the first one does so by default."""

LIBRARIES = ("onnxruntime", "onnxruntime-gpu", "tensorrt", "tensorrt_rtx_cu13", "cuda-python", "openvino", "nncf", "torch")
"""Distributions of the runtimes, for the record of versions."""


def open_engine(
    path: Path,
    *,
    runtime: str | None = None,
    contract: EngineContract | None = None,
    order: Sequence[str] | None = None,
    provider: Provider | None = None,
    threads: int | None = None,
) -> Engine:
    """Open the engine at `path`.

    runtime: by default the first that opens the file's suffix. contract: None for an engine of skinaudit's own. order: class
    names in the order in which the engine shall answer, by default the contract's. provider: by default the runtime's usual
    one. Raises EngineError for an unknown suffix, where file, contract and order do not agree, and as the runtime does.
    """
    chosen = RUNTIMES[_named(runtime, path) if runtime else runtime_of(path)]
    session = chosen.open(path, provider=provider or chosen.provider, threads=threads)
    return SessionEngine(session, where=str(path), contract=contract, order=order)


def open_emulated(graph: Path, *, precision: str | None = None, threads: int | None = None) -> Engine:
    """Open the ONNX graph that an engine was built from, on the CPU: half precision is rounded to between layers, as the
    engine itself would.

    precision: that of the engine, where its builder made it of an fp32 graph. Raises as `open_engine`, and InvalidInputError
    where a weight lies beyond it.
    """
    return SessionEngine(ort.open_emulated(graph, precision=precision, threads=threads), where=str(graph))


def _named(runtime: str, path: Path) -> str:
    if runtime not in RUNTIMES:
        raise EngineError(f"{path}: no runtime {runtime} here; choose among {', '.join(RUNTIMES)}")
    if path.suffix.lower() not in RUNTIMES[runtime].suffixes:
        raise EngineError(f"{path}: {runtime} opens no {path.suffix}; supported: {', '.join(RUNTIMES[runtime].suffixes)}")
    return runtime


def runtime_of(path: Path) -> str:
    """The name of the runtime that opens files of this suffix by default; a plan opens with the library that made it.

    Raises EngineError where none does.
    """
    if path.suffix.lower() in RUNTIMES["tensorrt"].suffixes and path.is_file():
        return "tensorrt-rtx" if trt.is_rtx(path) else "tensorrt"
    for name, runtime in RUNTIMES.items():
        if path.suffix.lower() in runtime.suffixes:
            return name
    suffixes = dict.fromkeys(suffix for runtime in RUNTIMES.values() for suffix in runtime.suffixes)
    raise EngineError(
        f"{path}: no runtime here opens {path.suffix or 'a file without suffix'}; supported: {', '.join(suffixes)}"
    )
