"""Runs ONNX files with ONNX Runtime: verified provider, pinned threads, deterministic."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from skinaudit.engines import onnx_graph
from skinaudit.engines.engine import EngineDescription
from skinaudit.errors import EngineError, missing

Provider = Literal["cpu", "cuda"]

INPUT, OUTPUT = "image", "logits"
OPTIMISATION = "all"
"""Level of ONNX Runtime's graph optimisations, the same at export, in parity and in audits."""

_PROVIDERS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "cpu": ("CPUExecutionProvider", {}),
    # TF32 would round fp32 convolutions to 10 bits of mantissa, and an exhaustive search may pick another kernel each time.
    "cuda": ("CUDAExecutionProvider", {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}),
}
_INSTALL = {"cpu": "cpu", "cuda": "gpu"}
_ERRORS_ONLY = 3  # onnxruntime's log severity
_SCALE = np.float32(255)


class OrtEngine:
    """An open ONNX Runtime session. Not for use by several threads at once: the input buffer is shared between calls."""

    def __init__(self, session: Any, description: EngineDescription, *, where: str) -> None:
        self._where = where
        self._session = session
        self._description = description
        self._buffer = np.empty((0, 3, description.size, description.size), np.float32)
        self._failures = _failures()

    @property
    def description(self) -> EngineDescription:
        """What it is."""
        return self._description

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Answer for uint8 RGB (B, 3, size, size), B > 0: float32 (B, classes), finite.

        A pixel p enters as float32 p / 255, the same value that torch computes. Raises EngineError on images of another
        shape or dtype, on NaN or infinite logits, and where the runtime fails.
        """
        size = self._description.size
        if images.dtype != np.uint8 or images.ndim != 4 or not len(images) or images.shape[1:] != (3, size, size):
            raise EngineError(
                f"{self._where}: takes uint8 images (B, 3, {size}, {size}), was given {images.dtype} {images.shape}"
            )
        if len(images) > len(self._buffer):
            self._buffer = np.empty(images.shape, np.float32)
        pixels = self._buffer[: len(images)]
        np.copyto(pixels, images)  # twice as fast as a dividing ufunc that converts as it goes
        np.divide(pixels, _SCALE, out=pixels)
        try:
            (logits,) = self._session.run([OUTPUT], {INPUT: pixels})
        except self._failures as error:
            raise EngineError(f"{self._where}: ONNX Runtime failed: {_one_line(error)}") from error
        return check_logits(logits, rows=len(images), classes=self._description.classes, where=self._where)


def open_onnx(path: Path, *, provider: Provider = "cpu", threads: int | None = None) -> OrtEngine:
    """Open an ONNX file with ONNX Runtime.

    threads: for the kernels, default all CPUs; operators run one after the other. Raises EngineError where the file is
    damaged, the graph is not `image` float32 (batch, 3, size, size) -> `logits` float32 (batch, classes), or the provider
    asked for is not the one that the session uses; MissingDependencyError without onnxruntime.
    """
    return _open(str(path), onnx_graph.load(path), where=str(path), provider=provider, threads=threads)


def open_onnx_bytes(content: bytes, *, where: str, provider: Provider = "cpu", threads: int | None = None) -> OrtEngine:
    """As `open_onnx`, from the bytes of a file that is not written yet; errors name `where`."""
    return _open(content, onnx_graph.parse(content, where=where), where=where, provider=provider, threads=threads)


def session_options(*, threads: int) -> Any:
    """ONNX Runtime's SessionOptions of every session here: deterministic, `threads` pinned, errors only in the log."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.use_deterministic_compute = True
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = _ERRORS_ONLY
    return options


def check_logits(logits: Any, *, rows: int, classes: int, where: str) -> NDArray[np.float32]:
    """Return `logits` if they are float32 (rows, classes) and finite; raises EngineError otherwise."""
    if not isinstance(logits, np.ndarray) or logits.dtype != np.float32 or logits.shape != (rows, classes):
        shape = getattr(logits, "shape", None)
        raise EngineError(f"{where}: answered with shape {shape} instead of ({rows}, {classes}) float32; export it again")
    finite = np.isfinite(logits).all(axis=1)
    if not finite.all():
        raise EngineError(
            f"{where}: NaN or infinite logits for {rows - int(finite.sum())} of {rows} images: the weights are damaged or"
            " overflow in this precision; export it as fp32"
        )
    return logits


def _open(source: str | bytes, graph: ModelProto, *, where: str, provider: Provider, threads: int | None) -> OrtEngine:
    threads = threads or os.cpu_count() or 1
    ort = _import(provider)
    session, executed = _session(source, session_options(threads=threads), where=where, provider=provider)
    size, classes = _check_interface(session, where)
    device = f"{platform.machine()} CPU" if provider == "cpu" else "CUDA device 0"
    description = EngineDescription(
        runtime="onnxruntime",
        version=ort.__version__,
        provider=session.get_providers()[0],
        device=device,
        threads=threads,
        found=onnx_graph.found_precisions(graph),
        size=size,
        classes=classes,
        executed=executed,
    )
    return OrtEngine(session, description, where=where)


def _session(source: str | bytes, options: Any, *, where: str, provider: Provider) -> tuple[Any, Mapping[str, int] | None]:
    """Open a session; on the CPU also count the layers by the precision that the runtime's own rewriting leaves."""
    ort = _import(provider)
    name, settings = _PROVIDERS[provider]
    if name not in ort.get_available_providers():
        raise _unavailable(where, provider, ort.get_available_providers())
    executed = None
    try:
        if provider == "cpu":
            with tempfile.TemporaryDirectory() as folder:
                rewritten = Path(folder) / "rewritten.onnx"
                options.optimized_model_filepath = str(rewritten)
                session = ort.InferenceSession(source, options, providers=[(name, dict(settings))])
                executed = onnx_graph.found_precisions(onnx_graph.load(rewritten))
        else:
            session = ort.InferenceSession(source, options, providers=[(name, dict(settings))])
    except _failures() as error:
        raise EngineError(f"{where}: ONNX Runtime cannot open it: {_one_line(error)}; export it again") from error
    if session.get_providers()[0] != name:
        raise _unavailable(where, provider, session.get_providers())
    return session, executed


def _import(provider: Provider) -> Any:
    if provider not in _PROVIDERS:
        raise EngineError(f"provider {provider!r}: choose {' or '.join(_PROVIDERS)}")
    try:
        import onnxruntime
    except ImportError as error:
        raise missing("onnxruntime", _INSTALL[provider], "running an .onnx engine") from error
    return onnxruntime


def _failures() -> tuple[type[Exception], ...]:
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return (
        state.EPFail,
        state.Fail,
        state.InvalidArgument,
        state.InvalidGraph,
        state.InvalidProtobuf,
        state.NoSuchFile,
        state.NotImplemented,
        state.RuntimeException,
    )


def _check_interface(session: Any, where: str) -> tuple[int, int]:
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if [value.name for value in inputs] != [INPUT] or [value.name for value in outputs] != [OUTPUT]:
        names = f"{_names(inputs)} -> {_names(outputs)}"
        raise EngineError(f"{where}: takes {names}, expected {INPUT} -> {OUTPUT}; rename them in the graph")
    image, logits = inputs[0], outputs[0]
    if (image.type, logits.type) != ("tensor(float)", "tensor(float)"):
        raise EngineError(f"{where}: {INPUT} is {image.type} and {OUTPUT} {logits.type}, expected tensor(float) for both")
    shape = list(image.shape)
    if len(shape) != 4 or shape[1] != 3 or not isinstance(shape[2], int) or shape[2] != shape[3]:
        raise EngineError(f"{where}: {INPUT} has shape {_shape(shape)}, expected (batch, 3, size, size)")
    if len(logits.shape) != 2 or not isinstance(logits.shape[1], int):
        raise EngineError(f"{where}: {OUTPUT} has shape {_shape(logits.shape)}, expected (batch, classes)")
    if isinstance(shape[0], int) or isinstance(logits.shape[0], int):
        raise EngineError(f"{where}: the batch is fixed at {shape[0]}; export it with a dynamic batch")
    return shape[2], logits.shape[1]


def _unavailable(where: str, provider: Provider, using: Sequence[str]) -> EngineError:
    return EngineError(
        f"{where}: provider {provider} was asked for and onnxruntime offers {', '.join(using)}:"
        f" pip install 'skinaudit[{_INSTALL[provider]}]' with its driver, or pass --provider cpu"
    )


def _names(values: Sequence[Any]) -> str:
    return "(" + ", ".join(value.name for value in values) + ")"


def _shape(shape: Sequence[object]) -> str:
    return "(" + ", ".join(str(side) for side in shape) + ")"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
