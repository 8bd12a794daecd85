"""The commands train, export and audit on this machine, and whether the same seed gives the same bytes on its device."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from skinaudit.artifacts.files import digest_file
from skinaudit.artifacts.manifest import read_run
from skinaudit.artifacts.run_folder import RunFolder
from skinaudit.artifacts.training_log import read_log
from skinaudit.bench.gpu_parts.part import Answer, Keep, Settings
from skinaudit.bench.report import table

TITLE = "Train, export, audit"
_WAYS = {"": (), ", bf16 and a CUDA graph": ("--precision", "bf16", "--cuda-graphs")}
"""Options of the trainings, by what tables say of them."""


def measure(settings: Settings, keep: Keep) -> Answer:
    """A short hardened training twice with one seed, both at once; then export in fp32 and an audit of it, as commands.

    On a GPU also twice in bf16 with a CUDA graph.
    """
    rows: list[list[str]] = []
    figures: dict[str, Any] = {"equal": {}}

    def answer() -> Answer:
        command = " ".join(["skinaudit", *_training(settings, Path("runs/first"))])
        on = f", on {figures['device']}" if "device" in figures else ""
        return Answer(f"    {command}\n\n{table(('', f'measured{on}'), rows)}", figures)

    def row(name: str, value: str, **values: Any) -> None:
        rows.append([name, value])
        figures.update(values)
        keep(answer())

    ways = _WAYS if settings.provider == "cuda" else {"": ()}
    with tempfile.TemporaryDirectory() as scratch:
        pairs = {way: [Path(scratch) / f"{number}{name}" for name in ("first", "second")] for number, way in enumerate(ways)}
        commands = [[*_training(settings, run), *ways[way]] for way, runs in pairs.items() for run in runs]
        started = time.perf_counter()
        _at_once(commands)
        seconds = time.perf_counter() - started
        first = pairs[""][0]
        device = read_run(first).training["device"]
        row(f"train, whole commands, {len(commands)} at once", f"{seconds:.1f} s", train_seconds=seconds, device=device)
        for way, runs in pairs.items():
            epochs = [dict(epoch) for epoch in read_log(RunFolder(runs[0]).log)]
            speeds = ", ".join(f"{epoch['images_per_second']:,.0f}" for epoch in epochs)
            row(f"epochs{way}, images per second", speeds, **{f"epochs{way}": epochs})
            weights = digest_file(RunFolder(runs[0]).weights) == digest_file(RunFolder(runs[1]).weights)
            sets = [[stored.digest for stored in read_run(run).sets.values()] for run in runs]
            figures["equal"][way] = {"weights": weights, "sets": sets[0] == sets[1]}
            row(f"the same weights twice{way}", "yes" if weights else "NO")
            row(f"the same sets twice{way}", "yes" if sets[0] == sets[1] else "NO")
        export = _command(["export", str(first), "--format", "onnx", "--threads", str(settings.threads)])
        row("export to fp32 ONNX", f"{export:.1f} s", export_seconds=export)
        audit = [
            "audit", str(RunFolder(first).reference), "--provider", settings.provider, "--threads", str(settings.threads),
            "--json",
        ]  # fmt: skip
        started = time.perf_counter()
        audited = subprocess.run([sys.executable, "-m", "skinaudit", *audit], capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - started
        verdict = json.loads(audited.stdout)["verdict"] if audited.stdout else audited.stderr.strip()[-300:]
        row(f"audit on {settings.provider}", f"{verdict}, {seconds:.1f} s", verdict=verdict, audit_seconds=seconds)
    return answer()


def _at_once(commands: Sequence[list[str]]) -> None:
    """Run commands of skinaudit beside one another; raises as `_command`."""
    with ThreadPoolExecutor(len(commands)) as pool:
        list(pool.map(_command, commands))


def _training(settings: Settings, out: Path) -> list[str]:
    images = ["--images", str(settings.images)] if settings.images else []
    return [
        "train", "--data", settings.data, *images, "--size", str(settings.size), "--width", f"{settings.width:g}",
        "--hardening", "pgd", "--eps", "2/255", "--epochs", str(settings.epochs), "--warm-up", "0", "--ramp", "0",
        "--threads", str(settings.threads), "--out", str(out),
    ]  # fmt: skip


def _command(arguments: list[str]) -> float:
    """Seconds of a command of skinaudit; a failure raises with the last lines that it printed."""
    started = time.perf_counter()
    process = subprocess.run([sys.executable, "-m", "skinaudit", *arguments], capture_output=True, text=True, check=False)
    if process.returncode != 0:
        raise RuntimeError(f"skinaudit {arguments[0]} ended with {process.returncode}: {process.stderr.strip()[-500:]}")
    return time.perf_counter() - started
