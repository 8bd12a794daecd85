"""Opens an engine file with the matching runtime. The runtimes are the files of this folder whose names end in `_`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from skinaudit import engines
from skinaudit.artifacts.contract import InputContract
from skinaudit.artifacts.engine_contract import EngineContract
from skinaudit.artifacts.files import digest_file
from skinaudit.artifacts.outside import check_regular
from skinaudit.artifacts.own_code import CODE, is_vouched_for
from skinaudit.artifacts.typed_json import build
from skinaudit.engines import onnxruntime_ as ort
from skinaudit.engines.engine import Engine, Provider
from skinaudit.engines.isolation.confine import UNCONFINED_GPU, gpu_nodes, missing_confinement
from skinaudit.engines.isolation.launching import isolated
from skinaudit.engines.isolation.remote import open_remote
from skinaudit.engines.plans.options import PlanOptions
from skinaudit.engines.runtime import Runtime
from skinaudit.engines.session import Session, SessionEngine
from skinaudit.engines.single_image import with_batch_axis
from skinaudit.errors import EngineError, choose_one

_FILES = {
    name.rstrip("_").replace("_", "-"): importlib.import_module(f"skinaudit.engines.{name}")
    for name in sorted(module.name for module in pkgutil.iter_modules(engines.__path__))
    if name.endswith("_")
}
RUNTIMES: Mapping[str, Runtime] = {name: file.RUNTIME for name, file in _FILES.items()}
"""Runtimes by name. Runtime.by_default says which one opens a suffix by default."""

LIBRARIES = tuple(dict.fromkeys(library for file in _FILES.values() for library in getattr(file, "LIBRARIES", ())))
"""Distributions of the runtimes, for the record of versions."""


_KERAS = "in Python, with keras 3.8 or later, keras.models.load_model({file!r}).export('model.onnx', format='onnx')"
_TORCH = "in Python, load the model, then torch.onnx.export(model.eval(), (images,), 'model.onnx', dynamo=True)"
CONVERSIONS: Mapping[str, str] = {
    ".keras": _KERAS.format(file="model.keras"),
    ".h5": f"{_KERAS.format(file='model.h5')}, or, of an older Keras, python -m tf2onnx.convert --keras model.h5 --output "
    "model.onnx",
    ".hdf5": f"{_KERAS.format(file='model.hdf5')}, or, of an older Keras, python -m tf2onnx.convert --keras model.hdf5 "
    "--output model.onnx",
    ".pb": "python -m tf2onnx.convert --saved-model FOLDER --output model.onnx, FOLDER being that of saved_model.pb",
    ".pth": _TORCH,
    ".pt": _TORCH,
    ".ckpt": _TORCH,
    ".safetensors": _TORCH,
}
"""Suffix of a file that no runtime opens -> how to convert it to ONNX."""


def refuse_convertible(path: Path) -> None:
    """Raise EngineError for a file of a training library; the error says how to convert it to ONNX."""
    how = CONVERSIONS.get(path.suffix.lower())
    if how is not None:
        raise EngineError(
            f"{path}: a file of weights or of a training library, not an engine; convert it to ONNX: {how}; then "
            "`skinaudit contract "
            "model.onnx -o model.toml` drafts its contract"
        )


def open_engine(
    path: Path,
    *,
    runtime: str | None = None,
    contract: EngineContract | None = None,
    order: Sequence[str] | None = None,
    own: InputContract | None = None,
    provider: Provider | None = None,
    threads: int | None = None,
    plan: PlanOptions | None = None,
    allow_code: bool = False,
) -> Engine:
    """Open the engine at `path` in a separate process.

    runtime: by default the one for the file's suffix. contract: None for an engine exported by skinaudit. order: class names
    in the order in which the engine shall answer; by default the contract's. own: contract of the engine's run, needed for
    an engine exported by skinaudit that has a single column. provider: by default the runtime's usual one. plan: how to run
    a plan. allow_code: also open files with code that runs on opening. Raises EngineError for an unknown suffix, for plan
    options that the runtime does not use, if file, contract and order do not agree, and for failures of the runtime;
    EngineStoppedError if a limit or a crash ends the process.
    """
    session = open_session(path, runtime=runtime, provider=provider, threads=threads, plan=plan, allow_code=allow_code)
    return SessionEngine(session, where=str(path), contract=contract, order=order, own=own)


def open_session(
    path: Path,
    *,
    runtime: str | None = None,
    provider: Provider | None = None,
    threads: int | None = None,
    plan: PlanOptions | None = None,
    allow_code: bool = False,
) -> Session:
    """Open the file at `path` with a runtime, without a contract. Parameters and errors: see `open_engine`.

    Code is allowed in a file that this user's own export wrote on this machine.
    """
    name = _checked_runtime(runtime, path) if runtime else runtime_of(path)
    plan = plan or PlanOptions()
    for name_of, flag in plan.beyond(RUNTIMES[name].plan_options).items():
        raise EngineError(f"{path}: {name} does not support {flag}, which is for {takers_of(name_of)}; leave it out")
    if path.suffix.lower() == CODE and not allow_code and path.is_file():
        allow_code = is_vouched_for(digest_file(path))
    return with_batch_axis(open_isolated(Opening(path, name, provider, threads, plan, allow_code)))


@dataclass(frozen=True)
class Opening:
    """How to open a file. runtime: None for the emulation of a graph in `precision`. Other fields: see open_engine."""

    path: Path
    runtime: str | None
    provider: Provider | None = None
    threads: int | None = None
    plan: PlanOptions = field(default_factory=PlanOptions)
    allow_code: bool = False
    precision: str | None = None


def open_isolated(opening: Opening) -> Session:
    """Open a file in a separate process. It is confined unless its code was allowed; less strictly on a GPU."""
    if opening.path.exists():
        check_regular(opening.path, kind="engine")
    if not isolated():
        return open_here(opening)
    runtime = None if opening.runtime is None else RUNTIMES[opening.runtime]
    on_gpu = "cuda" in (opening.provider, None if runtime is None else runtime.provider)
    if runtime is not None and runtime.confined and not opening.allow_code:
        _check_confinement(opening, on_gpu=on_gpu)
    trusted = runtime is not None and runtime.runs_code and opening.allow_code  # compiled code may make any system call
    cache = opening.plan.runtime_cache
    try:
        return open_remote(
            asdict(opening), path=opening.path, confinement="none" if trusted else "gpu" if on_gpu else "whole",
            writes=[] if cache is None else [cache.absolute().parent],
        )  # fmt: skip
    except EngineError as error:
        if on_gpu and not trusted and gpu_nodes():
            message = (
                f"{error}; if the driver needs more than a confined process may do, {UNCONFINED_GPU}=1 opens it unconfined"
            )
            raise type(error)(message) from error
        raise


def _check_confinement(opening: Opening, *, on_gpu: bool) -> None:
    lacking = "a process that uses a GPU is confined less" if on_gpu else missing_confinement()
    if lacking:
        raise EngineError(
            f"{opening.path}: such a file may run code when it is opened, and this machine cannot confine it ({lacking}); "
            "pass --allow-code if you trust its origin"
        )


def open_here(opening: Opening) -> Session:
    """Open a file in this process; raises the errors of its runtime."""
    if opening.runtime is None:
        return ort.open_emulated(opening.path, precision=opening.precision, threads=opening.threads)
    chosen = RUNTIMES[opening.runtime]
    settings: dict[str, Any] = {"allow_code": opening.allow_code} if chosen.runs_code else {}
    if chosen.plan_options:
        settings["options"] = opening.plan
    return chosen.open(opening.path, provider=opening.provider or chosen.provider, threads=opening.threads, **settings)


def serve(opening: dict[str, Any]) -> Session:
    """Like open_here, from the plain values of an Opening."""
    return open_here(build(Opening, opening, where="the audit", again="start it again"))


def takers_of(plan_option: str) -> str:
    """The runtimes that use this field of PlanOptions, listed for a sentence."""
    return " and ".join(name for name, runtime in RUNTIMES.items() if plan_option in runtime.plan_options)


def open_emulated(
    graph: Path, *, precision: str | None = None, threads: int | None = None, own: InputContract | None = None
) -> Engine:
    """Open the ONNX graph behind an engine on the CPU, with half precision rounding between layers as in the engine.

    precision: of the engine, if its builder converted an fp32 graph. own: see `open_engine`. Raises the errors of
    `open_engine`, and InvalidInputError if a weight is beyond the range of the precision.
    """
    opening = Opening(graph, None, threads=threads, precision=precision)
    return SessionEngine(open_isolated(opening), where=str(graph), own=own)


def _checked_runtime(runtime: str, path: Path) -> str:
    if runtime not in RUNTIMES:
        raise EngineError(f"{path}: {choose_one('runtime', str(runtime), tuple(RUNTIMES))}")
    if path.suffix.lower() not in RUNTIMES[runtime].suffixes:
        raise EngineError(f"{path}: {runtime} opens no {path.suffix}; supported: {', '.join(RUNTIMES[runtime].suffixes)}")
    return runtime


def runtime_of(path: Path) -> str:
    """Name of the runtime that opens files of this suffix by default.

    If there are several, the one that recognises the content. Raises EngineError if there is none.
    """
    fitting = {name: runtime for name, runtime in RUNTIMES.items() if path.suffix.lower() in runtime.by_default}
    for name, runtime in fitting.items():
        if runtime.recognises is not None and path.is_file() and runtime.recognises(path):
            return name
    for name, runtime in fitting.items():
        if runtime.recognises is None:
            return name
    suffixes = dict.fromkeys(suffix for runtime in RUNTIMES.values() for suffix in runtime.suffixes)
    refuse_convertible(path)
    raise EngineError(
        f"{path}: no runtime here opens {path.suffix or 'a file without suffix'}; supported: {', '.join(suffixes)}"
    )
