"""NVIDIA ModelOpt's quantisers of ONNX graphs (https://nvidia.github.io/Model-Optimizer), in a process of their own.

Its packages are older than skinaudit's in places, and it sets up loggers and libraries of its own on import.
"""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np

from skinaudit.bench import libraries
from skinaudit.bench.quantiser_parts.quantiser import Order, Quantiser
from skinaudit.engines.open import open_emulated
from skinaudit.errors import EngineError

_SECONDS = 1800


def _quantised(mode: str, method: str, order: Order) -> Path:
    """mode: int8 or fp8. method: max or entropy, as ModelOpt calls them. Raises EngineError where it fails."""
    graph, pixels, target = (order.folder / name for name in ("fp32.onnx", "calibration.npy", "quantised.onnx"))
    graph.write_bytes(order.graph.SerializeToString())
    np.save(pixels, order.calibration.images)
    module = "skinaudit.bench.quantiser_parts.modelopt_"
    command = [sys.executable, "-m", module, str(graph), str(pixels), str(target), mode, method]
    child = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=_SECONDS
    )
    if child.returncode or not target.is_file():
        lines = [line for line in child.stdout.splitlines() if line.strip()]
        raise EngineError(f"ModelOpt {mode} {method}: ended with {child.returncode}: {lines[-1] if lines else 'no message'}")
    return target


def _quantise_here(graph: Path, pixels: Path, target: Path, mode: str, method: str) -> None:
    """What ModelOpt's own process does: its defaults for this mode and method, floats in fp32, calibrated on the CPU."""
    libraries.enable(group=libraries.QUANTISERS)
    import onnx
    from modelopt.onnx.quantization import quantize

    (image,) = (value.name for value in onnx.load(str(graph), load_external_data=False).graph.input)
    quantize(
        str(graph), quantize_mode=mode, calibration_method=method, calibration_eps=["cpu"], high_precision_dtype="fp32",
        calibration_data={image: np.load(pixels).astype(np.float32) / np.float32(255)}, output_path=str(target),
    )  # fmt: skip


_REQUIRE = partial(libraries.require, group=libraries.QUANTISERS)
QUANTISERS = (
    Quantiser("ModelOpt int8 max", "TensorRT", partial(_quantised, "int8", "max"), open_emulated, _REQUIRE),
    Quantiser("ModelOpt int8 entropy", "TensorRT", partial(_quantised, "int8", "entropy"), open_emulated, _REQUIRE),
    Quantiser("ModelOpt fp8", "TensorRT", partial(_quantised, "fp8", "max"), open_emulated, _REQUIRE),
)

if __name__ == "__main__":
    _quantise_here(*map(Path, sys.argv[1:4]), *sys.argv[4:])
