"""Opens a plan in a child process first: a damaged plan, or a library without a device, may end the process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from skinaudit.engines.plans.options import PlanOptions
from skinaudit.errors import EngineError

HOST_CODE = "it runs program code that is stored in the plan, so allow it only for a plan whose origin you trust"
_SECONDS = 300
_LONGEST = 300
_OPENABLE = """
import importlib, json, sys
given = json.loads(sys.argv[1])
cuda = importlib.import_module("cuda.bindings.runtime")
if int(cuda.cudaSetDevice(given["device"])[0]):
    sys.exit("CUDA does not accept the device")
trt = importlib.import_module(given["library"])
logger = trt.Logger(trt.Logger.ERROR)
if hasattr(trt, "init_libnvinfer_plugins"):
    trt.init_libnvinfer_plugins(logger, "")
runtime = trt.Runtime(logger)
if given["host_code"]:
    runtime.engine_host_code_allowed = True
sys.exit(0 if runtime.deserialize_cuda_engine(open(given["path"], "rb").read()) is not None else 3)
"""


def try_plan(path: Path, *, library: str, version: str, options: PlanOptions) -> None:
    """Raise EngineError, with the library's own last line, for a plan that does not open in a child process."""
    given = {"path": str(path), "library": library, "device": options.device, "host_code": options.host_code}
    trial = [sys.executable, "-c", _OPENABLE, json.dumps(given)]
    try:
        child = subprocess.run(trial, capture_output=True, text=True, errors="replace", check=False, timeout=_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise EngineError(f"{path}: {library} did not open it within {_SECONDS} s; export it again") from error
    if child.returncode == 0:
        return
    said = child.stderr + child.stdout
    if "EngineHostCodeAllowed" in said or "engine_host_code_allowed" in said:
        raise EngineError(f"{path}: a version-compatible plan, which needs --host-code: {HOST_CODE}")
    lines = [line.strip() for line in said.split("\n") if line.strip()]
    reason = lines[-1][:_LONGEST] if lines else f"its process ended with {child.returncode}"
    raise EngineError(f"{path}: {library} {version} cannot open it: {reason}; export it again on this machine")
