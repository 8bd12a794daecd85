"""The commands train, export and audit on this machine, and whether the same seed gives the same bytes on its device."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from skinaudit.artifacts.files import digest_file
from skinaudit.artifacts.manifest import read_run
from skinaudit.artifacts.run_folder import RunFolder
from skinaudit.artifacts.training_log import read_log
from skinaudit.bench.gpu_parts.part import Answer, Settings
from skinaudit.bench.report import table

TITLE = "Train, export, audit"


def measure(settings: Settings) -> Answer:
    """A short hardened training twice with one seed, then export in fp32 and an audit of it, each as its command."""
    with tempfile.TemporaryDirectory() as scratch:
        runs = [Path(scratch) / name for name in ("first", "second")]
        seconds = [_command(_training(settings, out)) for out in runs]
        files = [RunFolder(run) for run in runs]
        epochs = read_log(files[0].log)
        equal = {
            "weights": digest_file(files[0].weights) == digest_file(files[1].weights),
            "sets": [one.digest for one in read_run(runs[0]).sets.values()]
            == [one.digest for one in read_run(runs[1]).sets.values()],
        }
        export = _command(["export", str(runs[0]), "--format", "onnx", "--threads", str(settings.threads)])
        audit = [
            "audit", str(files[0].reference), "--provider", settings.provider, "--threads", str(settings.threads), "--json",
        ]  # fmt: skip
        started = time.perf_counter()
        audited = subprocess.run([sys.executable, "-m", "skinaudit", *audit], capture_output=True, text=True, check=False)
        audit_seconds = time.perf_counter() - started
        verdict = json.loads(audited.stdout)["verdict"] if audited.stdout else audited.stderr.strip()[-300:]
        device = read_run(runs[0]).training["device"]
    figures = {
        "device": device, "train_seconds": seconds, "export_seconds": export, "audit_seconds": audit_seconds,
        "verdict": verdict, "equal": equal, "epochs": [dict(epoch) for epoch in epochs],
    }  # fmt: skip
    rows = [
        ["train, whole command (the same again)", f"{seconds[0]:.1f} s ({seconds[1]:.1f} s)"],
        ["epochs, images per second", ", ".join(f"{epoch['images_per_second']:,.0f}" for epoch in epochs)],
        ["the same weights twice", "yes" if equal["weights"] else "NO"],
        ["the same sets twice", "yes" if equal["sets"] else "NO"],
        ["export to fp32 ONNX", f"{export:.1f} s"],
        [f"audit on {settings.provider}", f"{verdict}, {audit_seconds:.1f} s"],
    ]
    command = " ".join(["skinaudit", *_training(settings, Path("runs/first"))])
    return Answer(f"    {command}\n\non {device}:\n\n{table(('', ''), rows)}", figures)


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
