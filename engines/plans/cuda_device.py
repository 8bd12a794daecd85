"""cuda-python's runtime bindings, and the CUDA devices that they find."""

from __future__ import annotations

import importlib
from contextlib import suppress
from typing import Any

from skinaudit.errors import EngineError, NoDeviceError, UnusableDeviceError, not_imported

BINDINGS = "cuda.bindings.runtime"
_NO_DEVICE, _DRIVER_TOO_OLD = 100, 35
"""cudaErrorNoDevice and cudaErrorInsufficientDriver. A machine without any driver also returns the second one."""


def cuda_devices(*, purpose: str, extra: str = "gpu") -> tuple[Any, tuple[str, ...]]:
    """The bindings and the names of all devices, at least one.

    purpose: what needs them, such as `a.plan: running a plan`; every error message starts with it. Raises
    MissingDependencyError without cuda-python (or if it is too old for `cuda.bindings`), NoDeviceError without a device,
    UnusableDeviceError if the driver is too old, EngineError if CUDA fails.
    """
    try:
        cuda = importlib.import_module(BINDINGS)
    except ImportError as error:
        raise not_imported(error, "cuda-python 12.6.2 or newer", extra, purpose) from error
    try:
        status, count = cuda.cudaGetDeviceCount()
    except (OSError, RuntimeError) as error:  # the driver's library cannot be loaded
        raise NoDeviceError(f"{purpose} needs a CUDA device, but there is none ({_one_line(error)})") from error
    if int(status) == _DRIVER_TOO_OLD:
        if _version(cuda.cudaDriverGetVersion()):
            raise UnusableDeviceError(f"{purpose} is not possible: {_too_old(cuda)}")
        raise NoDeviceError(f"{purpose} needs a CUDA device, but there is none (no NVIDIA driver)")
    if int(status) == _NO_DEVICE or (int(status) == 0 and count < 1):
        raise NoDeviceError(f"{purpose} needs a CUDA device, but there is none ({_error_name(status)})")
    checked((status,), where=purpose)
    return cuda, tuple(_name(cuda, index, where=purpose) for index in range(count))


def start_cuda(device: int) -> None:
    """Open the devices and load the driver's libraries, for a process that will be confined afterwards.

    Starting CUDA needs more rights than computing with it. Without cuda-python this does nothing. Failures are not reported
    here, because the runtime that needs the device reports them more clearly.
    """
    with suppress(Exception):
        cuda = importlib.import_module(BINDINGS)
        cuda.cudaSetDevice(device)
        cuda.cudaFree(0)


def checked(answer: tuple[Any, ...], *, where: str) -> Any:
    """Result of a cuda-python call, whose first element is its status; raises EngineError unless that is success."""
    status, *results = answer
    if int(status) != 0:
        raise EngineError(f"{where}: CUDA failed: {_error_name(status)}")
    return results[0] if results else None


def _name(cuda: Any, index: int, *, where: str) -> str:
    name = checked(cuda.cudaGetDeviceProperties(index), where=where).name
    return name.decode().rstrip("\0") if isinstance(name, bytes) else str(name)


def _version(answer: tuple[Any, ...]) -> int:
    """A CUDA version as 1000 * major + 10 * minor; 0 if there is none."""
    status, *results = answer
    return int(results[0]) if int(status) == 0 and results else 0


def _too_old(cuda: Any) -> str:
    driver, needed = _version(cuda.cudaDriverGetVersion()), _version(cuda.cudaRuntimeGetVersion())
    major = driver // 1000
    return (
        f"the NVIDIA driver supports CUDA {_dotted(driver)} and cuda-python needs {_dotted(needed)}; update the driver, or "
        f"pip install 'cuda-python<{major + 1}'"
    )


def _dotted(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}"


def _error_name(status: Any) -> str:
    return str(getattr(status, "name", status))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
