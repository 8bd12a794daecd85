"""Opens a plan in a child process first: a damaged plan, or a library without a device, may end the process."""

from __future__ import annotations

import json
from pathlib import Path

from skinaudit.engines.plans.options import PlanOptions
from skinaudit.engines.trial import failure
from skinaudit.errors import EngineError

_HOST_CODE = "EngineHostCodeAllowed"
"""Part of the library's message about a plan that contains code."""
_OPENABLE = """
import importlib, json, sys
given = json.loads(sys.argv[1])
cuda = importlib.import_module("cuda.bindings.runtime")
if int(cuda.cudaSetDevice(given["device"])[0]):
    sys.exit("CUDA does not accept the device")
trt = importlib.import_module(given["library"])
errors = []
class Log(trt.ILogger):
    def __init__(self):
        trt.ILogger.__init__(self)
    def log(self, severity, message):
        if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
            errors.append(" ".join(message.split()))
logger = Log()
if hasattr(trt, "init_libnvinfer_plugins"):
    trt.init_libnvinfer_plugins(logger, "")
runtime = trt.Runtime(logger)
if given["allow_code"]:
    runtime.engine_host_code_allowed = True
if runtime.deserialize_cuda_engine(open(given["path"], "rb").read()) is None:
    about_code = [line for line in errors if given["about_code"] in line]
    sys.exit((about_code or errors or ["it gave no reason"])[-1])
"""


def try_plan(path: Path, *, library: str, version: str, options: PlanOptions, allow_code: bool) -> None:
    """Raise EngineError with the library's last line if a child process cannot open the plan."""
    given = {"path": str(path), "library": library, "device": options.device, "allow_code": allow_code}
    given["about_code"] = _HOST_CODE
    reason = failure(_OPENABLE, json.dumps(given))
    if reason is None:
        return
    if _HOST_CODE in reason:
        raise EngineError(
            f"{path}: a version-compatible plan contains program code, which runs with your rights; pass --allow-code if "
            "you trust its origin"
        )
    raise EngineError(f"{path}: {library} {version} cannot open it: {reason}; export it again on this machine")
