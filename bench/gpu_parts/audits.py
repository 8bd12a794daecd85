"""`skinaudit audit` of every engine of the run on the provider, as a user types it."""

from __future__ import annotations

import json
import subprocess
import sys
import time

from skinaudit.bench.gpu_parts.part import Answer, Settings
from skinaudit.bench.report import table
from skinaudit.bench.throughput import open_all

TITLE = "Audited"


def measure(settings: Settings) -> Answer:
    """The verdict, the time and the first reason of each audit, in a process of its own."""
    rows, figures = [], {}
    for opened in open_all(settings.folder, provider=settings.provider, threads=settings.threads)[0]:
        engine, name = opened.path, opened.path.name
        command = [
            "audit",
            str(engine),
            "--allow-code",
            "--provider",
            settings.provider,
            "--threads",
            str(settings.threads),
            "--json",
        ]
        started = time.perf_counter()
        done = subprocess.run([sys.executable, "-m", "skinaudit", *command], capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - started
        last = done.stderr.strip().splitlines()[-1:] or [""]
        verdict = json.loads(done.stdout)["verdict"] if done.stdout.startswith("{") else f"exit code {done.returncode}"
        rows.append([name, verdict, f"{seconds:.1f}", last[0].replace("|", "/")[:300]])
        figures[name] = {"verdict": verdict, "seconds": seconds, "exit": done.returncode, "stderr": done.stderr[-2000:]}
    return Answer(table(("engine", "verdict", "seconds", "said"), rows), figures)
