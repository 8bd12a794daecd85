"""Layers and weights of a file beside those of its run: what is planted is named, and no honest rewriting is."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

from onnx import TensorProto

from skinaudit.artifacts.manifest import read_engine_manifest, read_run, record, resolve, write_engine_manifest, write_run
from skinaudit.artifacts.structure import STEP, Step, read_structure, write_structure
from skinaudit.audit.evidence.proof import Proof, prove
from skinaudit.engines.half import to_half
from skinaudit.export.calibration import Calibration, read_calibration
from skinaudit.export.precision import PRECISIONS
from skinaudit.tests.faults.arithmetic_faults import EDITS
from skinaudit.tests.faults.detectors import DETECTORS, relu_detector
from skinaudit.tests.faults.lab import SIZE, Lab, plant
from skinaudit.tests.faults.reexports import Reexport, reexports
from skinaudit.tests.faults.surgery import Surgery, change

HALVED = ("batch_norm_unfolded", "rescaled_layers")
REWRITTEN = tuple(reexport for reexport in reexports() if reexport.precision == "fp32" or reexport.rewrite in HALVED)


def proof_of(engine: Path) -> Proof:
    inputs: Any = SimpleNamespace(manifest=read_engine_manifest(engine))
    return prove(engine, inputs)


def converted(lab: Lab, name: str) -> Path:
    """The lab's fp32 graph in a precision of the exporter, with what its manifest would say."""
    calibration = read_calibration(resolve(lab.run, read_run(lab.run).calibration), size=SIZE)
    rules = PRECISIONS[name]
    result = rules.convert(lab.model(), Calibration(calibration.images[:32], calibration.digest), where="test")
    return plant(
        lab, f"proof-{name}", result.model, claim=lambda value: replace(value, asked=rules.name, settings=result.settings)
    )


@pytest.mark.parametrize("graph", ["fp32", "fp16", "int8-u8s8"])
def test_honest_engines_are_proved(lab: Lab, graph: str) -> None:
    assert proof_of(lab.engine(graph)) == Proof(f"{graph}.onnx")


@pytest.fixture
def copied(lab: Lab, tmp_path: Path) -> Lab:
    """A lab whose run may be changed; without its sets."""
    shutil.copytree(lab.run, tmp_path / "run", ignore=shutil.ignore_patterns("sets", "planted"))
    return replace(lab, run=tmp_path / "run")


def test_a_record_that_was_taken_out_hides_nothing(copied: Lab) -> None:
    model = copied.model()
    relu_detector(model)
    planted, run = plant(copied, "unrecorded", model), read_run(copied.run)
    write_run(copied.run, replace(run, structure=None))
    assert proof_of(copied.engine("fp16")) == Proof("fp16.onnx")
    assert "(" in proof_of(planted).difference
    write_run(copied.run, replace(run, structure=None, model={**run.model, "arch": "of_my_own"}))
    assert proof_of(planted).lack == "record"


def test_a_trigger_in_the_record_is_seen(copied: Lab) -> None:
    run = read_run(copied.run)
    assert run.structure is not None
    path = resolve(copied.run, run.structure)
    recorded = read_structure(path)
    steps = (*recorded.steps, Step("seen", "amin.default", (f"{STEP}{recorded.input}", [1, 2, 3])))
    write_structure(path, replace(recorded, steps=steps))
    write_run(copied.run, replace(run, structure=record(path, relative_to=copied.run)))
    assert "1 amin steps instead of 0" in proof_of(copied.engine("fp32")).difference


def test_weights_of_another_architecture_are_a_finding(copied: Lab) -> None:
    run = read_run(copied.run)
    for structure in (run.structure, None):
        write_run(copied.run, replace(run, structure=structure, model={**run.model, "arch": "vgg16"}))
        assert "weights are not those of 'vgg16'" in proof_of(copied.engine("fp32")).difference


@pytest.mark.parametrize(("suffix", "runtime"), [(".tflite", "openvino"), (".onnx", "tensorrt"), (".onnx", "of my own")])
def test_a_manifest_beside_a_format_that_is_never_built_proves_nothing(copied: Lab, suffix: str, runtime: str) -> None:
    """The graph that it names is honest; the file that runs may be anything."""
    path = copied.run / "engines" / f"other{suffix}"
    path.write_bytes(b"another model")
    manifest = read_engine_manifest(copied.engine("fp32"))
    own = replace(manifest, engine=record(path, relative_to=path.parent), runtime=runtime)
    write_engine_manifest(own, engine=path)
    assert proof_of(path).lack == "maker"


@pytest.mark.parametrize("reexport", REWRITTEN, ids=lambda value: f"{value.rewrite}-{value.precision}")
def test_honest_rewritings_explain_themselves(lab: Lab, reexport: Reexport) -> None:
    assert proof_of(reexport.write(lab)).difference == ""


@pytest.mark.parametrize("name", ["bf16", "fp8"])
def test_other_precisions_are_proved(lab: Lab, name: str) -> None:
    assert proof_of(converted(lab, name)).difference == ""


@pytest.mark.parametrize("detector", DETECTORS, ids=lambda value: value.__name__)
@pytest.mark.parametrize("base", ["fp32", "fp16", "int8-u8s8"])
def test_what_is_planted_is_named(lab: Lab, detector: Surgery, base: str) -> None:
    model = lab.model()
    detector(model)
    if base == "fp16":
        model = to_half(model, TensorProto.FLOAT16, where="test")[0]
    proof = proof_of(plant(lab, f"{detector.__name__}-{base}", model, base=base))
    assert "(" in proof.difference
    assert proof.lack is None


@pytest.mark.parametrize(("edit", "base"), EDITS, ids=lambda value: getattr(value, "__name__", value))
def test_arithmetic_that_is_right_in_real_numbers_alone_is_named(lab: Lab, edit: Surgery, base: str) -> None:
    model = lab.model(base)
    edit(model)
    proof = proof_of(plant(lab, f"{edit.__name__}-{base}", model, base=base))
    assert proof.difference
    assert proof.lack is None


def test_in_int8_weights_are_known_within_their_steps(lab: Lab) -> None:
    model = lab.model("int8-u8s8")
    codes = next(
        tensor for tensor in model.graph.initializer if tensor.data_type == TensorProto.INT8 and len(tensor.dims) == 4
    )
    raw = bytearray(codes.raw_data)
    raw[5] = (raw[5] + 40) % 256
    codes.raw_data = bytes(raw)
    assert "other weights" in proof_of(plant(lab, "int8-nudged", model, base="int8-u8s8")).difference


def test_steps_as_large_as_the_weights_hide_nothing(lab: Lab) -> None:
    model = lab.model("int8-u8s8")
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    large = {name for name, tensor in tensors.items() if tensor.data_type == TensorProto.INT8 and len(tensor.dims) == 4}
    node = [node for node in model.graph.node if node.op_type == "DequantizeLinear" and node.input[0] in large][2]
    change(tensors[node.input[1]], lambda value: value * 100)
    change(tensors[node.input[0]], lambda value: (value / 100).round().astype(value.dtype))
    assert "other weights" in proof_of(plant(lab, "int8-coarse", model, base="int8-u8s8")).difference
