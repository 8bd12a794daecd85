"""Build plans of every architecture in every precision at full size with random weights: `python bench/plans.py`."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from onnx import ModelProto

from skinaudit.bench.report import machine, table
from skinaudit.export.build import Request
from skinaudit.export.calibration import Calibration
from skinaudit.export.formats import FORMATS
from skinaudit.export.precision import PRECISIONS
from skinaudit.export.to_onnx import clean, to_onnx
from skinaudit.trainer.models import build

SIZE = 224
ARCHS = ("mobilenet", "mobilenet_v2", "vgg16")
FORMAT = FORMATS["tensorrt-rtx"]


def rows() -> list[list[str]]:
    """One row a plan: ONNX and plan in MB, seconds of the build alone, layers found."""
    images = np.random.default_rng(0).integers(0, 256, (16, 3, SIZE, SIZE), dtype=np.uint8)
    lines = []
    for arch in ARCHS:
        torch.manual_seed(0)
        model = build(arch, width=1.0, size=SIZE)
        with torch.no_grad():  # settled batch norm, so that activations have a range
            model.train()(torch.from_numpy(images[:8]).float() / 255)
        source = to_onnx(model.eval(), size=SIZE)
        for precision, graph in FORMAT.graphs.items():
            lines.append([f"{arch} {precision}", *_built(source, precision, graph, Calibration(images, ""))])
    return lines


def _built(source: ModelProto, precision: str, graph: str, calibration: Calibration) -> list[str]:
    copied = ModelProto()
    copied.CopyFrom(source)
    typed = clean(PRECISIONS[graph].convert(copied, calibration, where=graph).model)
    assert FORMAT.build is not None
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "engine.plan"
        started = time.perf_counter()
        built = FORMAT.build(Request(typed, precision, calibration, Path(folder), target, str(target)))
        seconds = time.perf_counter() - started
        size = target.stat().st_size
    layers = ", ".join(f"{name} {count}" for name, count in built.found.items())
    return [f"{typed.ByteSize() / 1e6:.1f}", f"{size / 1e6:.1f}", f"{seconds:.1f}", layers]


if __name__ == "__main__":
    print(machine(torch.get_num_threads()) + "\n")
    print(table(("224x224, width 1.0", "ONNX, MB", "plan, MB", "seconds", "layers found"), rows()))
