"""Opens plans of TensorRT and TensorRT-RTX."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from skinaudit.engines.engine import Provider
from skinaudit.engines.plans.cuda_device import checked, cuda_devices
from skinaudit.engines.plans.error_log import ErrorLog
from skinaudit.engines.plans.kernel_choice import KernelChoice
from skinaudit.engines.plans.layer_precisions import executed_precisions
from skinaudit.engines.plans.options import PlanOptions
from skinaudit.engines.plans.plan_file import check_plan_file
from skinaudit.engines.plans.plan_session import PlanSession
from skinaudit.engines.plans.trial import try_plan
from skinaudit.engines.session import SessionDescription
from skinaudit.errors import EngineError, NoDeviceError, not_imported

EXTRAS = {"tensorrt": "gpu", "tensorrt_rtx": "rtx"}
"""The extra of skinaudit that installs each library."""


def open_plan(
    path: Path,
    *,
    provider: Provider,
    threads: int | None,
    library: str,
    options: PlanOptions | None = None,
    allow_code: bool = False,
) -> PlanSession:
    """Open a plan with `library`, `tensorrt` or `tensorrt_rtx`; `threads` has no effect.

    allow_code: let the library run program code inside the plan, which version-compatible plans contain. Such a plan can do
    everything that its user can do.

    The CUDA device is checked first, and a child process opens the plan before this process does. Without a device, or with
    a damaged plan, the library may end the process instead of raising an error. Raises NoDeviceError without a device,
    EngineError for a plan that cannot be opened, a driver that is too old or a provider other than cuda,
    MissingDependencyError without a library.
    """
    options = options or PlanOptions()
    where = str(path)
    check_plan_file(path, library=library)
    if provider != "cuda":
        raise EngineError(
            f"{path}: a plan runs only on a GPU; leave --provider {provider} out, or run its graph with --emulate"
        )
    cuda, device = _device(path, options.device, extra=EXTRAS[library])
    try:
        trt = importlib.import_module(library)
    except (ImportError, OSError) as error:
        raise not_imported(error, library, EXTRAS[library], f"{path}: running a plan") from error
    try_plan(path, library=library, version=trt.__version__, options=options, allow_code=allow_code)
    checked(cuda.cudaSetDevice(options.device), where=where)
    log = ErrorLog(trt)
    runtime, engine = _deserialised(trt, log, path, allow_code=allow_code)
    is_rtx = library == "tensorrt_rtx"
    choice = KernelChoice(trt, options, where=where) if is_rtx else None
    description = SessionDescription(
        runtime="tensorrt-rtx" if is_rtx else "tensorrt",
        version=trt.__version__,
        provider="cuda",
        device=device,
        threads=1,
        found={},  # fused layers cannot be compared with the layers of the graph; the manifest has the count from the build
        executed=executed_precisions(trt, engine),
        settings=_settings(options, is_rtx=is_rtx, allow_code=allow_code),
    )
    return PlanSession(
        engine, trt=trt, cuda=cuda, description=description, where=where,
        make_context=None if choice is None else choice.make_context,
        after_new_shape=None if choice is None else choice.save,
        device=options.device,
        graphs=options.cuda_graphs and not is_rtx,  # TensorRT-RTX records graphs itself
        keep=(runtime, log, choice), last_error=log.last,
    )  # fmt: skip


def _device(path: Path, index: int, *, extra: str) -> tuple[Any, str]:
    """cuda-python's runtime bindings, and the name of the device."""
    try:
        cuda, names = cuda_devices(purpose=f"{path}: running a plan", extra=extra)
    except NoDeviceError as error:
        raise NoDeviceError(f"{error}; audit it on a machine that can run it, or run its graph with --emulate") from error
    if index >= len(names):
        listed = ", ".join(f"{number} {name}" for number, name in enumerate(names))
        raise EngineError(f"{path}: there is no CUDA device {index}; choose --device among {listed}")
    return cuda, names[index]


def _deserialised(trt: Any, log: ErrorLog, path: Path, *, allow_code: bool) -> tuple[Any, Any]:
    """The library's Runtime and the engine, after the plugins that plans may use are registered."""
    register = getattr(trt, "init_libnvinfer_plugins", None)  # the lean library does not have it
    if register is not None and not register(log.logger, ""):
        raise EngineError(f"{path}: the plugins of {trt.__name__} cannot be registered: {log.last()}")
    runtime = trt.Runtime(log.logger)
    if allow_code:
        runtime.engine_host_code_allowed = True
    engine = runtime.deserialize_cuda_engine(path.read_bytes())
    if engine is None:
        raise EngineError(
            f"{path}: {trt.__name__} {trt.__version__} cannot open it: {log.last()}; export it again on this machine"
        )
    return runtime, engine


def _settings(options: PlanOptions, *, is_rtx: bool, allow_code: bool) -> dict[str, str]:
    """The options that change how the plan computes, for reports."""
    settings: dict[str, str] = {"kernel_specialisation": options.specialisation} if is_rtx else {}
    if options.cuda_graphs:
        settings["cuda_graphs"] = "on"
    if allow_code:
        settings["host_code"] = "allowed"
    return settings
