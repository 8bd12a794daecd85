"""Several engines at once: real ONNX files, real processes."""

from __future__ import annotations

import multiprocessing
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper

pytest.importorskip("onnxruntime")

import skinaudit.cli
from skinaudit.artifacts.manifest import read_engine_manifest, record, write_engine_manifest
from skinaudit.audit import several
from skinaudit.audit.audit import audit_engine
from skinaudit.audit.judgement.result import AuditResult, Verdict
from skinaudit.audit.reports.json_ import to_json
from skinaudit.audit.several import Answer, audit_several, fit_plans, share_cores, sort_files
from skinaudit.engines.plans.options import PlanOptions
from skinaudit.errors import InvalidInputError

SIZE = 6


def linear_model(path: Path, weights: np.ndarray) -> None:
    """Pixels minus one half, times weights float32 (pixels, classes)."""
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("Sub", ["flat", "half"], ["centred"]),
        helper.make_node("MatMul", ["centred", "weights"], ["logits"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, SIZE, SIZE])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", weights.shape[1]])
    constants = {"half": np.float32(0.5), "weights": weights.astype(np.float32)}
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    model = helper.make_model(helper.make_graph(nodes, "linear", [image], [logits], tensors), ir_version=8)
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", 17))
    onnx.save(model, path)


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory, lab: SimpleNamespace) -> Path:
    """A run's engines folder: fp32.onnx, worse.onnx with two columns exchanged, and bare.onnx without a manifest."""
    planted = lab.plant(tmp_path_factory.mktemp("several") / "run")
    folder: Path = planted.engine.parent
    written = read_engine_manifest(planted.engine)
    weights = lab.templates(0)
    linear_model(folder / "fp32.onnx", weights)
    linear_model(folder / "worse.onnx", weights[:, [1, 0, 2, 3, 4, 5, 6]])
    linear_model(folder / "bare.onnx", weights)
    graph = record(folder / "fp32.onnx", relative_to=folder)
    lineage = {**written.lineage, "onnx": graph.digest}
    manifest = replace(written, engine=graph, reference=graph, graph=graph, runtime="onnxruntime", lineage=lineage)
    write_engine_manifest(manifest, engine=folder / "fp32.onnx")
    own = replace(manifest, engine=record(folder / "worse.onnx", relative_to=folder))
    write_engine_manifest(own, engine=folder / "worse.onnx")
    return folder


def silent(_: str) -> None:
    return None


def test_each_answer_is_that_of_the_engine_alone_in_the_given_order(engines: Path) -> None:
    finished: list[tuple[Path, Answer]] = []
    bars: dict[str, list[tuple[int, int]]] = {}

    def progress(title: str) -> Any:
        return lambda done, total: bars.setdefault(title, []).append((done, total))

    paths = [engines / name for name in ("worse.onnx", "bare.onnx", "fp32.onnx")]
    settings = {"threads": 1, "seed": 0}
    answers = audit_several(
        paths, settings, jobs=2, finished=lambda path, answer: finished.append((path, answer)), progress=progress
    )
    assert sorted(finished, key=lambda value: paths.index(value[0])) == list(zip(paths, answers, strict=True))
    worse, bare, fp32 = answers
    assert isinstance(bare, str)
    assert bare.startswith(f"{engines / 'bare.onnx'}: no manifest beside it")
    assert isinstance(worse, AuditResult)
    assert worse.verdict is Verdict.FAIL
    assert isinstance(fp32, AuditResult)
    assert plain(fp32) == plain(audit_engine(engines / "fp32.onnx", threads=1, seed=0))
    assert bars["fp32.onnx: replaying"][-1] == (1400, 1400)
    assert multiprocessing.active_children() == []


def plain(result: AuditResult) -> AuditResult:
    """Without what the clock says."""
    sets = tuple(replace(entry, images_per_second=0.0) for entry in result.sets)
    return replace(result, sets=sets, probes=tuple(replace(probe, seconds=0.0) for probe in result.probes))


def test_a_mistake_of_the_program_is_one_line_and_stops_no_other_audit(engines: Path) -> None:
    (answer,) = audit_several([engines / "fp32.onnx"], {"whim": 1}, jobs=1, finished=lambda *_: None, progress=silent)
    assert isinstance(answer, str)
    assert "the audit stopped with TypeError" in answer
    assert answer.endswith("; --debug or SKINAUDIT_DEBUG=1 shows the traceback")
    assert "\n" not in answer


def test_a_process_that_dies_is_told(engines: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(several, "_audit", os._exit)  # which takes no pipe
    (answer,) = audit_several([engines / "fp32.onnx"], {}, jobs=1, finished=lambda *_: None, progress=silent)
    died = "the process of the audit died (exit code 1); audit this engine alone to see why"
    assert answer == f"{engines / 'fp32.onnx'}: {died}"


def test_an_interrupt_ends_every_audit(engines: Path) -> None:
    def finished(path: Path, answer: Answer) -> None:
        raise KeyboardInterrupt

    paths = [engines / "bare.onnx", engines / "fp32.onnx", engines / "worse.onnx"]
    with pytest.raises(KeyboardInterrupt):
        audit_several(paths, {"threads": 1}, jobs=3, finished=finished, progress=silent)
    assert multiprocessing.active_children() == []


def test_the_report_of_each_is_as_for_one(engines: Path) -> None:
    settings = {"threads": 1, "small_probe": False, "seed": 0}
    (answer,) = audit_several([engines / "fp32.onnx"], settings, jobs=4, finished=lambda *_: None, progress=silent)
    assert isinstance(answer, AuditResult)
    command = f"skinaudit audit {engines / 'fp32.onnx'} --margin 1 --threads 1 --no-probe --seed 0"
    assert answer.arguments == tuple(command.split())
    assert to_json(answer)["kind"] == "skinaudit-audit/2"


def test_files_of_a_pattern_are_sorted(tmp_path: Path) -> None:
    for name in ("a.onnx", "a.onnx.json", "b.xml", "b.bin", "c.bin", "d.PLAN", "notes.txt"):
        (tmp_path / name).write_text("")
    (tmp_path / "folder.onnx").mkdir()
    paths = sorted(tmp_path.iterdir())
    engines, skipped = sort_files([*paths, tmp_path / "folder.onnx" / ".." / "a.onnx", tmp_path / "absent"])
    assert [path.name for path in engines] == ["a.onnx", "b.xml", "d.PLAN", "absent"]
    assert {path.name: reason for path, reason in skipped} == {
        "a.onnx.json": "a manifest or a report",
        "b.bin": "the weights of b.xml",
        "c.bin": "no runtime opens such a file",
        "folder.onnx": "a folder",
        "notes.txt": "no runtime opens such a file",
    }


@pytest.mark.parametrize(
    ("engines", "cores", "jobs", "threads", "expected"),
    [
        (3, 8, None, None, (3, 2)),
        (9, 8, None, None, (8, 1)),
        (9, 8, None, 2, (4, 2)),
        (9, 8, None, 16, (1, 16)),
        (9, 8, 2, None, (2, 4)),
        (2, 8, 4, 3, (2, 3)),
        (3, 1, None, None, (1, 1)),
        (3, 2, 3, None, (3, 1)),
    ],
)
def test_cores_are_shared(
    engines: int, cores: int, jobs: int | None, threads: int | None, expected: tuple[int, int]
) -> None:
    assert share_cores(engines, cores=cores, jobs=jobs, threads=threads) == expected


def test_options_of_plans_reach_the_engines_that_take_them(tmp_path: Path) -> None:
    graph, plan, rtx, unknown = (tmp_path / name for name in ("a.onnx", "b.plan", "c.rtx.plan", "d.unknown"))
    rtx.write_bytes(b"vtrt")
    all_options = PlanOptions(device=1, specialisation="none", runtime_cache=Path("cache"))
    assert fit_plans([graph, plan, rtx, unknown], all_options, runtime=None) == {
        graph: PlanOptions(), plan: PlanOptions(device=1), rtx: all_options, unknown: all_options,
    }  # fmt: skip
    for engines, option in (([graph, plan], "--kernels"), ([graph, graph], "--device")):
        with pytest.raises(InvalidInputError, match=f"{option}: is for .*tensorrt-rtx, but none of the 2 engines uses it"):
            fit_plans(engines, all_options, runtime=None)


def test_each_engine_is_audited_with_its_own_options_of_plans(engines: Path) -> None:
    """ONNX Runtime refuses them, so that they are left out for the one engine alone."""
    paths = [engines / "fp32.onnx", engines / "worse.onnx"]
    settings = {"threads": 1, "plan": PlanOptions(device=1)}
    answers = audit_several(
        paths, settings, jobs=1, finished=lambda *_: None, progress=silent, plans={paths[0]: PlanOptions()}
    )  # fmt: skip
    assert isinstance(answers[0], AuditResult)
    assert "does not support --device" in str(answers[1])


def test_the_command_names_the_engines_that_are_audited_without_an_option(engines: Path) -> None:
    plan, graph = engines.parent / "damaged.plan", engines / "fp32.onnx"
    plan.write_bytes(b"")
    words = ["audit", str(graph), str(plan), "--device", "1", "--jobs", "1", "--threads", "1", "--json"]
    outcome = CliRunner().invoke(skinaudit.cli.commands, words)
    assert f"{graph}: --device 1 does not apply to this engine and is ignored" in outcome.stderr
    assert f"{plan}: --device" not in outcome.stderr
    assert f"2 of 2  {plan.name}  ERROR" in outcome.stderr
    assert f"1 of 2  {graph.name}  ERROR" not in outcome.stderr
    alone = CliRunner().invoke(skinaudit.cli.commands, [*words[:2], *words[3:5]])
    assert str(alone.exception).startswith(
        f"{graph}: onnxruntime does not support --device, which is for tensorrt and tensorrt-rtx"
    )
