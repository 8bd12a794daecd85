"""Opens an engine file with the runtime that fits it; the runtimes are the files of this folder whose names end in `_`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from skinaudit import engines
from skinaudit.artifacts.contract import InputContract
from skinaudit.artifacts.engine_contract import EngineContract
from skinaudit.engines import onnxruntime_ as ort
from skinaudit.engines.engine import Engine, Provider
from skinaudit.engines.plans.options import PlanOptions
from skinaudit.engines.runtime import Runtime
from skinaudit.engines.session import SessionEngine
from skinaudit.errors import EngineError

_FILES = {
    name.rstrip("_").replace("_", "-"): importlib.import_module(f"skinaudit.engines.{name}")
    for name in sorted(module.name for module in pkgutil.iter_modules(engines.__path__))
    if name.endswith("_")
}
RUNTIMES: Mapping[str, Runtime] = {name: file.RUNTIME for name, file in _FILES.items()}
"""Runtimes by name; which of them opens a suffix by default says Runtime.by_default."""

LIBRARIES = tuple(dict.fromkeys(library for file in _FILES.values() for library in getattr(file, "LIBRARIES", ())))
"""Distributions of the runtimes, for the record of versions."""


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
    """Open the engine at `path`.

    runtime: by default the one for the file's suffix. contract: None for an engine of skinaudit's own. order: class
    names in the order in which the engine shall answer, by default the contract's. own: the contract of the run of such an
    engine, which one of a single column needs. provider: by default the runtime's usual
    one. plan: how to run it, if it is a plan. allow_code: open files, too, that hold code which runs on opening. Raises
    EngineError for an unknown suffix, for options of plans that the runtime has no use for, where file, contract and order
    do not agree, and as the runtime does.
    """
    name = _named(runtime, path) if runtime else runtime_of(path)
    chosen = RUNTIMES[name]
    settings: dict[str, Any] = {"allow_code": allow_code} if chosen.runs_code else {}
    plan = plan or PlanOptions()
    for field, flag in plan.beyond(chosen.plan_options).items():
        raise EngineError(f"{path}: {name} takes no {flag}, which is for {takers_of(field)}; leave it out")
    if chosen.plan_options:
        settings["options"] = plan
    session = chosen.open(path, provider=provider or chosen.provider, threads=threads, **settings)
    return SessionEngine(session, where=str(path), contract=contract, order=order, own=own)


def takers_of(plan_option: str) -> str:
    """The runtimes that take this field of PlanOptions, as a sentence lists them."""
    return " and ".join(name for name, runtime in RUNTIMES.items() if plan_option in runtime.plan_options)


def open_emulated(
    graph: Path, *, precision: str | None = None, threads: int | None = None, own: InputContract | None = None
) -> Engine:
    """Open the ONNX graph that an engine was built from, on the CPU: half precision is rounded to between layers, as the
    engine itself would.

    precision: that of the engine, where its builder made it of an fp32 graph. own: as for `open_engine`. Raises as
    `open_engine`, and InvalidInputError where a weight lies beyond it.
    """
    return SessionEngine(ort.open_emulated(graph, precision=precision, threads=threads), where=str(graph), own=own)


def _named(runtime: str, path: Path) -> str:
    if runtime not in RUNTIMES:
        raise EngineError(f"{path}: no runtime {runtime} here; choose among {', '.join(RUNTIMES)}")
    if path.suffix.lower() not in RUNTIMES[runtime].suffixes:
        raise EngineError(f"{path}: {runtime} opens no {path.suffix}; supported: {', '.join(RUNTIMES[runtime].suffixes)}")
    return runtime


def runtime_of(path: Path) -> str:
    """The name of the runtime that opens files of this suffix by default; of several, the one that recognises the content.

    Raises EngineError where none does.
    """
    fitting = {name: runtime for name, runtime in RUNTIMES.items() if path.suffix.lower() in runtime.by_default}
    for name, runtime in fitting.items():
        if runtime.recognises is not None and path.is_file() and runtime.recognises(path):
            return name
    for name, runtime in fitting.items():
        if runtime.recognises is None:
            return name
    suffixes = dict.fromkeys(suffix for runtime in RUNTIMES.values() for suffix in runtime.suffixes)
    raise EngineError(
        f"{path}: no runtime here opens {path.suffix or 'a file without suffix'}; supported: {', '.join(suffixes)}"
    )
