"""Plans, really built on the CPU by TensorRT-RTX: precisions, sizes, manifests, and what is refused by name."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")
pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed: pip install 'skinaudit[rtx]'")

import numpy as np
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper

from skinaudit.artifacts.manifest import read_engine_manifest, resolve
from skinaudit.engines.onnx_graph import found_precisions
from skinaudit.errors import InvalidInputError, MissingDependencyError
from skinaudit.export import to_tensorrt
from skinaudit.export.build import BuildOptions, Built, Request
from skinaudit.export.calibration import Calibration
from skinaudit.export.export import export_run
from skinaudit.export.formats import FORMATS
from skinaudit.export.plan_options import apply_options
from skinaudit.export.precision import PRECISIONS
from skinaudit.export.to_onnx import clean, to_onnx
from skinaudit.export.to_tensorrt import build_plan, build_tensorrt_rtx
from skinaudit.trainer.models import build

GRAPHS = FORMATS["tensorrt-rtx"].graphs
ARCHS = {"mobilenet": 0.25, "mobilenet_v2": 0.25, "vgg16": 0.1}


def copy_of(model: ModelProto) -> ModelProto:
    copied = ModelProto()
    copied.CopyFrom(model)
    return copied


def request(graph: ModelProto, folder: Path, precision: str, **options: object) -> Request:
    pixels = Calibration(np.zeros((1, 3, 32, 32), np.uint8), "sha256:0")
    return Request(graph, precision, pixels, folder, folder / "engine.plan", "engine.plan", BuildOptions(**options))


@cache
def traced(arch: str) -> ModelProto:
    """An architecture, narrow, with random weights and settled batch norm."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build(arch, width=ARCHS[arch], size=32)
        with torch.no_grad():
            for _ in range(3):
                model.train()(torch.rand(16, 3, 32, 32))
    return to_onnx(model.eval(), size=32)


# Every precision of one architecture, and one of each other: a build takes seconds.
BUILDS = [
    *(("mobilenet", name) for name in GRAPHS),
    *(pytest.param(*pair, marks=pytest.mark.slow) for pair in (("vgg16", "fp8"), ("mobilenet_v2", "fp16"))),
]


@pytest.mark.parametrize(("arch", "precision"), BUILDS)
def test_plans_of_every_model_hold_what_was_asked_for(
    arch: str, precision: str, calibration: Calibration, tmp_path: Path
) -> None:
    graph = traced(arch)
    layers = sum(found_precisions(graph).values())
    typed = PRECISIONS[GRAPHS[precision]].convert(copy_of(graph), calibration, where="e").model
    order = request(clean(typed), tmp_path, precision, batches=(1, 4, 8))
    built = build_tensorrt_rtx(order)
    assert built.found == {precision: layers}
    assert built.settings["batches"] == [1, 4, 8]
    weights = sum(numpy_helper.to_array(tensor).size for tensor in graph.graph.initializer)
    size = order.target.stat().st_size
    assert size > weights  # at least a byte a weight
    assert int.from_bytes(order.target.read_bytes()[0x10:0x18], "little") == size


@pytest.fixture
def quantised(graph: ModelProto, calibration: Calibration) -> Callable[[str], ModelProto]:
    return lambda name: clean(PRECISIONS[name].convert(copy_of(graph), calibration, where="e").model)


def test_unsigned_quantisation_is_refused_by_node(quantised: Callable[[str], ModelProto], tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"engine\.plan: \w+Linear \w+ has (uint8|int32) where a plan takes signed"):
        build_tensorrt_rtx(request(quantised("int8-u8s8"), tmp_path, "int8"))


def test_a_zero_point_other_than_zero_is_refused_by_node(quantised: Callable[[str], ModelProto], tmp_path: Path) -> None:
    model = quantised("int8-s8s8")
    node = next(node for node in model.graph.node if node.op_type == "QuantizeLinear")
    shifted = numpy_helper.from_array(np.array(3, np.int8), "shifted")
    model.graph.initializer.append(shifted)
    node.input[2] = "shifted"
    with pytest.raises(InvalidInputError, match=f"QuantizeLinear {node.name} has a zero point other than 0"):
        build_tensorrt_rtx(request(model, tmp_path, "int8"))


def dreamed(graph: ModelProto, count: int) -> ModelProto:
    """The graph with its first `count` ReLUs turned into an operator that no library has."""
    model = copy_of(graph)
    relus = [node for node in model.graph.node if node.op_type == "Relu"]
    for number, relu in enumerate(relus[:count]):
        relu.op_type, relu.name, relu.domain = "Dreamed", f"dream_{number}", "other"
    return model


def test_all_operators_that_it_does_not_know_are_named_before_the_build(
    graph: ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(to_tensorrt, "_parse", lambda *_: pytest.fail("it was parsed"))
    message = r"nodes dream_0 \(Dreamed\), dream_1 \(Dreamed\) cannot be parsed: .*Plugin not found"
    with pytest.raises(InvalidInputError, match=message) as error:
        build_tensorrt_rtx(request(dreamed(graph, 2), tmp_path, "fp32"))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "engine.plan").exists()


def test_a_known_operator_with_a_setting_that_is_not_supported_is_named(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["image"], ["positive"], name="positive"),
        helper.make_node("Resize", ["positive", "", "scales"], ["logits"], name="smaller", mode="linear", antialias=1),
    ]
    scales = numpy_helper.from_array(np.array([1, 1, 0.5, 0.5], np.float32), "scales")
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3, side, side])
        for name, side in (("image", 8), ("logits", 4))
    ]
    graph = helper.make_graph(nodes, "small", values[:1], values[1:], [scales])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    with pytest.raises(InvalidInputError, match=r"node smaller \(Resize\) cannot be parsed: .*Antialiasing"):
        build_tensorrt_rtx(request(model, tmp_path, "fp32"))


def test_a_parser_that_cannot_be_asked_names_the_first_while_parsing(
    graph: ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(to_tensorrt, "_check_support", lambda *_: None)
    with pytest.raises(InvalidInputError, match="node dream_0 cannot be parsed: "):
        build_tensorrt_rtx(request(dreamed(graph, 1), tmp_path, "fp32"))


def test_a_dynamic_side_besides_the_batch_is_refused(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["image"], ["logits"])],
        "dynamic",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, "height", 32])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3, "height", 32])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    with pytest.raises(InvalidInputError, match=r"input image has shape .*: only the batch may be dynamic"):
        build_tensorrt_rtx(request(model, tmp_path, "fp32"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batches": (8, 4, 16)}, "batches 8 4 16: give smallest, usual and largest in this order"),
        ({"hardware_compatible": True}, "tensorrt_rtx has no --hardware-compatible; name GPUs by --target"),
        (
            {"targets": ("sm90",)},
            r"tensorrt_rtx 1\.\S+ builds for no SM90; choose --target among SM75, SM80, SM86, SM89, SM120",
        ),
        ({"targets": ("SM86", "current")}, "builds for no SMCURRENT"),
        ({"timing_cache": Path("cache")}, "tensorrt_rtx does not time kernels when it builds; leave --timing-cache out"),
    ],
)
def test_options_that_cannot_be_met_are_refused(
    graph: ModelProto, tmp_path: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        build_tensorrt_rtx(request(graph, tmp_path, "fp32", **options))


@pytest.mark.skipif(torch.cuda.is_available(), reason="the builder can do it on a GPU")
@pytest.mark.parametrize("option", ["version_compatible", "refit", "strip"])
def test_what_the_builder_cannot_do_here_is_refused_by_name(graph: ModelProto, tmp_path: Path, option: str) -> None:
    typed = f"--{option.replace('_', '-')}"
    with pytest.raises(InvalidInputError, match=rf"could not build it with {typed} \(leave it out\): \w+") as error:
        build_tensorrt_rtx(request(graph, tmp_path, "fp32", **{option: True}))
    assert "\n" not in str(error.value)


def test_a_plan_is_built_for_the_targets_that_are_named(graph: ModelProto, tmp_path: Path) -> None:
    built = build_tensorrt_rtx(request(graph, tmp_path, "fp32", targets=("8.6", "sm120", "SM86")))
    assert built.settings["flags"] == ["--target SM86", "--target SM120"]
    assert built.found == {"fp32": 4}


def test_a_library_without_targets_says_so() -> None:
    old = SimpleNamespace(
        __name__="tensorrt", __version__="10.3", BuilderFlag=SimpleNamespace(TF32=0),
        ProfilingVerbosity=SimpleNamespace(DETAILED=0),
    )  # fmt: skip
    config = SimpleNamespace(clear_flag=lambda flag: None, set_flag=lambda flag: None)
    with pytest.raises(
        InvalidInputError, match=r"e: tensorrt 10\.3 builds only for the GPU of this machine and has no --target"
    ):
        apply_options(old, config, BuildOptions(targets=("8.6",)), where="e")
    with pytest.raises(InvalidInputError, match=r"e: tensorrt 10\.3 has no --refit; leave it out"):
        apply_options(old, config, BuildOptions(refit=True), where="e")


def test_without_the_library_its_extra_is_named(graph: ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tensorrt", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'skinaudit\[gpu\]'"):
        build_plan(request(graph, tmp_path, "fp32"), library="tensorrt")


def test_a_plan_whose_layers_are_not_as_asked_is_not_written(
    make_exported_run: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A builder that ignored its types, as one with precision flags may, is caught by what is read back."""
    run = make_exported_run(tmp_path / "run")
    ignoring = replace(FORMATS["tensorrt-rtx"], build=lambda order: Built(found={"fp32": 28}))
    monkeypatch.setattr("skinaudit.export.asked.FORMATS", {**FORMATS, "tensorrt-rtx": ignoring})
    with pytest.raises(InvalidInputError, match="asked for fp16 in 28 layers and found 28 fp32; nothing was written"):
        export_run(run, precisions=["fp16"], formats=["tensorrt-rtx"], threads=1)
    assert not (run / "engines" / "fp16.rtx.plan").exists()


def test_a_run_becomes_plans_with_manifests_that_name_their_graphs(
    make_exported_run: Callable[[Path], Path], tmp_path: Path
) -> None:
    run = make_exported_run(tmp_path / "run")
    exported = export_run(run, precisions=["fp32", "fp16", "int8"], formats=["onnx", "tensorrt-rtx"], threads=1)
    plans = [item for item in exported if item.path.suffix == ".plan"]
    assert [item.path.name for item in plans] == ["fp32.rtx.plan", "fp16.rtx.plan", "int8.rtx.plan"]
    for item in plans:
        manifest = read_engine_manifest(item.path)
        assert manifest.runtime == "tensorrt-rtx"
        assert manifest.found == {manifest.asked: 28}
        assert resolve(item.path.parent, manifest.graph).name == f"{GRAPHS[manifest.asked]}.onnx"
        if not torch.cuda.is_available():
            assert manifest.parity["measured_on"] == "the emulation of its ONNX graph, not the engine"
    assert not [path for path in (run / "engines").iterdir() if path.name.startswith(".")]
    (named,) = export_run(run, precisions=["fp16"], formats=["tensorrt-rtx"], output=tmp_path / "engine.plan", threads=1)
    assert read_engine_manifest(named.path).graph.file == "run/engines/fp16.onnx"
    shutil.rmtree(run)
