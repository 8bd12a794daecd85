"""Audits of plans over the fake GPU, from the file to the verdict: sound plans pass, planted faults do not."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_gpu.cuda_world import world
from planned_run import plant_plan

from skinaudit.audit.audit import audit_engine
from skinaudit.audit.judgement.policy import DEFAULT
from skinaudit.audit.judgement.result import AuditResult
from skinaudit.audit.judgement.verdict import Verdict
from skinaudit.engines.engine import BatchRange
from skinaudit.engines.plans.cuda_device import BINDINGS
from skinaudit.engines.plans.options import PlanOptions
from skinaudit.errors import EngineError, InvalidInputError

pytestmark = pytest.mark.usefixtures("fake_gpu")


COARSE = replace(DEFAULT, margin=3.0, malignant_to_benign=10)
"""What 3 bits of mantissa cost on this model, whoever computes them."""

ENOUGH = {"fp32": 700, "fp16": 700, "int8": 700, "bf16": 1400, "fp8": 1400}
"""Images on which a sound plan passes: the coarser its rounding, the more."""


def further(*values: Any) -> list[Any]:
    """Parameters of slow tests: precisions of which the others have a kind."""
    return [pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=pytest.mark.slow) for value in values]


def audited(
    folder: Path, precision: str, *, plan: PlanOptions | None = None, images: int = 700, allow: bool = False, **planted: Any
) -> AuditResult:
    run = plant_plan(folder, precision, images=images, **planted)
    policy = COARSE if precision == "fp8" else DEFAULT
    with pytest.MonkeyPatch.context() as patch:
        if not planted.get("host_code"):  # tests/test_cli_plans.py opens plans in a child process first
            patch.setattr("skinaudit.engines.plans.open_plan.try_plan", lambda *_, **__: None)
        return audit_engine(run.engine, threads=1, plan=plan or PlanOptions(), allow_code=allow, policy=policy, seed=0)


def rules(result: AuditResult) -> dict[str, str]:
    """Severity of each finding's rule."""
    return {finding.rule: finding.severity.value for finding in result.findings}


@pytest.mark.parametrize(
    ("precision", "inspector"),
    [("fp32", "10"), ("int8", "10"), ("fp16", "11"), *further(("fp8", "10"), ("bf16", "11"), ("fp8", "11"))],
)
def test_a_sound_plan_of_tensorrt_passes(tmp_path: Path, precision: str, inspector: str) -> None:
    result = audited(tmp_path, precision, inspector=inspector, images=ENOUGH[precision])
    assert result.verdict is Verdict.PASS, result.reason
    assert result.description.executed == {precision: 1}
    assert result.description.batches == (BatchRange(1, 32, 128),)
    assert {1, 7, 32, 64, 128} <= set(result.consistency.sizes)
    by_rounding = {} if precision == "fp32" else {"computed-precision": "note"}
    turned = {"review": "warning"} if precision == "fp8" else {}  # each cancer that turned benign is for a person to see
    severities = rules(result)
    assert severities.pop("batch-dependence", "note") == "note"
    assert severities == {"conditions": "note", "unproved": "warning"} | by_rounding | turned


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8", *further("bf16", "fp8")])
def test_a_sound_plan_of_tensorrt_rtx_passes_by_its_rounding(tmp_path: Path, precision: str) -> None:
    result = audited(tmp_path, precision, library="tensorrt_rtx", inspector="rtx", images=ENOUGH[precision])
    assert result.verdict is Verdict.PASS, result.reason
    assert result.description.executed is None
    assert result.description.settings["kernel_specialisation"] == "eager"
    assert rules(result).get("computed-precision") == (None if precision == "fp32" else "note")


@pytest.mark.parametrize(
    ("precision", "library", "inspector", "rule"),
    [
        ("int8", "tensorrt", "10", "execution"),
        ("fp16", "tensorrt", "11", "execution"),
        ("bf16", "tensorrt", "11", "execution"),
        ("fp8", "tensorrt", "11", "execution"),
        ("fp16", "tensorrt", "none", "computed-precision"),
        ("bf16", "tensorrt", "broken", "computed-precision"),
        ("fp8", "tensorrt", "names", "computed-precision"),
        ("int8", "tensorrt_rtx", "rtx", "computed-precision"),
        *further(
            ("fp16", "tensorrt", "10", "execution"),
            ("int8", "tensorrt", "names", "computed-precision"),
            ("fp16", "tensorrt_rtx", "rtx", "computed-precision"),
            ("bf16", "tensorrt_rtx", "rtx", "computed-precision"),
            ("fp8", "tensorrt_rtx", "rtx", "computed-precision"),
        ),
    ],
)
def test_a_plan_that_computes_fp32_instead_fails(
    tmp_path: Path, precision: str, library: str, inspector: str, rule: str
) -> None:
    result = audited(tmp_path, precision, library=library, inspector=inspector, compute="fp32")
    assert result.verdict is Verdict.FAIL
    assert rules(result)[rule] == "fail"


def test_answers_that_depend_on_the_batch_fail(tmp_path: Path) -> None:
    result = audited(tmp_path, "fp16", batch_bias=0.05)
    assert rules(result)["batch-dependence"] == "fail"
    assert result.verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("batches", "sizes"),
    [((8, 16, 64), (8, 16, 64)), ((5, 5, 5), (5,)), ((1, 1, 1), (1,)), ((1, 8, 512), (1, 7, 8, 64, 129, 512))],
)
def test_whatever_batches_the_plan_takes_are_tried(
    tmp_path: Path, batches: tuple[int, int, int], sizes: tuple[int, ...]
) -> None:
    result = audited(tmp_path, "fp16", batches=batches)
    assert set(sizes) <= set(result.consistency.sizes)
    assert result.verdict is Verdict.PASS, result.reason


def test_kernels_that_are_swapped_in_the_background_would_not_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from skinaudit.engines.plans.kernel_choice import KernelChoice

    # as the library chooses by itself
    monkeypatch.setattr(KernelChoice, "make_context", lambda choice, engine: engine.create_execution_context())
    result = audited(tmp_path, "fp16", library="tensorrt_rtx", inspector="rtx")
    assert rules(result)["determinism"] == "inconclusive"
    assert result.verdict is Verdict.INCONCLUSIVE


def test_a_runtime_cache_is_written_and_read(tmp_path: Path) -> None:
    cache = tmp_path / "kernels.cache"
    options = PlanOptions(runtime_cache=cache, specialisation="none")
    first = audited(tmp_path / "first", "fp16", library="tensorrt_rtx", inspector="rtx", plan=options)
    written = cache.read_bytes()
    second = audited(tmp_path / "second", "fp16", library="tensorrt_rtx", inspector="rtx", plan=options)
    assert first.verdict is second.verdict is Verdict.PASS
    assert written.startswith(b"rtxcache")
    assert cache.read_bytes() == written
    assert first.description.settings["kernel_specialisation"] == "none"
    words = ("--kernels", "none", "--runtime-cache", str(cache))
    assert " ".join(words) in " ".join(first.arguments)


def test_a_file_that_is_no_runtime_cache_stays_as_it_is(tmp_path: Path) -> None:
    thesis = tmp_path / "thesis.txt"
    thesis.write_text("three years of work")
    with pytest.raises(EngineError, match=r"thesis\.txt: not a runtime cache of this library.*name another file") as error:
        audited(tmp_path / "run", "fp16", library="tensorrt_rtx", inspector="rtx", plan=PlanOptions(runtime_cache=thesis))
    assert "delete" not in str(error.value)
    assert thesis.read_text() == "three years of work"
    with pytest.raises(EngineError, match="cannot be written as a file; name another file"):
        audited(tmp_path / "third", "fp16", library="tensorrt_rtx", plan=PlanOptions(runtime_cache=tmp_path))


@pytest.mark.parametrize(
    ("flag", "given"), [("--kernels", {"specialisation": "none"}), ("--runtime-cache", {"runtime_cache": Path("new")})]
)
def test_what_only_tensorrt_rtx_compiles_is_refused_by_tensorrt(tmp_path: Path, flag: str, given: dict[str, Any]) -> None:
    message = f"tensorrt does not support {flag}, which is for tensorrt-rtx; leave it out"
    with pytest.raises(EngineError, match=message):
        audited(tmp_path, "fp16", plan=PlanOptions(**given))


def test_code_of_a_plan_runs_only_when_it_is_allowed(tmp_path: Path) -> None:
    with pytest.raises(EngineError) as error:
        audited(tmp_path / "refused", "fp16", host_code=True)
    assert str(error.value).endswith(
        "fp16.plan: a version-compatible plan contains program code, which runs with your rights; pass --allow-code if you "
        "trust its origin"
    )
    result = audited(tmp_path / "allowed", "fp16", host_code=True, allow=True)
    assert result.verdict is Verdict.PASS
    assert result.description.settings == {"host_code": "allowed"}
    assert "--allow-code" in result.arguments


def test_cuda_graphs_change_no_answer(tmp_path: Path) -> None:
    plain = audited(tmp_path / "plain", "fp16")
    recorded = audited(tmp_path / "recorded", "fp16", plan=PlanOptions(cuda_graphs=True))
    assert [entry.right for entry in recorded.sets] == [entry.right for entry in plain.sets]
    assert recorded.verdict is Verdict.PASS


def test_the_second_device(tmp_path: Path, fake_gpu: Callable[..., None]) -> None:
    fake_gpu(devices=("first", "second"))
    result = audited(tmp_path, "fp16", plan=PlanOptions(device=1))
    assert (result.description.device, result.verdict) == ("second", Verdict.PASS)


def test_a_control_that_is_a_plan_runs_on_the_same_device(
    tmp_path: Path, fake_gpu: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_gpu(devices=("first", "second"))
    used: list[int] = []
    set_device = world().cudaSetDevice
    cuda = importlib.import_module(BINDINGS)
    monkeypatch.setattr(cuda, "cudaSetDevice", lambda device: (used.append(device), set_device(device))[1])
    control = plant_plan(tmp_path, "fp32").engine
    run = plant_plan(tmp_path, "fp16")
    result = audit_engine(run.engine, control=control, threads=1, plan=PlanOptions(device=1))
    assert result.control.startswith("the reference reproduces 2 of 2 sets")
    assert set(used) == {1}


def test_options_of_plans_are_refused_where_no_plan_runs(tmp_path: Path) -> None:
    run = plant_plan(tmp_path, "fp16")
    with pytest.raises(
        EngineError, match="onnxruntime does not support --device, which is for tensorrt and tensorrt-rtx; leave it out"
    ):
        audit_engine(run.reference, plan=PlanOptions(device=1))
    with pytest.raises(InvalidInputError, match="--emulate does not run the plan; leave --cuda-graphs out"):
        audit_engine(run.engine, emulate=True, plan=PlanOptions(cuda_graphs=True))
