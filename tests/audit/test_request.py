from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from skinaudit.audit.audit import audit_engine
from skinaudit.audit.judgement.policy import Policy
from skinaudit.audit.judgement.result import AuditResult, Verdict
from skinaudit.commands.auditing import audit


@pytest.mark.usefixtures("opened")
def test_the_command_line_reads_back_as_the_audit_was_run(tmp_path: Path, lab: SimpleNamespace) -> None:
    planted = lab.plant(tmp_path / "a run", settings={})
    sets = planted.run / "sets"
    result = audit_engine(planted.engine, sets=sets, policy=Policy(margin=2.5), threads=3, batch_size=7, provider="cpu")
    assert result.arguments[:3] == ("skinaudit", "audit", str(planted.engine))
    options = audit.make_context("audit", list(result.arguments[2:])).params
    assert (options["engines"], options["sets"], options["margin"]) == ((planted.engine,), sets, 2.5)
    assert (options["threads"], options["batch"], options["provider"]) == (1, 7, "cpu")  # threads: what the engine took
    assert (options["control"], options["contract"], options["runtime"], options["emulate"]) == (None, None, None, False)


@pytest.mark.usefixtures("opened")
def test_what_is_default_is_not_told(tmp_path: Path, lab: SimpleNamespace) -> None:
    planted = lab.plant(tmp_path / "run", settings={})
    assert audit_engine(planted.engine, seed=8).arguments[3:] == ("--margin", "1", "--threads", "1", "--seed", "8")


@pytest.mark.usefixtures("opened")
def test_every_audit_draws_its_own_seed_and_the_recorded_one_repeats_it(tmp_path: Path, lab: SimpleNamespace) -> None:
    planted = lab.plant(tmp_path / "run", images=140, settings={})
    first, second = (audit_engine(planted.engine) for _ in range(2))
    assert first.probes[0].seed != second.probes[0].seed
    options = audit.make_context("audit", list(first.arguments[2:])).params
    again = audit_engine(planted.engine, seed=options["seed"])
    assert without_times(again) == without_times(first)


def without_times(result: AuditResult) -> AuditResult:
    """What is measured of the machine is no answer of the engine."""
    sets = tuple(replace(entry, images_per_second=1.0) for entry in result.sets)
    return replace(result, sets=sets, probes=tuple(replace(probe, seconds=1.0) for probe in result.probes))


@pytest.mark.usefixtures("opened")
def test_an_audit_without_the_fresh_attack_says_so_and_cannot_pass(tmp_path: Path, lab: SimpleNamespace) -> None:
    planted = lab.plant(tmp_path / "run", settings={})
    result = audit_engine(planted.engine, small_probe=False)
    assert (result.probes, result.verdict) == ((), Verdict.INCONCLUSIVE)
    assert audit.make_context("audit", list(result.arguments[2:])).params["no_probe"]
    assert audit_engine(planted.engine, small_probe=False, policy=Policy(probe_required=False)).verdict is Verdict.PASS
