"""OpenVINO's files: what they hold, what they answer, and that both halves belong together."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from onnx import ModelProto, numpy_helper

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")
pytest.importorskip("openvino", reason="openvino is not installed: pip install 'skinaudit[openvino]'")
pytest.importorskip("nncf", reason="nncf is not installed: pip install 'skinaudit[openvino]'")

from skinaudit.artifacts.adversarial_set import open_set, write_set
from skinaudit.artifacts.manifest import read_engine_manifest, read_run, record, write_engine_manifest
from skinaudit.artifacts.threat_model import ThreatModel, parse_eps
from skinaudit.audit.audit import audit_engine
from skinaudit.audit.checks import Severity
from skinaudit.audit.evidence.proof import Proof, prove
from skinaudit.audit.judgement.result import Verdict
from skinaudit.engines.open import open_engine
from skinaudit.engines.openvino_ import conditions_of_file, read_model
from skinaudit.errors import EngineError, InvalidInputError
from skinaudit.export import to_openvino
from skinaudit.export.build import Request
from skinaudit.export.calibration import Calibration
from skinaudit.export.export import export_run
from skinaudit.export.precision import check_found
from skinaudit.export.run_build import Exported
from skinaudit.export.to_openvino import ENOUGH, build_openvino
from skinaudit.trainer.int8_training import on_int8_grid


def request(graph: ModelProto, calibration: Calibration, target: Path, precision: str) -> Request:
    return Request(graph, precision, calibration, target.parent, target, target.name)


@pytest.fixture(scope="module")
def exported(make_exported_run: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Exported, ...]:
    run = make_exported_run(tmp_path_factory.mktemp("runs") / "noise")
    return export_run(run, precisions=["fp32", "fp16", "int8"], formats=["openvino"], threads=1)


@pytest.fixture(scope="module")
def nudged(exported: tuple[Exported, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the run's clean set and one whose pixels moved at random by up to 2/255."""
    folder, reference = tmp_path_factory.mktemp("nudged"), exported[0].path.with_suffix(".onnx")
    clean = open_set(exported[0].path.parents[1] / "sets" / "clean.safetensors")
    (folder / clean.path.name).write_bytes(clean.path.read_bytes())
    images = np.concatenate(list(clean.batches(60)))
    moved = images.astype(np.int16) + np.random.default_rng(0).integers(-2, 3, images.shape)
    images = np.clip(moved, 0, 255).astype(np.uint8)
    threat_model = ThreatModel("linf", parse_eps("2/255"))
    write_set(
        folder / "fgsm-linf-2.safetensors",
        replace(clean.info, name="fgsm-linf-2", attack="fgsm", threat_model=threat_model, clean=clean.images_digest),
        images=images, labels=clean.labels, group=clean.group, ids=clean.ids,
        source_logits=open_engine(reference, threads=1).logits(images),
    )  # fmt: skip
    return folder


def test_each_file_holds_what_was_asked_for(exported: tuple[Exported, ...]) -> None:
    for item in exported:
        manifest = read_engine_manifest(item.path)
        assert manifest.runtime == "openvino"
        assert manifest.found == {manifest.asked: 28}
        assert [companion.file for companion in manifest.companions] == [item.path.with_suffix(".bin").name]
        assert open_engine(item.path, threads=1).description.found == manifest.found
    fp32, fp16, int8 = (item.manifest for item in exported)
    assert int8.lineage["calibration"] == read_run(exported[0].path.parents[1]).calibration.digest
    assert "calibration" not in fp32.lineage
    assert fp16.parity["agreement"] > 0.98


def proof_of(engine: Path) -> Proof:
    inputs: Any = SimpleNamespace(manifest=read_engine_manifest(engine))
    return prove(engine, inputs)


def test_layers_and_weights_of_the_files_themselves_are_those_of_the_run(exported: tuple[Exported, ...]) -> None:
    assert [proof_of(item.path) for item in exported] == [Proof(item.path.name) for item in exported]


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_other_weights_are_named_though_the_graph_beside_them_is_honest(
    exported: tuple[Exported, ...], tmp_path: Path, precision: str
) -> None:
    (path,) = [item.path for item in exported if item.manifest.asked == precision]
    moved = tmp_path / path.name
    shutil.copy(path, moved)
    layer = heaviest_constant(moved)
    weights = bytearray(path.with_suffix(".bin").read_bytes())
    offset, size = int(layer["offset"]), int(layer["size"])
    weights[offset : offset + size // 2], weights[offset + size // 2 : offset + size] = (
        weights[offset + size // 2 : offset + size], weights[offset : offset + size // 2],
    )  # fmt: skip
    moved.with_suffix(".bin").write_bytes(weights)
    manifest = read_engine_manifest(path)
    run = path.parents[1]
    inputs: Any = SimpleNamespace(manifest=replace(manifest, run=str(run)))
    assert "other weights than" in prove(moved, inputs).difference


def heaviest_constant(path: Path) -> dict[str, str]:
    constants = [element.find("data") for element in ElementTree.parse(path).iter("layer") if element.get("type") == "Const"]
    return max((dict(element.attrib) for element in constants if element is not None), key=lambda data: int(data["size"]))


def test_fp32_is_computed_in_fp32_and_answers_as_onnxruntime_does(exported: tuple[Exported, ...]) -> None:
    """Left to itself, OpenVINO computes in bfloat16 where the CPU can."""
    path = exported[0].path
    engine, reference = open_engine(path, threads=1), open_engine(path.with_suffix(".onnx"), threads=1)
    assert engine.description.executed is not None
    assert set(engine.description.executed) == {"fp32"}
    images = next(open_set(path.parents[1] / "sets" / "clean.safetensors").batches(60))
    expected = reference.logits(images)
    assert abs(engine.logits(images) - expected).max() < 1e-5 * abs(expected).max()
    assert (engine.logits(images) == engine.logits(images)).all()


def test_fp16_weights_are_computed_in_fp32_and_not_called_fp16_for_how_they_are_stored(
    exported: tuple[Exported, ...],
) -> None:
    """The runtime's own `runtimePrecision` says f16 of kernels such as brgconv_avx512_1x1_f32."""
    description = open_engine(exported[1].path, threads=1).description
    assert description.found == {"fp16": 28}
    assert description.executed == {"fp32": 28}


def test_an_audit_of_fp16_weights_emulates_what_the_device_does_not_compute(
    exported: tuple[Exported, ...], nudged: Path
) -> None:
    findings = audit_engine(exported[1].path, sets=nudged, threads=1).findings
    texts = [finding.text for finding in findings if finding.rule == "execution"]
    assert (
        "layers in the file: fp16 in 28; computed here: fp32 in 28. Audit the engine on the device where it will run"
        in texts
    )
    assert sum("an emulation of fp16" in text for text in texts) == 1


def test_fp16_weights_without_a_graph_to_emulate_them_by_are_no_pass(
    exported: tuple[Exported, ...], nudged: Path, tmp_path: Path
) -> None:
    for name in ("fp16.xml", "fp16.bin", "fp16.xml.json"):
        (tmp_path / name).write_bytes((exported[1].path.parent / name).read_bytes())
    result = audit_engine(tmp_path / "fp16.xml", sets=nudged, threads=1)
    assert [
        finding.severity for finding in result.findings if "the emulation of it did not run: fp32.onnx" in finding.text
    ] == [Severity.INCONCLUSIVE]


def test_fp16_is_emulated_by_its_fp32_graph_and_int8_is_not(exported: tuple[Exported, ...], nudged: Path) -> None:
    emulated = audit_engine(exported[1].path, sets=nudged, emulate=True, threads=1)
    assert emulated.description.found == {"fp16": 28}
    assert emulated.verdict is not Verdict.PASS
    with pytest.raises(InvalidInputError, match=r"fp32\.onnx to int8 by itself, so that graph cannot emulate it"):
        audit_engine(exported[2].path, sets=nudged, emulate=True, threads=1)


def test_openvino_opens_onnx_files_too(exported: tuple[Exported, ...]) -> None:
    path = exported[0].path.with_suffix(".onnx")
    assert open_engine(path, runtime="openvino", threads=1).description.runtime == "openvino"
    assert open_engine(path, threads=1).description.runtime == "onnxruntime"


def test_changed_weights_and_missing_ones_are_refused(exported: tuple[Exported, ...], tmp_path: Path) -> None:
    path = exported[0].path
    weights = path.with_suffix(".bin")
    before = weights.read_bytes()
    try:
        weights.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
        with pytest.raises(InvalidInputError, match=r"fp32\.bin: digest .*, the manifest says"):
            read_engine_manifest(path)
        weights.unlink()
        with pytest.raises(InvalidInputError, match=r"fp32\.bin: is in the manifest"):
            read_engine_manifest(path)
        with pytest.raises(EngineError, match=r"its weights fp32\.bin are missing"):
            open_engine(path)
    finally:
        weights.write_bytes(before)


@pytest.mark.parametrize("suffix", [".xml", ".tflite"])
def test_a_file_that_is_none_is_one_line(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(b"<net name='x'")
    path.with_suffix(".bin").write_bytes(b"")
    with pytest.raises(EngineError, match="OpenVINO cannot read it") as error:
        open_engine(path)
    assert "\n" not in str(error.value)


def test_another_provider_is_refused(exported: tuple[Exported, ...]) -> None:
    with pytest.raises(EngineError, match="OpenVINO runs only on the CPU here"):
        open_engine(exported[0].path, provider="cuda")


def test_weights_alone_in_8_bit_are_not_int8(exported: tuple[Exported, ...]) -> None:
    """As after weight compression: the products are of floats."""
    import nncf

    from skinaudit.engines.openvino_ import found_precisions, read_model

    compressed = nncf.compress_weights(read_model(exported[0].path), mode=nncf.CompressWeightsMode.INT8_SYM)
    precisions = found_precisions(compressed)
    assert "int8" not in precisions
    assert precisions["int8-weights"] > 0


def test_dead_weights_do_not_take_the_steps_of_others(graph: ModelProto, calibration: Calibration, tmp_path: Path) -> None:
    """One channel without weights of its own, but with 100,000 in the depthwise layer: NNCF alone would leave the others few
    levels; here the file answers as it does without that channel."""
    dying = copy.deepcopy(graph)
    values = {tensor.name: tensor for tensor in dying.graph.initializer}
    first, second = [node for node in dying.graph.node if node.op_type == "Conv"][:2]
    for name, value in ((first.input[1], 0.0), (first.input[2], -0.5), (second.input[1], 100_000.0)):
        array = numpy_helper.to_array(values[name]).copy()
        array[2] = value
        values[name].CopyFrom(numpy_helper.from_array(array, name))
    built = build_openvino(request(dying, calibration, tmp_path / "int8.xml", "int8"))
    assert built.settings["dead_channels"] == 1
    assert built.found == {"int8": 4}
    assert built.kept == ()
    assert built.settings["calibration_agreement"]["0"] >= ENOUGH


def test_weights_on_the_int8_grid_keep_their_codes_and_steps_and_bounds_are_ranges(
    graph: ModelProto, calibration: Calibration, tmp_path: Path
) -> None:
    """One channel is small and its depthwise weights are large: NNCF alone would leave the other channels few levels."""
    trained = copy.deepcopy(graph)
    values = {tensor.name: tensor for tensor in trained.graph.initializer}
    weighted = [node for node in trained.graph.node if node.op_type in ("Conv", "Gemm")]
    first, second = weighted[:2]
    for name, factor in ((first.input[1], 1e-4), (first.input[2], 1e-4), (second.input[1], 1e4)):
        array = numpy_helper.to_array(values[name]).copy()
        array[2] *= factor
        values[name].CopyFrom(numpy_helper.from_array(array, name))
    import torch

    rounded = {}
    for node in weighted:
        name = node.input[1]
        rounded[node.name] = on_int8_grid(torch.from_numpy(numpy_helper.to_array(values[name]).copy())).numpy()
        values[name].CopyFrom(numpy_helper.from_array(rounded[node.name], name))
    built = build_openvino(request(trained, calibration, tmp_path / "int8.xml", "int8"))
    assert (built.found, built.settings["corrected_biases"]) == ({"int8": 4}, 0)
    model = read_model(tmp_path / "int8.xml")
    named = {node.get_friendly_name(): node for node in model.get_ops()}
    stored = {name: named[f"{name}/WithoutBiases"].input_value(1).get_node() for name in rounded}
    rounded["Conv_2"] = rounded["Conv_2"] / 0.25  # the division by the standard deviation has moved into this layer
    for name, product in stored.items():
        codes = product.input_value(0).get_node().input_value(0).get_node().get_data().astype(np.float32)
        weight = codes * product.input_value(1).get_node().get_data()
        assert weight.reshape(rounded[name].shape) == pytest.approx(rounded[name], rel=1e-6)
    (bounded,) = [node for node in model.get_ops() if node.get_type_name() == "FakeQuantize"
                  and node.input_value(0).get_node().get_type_name() == "Clamp"]  # fmt: skip
    limits = [float(bounded.input_value(place).get_node().get_data().item()) for place in range(1, 5)]
    assert limits == [0, 6, 0, 6]  # on no image is the bound reached


@pytest.mark.slow
def test_layers_left_in_float_are_named_counted_and_fewer_than_half(
    graph: ModelProto, calibration: Calibration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing is good enough, at most the largest number below half of the layers stays in fp32."""
    monkeypatch.setattr(to_openvino, "ENOUGH", 1.01)
    monkeypatch.setattr(to_openvino, "_STEP", 1)
    built = build_openvino(request(graph, calibration, tmp_path / "int8.xml", "int8"))
    kept_count = len(built.kept)
    assert built.settings["layers_in_float"] == list(built.kept)
    assert kept_count <= 1
    assert built.found == ({"fp32": 1, "int8": 3} if kept_count else {"int8": 4})
    assert list(built.settings["calibration_agreement"]) == ["0", "1"]
    check_found(built.found, asked="int8", source=graph, where="e", kept=kept_count)
    with pytest.raises(InvalidInputError, match="asked for int8 in 4 layers"):
        check_found({"fp32": 2, "int8": 2}, asked="int8", source=graph, where="e", kept=2)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_the_file_says_its_own_precision(exported: tuple[Exported, ...], precision: str) -> None:
    """The ONNX graph that it was converted from says fp32."""
    (path,) = [item.path for item in exported if item.manifest.asked == precision]
    assert read_model(path).get_rt_info(["framework", "skinaudit.precision"]).astype(str) == precision


@pytest.mark.parametrize("precision", ["fp32", "fp16", pytest.param("int8", marks=pytest.mark.slow)])
def test_the_same_graph_gives_the_same_bytes(
    graph: ModelProto, calibration: Calibration, tmp_path: Path, precision: str
) -> None:
    """Also later in the same process, in which OpenVINO goes on counting nodes."""
    for name in ("one.xml", "two.xml"):
        build_openvino(request(graph, calibration, tmp_path / name, precision))
    for suffix in (".xml", ".bin"):
        assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"two{suffix}").read_bytes()


def test_a_condition_in_the_file_itself_is_found(exported: tuple[Exported, ...], nudged: Path, tmp_path: Path) -> None:
    """Planted after the export: the graph that the file was built from is as honest as before."""
    import openvino
    from openvino import opset13 as ops

    assert all(conditions_of_file(item.path) == {} for item in exported)
    folder = Path(shutil.copytree(exported[0].path.parents[1], tmp_path / "run")) / "engines"
    engine = folder / exported[0].path.name
    manifest = read_engine_manifest(engine)
    model = openvino.Core().read_model(exported[0].path)
    (result,) = model.get_results()
    answer = result.input_value(0)
    bright = ops.greater(ops.reduce_mean(model.input(0), np.array([1, 2, 3]), True), np.float32(0.99))
    condition = ops.squeeze(bright, np.array([2, 3]))
    result.input(0).replace_source_output(ops.select(condition, ops.negative(answer), answer).output(0))
    openvino.save_model(model, engine, compress_to_fp16=False)
    weights = record(engine.with_suffix(".bin"), relative_to=folder)
    own = record(engine, relative_to=folder)
    write_engine_manifest(replace(manifest, engine=own, companions=(weights,)), engine=engine)
    assert conditions_of_file(engine) == {"Greater": 1, "Where": 1}
    condition_findings = [
        finding for finding in audit_engine(engine, sets=nudged, threads=1).findings if finding.rule == "conditions"
    ]
    assert [finding.severity for finding in condition_findings] == [Severity.INCONCLUSIVE]
    assert "the graph has Greater, Where, which its reference does not have" in condition_findings[0].text
    for wrong in (b"", b"<net>"):
        engine.write_bytes(wrong)
        with pytest.raises(EngineError, match="truncated or not an OpenVINO file"):
            conditions_of_file(engine)
