from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from skinaudit.audit.audit import audit_engine
from skinaudit.audit.judgement.policy import Policy
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
    assert audit_engine(planted.engine).arguments[3:] == ("--margin", "1", "--threads", "1")
