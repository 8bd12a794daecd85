"""What fresh attacks add to a replay, on real runs: docs/results/probes.md.

    python bench/probes.py runs/hardened-tuned runs/standard-wide --output docs/results/probes.md

The first run is the one whose engines are audited with and without probes. From the second one, a model that was never
hardened, comes an engine that learnt the first run's stored images by heart: it is trained until it gives their stored
logits, and passes for an export of the first run. A replay cannot tell the two apart; a probe has to.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn
from torch.nn import functional

from skinaudit.artifacts.adversarial_set import open_set
from skinaudit.artifacts.files import write_bytes
from skinaudit.artifacts.manifest import read_engine_manifest, read_run, record, write_engine_manifest, write_run
from skinaudit.audit.audit import audit_engine
from skinaudit.audit.policy import Policy
from skinaudit.audit.probes import load as load_probe
from skinaudit.audit.probing import ProbePlan
from skinaudit.audit.result import AuditResult, ProbeResult, Severity
from skinaudit.audit.wording import drop_text, percent
from skinaudit.bench.report import table
from skinaudit.export.precision import PRECISIONS
from skinaudit.export.to_onnx import clean, serialise, to_onnx
from skinaudit.trainer import probes as source_probes
from skinaudit.trainer.checkpoint import load_run_model
from skinaudit.trainer.evaluate import to_pixels

SETS = ("clean", "fgsm", "pgd")


def main() -> None:
    """Parse the command line, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("standard", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        run = _private(options.run, Path(folder) / options.run.name)
        engines = {name: run / "engines" / name for name in ("fp32.onnx", "fp16.onnx", "int8-u8s8.onnx")}
        engines["by heart"] = learnt_by_heart(run, options.standard, epochs=options.epochs)
        found = {name: _audits(path, run, options) for name, path in engines.items()}
    minutes = (time.perf_counter() - started) / 60
    options.output.write_text(_page(found, options, minutes), encoding="utf-8")


def learnt_by_heart(run: Path, standard: Path, *, epochs: int, seed: int = 0) -> Path:
    """Train the standard run's model on the stored sets of `run` towards their stored logits; the engine's path."""
    sets = [open_set(path) for path in sorted((run / "sets").glob("*.safetensors"))]
    images = torch.cat([to_pixels(batch, device=torch.device("cpu")) for one in sets for batch in one.batches(256)])
    logits = torch.cat([torch.from_numpy(np.array(one.source_logits)) for one in sets])
    model = load_run_model(standard).to(memory_format=torch.channels_last)
    model.eval()  # batch norm keeps its statistics
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    batches = -(-len(images) // 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=epochs * batches)
    generator = torch.Generator().manual_seed(seed)
    for epoch in range(epochs):
        total = 0.0
        for rows in torch.randperm(len(images), generator=generator).split(64):
            loss = functional.smooth_l1_loss(model(images[rows]), logits[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += float(loss.detach()) * len(rows)
        print(f"by heart: epoch {epoch + 1} of {epochs}, loss {total / len(images):.4f}", flush=True)
    return _sold_as(run, model)


def _sold_as(run: Path, model: nn.Module) -> Path:
    """The model as a bf16 graph under the manifest of the run's own, digests made to fit, as a careless pipeline would."""
    honest = run / "engines" / "bf16.onnx"
    path = honest.with_name("by-heart.onnx")
    source = to_onnx(model.to(memory_format=torch.contiguous_format), size=read_run(run).contract.size)
    converted = PRECISIONS["bf16"].convert(source, None, where=str(path))
    metadata = {entry.key: entry.value for entry in onnx.load(honest).metadata_props}
    write_bytes(path, serialise(clean(converted.model), metadata=metadata))
    here = record(path, relative_to=path.parent)
    write_engine_manifest(replace(read_engine_manifest(honest), engine=here, graph=here), engine=path)
    return path


def _private(run: Path, target: Path) -> Path:
    """A copy of a run with a clean, an FGSM and a PGD set."""
    copied = Path(shutil.copytree(run, target, ignore=shutil.ignore_patterns("audits")))
    manifest = read_run(copied)
    kept = {}
    for name, entry in manifest.sets.items():
        info = open_set(copied / entry.file).info
        if info.threat_model is None or (info.attack in SETS and name in manifest.results):
            kept[name] = entry
        else:
            (copied / entry.file).unlink()
    write_run(copied, replace(manifest, sets=kept))
    return copied


def _audits(path: Path, run: Path, options: argparse.Namespace) -> tuple[AuditResult, float, AuditResult, float]:
    """The audit without probes and its seconds, and the same with them."""
    policy = Policy(malignant_to_benign=10_000, control="optional")  # single flips are not what is looked at here
    model = load_run_model(run)
    plans: list[ProbePlan] = []
    for name in ("square", "spsa", "whitebox", "disagree"):
        if name in source_probes.names():
            search, gated = source_probes.load(name, model)
            plans.append(ProbePlan(name, search, {"queries": 60}, None, options.images, 0, gated))
        else:
            search, settings = load_probe(name)
            plans.append(ProbePlan(name, search, {**settings, "queries": options.queries}, None, options.images, 0))
    timed = []
    for chosen in ((), plans):
        started = time.perf_counter()
        timed += [audit_engine(path, policy=policy, probes=chosen, threads=options.threads), time.perf_counter() - started]
    print(f"{path.name}: {timed[0].verdict.value} / {timed[2].verdict.value}", flush=True)
    return timed[0], timed[1], timed[2], timed[3]


def _page(
    found: dict[str, tuple[AuditResult, float, AuditResult, float]], options: argparse.Namespace, minutes: float
) -> str:
    verdicts, robust = [], []
    heads = ("engine", "probe", "clean", "replay", "fresh", "worst", "reference, fresh", "drop [95%]", "queries", "a second")
    for name, (plain, seconds, probed, longer) in found.items():
        forced = [one for one in probed.findings if one.severity in (Severity.FAIL, Severity.INCONCLUSIVE)]
        reasons = sorted({f"{one.rule} ({one.set})" for one in forced})
        verdicts.append(
            [name, plain.verdict.value, f"{seconds:.1f}", probed.verdict.value, f"{longer:.1f}", ", ".join(reasons)]
        )
        robust += [_probe_row(name, one) for one in probed.probes]
    return f"""# What fresh attacks add to a replay

    python bench/probes.py {options.run} {options.standard} --output docs/results/probes.md

took {minutes:.0f} minutes. Real HAM10000 images, {options.images} of them attacked, {options.queries} queries an image at
most (`whitebox` and `disagree`: 60), with {options.threads} threads on a CPU. Sets: clean, FGSM and PGD-40 at the run's eps.
Malignant-to-benign flips are left out of the verdict here, so that only drops, masking and fidelity decide.

`by heart` is an engine whose model was never hardened: it was trained for {options.epochs} epochs to give the stored logits
of exactly the stored images, and passes for the bf16 export of the hardened run.

## Verdicts and cost

{table(("engine", "by replay", "seconds", "with four probes", "seconds", "what forbids PASS"), verdicts)}

## Robust accuracy on the attacked images

Replay: right on the stored FGSM and PGD images both; worst: right under replay, the probe, and a probe that starts at the
stored images. Reference: the same attack, with the same random numbers, on the fp32 model. For `disagree` the fresh figure
counts images without a point where the engine is wrong and the source right.

{table(heads, robust)}
"""


def _probe_row(name: str, one: ProbeResult) -> Sequence[str]:
    shares = (one.clean_accuracy, one.replay_accuracy, one.fresh_accuracy, one.worst_accuracy, one.reference_accuracy)
    figures = [percent(share) for share in shares]
    return [name, one.name, *figures, drop_text(one.drop), f"{one.queries:,}", f"{one.queries / one.seconds:,.0f}"]


if __name__ == "__main__":
    main()
