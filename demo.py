"""The whole line on the embedded synthetic images: train, harden, attack, export, audit, and one table at the end."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from rich.console import Console
from rich.table import Table

from skinaudit.artifacts.files import Progress, write_json
from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.audit.audit import audit_engine
from skinaudit.audit.reports.json_report import to_json
from skinaudit.audit.reports.terminal import print_audit, print_transfer
from skinaudit.audit.result import AuditResult
from skinaudit.audit.transfer import transfer_matrix
from skinaudit.export.export import export_run
from skinaudit.trainer.data.dataset import Dataset
from skinaudit.trainer.data.load import load
from skinaudit.trainer.recipes import Hardening, adapted
from skinaudit.trainer.train import Reporter, Training, train_run

PRECISIONS = ("fp32", "fp16", "int8")


@dataclass(frozen=True)
class DemoSettings:
    """Sizes that keep the demo within minutes on two cores."""

    size: int = 64
    width: float = 0.25
    eps: Fraction = Fraction(4)
    learning_rate: float = 1e-2
    standard_epochs: int = 12
    hardened_epochs: int = 14
    hardening_steps: int = 3


def run_demo(
    out: Path,
    *,
    seed: int,
    threads: int,
    console: Console,
    say: Callable[[str], None],
    progress: Callable[[str], Progress | None],
    images: int | None = None,
    settings: DemoSettings | None = None,
) -> tuple[AuditResult, ...]:
    """Run everything into `out` (emptied first if it holds a former demo) and print the tables; returns the audits."""
    settings = settings or DemoSettings()
    started = time.perf_counter()
    dataset = load("synthetic", size=settings.size, seed=seed, images=images, progress=progress("drawing images"))
    audits = []
    runs = []
    for name in ("standard", "hardened"):
        run = out / name
        shutil.rmtree(run, ignore_errors=True)
        say(f"\n== train the {name} model")
        _train(run, dataset, settings, hardened=name == "hardened", seed=seed, threads=threads, say=say, progress=progress)
        say(f"== export {name}: {', '.join(PRECISIONS)}")
        exported = export_run(run, precisions=PRECISIONS, threads=threads, progress=say)
        for one in exported:
            result = audit_engine(one.path, threads=threads, progress=progress(f"auditing {one.path.name}"))
            write_json(run / "audits" / f"{one.path.stem}.json", to_json(result))
            audits.append(result)
        runs.append(run)
    print_audit(audits[-1], console)
    console.print()
    print_transfer(transfer_matrix(runs, threads=threads), console)
    console.print()
    console.print(_summary(audits))
    say(f"demo: {time.perf_counter() - started:,.0f} s; runs, engines and reports are in {out}")
    return tuple(audits)


def _train(
    run: Path,
    dataset: Dataset,
    settings: DemoSettings,
    *,
    hardened: bool,
    seed: int,
    threads: int,
    say: Callable[[str], None],
    progress: Callable[[str], Progress | None],
) -> None:
    epochs = settings.hardened_epochs if hardened else settings.standard_epochs
    training = Training(
        arch="mobilenet",
        width=settings.width,
        size=settings.size,
        recipe=adapted("default", epochs=epochs, learning_rate=settings.learning_rate),
        hardening=Hardening(ThreatModel("linf", settings.eps), steps=settings.hardening_steps) if hardened else None,
        threat_model=ThreatModel("linf", settings.eps),
        split="lesion",
        seed=seed,
        weights=None,
        threads=threads,
    )
    report = Reporter(say=say, data=lambda summary: None if hardened else say("\n".join(summary.lines())), progress=progress)
    train_run(dataset, training, out=run, resume=False, report=report)


def _summary(audits: list[AuditResult]) -> Table:
    table = Table(title="all engines: accuracy (balanced accuracy), %; SYNTHETIC images", box=None, title_justify="left")
    table.add_column("engine")
    for one in audits[0].sets:
        table.add_column(one.title, justify="right")
    table.add_column("verdict")
    for result in audits:
        cells = [
            f"{100 * one.comparison.engine_accuracy:.1f} ({100 * one.comparison.engine_balanced:.1f})" for one in result.sets
        ]
        table.add_row(f"{result.run_name} {result.engine.name}", *cells, result.verdict.value)
    baseline = audits[0].sets[0].comparison
    always = f"{100 * baseline.majority_share:.1f} ({100 * baseline.constant_balanced:.1f})"
    table.add_row(f"always {baseline.majority_class}", *[always] * len(audits[0].sets), "")
    return table
