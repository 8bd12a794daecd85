"""What the report forms add to an audit: the whole command with JSON alone beside the same with every form."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from skinaudit.artifacts.manifest import read_run
from skinaudit.audit import reports
from skinaudit.bench.timing import interleaved
from skinaudit.errors import SkinauditError

TARGET = 1.15
_ALONE, _EVERY = "with JSON alone", "with every form"


@dataclass(frozen=True)
class ReportFigures:
    """Median wall-clock seconds of `skinaudit audit` in a process of its own. ratio: with all forms over with JSON alone."""

    engine: str
    sets: int
    forms: tuple[str, ...]
    rounds: int
    alone: float
    every: float
    ratio: float


def measure_reports(
    engine: Path, run: Path, *, rounds: int, threads: int, say: Callable[[str], None] = lambda _: None
) -> ReportFigures:
    """Audit an engine of a run with one report and with all, in turns; raises SkinauditError where an audit does not end."""
    forms = reports.names()
    with tempfile.TemporaryDirectory() as folder:
        targets = {
            _ALONE: [f"json={folder}/alone.json"],
            _EVERY: [f"{form}={folder}/audit.{form}" for form in forms],
        }
        # As where skinaudit is installed: modules are compiled once, in the round that warms up.
        bytecode = {"PYTHONPYCACHEPREFIX": f"{folder}/bytecode", "PYTHONDONTWRITEBYTECODE": ""}
        environment = {**os.environ, **bytecode}
        contestants = {name: partial(_audit, engine, texts, threads, environment) for name, texts in targets.items()}
        interleaved(contestants, rounds=1)
        contest = interleaved(contestants, rounds=rounds)
    figures = ReportFigures(
        engine=engine.stem,
        sets=len(read_run(run).sets),
        forms=forms,
        rounds=rounds,
        alone=contest.median(_ALONE),
        every=contest.median(_EVERY),
        ratio=contest.ratio(_EVERY, _ALONE),
    )
    say(f"audit {engine.name}: {figures.alone:.2f} s with JSON alone, {figures.every:.2f} s with {len(forms)} forms")
    return figures


def _audit(engine: Path, targets: list[str], threads: int, environment: Mapping[str, str], _: int) -> None:
    command = [sys.executable, "-m", "skinaudit.cli", "audit", str(engine), "--threads", str(threads)]
    command += [part for target in targets for part in ("--report", target)]
    process = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if process.returncode not in (0, 1, 3):  # PASS, FAIL, INCONCLUSIVE
        raise SkinauditError(f"{engine}: the audit stopped: {process.stderr.strip()}")
