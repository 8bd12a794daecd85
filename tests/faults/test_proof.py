"""Layers and weights of a file beside those of its run: what is planted is named, and no honest rewriting is."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

from onnx import ModelProto, TensorProto

from skinaudit.artifacts.manifest import read_engine_manifest, read_run, resolve
from skinaudit.artifacts.precisions import KINDS
from skinaudit.audit.evidence.proof import Proof, prove
from skinaudit.engines.half import to_half
from skinaudit.export.calibration import Calibration, read_calibration
from skinaudit.export.equalise import equalise
from skinaudit.export.fp8 import to_e4m3
from skinaudit.export.int8 import _with_ranges
from skinaudit.tests.faults.detectors import DETECTORS
from skinaudit.tests.faults.lab import SIZE, Lab, plant
from skinaudit.tests.faults.reexports import Reexport, reexports
from skinaudit.tests.faults.surgery import Surgery


def proof_of(engine: Path) -> Proof:
    inputs: Any = SimpleNamespace(manifest=read_engine_manifest(engine))
    return prove(engine, inputs)


def calibration_of(lab: Lab) -> Calibration:
    whole = read_calibration(resolve(lab.run, read_run(lab.run).calibration), size=SIZE)
    return Calibration(whole.images[:32], whole.digest)


def quantised(lab: Lab, *, symmetric: bool) -> ModelProto:
    calibration, source = calibration_of(lab), lab.model()
    prepared, _ = equalise(source, calibration)
    return _with_ranges(prepared, source, calibration, method="minmax", symmetric=symmetric, where="test")


@pytest.mark.parametrize("graph", ["fp32", "fp16", "int8-u8s8"])
def test_honest_engines_are_proved(lab: Lab, graph: str) -> None:
    assert proof_of(lab.engine(graph)) == Proof(f"{graph}.onnx")


@pytest.mark.parametrize("reexport", tuple(reexports()), ids=lambda one: f"{one.rewrite}-{one.precision}")
def test_honest_rewritings_explain_themselves(lab: Lab, reexport: Reexport) -> None:
    assert proof_of(reexport.write(lab)).difference == ""


@pytest.mark.parametrize("symmetric", [False, True])
def test_equalised_channels_are_undone(lab: Lab, symmetric: bool) -> None:
    path = plant(lab, f"equalised-{symmetric}", quantised(lab, symmetric=symmetric), base="int8-u8s8")
    assert proof_of(path).difference == ""


def test_halves_of_other_kinds_are_proved(lab: Lab) -> None:
    bf16 = to_half(lab.model(), TensorProto.BFLOAT16, where="test")[0]
    fp8 = to_e4m3(lab.model(), calibration_of(lab), where="test")[0]
    for asked, model in (("bf16", bf16), ("fp8", fp8)):
        path = plant(lab, f"other-{asked}", model, claim=lambda manifest, asked=asked: replaced(manifest, asked))
        assert proof_of(path).difference == ""
        assert KINDS[asked].layers


def replaced(manifest: Any, asked: str) -> Any:
    from dataclasses import replace

    return replace(manifest, asked=asked)


@pytest.mark.parametrize("detector", DETECTORS, ids=lambda one: one.__name__)
@pytest.mark.parametrize("base", ["fp32", "fp16", "int8-u8s8"])
def test_what_is_planted_is_named(lab: Lab, detector: Surgery, base: str) -> None:
    model = lab.model()
    detector(model)
    if base == "fp16":
        model = to_half(model, TensorProto.FLOAT16, where="test")[0] if base == "fp16" else model
    proof = proof_of(plant(lab, f"{detector.__name__}-{base}", model, base=base))
    assert "(" in proof.difference
    assert proof.lack is None


def test_in_int8_weights_are_known_within_their_steps(lab: Lab) -> None:
    model = lab.model("int8-u8s8")
    codes = next(one for one in model.graph.initializer if one.data_type == TensorProto.INT8 and len(one.dims) == 4)
    raw = bytearray(codes.raw_data)
    raw[5] = (raw[5] + 40) % 256
    codes.raw_data = bytes(raw)
    assert "other weights" in proof_of(plant(lab, "int8-nudged", model, base="int8-u8s8")).difference


def test_steps_as_large_as_the_weights_hide_nothing(lab: Lab) -> None:
    model = lab.model("int8-u8s8")
    tensors = {one.name: one for one in model.graph.initializer}
    node = [one for one in model.graph.node if one.op_type == "DequantizeLinear" and one.input[0] in tensors][2]
    from skinaudit.tests.faults.surgery import change

    change(tensors[node.input[1]], lambda value: value * 100)
    change(tensors[node.input[0]], lambda value: (value / 100).round().astype(value.dtype))
    assert "other weights" in proof_of(plant(lab, "int8-coarse", model, base="int8-u8s8")).difference
