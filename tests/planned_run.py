"""The run of linear_run with real files: its reference in ONNX, and a plan of the fake GPU built from a typed graph."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from fake_gpu.plan_bytes import Content, note, packed
from linear_run import CLASSES, SIZE, Planted, plant, record_structure, templates
from onnx import ModelProto, TensorProto, helper, numpy_helper

from skinaudit.artifacts.manifest import (
    BUILT_TYPED,
    EngineManifest,
    read_engine_manifest,
    record,
    write_engine_manifest,
)
from skinaudit.engines.half import HALVES, to_half

PIXELS = 3 * SIZE * SIZE
_INT8_STEP = 0.5 / 127  # pixels minus one half


def linear_graph() -> ModelProto:
    """`image` float32 (batch, 3, SIZE, SIZE) in [0, 1] -> `logits`: pixels minus one half, times the templates of seed 0."""
    graph = helper.make_graph(
        [
            helper.make_node("Sub", ["image", "half"], ["centred"]),
            helper.make_node("Flatten", ["centred"], ["flat"]),
            helper.make_node("Gemm", ["flat", "weights"], ["logits"], name="classifier"),
        ],
        "linear",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", CLASSES])],
        [numpy_helper.from_array(np.float32(0.5), "half"), numpy_helper.from_array(templates(0), "weights")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def typed_graph(precision: str) -> ModelProto:
    """The same in another precision: half from the product on, or quantised around it."""
    if precision == "fp32":
        return linear_graph()
    if precision in HALVES:
        return to_half(linear_graph(), HALVES[precision], where="linear")[0]
    model = linear_graph()
    kind = {"int8": TensorProto.INT8, "fp8": TensorProto.FLOAT8E4M3FN}[precision]
    weights = templates(0)  # 1 and -1, which both types hold exactly
    steps = {"int8": (_INT8_STEP, 1 / 127), "fp8": (1 / 448, 1.0)}[precision]
    codes = np.rint(weights / steps[1]).astype(helper.tensor_dtype_to_np_dtype(kind))
    constants = [
        numpy_helper.from_array(np.float32(0.5), "half"),
        numpy_helper.from_array(codes, "weights_codes"),
        *(
            numpy_helper.from_array(np.float32(step), name)
            for name, step in zip(("step", "weights_step"), steps, strict=True)
        ),
        helper.make_tensor("zero", kind, [], [0]),
    ]
    nodes = [
        *model.graph.node[:2],
        helper.make_node("QuantizeLinear", ["flat", "step", "zero"], ["codes"]),
        helper.make_node("DequantizeLinear", ["codes", "step", "zero"], ["rounded"]),
        helper.make_node("DequantizeLinear", ["weights_codes", "weights_step", "zero"], ["weights"]),
        helper.make_node("Gemm", ["rounded", "weights"], ["logits"], name="classifier"),
    ]
    graph = helper.make_graph(nodes, "linear", model.graph.input, model.graph.output, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def plant_plan(
    folder: Path,
    precision: str,
    *,
    library: str = "tensorrt",
    batches: tuple[int, int, int] = (1, 32, 128),
    compute: str | None = None,
    images: int = 700,
    **planted: Any,
) -> Planted:
    """A run with a plan that promises `precision` and has whatever is planted (see fake_gpu.plan_bytes.Content).

    compute: the precision that it computes in instead of the promised one.
    """
    run = plant(folder, settings={}, images=images, asked=precision)
    record_structure(run.run)
    earlier = read_engine_manifest(run.reference)
    engines = run.reference.parent
    onnx.save(linear_graph(), str(run.reference))
    graph = engines / f"{precision}.graph.onnx"
    onnx.save(typed_graph(precision), str(graph))
    plan = engines / f"{precision}.plan"
    content = Content(
        graph.read_bytes(),
        ({"image": tuple((batch, 3, SIZE, SIZE) for batch in batches)},),
        computed=None if compute is None else typed_graph(compute).SerializeToString(),
        **planted,
    )
    if library == "tensorrt":
        plan.write_bytes(packed(content))
    else:
        plan.write_bytes(b"vtrt" + bytes(12) + (64).to_bytes(8, "little") + bytes(40))
        note(plan.read_bytes(), content)
    reference = record(run.reference, relative_to=engines)
    manifest: EngineManifest = replace(
        earlier,
        engine=record(plan, relative_to=engines),
        runtime=library.replace("_", "-"),
        asked=precision,
        found={precision: 1},
        lineage={**earlier.lineage, "onnx": reference.digest},
        reference=reference,
        graph=record(graph, relative_to=engines),
        settings={"found_in": BUILT_TYPED},
    )
    if precision in ("int8", "fp8"):
        calibration = record(run.run / "calibration.safetensors", relative_to=run.run).digest
        manifest = replace(manifest, lineage={**manifest.lineage, "calibration": calibration})
    write_engine_manifest(manifest, engine=plan)
    own = replace(
        manifest, engine=reference, runtime="onnxruntime", asked="fp32", found={"fp32": 1}, graph=reference, settings={}
    )
    write_engine_manifest(own, engine=run.reference)
    return replace(run, engine=plan)
