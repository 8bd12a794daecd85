from __future__ import annotations

import dataclasses
import json
import logging
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from onnx import ModelProto

from skinaudit.artifacts.manifest import engine_file, manifest_path, read_engine_manifest, read_run, resolve, write_run
from skinaudit.cli import commands
from skinaudit.engines.onnx_graph import load, metadata, parse
from skinaudit.engines.open import open_engine
from skinaudit.errors import EngineError, InvalidInputError, MissingDependencyError, SkinauditError
from skinaudit.export import asked, write_graph
from skinaudit.export.build import BuildOptions, Built, Request
from skinaudit.export.export import export_run
from skinaudit.export.formats import FORMATS, Format
from skinaudit.export.precision import PRECISIONS, Converted
from skinaudit.export.run_build import Exported

GRAPHS = FORMATS["onnx"].graphs
Finished = tuple[Path, tuple[Exported, ...]]


@pytest.fixture(scope="module")
def finished(make_run: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Finished:
    run = make_run(tmp_path_factory.mktemp("runs") / "noise")
    return run, export_run(run, precisions=tuple(GRAPHS), threads=1)


@pytest.fixture
def run(finished: Finished, tmp_path: Path) -> Path:
    """A private copy of the exported run."""
    return Path(shutil.copytree(finished[0], tmp_path / "noise"))


def test_each_precision_is_a_file_with_a_manifest_that_leads_back(finished: Finished) -> None:
    run, exported = finished
    assert [item.path for item in exported] == [run / "engines" / f"{name}.onnx" for name in GRAPHS.values()]
    weights, reference = read_run(run).weights.digest, exported[0].manifest.engine.digest
    for item in exported:
        manifest = read_engine_manifest(item.path)
        assert manifest == item.manifest
        assert manifest.found == {manifest.asked: 28}
        assert manifest.lineage["weights"] == weights
        assert manifest.lineage["onnx"] == manifest.reference.digest == reference
        assert manifest.lineage["data"] == "sha256:d"
        assert resolve(item.path.parent, manifest.reference) == run / "engines" / "fp32.onnx"
        assert (item.path.parent / manifest.run).resolve() == run.resolve()
        assert manifest.parity["images"] == 60
        assert manifest.parity["agreement"] >= PRECISIONS[manifest.settings["graph"]].agreement
        assert resolve(item.path.parent, manifest.graph) == item.path
        assert item.size == item.path.stat().st_size
    assert exported[3].manifest.lineage["calibration"] == read_run(run).calibration.digest
    assert exported[3].manifest.settings["executed"] == {"int8": 28}
    assert "calibration" not in exported[0].manifest.lineage


def test_the_file_itself_says_what_it_is(finished: Finished) -> None:
    run, exported = finished
    for item in exported:
        properties = metadata(load(item.path))
        assert properties["skinaudit.precision"] == item.manifest.asked
        assert properties["skinaudit.weights"] == read_run(run).weights.digest
        assert json.loads(properties["skinaudit.contract"]) == item.manifest.contract.to_json()
        assert set(properties) == {f"skinaudit.{key}" for key in ("version", "run", "weights", "contract", "precision")}


def test_only_engines_and_manifests_are_left_in_the_folder(finished: Finished) -> None:
    names = {path.name for path in (finished[0] / "engines").iterdir()}
    assert names == {f"{name}.onnx{suffix}" for name in GRAPHS.values() for suffix in ("", ".json")}


def test_a_second_export_keeps_the_reference_needs_no_torch_and_gives_the_same_bytes(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (run / "engines" / "fp16.onnx").read_bytes()
    (run / "engines" / "fp16.onnx").unlink()
    monkeypatch.setattr(write_graph, "to_onnx", None)
    (fp32, fp16) = export_run(run, precisions=("fp32", "fp16"), threads=1)
    assert (fp32.reused, fp16.reused) == (True, False)
    assert fp16.path.read_bytes() == before


@pytest.mark.parametrize("damage", ["missing", "truncated", "foreign"])
def test_a_reference_that_does_not_lead_to_the_weights_is_built_anew(
    run: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = run / "engines" / "fp32.onnx"
    before = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(before[:1000])
    else:
        value = json.loads(manifest_path(path).read_text())
        value["lineage"]["weights"] = "sha256:other"
        manifest_path(path).write_text(json.dumps(value))
    graph = parse(before, where="kept")
    monkeypatch.setattr(write_graph, "to_onnx", lambda model, *, size: graph)
    (fp32,) = export_run(run, precisions=["fp32"], threads=1)
    assert not fp32.reused
    assert path.read_bytes() == before
    assert read_engine_manifest(path).lineage["weights"] == read_run(run).weights.digest


def test_the_log_names_each_engine_and_its_digest(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="skinaudit"):
        exported = export_run(run, precisions=("fp16", "int8"), threads=1)
    messages = [record.getMessage() for record in caplog.records]
    engines = [message for message in messages if "sha256:" in message]
    assert [message.split(", ")[0] for message in engines] == [
        f"{item.path}: {item.manifest.engine.digest}" for item in exported
    ]
    conversions = [message for message in messages if message.startswith("int8, ")]
    assert len(conversions) == len(exported[1].manifest.settings["calibration_agreement"])


def test_an_output_elsewhere_still_leads_back(run: Path, tmp_path: Path) -> None:
    target = tmp_path / "ship" / "engine.onnx"
    (item,) = export_run(run, precisions=["fp16"], output=target, threads=1)
    assert item.path == target
    with pytest.raises(InvalidInputError, match=r"engine\.onnx\.json: run: names '\.\./noise', .* name that with --run DIR"):
        read_engine_manifest(target)
    manifest = read_engine_manifest(target, run=run)
    assert manifest.engine.file == "engine.onnx"
    assert json.loads((tmp_path / "ship" / "engine.onnx.json").read_text())["run"] == "../noise"
    assert engine_file(target, manifest, manifest.reference).samefile(run / "engines" / "fp32.onnx")
    assert open_engine(target, threads=1).description.found == {"fp16": 28}


@pytest.mark.parametrize(
    ("precisions", "output", "message"),
    [
        (["fp8"], None, "onnx in fp8: choose one of fp32, fp16, bf16, int8"),
        ([], None, "choose one of"),
        (["fp16", "int8"], "x.onnx", "takes one precision of one format, not 2"),
        (["fp16"], "x.plan", r"x\.plan: an output file ends in \.onnx"),
    ],
)
def test_settings_that_make_no_sense_are_refused(run: Path, precisions: list[str], output: str | None, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        export_run(run, precisions=precisions, output=None if output is None else run / output)


def test_a_conversion_that_does_nothing_is_caught_and_nothing_is_written(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (run / "engines" / "fp16.onnx").read_bytes()
    lazy = dataclasses.replace(PRECISIONS["fp16"], convert=lambda model, _, *, where: Converted(model))
    monkeypatch.setattr(write_graph, "PRECISIONS", {**PRECISIONS, "fp16": lazy})
    with pytest.raises(InvalidInputError, match=r"fp16\.onnx: asked for fp16 in 28 layers and found 28 fp32"):
        export_run(run, precisions=["fp16"], threads=1)
    assert (run / "engines" / "fp16.onnx").read_bytes() == before
    read_engine_manifest(run / "engines" / "fp16.onnx")


def test_an_engine_of_other_weights_is_not_shipped(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def negated(model: ModelProto, _: object, *, where: str) -> Converted:
        converted = PRECISIONS["fp32"].convert(model, None, where=where)
        (alpha,) = (value for value in converted.model.graph.node[-1].attribute if value.name == "alpha")
        alpha.f = -alpha.f
        return converted

    monkeypatch.setattr(
        write_graph, "PRECISIONS", {**PRECISIONS, "fp16": dataclasses.replace(PRECISIONS["fp32"], convert=negated)}
    )
    monkeypatch.setattr(write_graph, "check_found", lambda *_, **__: None)
    with pytest.raises(EngineError, match=r"fp16\.onnx: logits differ from the source model"):
        export_run(run, precisions=["fp16"], threads=1)


@pytest.mark.parametrize("name", ["sets/clean.safetensors", "calibration.safetensors"])
def test_a_run_whose_files_were_changed_is_refused(run: Path, name: str) -> None:
    path = run / name
    path.write_bytes(path.read_bytes()[:-1] + b"\x07")
    with pytest.raises(InvalidInputError, match=f"{path.name}: digest .*, the manifest says"):
        export_run(run, precisions=["int8"], threads=1)


def test_a_run_without_clean_images_is_refused(run: Path) -> None:
    write_run(run, dataclasses.replace(read_run(run), sets={}))
    with pytest.raises(InvalidInputError, match="the run has no clean set; train it again"):
        export_run(run, precisions=["fp16"])


def test_without_torch_the_extra_is_named(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (run / "engines" / "fp32.onnx").unlink()
    monkeypatch.delitem(sys.modules, "skinaudit.trainer.checkpoint", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingDependencyError, match=r"noise: export needs torch.*pip install 'skinaudit\[train\]'"):
        export_run(run, precisions=["fp16"])


def test_builds_are_compared_where_several_are_asked_for(run: Path) -> None:
    exported = export_run(run, precisions=["int8"], options=BuildOptions(rebuilds=3), threads=1)
    assert exported[0].manifest.parity["rebuilds"] == {"builds": 3, "files": 1, "flips": 0, "images": 60}
    (once,) = export_run(run, precisions=["int8"], threads=1)
    assert "rebuilds" not in once.manifest.parity


def test_steps_are_told(run: Path) -> None:
    steps: list[str] = []
    export_run(run, precisions=["int8"], threads=1, progress=steps.append)
    assert steps == ["int8-u8s8: converting", "int8-u8s8: comparing with the source model on 60 clean images"]


def test_an_option_that_no_format_takes_is_refused(run: Path) -> None:
    message = "--batches: is for --format tensorrt or tensorrt-rtx, not for onnx; name one, or leave it out"
    with pytest.raises(InvalidInputError, match=message):
        export_run(run, precisions=["fp32"], options=BuildOptions(batches=(1, 2, 4)))
    with pytest.raises(InvalidInputError, match="--provider: is for --format aotinductor, not for onnx"):
        export_run(run, precisions=["fp32"], options=BuildOptions(provider="cuda"))
    with pytest.raises(InvalidInputError, match=r"--target: is for .*, not for openvino, pytorch; name one"):
        export_run(run, precisions=["fp32"], formats=["openvino", "pytorch"], options=BuildOptions(targets=("8.6",)))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("tensorrt", {"batches": (8, 1, 32)}, "batches 8 1 32: give smallest, usual and largest in this order"),
        ("tensorrt", {"timing_cache": Path("/")}, "/: not a file"),
        ("tensorrt-rtx", {"targets": ("9.9",)}, "builds for no SM99; choose --target among"),
        ("tensorrt-rtx", {"hardware_compatible": True}, "tensorrt_rtx has no --hardware-compatible"),
    ],
)
def test_options_are_checked_before_anything_is_converted(
    run: Path, name: str, options: dict[str, Any], message: str
) -> None:
    if name == "tensorrt-rtx":
        pytest.importorskip("tensorrt_rtx")
    steps: list[str] = []
    refused: list[SkinauditError] = []
    request: dict[str, Any] = {"precisions": ["fp16"], "formats": [name], "options": BuildOptions(**options)}
    assert export_run(run, **request, progress=steps.append, refused=refused.append) == ()
    assert message in str(refused[0])
    assert steps == []
    with pytest.raises(InvalidInputError, match=message):
        export_run(run, **request)


def test_what_cannot_be_met_does_not_keep_the_other_formats_from_being_written(run: Path) -> None:
    refused: list[SkinauditError] = []
    written = export_run(
        run, precisions=["fp32"], formats=["tensorrt", "onnx"], options=BuildOptions(batches=(8, 1, 32)),
        threads=1, refused=refused.append,
    )  # fmt: skip
    assert [item.path.name for item in written] == ["fp32.onnx"]
    assert "batches 8 1 32" in str(refused[0])


def refusing(reason: str) -> Format:
    def build(request: Request) -> Built:
        raise InvalidInputError(f"{request.where}: {reason}")

    return dataclasses.replace(FORMATS["pytorch"], graphs=FORMATS["onnx"].graphs, build=build)


def test_what_is_refused_does_not_keep_the_others_from_being_written(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asked, "FORMATS", {**FORMATS, "pytorch": refusing("cannot be built")})
    request: dict[str, Any] = {"precisions": ["fp32", "fp16"], "formats": ["pytorch", "onnx"], "threads": 1}
    refused: list[SkinauditError] = []
    written = export_run(run, **request, refused=refused.append)
    assert [item.path.name for item in written] == ["fp32.onnx", "fp16.onnx"]
    assert [str(error).rpartition("engines")[2] for error in refused] == [
        "/fp32.pt2: cannot be built",
        "/fp16.pt2: cannot be built",
    ]
    with pytest.raises(InvalidInputError, match=r"fp32\.pt2: cannot be built"):
        export_run(run, **request)


def test_the_command_lists_what_was_written_and_ends_with_the_refusals(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(asked, "FORMATS", {**FORMATS, "pytorch": refusing("cannot be built")})
    arguments = ["export", str(run), "--format", "pytorch", "--format", "onnx", "--fp32", "--fp16", "--threads", "1"]
    with pytest.raises(InvalidInputError) as last:
        commands.main(arguments, standalone_mode=False)
    out, err = capsys.readouterr()
    assert [line.split()[0].rpartition("/")[2] for line in out.splitlines()] == ["fp32.onnx", "fp16.onnx"]
    refusals = [err.splitlines()[-1], f"skinaudit: {last.value}"]
    assert refusals[0].startswith("skinaudit: ")
    assert [line.rpartition("/")[2] for line in refusals] == ["fp32.pt2: cannot be built", "fp16.pt2: cannot be built"]
