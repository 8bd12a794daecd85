"""The commands train, export and audit on this machine, and whether the same seed gives the same bytes on its device."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from skinaudit.artifacts.files import digest_file
from skinaudit.artifacts.manifest import read_run
from skinaudit.artifacts.run_folder import RunFolder
from skinaudit.artifacts.training_log import read_log
from skinaudit.bench.gpu_parts.part import Answer, Keep, Settings
from skinaudit.bench.report import table

TITLE = "Train, export, audit"


def measure(settings: Settings, keep: Keep) -> Answer:
    """A short hardened training twice with one seed, then export in fp32 and an audit of it, each as its command."""
    rows: list[list[str]] = []
    figures: dict[str, Any] = {}

    def answer() -> Answer:
        command = " ".join(["skinaudit", *_training(settings, Path("runs/first"))])
        on = f", on {figures['device']}" if "device" in figures else ""
        return Answer(f"    {command}\n\n{table(('', f'measured{on}'), rows)}", figures)

    def row(name: str, value: str, **more: Any) -> None:
        rows.append([name, value])
        figures.update(more)
        keep(answer())

    with tempfile.TemporaryDirectory() as scratch:
        runs = [Path(scratch) / name for name in ("first", "second")]
        files = [RunFolder(run) for run in runs]
        first = _command(_training(settings, runs[0]))
        device = read_run(runs[0]).training["device"]
        row("train, whole command", f"{first:.1f} s", train_seconds=[first], device=device)
        epochs = [dict(epoch) for epoch in read_log(files[0].log)]
        speeds = ", ".join(f"{epoch['images_per_second']:,.0f}" for epoch in epochs)
        row("epochs, images per second", speeds, epochs=epochs)
        second = _command(_training(settings, runs[1]))
        row("train again", f"{second:.1f} s", train_seconds=[first, second])
        weights = digest_file(files[0].weights) == digest_file(files[1].weights)
        sets = [[record.digest for record in read_run(run).sets.values()] for run in runs]
        row("the same weights twice", "yes" if weights else "NO", equal={"weights": weights, "sets": sets[0] == sets[1]})
        row("the same sets twice", "yes" if sets[0] == sets[1] else "NO")
        export = _command(["export", str(runs[0]), "--format", "onnx", "--threads", str(settings.threads)])
        row("export to fp32 ONNX", f"{export:.1f} s", export_seconds=export)
        audit = [
            "audit", str(files[0].reference), "--provider", settings.provider, "--threads", str(settings.threads), "--json",
        ]  # fmt: skip
        started = time.perf_counter()
        audited = subprocess.run([sys.executable, "-m", "skinaudit", *audit], capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - started
        verdict = json.loads(audited.stdout)["verdict"] if audited.stdout else audited.stderr.strip()[-300:]
        row(f"audit on {settings.provider}", f"{verdict}, {seconds:.1f} s", verdict=verdict, audit_seconds=seconds)
    return answer()


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
    done = subprocess.run([sys.executable, "-m", "skinaudit", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"skinaudit {arguments[0]} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    return time.perf_counter() - started
