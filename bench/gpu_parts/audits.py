"""`skinaudit audit` of every engine of the run on the provider, as a user types it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

from skinaudit.bench.gpu_parts.part import Answer, Keep, Settings
from skinaudit.bench.report import table
from skinaudit.bench.throughput import open_all

TITLE = "Audited"


def measure(settings: Settings, keep: Keep) -> Answer:
    """The verdict, the time and the reason of each audit, in a process of its own; and why an engine does not open."""
    opened, left_out = open_all(settings.folder, provider=settings.provider, threads=settings.threads)
    rows = [[name, "not opened", "-", _cell(reason)] for name, reason in left_out.items()]
    figures: dict[str, Any] = {name: {"error": reason} for name, reason in left_out.items()}

    def answer() -> Answer:
        return Answer(table(("engine", "verdict", "seconds", "reason"), rows), figures)

    keep(answer())
    for engine in opened:
        command = [
            "audit", str(engine.path), "--allow-code", "--provider", settings.provider, "--threads", str(settings.threads),
            "--json",
        ]  # fmt: skip
        started = time.perf_counter()
        job = subprocess.run([sys.executable, "-m", "skinaudit", *command], capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - started
        verdict, reason = _verdict_of(job)
        rows.append([engine.path.name, verdict, f"{seconds:.1f}", _cell(reason)])
        figures[engine.path.name] = {
            "verdict": verdict, "reason": reason, "seconds": seconds, "exit": job.returncode, "stderr": job.stderr[-2000:],
        }  # fmt: skip
        keep(answer())
    return answer()


def _verdict_of(job: subprocess.CompletedProcess[str]) -> tuple[str, str]:
    """The verdict and its reason: of the JSON report or, where there is none, the exit code and the last line on stderr."""
    if job.stdout.startswith("{"):
        report = json.loads(job.stdout)
        return report["verdict"], report["reason"]
    return f"exit code {job.returncode}", (job.stderr.strip().splitlines() or ["no message"])[-1]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "/")[:300]
