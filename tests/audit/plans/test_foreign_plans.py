"""Plans of other tools: their contract is drafted from the plan itself, and the audit compares them with nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_gpu.plan_bytes import Content, packed
from linear_run import CONTRACT, SIZE
from onnx import TensorProto
from planned_run import linear_graph, plant_plan

from skinaudit.audit.audit import audit_engine
from skinaudit.audit.judgement.verdict import Verdict
from skinaudit.engines.draft import draft_contract
from skinaudit.engines.engine import BatchRange

pytestmark = pytest.mark.usefixtures("fake_gpu")


@pytest.mark.parametrize(("batch", "types"), [("batch", {}), (4, {}), ("batch", {"logits": "BF16"})])
def test_a_foreign_plan_is_drafted_and_audited(tmp_path: Path, batch: str | int, types: dict[str, str]) -> None:
    run = plant_plan(tmp_path / "run", "fp32", images=140)
    graph = linear_graph()
    for value in (*graph.graph.input, *graph.graph.output):
        side = value.type.tensor_type.shape.dim[0]
        if isinstance(batch, int):
            side.dim_value = batch
    assert graph.graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT
    limits = tuple((size, 3, SIZE, SIZE) for size in ((4, 4, 4) if batch == 4 else (2, 8, 16)))
    plan = tmp_path / "other.plan"
    plan.write_bytes(packed(Content(graph.SerializeToString(), ({"image": limits},), types=types)))
    contract, notes = draft_contract(plan, threads=1)
    assert (contract.size, contract.dtype, contract.layout) == (SIZE, "float32", "NCHW")
    assert notes.keys() >= {"classes"}
    written = tmp_path / "other.toml"
    written.write_text(
        f"""
[input]
size = {SIZE}
layout = "NCHW"
dtype = "float32"
colour = "RGB"
scale = "1/255"
mean = [0, 0, 0]
std = [1, 1, 1]
[output]
answer = "logits"
classes = {json.dumps(CONTRACT.classes)}
""",
        encoding="utf-8",
    )
    result = audit_engine(plan, contract=written, sets=run.run / "sets", threads=1)
    assert result.verdict is not Verdict.PASS
    assert result.sets[0].comparison.engine_accuracy > 0.95
    assert result.description.batches == (BatchRange(4, 4, 4) if batch == 4 else BatchRange(2, 8, 16),)
    assert result.description.settings == ({"converted": "logits bf16"} if types else {})
