"""Runs ONNX files with ONNX Runtime: verified provider, fixed number of threads, deterministic."""

from __future__ import annotations

import contextlib
import functools
import io
import platform
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto

from skinaudit.artifacts.cores import cores
from skinaudit.engines import onnx_graph
from skinaudit.engines.emulation import emulated
from skinaudit.engines.engine import Provider
from skinaudit.engines.half import HALVES, has_half, to_half
from skinaudit.engines.networks.of_onnx import network_of_file
from skinaudit.engines.plans.cuda_device import cuda_devices
from skinaudit.engines.runtime import Runtime
from skinaudit.engines.session import Port, SessionDescription
from skinaudit.errors import EngineError, not_imported

LIBRARIES = ("onnxruntime", "onnxruntime-gpu")
OPTIMISATION = "all"
"""Level of ONNX Runtime's graph optimisation, the same for export, parity and audits."""

_PROVIDERS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "cpu": ("CPUExecutionProvider", {}),
    # TF32 would round fp32 convolutions to 10 bits of mantissa, and an exhaustive search may pick another kernel each time.
    "cuda": ("CUDAExecutionProvider", {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}),
}
_WRONG_FOR_FP8 = ("ReluQuantRewrite", "ClipQuantRewrite")
"""Optimisations (seen in ONNX Runtime 1.32) that drop a ReLU before a QuantizeLinear to fp8, or fail at a Clip."""
_INSTALL = {"cpu": "cpu", "cuda": "gpu"}
_CUDA_CAUSE = "CUDA failure"
_ERRORS_ONLY = 3  # onnxruntime's log severity
_DTYPES = {"float": "float32", "double": "float64"}  # other types have numpy's names


class OrtSession:
    """An open ONNX Runtime session."""

    def __init__(self, session: Any, description: SessionDescription, graph: ModelProto, *, where: str) -> None:
        codes = onnx_graph.output_codes(graph)
        self.description = description
        self._zipped = onnx_graph.zipped_outputs(graph)
        self.labels = onnx_graph.labels(graph) or _names(self._zipped)
        self.inputs = tuple(map(_port, session.get_inputs()))
        outputs = tuple(replace(port, codes=codes.get(port.name)) for port in map(_port, session.get_outputs()))
        self.outputs = tuple(_unzipped(port, self._zipped) for port in outputs)
        self._session = session
        self._where = where
        self._failures = _failures()

    def run(self, tensor: NDArray[Any], *, input: str, output: str) -> NDArray[Any]:
        """See Session."""
        try:
            (answer,) = self._session.run([output], {input: tensor})
        except self._failures as error:
            raise EngineError(f"{self._where}: ONNX Runtime failed: {_one_line(error)}") from error
        keys = self._zipped.get(output)
        return answer if keys is None else _as_columns(answer, keys)


def open_session(path: Path, *, provider: Provider = "cpu", threads: int | None = None) -> OrtSession:
    """Open an ONNX file with ONNX Runtime.

    threads: for the kernels; by default all CPUs. Operators run one after the other. Raises EngineError if the file is
    damaged or the session does not use the requested provider, MissingDependencyError without onnxruntime.
    """
    return _open(str(path), onnx_graph.load(path), where=str(path), provider=provider, threads=threads)


def open_bytes(content: bytes, *, where: str, threads: int | None = None, as_graph: bool = False) -> OrtSession:
    """Like `open_session`, for the bytes of a file that was not written; errors name `where`.

    as_graph: the bytes are the graph that a plan is built from. ONNX Runtime then computes exactly the types in the graph;
    see `open_emulated`.
    """
    graph = onnx_graph.parse(content, where=where)
    if as_graph and _has_fp8(graph):
        return _open_fp8(content, graph, where=where, threads=threads)
    return _open(content, graph, where=where, provider="cpu", threads=threads)


def open_emulated(path: Path, *, precision: str | None = None, threads: int | None = None) -> OrtSession:
    """Open an ONNX file on the CPU with emulated half precision between layers (see skinaudit.engines.emulation) and fp8.

    precision: of the engine. If it is fp16 or bf16 and all layers of the graph are fp32, the graph is converted first. Any
    other graph keeps its own types. Raises the errors of `open_session`, and InvalidInputError for weights beyond the range.
    """
    graph = onnx_graph.load_with_weights(path)
    if precision is not None and precision in HALVES and set(onnx_graph.found_precisions(graph)) == {"fp32"}:
        graph, _ = to_half(graph, HALVES[precision], where=str(path))
    if _has_fp8(graph):
        return _open_fp8(str(path), graph, where=str(path), threads=threads)
    if not has_half(graph):
        return open_session(path, threads=threads)
    return _open_wide(graph, where=str(path), threads=threads)


def _open_wide(graph: ModelProto, *, where: str, threads: int | None) -> OrtSession:
    """Open the emulation of `graph`. Its description says so, and lists the graph's own precisions as found."""
    wide = emulated(graph)
    session = _open(wide.SerializeToString(), wide, where=where, provider="cpu", threads=threads)
    session.description = replace(
        session.description,
        found=onnx_graph.found_precisions(graph),
        settings={**session.description.settings, "emulation": "rounded between layers, computed in fp32"},
    )
    return session


def _has_fp8(graph: ModelProto) -> bool:
    """Whether anything is rounded to fp8, including activations alone: then a zero point is a constant of that type."""
    return has_half(graph, onnx_graph.FP8)


def _open_fp8(source: str | bytes, graph: ModelProto, *, where: str, threads: int | None) -> OrtSession:
    """Round to fp8 by the graph's own nodes, without the optimisations that mistake such nodes for integers."""
    session = _open(source, graph, where=where, provider="cpu", threads=threads, without=_WRONG_FOR_FP8)
    settings = {**session.description.settings, "emulation": "rounded to fp8 before layers, computed in fp32"}
    session.description = replace(session.description, settings=settings)
    return session


def session_options(*, threads: int) -> Any:
    """ONNX Runtime's SessionOptions for every session here: deterministic, `threads` fixed, only errors in the log."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.use_deterministic_compute = True
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = _ERRORS_ONLY
    # Threads that spin while they wait take cores from other processes; on a busy machine this halves the speed.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _open(
    source: str | bytes,
    graph: ModelProto,
    *,
    where: str,
    provider: Provider,
    threads: int | None,
    without: Sequence[str] = (),
) -> OrtSession:
    if provider == "cpu" and has_half(graph, frozenset({TensorProto.BFLOAT16})):
        return _open_wide(graph, where=where, threads=threads)  # this runtime has no bfloat16 layers on a CPU
    threads = threads or cores()
    ort = _import(provider)
    session, executed = _session(source, session_options(threads=threads), where=where, provider=provider, without=without)
    description = SessionDescription(
        runtime="onnxruntime",
        version=ort.__version__,
        provider=session.get_providers()[0],
        device=f"{platform.machine()} CPU" if provider == "cpu" else _gpu_name(where),
        threads=threads,
        found=onnx_graph.found_precisions(graph),
        executed=executed,
        settings={"graph_optimisation": OPTIMISATION},
    )
    return OrtSession(session, description, graph, where=where)


def _session(
    source: str | bytes, options: Any, *, where: str, provider: Provider, without: Sequence[str]
) -> tuple[Any, Mapping[str, int] | None]:
    """Open a session; on the CPU also count the layers by precision after the runtime's own optimisation.

    without: names of optimisations to leave out.
    """
    ort = _import(provider)
    name, settings = _PROVIDERS[provider]
    if name not in ort.get_available_providers():
        raise _unavailable(where, provider, ort.get_available_providers())
    lacking = _load_cuda_libraries() if provider == "cuda" else ""
    executed: Mapping[str, int] | None = None
    chosen: dict[str, Any] = {"providers": [(name, dict(settings))], "enable_fallback": 0}
    if without:
        chosen["disabled_optimizers"] = set(without)
    try:
        if provider == "cpu":
            with tempfile.TemporaryDirectory() as folder:
                rewritten = Path(folder) / "rewritten.onnx"
                options.optimized_model_filepath = str(rewritten)
                session = ort.InferenceSession(source, options, **chosen)
                executed = _computed(onnx_graph.found_precisions(onnx_graph.load(rewritten)))
        else:
            session = ort.InferenceSession(source, options, **chosen)
    except _failures() as error:
        raise EngineError(f"{where}: ONNX Runtime cannot open it: {_one_line(error)}; export it again") from error
    if session.get_providers()[0] != name:
        raise _unavailable(where, provider, session.get_providers(), lacking=lacking)
    return session, executed


def _computed(counts: Mapping[str, int]) -> Mapping[str, int]:
    """Counts by the precision of the computation: on a CPU this runtime computes fp8 layers in fp32."""
    computed = Counter(counts)
    if "fp8" in computed:
        computed["fp32"] += computed.pop("fp8")
    return dict(sorted(computed.items()))


def _import(provider: Provider) -> Any:
    if provider not in _PROVIDERS:
        raise EngineError(f"provider {provider!r}: choose {' or '.join(_PROVIDERS)}")
    try:
        import onnxruntime
    except ImportError as error:
        raise not_imported(error, "onnxruntime", _INSTALL[provider], "running an .onnx engine") from error
    return onnxruntime


def _gpu_name(where: str) -> str:
    """Name of the device that the session uses, which is the first one."""
    _, names = cuda_devices(purpose=f"{where}: naming the GPU in the report")
    return names[0]


@functools.cache
def _load_cuda_libraries() -> str:
    """Load CUDA and cuDNN from their Python packages, where the provider does not search; returns failures in one line.

    Only opening a session shows whether this was enough. The library function prints, but standard output belongs to the
    report.
    """
    import onnxruntime

    preload = getattr(onnxruntime, "preload_dlls", None)
    if preload is None:
        return "this onnxruntime is too old to load CUDA from Python packages"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        preload()
    return " ".join(printed.getvalue().split())[:300]


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
        RuntimeError,  # raised by the CUDA provider if it cannot start
    )


def _port(value: Any) -> Port:
    element = value.type.removeprefix("tensor(").removesuffix(")")
    shape = tuple(side if isinstance(side, int) else None for side in value.shape)
    return Port(value.name, shape, _DTYPES.get(element, element))


def _unzipped(port: Port, zipped: Mapping[str, tuple[str | int, ...]]) -> Port:
    """A mapping for each image, as the columns from which it was made."""
    keys = zipped.get(port.name)
    return port if keys is None else Port(port.name, (None, len(keys)), "float32")


def _names(zipped: Mapping[str, tuple[str | int, ...]]) -> tuple[str, ...] | None:
    """Class names from the keys of the only mapping output; None if the keys are numbers."""
    keys = next(iter(zipped.values())) if len(zipped) == 1 else ()
    return tuple(map(str, keys)) if len(keys) > 1 and all(isinstance(key, str) for key in keys) else None


def _as_columns(answer: Sequence[Mapping[str | int, float]], keys: Sequence[str | int]) -> NDArray[np.float32]:
    return np.array([[row[key] for key in keys] for row in answer], np.float32).reshape(len(answer), len(keys))


def _unavailable(where: str, provider: Provider, using: Sequence[str], *, lacking: str = "") -> EngineError:
    return EngineError(
        f"{where}: provider {provider} was requested, but onnxruntime offers only "
        f"{', '.join(using)}{lacking and f' ({lacking})'}:"
        f" pip install 'skinaudit[{_INSTALL[provider]}]' with its driver, or pass --provider cpu"
    )


def _one_line(error: Exception) -> str:
    """The message in one line. For a CUDA error, only from its cause on, because template types come before it."""
    text = " ".join(str(error).split())
    return text[max(0, text.find(_CUDA_CAUSE)) :][:300]


RUNTIME = Runtime(
    (".onnx",), "cpu", open_session,
    conditions={".onnx": onnx_graph.conditions_of_file}, networks={".onnx": network_of_file},
)  # fmt: skip
