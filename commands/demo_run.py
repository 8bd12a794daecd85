"""All steps on the embedded synthetic images: train, harden, attack, export, audit, and one table at the end."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from rich.console import Console
from rich.table import Table

from skinaudit.artifacts.files import write_bytes, write_json
from skinaudit.artifacts.run_folder import RunFolder
from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.audit.audit import audit_engine
from skinaudit.audit.judgement.result import AuditResult
from skinaudit.audit.reports.json_ import to_json
from skinaudit.audit.reports.parts.columns import print_table
from skinaudit.audit.reports.parts.transfer_table import print_transfer
from skinaudit.audit.reports.terminal import print_audit
from skinaudit.audit.transfer import transfer_matrix
from skinaudit.errors import InvalidInputError
from skinaudit.export.export import export_run
from skinaudit.trainer.data.dataset import Dataset
from skinaudit.trainer.data.load import load
from skinaudit.trainer.recipes import Hardening, adapted
from skinaudit.trainer.reporter import Reporter
from skinaudit.trainer.train import Training, train_run

NAMES = ("standard", "hardened")
PRECISIONS = ("fp32", "fp16", "int8")
MARKER = "demo.txt"


@dataclass(frozen=True)
class DemoSettings:
    """Sizes with which the demo takes minutes on two cores, with enough test images for a PASS at the default margin."""

    images: int = 5000
    size: int = 64
    width: float = 0.25
    eps: Fraction = Fraction(4)
    standard_epochs: int = 10
    hardened_epochs: int = 12
    hardening_steps: int = 3


def run_demo(
    out: Path,
    *,
    seed: int,
    threads: int,
    console: Console,
    report: Reporter,
    settings: DemoSettings | None = None,
) -> tuple[AuditResult, ...]:
    """Run everything into `out`, after removing a former demo there, and print the tables; returns the audits."""
    settings = settings or DemoSettings()
    _claim(out)
    started = time.perf_counter()
    dataset = load(
        "synthetic", size=settings.size, seed=seed, images=settings.images, progress=report.progress("drawing images")
    )
    audits = []
    runs: list[Path] = []
    for name in NAMES:
        run = out / name
        shutil.rmtree(run, ignore_errors=True)
        report.say(f"\n== train the {name} model")
        start = runs[0] if runs else None  # hardening starts from the standard model
        _train(run, dataset, settings, start=start, seed=seed, threads=threads, report=report)
        report.say(f"== export {name}: {', '.join(PRECISIONS)}")
        exported = export_run(run, precisions=PRECISIONS, threads=threads, progress=report.say)
        for engine in exported:
            result = audit_engine(
                engine.path, threads=threads, progress=report.progress(f"auditing {name} {engine.path.name}")
            )
            write_json(RunFolder(run).audit_of(engine.path.name), to_json(result))
            audits.append(result)
        runs.append(run)
    print_audit(audits[-1], console)
    console.print()
    print_transfer(transfer_matrix(runs, threads=threads), console)
    console.print()
    print_table(_summary(audits), console)
    report.say(f"demo: {time.perf_counter() - started:,.0f} s; runs, engines and reports are in {out}")
    return tuple(audits)


def _claim(out: Path) -> None:
    """Mark `out` as a demo's; raises InvalidInputError if it contains runs that no demo made and that would be replaced."""
    for name in NAMES:
        if (out / name).exists() and not (out / MARKER).exists():
            raise InvalidInputError(
                f"{out / name}: the demo did not make this run and would replace it; choose another --out"
            )
    write_bytes(out / MARKER, b"The demo replaces the runs in this folder.\n")


def _train(
    run: Path,
    dataset: Dataset,
    settings: DemoSettings,
    *,
    start: Path | None,
    seed: int,
    threads: int,
    report: Reporter,
) -> None:
    recipe = adapted("default", epochs=settings.hardened_epochs if start else settings.standard_epochs)
    training = Training(
        arch="mobilenet",
        width=settings.width,
        size=settings.size,
        recipe=recipe,
        hardening=Hardening(ThreatModel("linf", settings.eps), steps=settings.hardening_steps) if start else None,
        threat_model=ThreatModel("linf", settings.eps),
        split="lesion",
        seed=seed,
        weights=str(start) if start else None,
        threads=threads,
    )
    train_run(dataset, training, out=run, resume=False, report=report)


def _summary(audits: list[AuditResult]) -> Table:
    table = Table(title="all engines: accuracy (balanced accuracy), %; SYNTHETIC images")
    table.add_column("engine")
    for set_result in audits[0].sets:
        table.add_column(set_result.title, justify="right")
    table.add_column("verdict")
    for result in audits:
        cells = [
            f"{100 * set_result.comparison.engine_accuracy:.1f} ({100 * set_result.comparison.engine_balanced:.1f})"
            for set_result in result.sets
        ]
        table.add_row(f"{result.run_name} {result.engine.name}", *cells, result.verdict.value)
    baseline = audits[0].sets[0].comparison
    always = f"{100 * baseline.majority_share:.1f} ({100 * baseline.constant_balanced:.1f})"
    table.add_row(f"always {baseline.majority_class}", *[always] * len(audits[0].sets), "")
    return table
