"""What reports say of plans: the batches that were tried, and what the runtime reports of the precision."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from planned_run import plant_plan

from skinaudit.audit import reports
from skinaudit.audit.audit import audit_engine
from skinaudit.audit.judgement.result import AuditResult
from skinaudit.audit.reports.parts.wording import batches_text, precision_text
from skinaudit.engines.engine import BatchRange

pytestmark = pytest.mark.usefixtures("fake_gpu")


def audited(folder: Path, **planted: Any) -> AuditResult:
    run = plant_plan(folder, "fp16", images=140, **planted)
    return audit_engine(run.engine, threads=1, seed=0, small_probe=False)


def test_every_form_names_the_batches(tmp_path: Path) -> None:
    result = audited(tmp_path, batches=(8, 16, 64))
    text = "batch sizes tried: 8, 9, 14 to 17, 30 to 33, 63, 64; the engine accepts 8 to 64"
    assert batches_text(result) == text
    for form in ("markdown", "terminal"):
        assert text in reports.render(form, result)
    assert text[1:] in reports.render("html", result)


def test_ranges_and_hidden_parts_in_words(tmp_path: Path) -> None:
    result = audited(tmp_path)
    description = replace(
        result.description,
        batches=(BatchRange(1, 1, 1), BatchRange(4, 8, 16)),
        executed={"fp16": 20, "fp32": 1, "unknown": 2},
    )
    result = replace(result, description=description)
    assert batches_text(result).endswith("; the engine accepts only 1 or 4 to 16")
    assert precision_text(result) == "fp16 reported in 20 of 21 layers, 2 parts not reported"
    text = "batch sizes tried: 1 to 5, 7 to 9, 15 to 17, 22, 31 to 33, 63 to 65, 127, 128"
    assert batches_text(replace(result, description=replace(description, batches=()))) == text
    few_sizes = replace(result, consistency=replace(result.consistency, sizes=(1, 7, 64, 129)))
    assert (
        batches_text(replace(few_sizes, description=replace(description, batches=()))) == "batch sizes tried: 1, 7, 64, 129"
    )
