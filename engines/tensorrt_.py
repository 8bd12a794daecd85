"""Runs plans of TensorRT and TensorRT-RTX on a CUDA device: cuda-python for memory and streams, no torch."""

from __future__ import annotations

import contextlib
import importlib
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinaudit.engines.engine import Provider
from skinaudit.engines.runtime import Runtime
from skinaudit.engines.session import Port, SessionDescription
from skinaudit.errors import EngineError, NoDeviceError, missing

LIBRARIES = ("tensorrt", "cuda-python")
SUFFIXES = (".plan", ".engine")
_EXTRAS = {"tensorrt": "gpu", "tensorrt_rtx": "rtx"}
_RTX_MAGIC = b"vtrt"
_TRIAL_SECONDS = 300
_OPENABLE = """
import sys, importlib
trt = importlib.import_module(sys.argv[1])
engine = trt.Runtime(trt.Logger(trt.Logger.ERROR)).deserialize_cuda_engine(open(sys.argv[2], "rb").read())
sys.exit(0 if engine is not None else 3)
"""


_DATATYPES = {"int8": "int8", "bf16": "bf16", "fp16": "fp16", "half": "fp16", "fp32": "fp32", "float": "fp32"}
"""Words of the inspector and the precisions that they mean."""


class TrtSession:
    """A deserialised plan with a context, a stream, and pinned host and device buffers that grow with the batch."""

    labels: tuple[str, ...] | None = None
    _stream: Any = None  # until there is one, there is nothing to free

    def __init__(self, path: Path, trt: Any, cuda: Any, description: SessionDescription, engine: Any) -> None:
        self.description = description
        self._where, self._trt, self._cuda, self._engine = str(path), trt, cuda, engine
        self._buffers: dict[str, tuple[int, int, int]] = {}  # name -> bytes, host pointer, device pointer
        self._context = engine.create_execution_context()
        if self._context is None:
            raise EngineError(f"{path}: no execution context could be made; the device may lack memory")
        self._stream = self._call(cuda.cudaStreamCreate())
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        inputs = {name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT}
        self.inputs = tuple(self._port(name) for name in names if name in inputs)
        self.outputs = tuple(self._port(name) for name in names if name not in inputs)

    def run(self, tensor: NDArray[Any], *, input: str, output: str) -> NDArray[Any]:
        """See Session."""
        cuda, context = self._cuda, self._context
        tensor = np.ascontiguousarray(tensor)
        if not context.set_input_shape(input, tensor.shape):
            largest = tuple(self._engine.get_tensor_profile_shape(input, 0)[2])
            raise EngineError(f"{self._where}: takes no {tensor.shape}, at most {largest}; use a smaller --batch")
        for port in self.outputs:
            self._bind(port.name, tuple(context.get_tensor_shape(port.name)), np.dtype(port.dtype))
        host, device = self._bind(input, tensor.shape, tensor.dtype)
        host[...] = tensor
        to_device, to_host = cuda.cudaMemcpyKind.cudaMemcpyHostToDevice, cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call(cuda.cudaMemcpyAsync(device, host.ctypes.data, host.nbytes, to_device, self._stream))
        if not context.execute_async_v3(int(self._stream)):
            raise EngineError(f"{self._where}: TensorRT failed to run a batch of shape {tensor.shape}")
        port = next(port for port in self.outputs if port.name == output)
        answer, device = self._bind(output, tuple(context.get_tensor_shape(output)), np.dtype(port.dtype))
        self._call(cuda.cudaMemcpyAsync(answer.ctypes.data, device, answer.nbytes, to_host, self._stream))
        self._call(cuda.cudaStreamSynchronize(self._stream))
        return answer.copy()

    def close(self) -> None:
        """Free the buffers and the stream; nothing may be run afterwards. A second call does nothing."""
        stream, self._stream = self._stream, None
        if stream is None:
            return
        self._cuda.cudaStreamSynchronize(stream)
        self._context = None  # it knows the addresses
        for name in list(self._buffers):
            self._free(name)
        self._cuda.cudaStreamDestroy(stream)

    def __del__(self) -> None:
        # At the interpreter's exit the bindings may be gone already, and the driver frees what is left.
        with contextlib.suppress(Exception):
            self.close()

    def _bind(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[NDArray[Any], int]:
        """Pinned memory of this shape as an array, and the tensor's device memory, whose address the context gets."""
        import ctypes

        size = max(1, int(np.prod(shape)) * dtype.itemsize)
        buffer = self._buffers.get(name, (0, 0, 0))
        if buffer[0] < size:
            self._free(name)
            host = int(self._call(self._cuda.cudaMallocHost(size)))
            self._buffers[name] = (0, host, 0)  # so that it is freed should the device lack memory
            buffer = self._buffers[name] = (size, host, int(self._call(self._cuda.cudaMalloc(size))))
        self._context.set_tensor_address(name, buffer[2])
        raw = (ctypes.c_char * size).from_address(buffer[1])
        return np.frombuffer(memoryview(raw), dtype=dtype, count=size // dtype.itemsize).reshape(shape), buffer[2]

    def _free(self, name: str) -> None:
        _, host, device = self._buffers.pop(name, (0, 0, 0))
        if host:
            self._cuda.cudaFreeHost(host)
        if device:
            self._cuda.cudaFree(device)

    def _port(self, name: str) -> Port:
        shape = tuple(None if side < 0 else int(side) for side in self._engine.get_tensor_shape(name))
        return Port(name, shape, np.dtype(self._trt.nptype(self._engine.get_tensor_dtype(name))).name)

    def _call(self, answer: tuple[Any, ...]) -> Any:
        return _checked(answer, where=self._where)


def open_plan(path: Path, *, provider: Provider, threads: int | None, library: str) -> TrtSession:
    """Open a plan with `library`, `tensorrt` or `tensorrt_rtx`; `threads` has no meaning here.

    The CUDA device is checked before the library is used, and a child process opens the plan first: without a device, or
    with a damaged plan, the library may end the process instead of raising an error. Raises NoDeviceError without a device,
    EngineError for a plan that does not open or another provider than cuda, MissingDependencyError without a library.
    """
    _check_file(path, library)
    if provider != "cuda":
        raise EngineError(f"{path}: a plan runs on a GPU only; leave --provider {provider} out, or replay with --emulate")
    cuda, device = _device(path)
    try:
        trt = importlib.import_module(library)
    except (ImportError, OSError) as error:
        raise missing(library, _EXTRAS[library], f"{path}: running a plan") from error
    trial = [sys.executable, "-c", _OPENABLE, library, str(path)]
    try:
        child = subprocess.run(trial, capture_output=True, text=True, check=False, timeout=_TRIAL_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise EngineError(f"{path}: {library} did not open it within {_TRIAL_SECONDS} s; export it again") from error
    if child.returncode != 0:
        lines = [line.strip() for line in (child.stderr + child.stdout).split("\n") if line.strip()]
        reason = lines[-1][:300] if lines else f"its process ended with {child.returncode}"
        raise EngineError(f"{path}: {library} {trt.__version__} cannot open it: {reason}; export it again on this machine")
    engine = trt.Runtime(trt.Logger(trt.Logger.ERROR)).deserialize_cuda_engine(path.read_bytes())
    if engine is None:
        raise EngineError(f"{path}: {library} {trt.__version__} cannot open it; export it again on this machine")
    description = SessionDescription(
        runtime="tensorrt" if library == "tensorrt" else "tensorrt-rtx",
        version=trt.__version__,
        provider="cuda",
        device=device,
        threads=1,
        found={},  # fused layers cannot be counted against those of the graph: the manifest holds the count of the build
        executed=_inspected(trt, engine) or None,
    )
    return TrtSession(path, trt, cuda, description, engine)


RUNTIME = Runtime(SUFFIXES, "cuda", partial(open_plan, library="tensorrt"))


def is_rtx(path: Path) -> bool:
    """Whether a plan's first bytes are those of TensorRT-RTX (undocumented; seen in 1.7)."""
    try:
        with path.open("rb") as stream:
            return stream.read(len(_RTX_MAGIC)) == _RTX_MAGIC
    except OSError as error:
        raise EngineError(f"{path}: cannot be read ({error.strerror})") from error


def _check_file(path: Path, library: str) -> None:
    if not path.is_file():
        raise EngineError(f"{path}: no such engine; `skinaudit export` prints the paths that it writes")
    if (library == "tensorrt_rtx") != is_rtx(path):
        maker = "TensorRT-RTX" if library == "tensorrt" else "something else"
        raise EngineError(f"{path}: not a plan of {library} but of {maker}, or truncated; name its own --runtime")
    if library == "tensorrt_rtx":
        size = int.from_bytes(path.read_bytes()[0x10:0x18], "little")
        if size != path.stat().st_size:
            raise EngineError(f"{path}: truncated: {path.stat().st_size:,} bytes of {size:,}; export it again")


def _device(path: Path) -> tuple[Any, str]:
    """cuda-python's runtime bindings and the name of the first device; raises NoDeviceError where there is none."""
    absent = f"{path}: a plan needs a CUDA device, none is here; audit it where it runs, or replay its graph with --emulate"
    try:
        from cuda.bindings import runtime as cuda

        status, count = cuda.cudaGetDeviceCount()
    except (ImportError, OSError, RuntimeError) as error:
        raise NoDeviceError(absent) from error
    if int(status) != 0 or count < 1:
        raise NoDeviceError(absent)
    properties = _checked(cuda.cudaGetDeviceProperties(0), where=str(path))
    name = properties.name
    return cuda, name.decode().rstrip("\0") if isinstance(name, bytes) else str(name)


def _inspected(trt: Any, engine: Any) -> dict[str, int]:
    """Counts of weighted layers, fused as they run, by the precision that the engine's inspector reports; else empty."""
    text = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    counts: Counter[str] = Counter()
    for layer in json.loads(text).get("Layers", []):
        kind = f"{layer.get('LayerType')}{layer.get('ParameterType')}".lower() if isinstance(layer, Mapping) else ""
        if any(word in kind for word in ("convolution", "gemm", "matrix")):
            kinds = " ".join(str(tensor.get("Format/Datatype", "")) for tensor in layer.get("Inputs", []))
            precisions = [name for word, name in _DATATYPES.items() if word in kinds.lower()]
            counts[precisions[0] if precisions else "unknown"] += 1
    return dict(counts)


def _checked(answer: tuple[Any, ...], *, where: str) -> Any:
    """The result of a cuda-python call, whose first element is its status."""
    status, *results = answer
    if int(status) != 0:
        raise EngineError(f"{where}: CUDA failed: {status!s}")
    return results[0] if results else None
