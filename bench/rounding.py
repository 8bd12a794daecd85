"""Errors of engines beside those of an emulation of each precision: the figures behind the rule `computed-precision`.

    skinaudit export RUN --fp32 --int8 --fp8
    python bench/rounding.py RUN

Prints a Markdown table. OpenVINO is asked for half precision as a hint, which `skinaudit audit` does not do for fp16.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from skinaudit.artifacts.adversarial_set import open_set
from skinaudit.audit.evidence.computed_precision import compare_errors
from skinaudit.engines.half import HALVES, to_half
from skinaudit.engines.open import open_emulated, open_engine

Logits = NDArray[np.float32]
QUANTISED = {"int8": "int8-*.onnx", "fp8": "fp8.onnx"}
HINTS = {"fp16": "f16", "bf16": "bf16"}


def main() -> None:
    """Measure the run that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    run = parser.parse_args().run
    clean = open_set(run / "sets" / "clean.safetensors")
    images = next(clean.batches(64))
    source = clean.source_logits[: len(images)]
    with tempfile.TemporaryDirectory() as folder:
        graphs = _graphs(run / "engines", Path(folder))
        emulated = {name: open_emulated(path, threads=1).logits(images) for name, path in graphs.items()}
        print("| asked for | computed | times the emulation's error | correlation |\n|---|---|---|---|")
        for precision in [name for name in emulated if name != "fp32"]:
            other_precisions = {f"{name}, emulated": logits for name, logits in emulated.items() if name != precision}
            for computed, logits in {
                **dict(_same_precision(precision, graphs, images)),
                **other_precisions,
                **dict(_partly(precision, source)),
            }.items():
                errors = compare_errors(precision, engine=logits, emulated=emulated[precision], source=source)
                print(f"| {precision} | {computed} | {errors.engine / errors.emulated:.3g} | {errors.correlation:.2f} |")


def _graphs(engines: Path, folder: Path) -> dict[str, Path]:
    graphs = {"fp32": engines / "fp32.onnx"}
    for name, kind in HALVES.items():
        graphs[name] = folder / f"{name}.onnx"
        onnx.save(to_half(onnx.load(graphs["fp32"]), kind, where=name)[0], graphs[name])
    for name, pattern in QUANTISED.items():
        for path in sorted(engines.glob(pattern))[:1]:
            graphs[name] = path
    return graphs


def _same_precision(precision: str, graphs: dict[str, Path], images: NDArray[np.uint8]) -> Iterator[tuple[str, Logits]]:
    """Answers of other kernels for the precision that was asked for."""
    import onnxruntime
    import openvino

    pixels = images.astype(np.float32) / np.float32(255)
    if precision != "bf16":  # no such layers in ONNX Runtime on a CPU
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(str(graphs[precision]), options, providers=["CPUExecutionProvider"])
        (port,) = session.get_inputs()
        typed = pixels.astype(np.float16) if port.type == "tensor(float16)" else pixels
        (logits,) = session.run(None, {port.name: typed})
        yield f"{precision}, ONNX Runtime without optimisations", logits.astype(np.float32)
    if precision != "fp8":
        graph = graphs["fp32" if precision in HINTS else precision]
        hint = {"INFERENCE_PRECISION_HINT": HINTS.get(precision, "f32"), "INFERENCE_NUM_THREADS": 1}
        compiled = openvino.Core().compile_model(str(graph), "CPU", hint)
        yield f"{precision}, OpenVINO", compiled(pixels)[0]
    for path in sorted(graphs["fp32"].parent.glob(f"{precision}.aoti.pt2")):
        yield f"{precision}, AOTInductor", open_engine(path, threads=1, allow_code=True).logits(images)


def _partly(precision: str, source: Logits) -> Iterator[tuple[str, Logits]]:
    """Answers in fp32 of which the last step alone is in the precision that was asked for."""
    if precision in HALVES:
        rounded = source.astype(helper.tensor_dtype_to_np_dtype(HALVES[precision]))
        yield f"fp32, logits rounded to {precision}", rounded.astype(np.float32)


if __name__ == "__main__":
    main()
