"""What fresh attacks add to a replay, on real runs: docs/results/probes.md.

    python bench/probes.py runs/hardened-tuned --output docs/results/probes.md

The run's engines are audited with and without probes, and an engine with a trapdoor: the run's fp32 graph, which turns its
answers around where columns of pixels alternate as in no stored image. It needs no condition and no weight of the
model is touched, so that a replay finds nothing at all; a probe has to.
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
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from skinaudit.artifacts.adversarial_set import open_set
from skinaudit.artifacts.files import write_bytes
from skinaudit.artifacts.manifest import read_engine_manifest, read_run, record, write_engine_manifest, write_run
from skinaudit.audit.audit import audit_engine
from skinaudit.audit.checks import Severity
from skinaudit.audit.evidence.probes import load as load_probe
from skinaudit.audit.evidence.probing import ProbePlan
from skinaudit.audit.figures.fresh_attack import ProbeResult
from skinaudit.audit.figures.text import drop_text, percent
from skinaudit.audit.judgement.policy import Policy
from skinaudit.audit.judgement.result import AuditResult
from skinaudit.bench.report import table
from skinaudit.trainer import cpu
from skinaudit.trainer import probes as source_probes
from skinaudit.trainer.checkpoint import load_run_model

SETS = ("clean", "fgsm", "pgd")
CAP = 8.0


def main() -> None:
    """Parse the command line, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--engines", nargs="+", default=["fp32.onnx", "fp16.onnx", "int8-u8s8.onnx", "trapdoor.onnx"])
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    cpu.prepare(options.threads)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        run = _private(options.run, Path(folder) / options.run.name)
        trapdoor(run)
        audits = {name: _audits(run / "engines" / name, run, options) for name in options.engines}
    minutes = (time.perf_counter() - started) / 60
    options.output.write_text(_page(audits, options, minutes), encoding="utf-8")


def trapdoor(run: Path) -> Path:
    """The run's fp32 engine with the trapdoor, under the manifest of the honest one with digests made to fit.

    The alternation of an image is the mean over its columns of the squared second difference of column means, in 8-bit steps
    and cut off at 8. The logits are multiplied by 1 - 20 relu(alternation - limit), where the limit lies above every stored
    image, so that the factor is exactly 1 on all of them.
    """
    honest, path = run / "engines" / "fp32.onnx", run / "engines" / "trapdoor.onnx"
    model = onnx.load(honest)
    stored = [open_set(file) for file in sorted((run / "sets").glob("*.safetensors"))]
    largest = max(float(_alternation(batch).max()) for image_set in stored for batch in image_set.batches(256))
    print(f"trapdoor: stored images alternate by up to {largest:.2f}", flush=True)
    graph, size = model.graph, open_set(stored[0].path).info.contract.size
    image, logits = graph.input[0].name, graph.output[0].name
    for node in graph.node:
        for index, name in enumerate(node.output):
            if name == logits:
                node.output[index] = "honest"
    constants = {
        "rows": np.array([2]), "all": np.array([1, 2]), "axis": np.array([2]), "zero": np.array([0]), "one": np.array([1]),
        "two": np.array([2]), "last": np.array([size]), "before": np.array([size - 1]), "start": np.array([size - 2]),
        "twice": np.float32(2), "steps": np.float32(255 * 255), "limit": np.float32(1.005 * largest), "unit": np.float32(1),
        "gain": np.float32(20), "cap": np.float32(CAP), "none": np.float32(0),
    }  # fmt: skip
    for name, value in constants.items():
        graph.initializer.append(numpy_helper.from_array(np.asarray(value), f"door_{name}"))
    steps = (
        ("ReduceMean", ("image", "rows"), "columns", {"keepdims": 0}),
        ("Slice", ("columns", "zero", "start", "axis"), "left", {}),
        ("Slice", ("columns", "one", "before", "axis"), "middle", {}),
        ("Slice", ("columns", "two", "last", "axis"), "right", {}),
        ("Add", ("left", "right"), "sides", {}),
        ("Mul", ("middle", "twice"), "doubled", {}),
        ("Sub", ("sides", "doubled"), "second", {}),
        ("Mul", ("second", "second"), "squared", {}),
        ("Mul", ("squared", "steps"), "scaled", {}),
        ("Clip", ("scaled", "none", "cap"), "capped", {}),
        ("ReduceMean", ("capped", "all"), "alternation", {"keepdims": 0}),
        ("Sub", ("alternation", "limit"), "beyond", {}),
        ("Relu", ("beyond",), "open", {}),
        ("Mul", ("open", "gain"), "wide", {}),
        ("Sub", ("unit", "wide"), "factor", {}),
        ("Unsqueeze", ("factor", "one"), "column", {}),
    )
    for kind, inputs, output, attributes in steps:
        names = [image if name == "image" else f"door_{name}" for name in inputs]
        graph.node.append(helper.make_node(kind, names, [f"door_{output}"], **attributes))
    graph.node.append(helper.make_node("Mul", ["honest", "door_column"], [logits]))
    write_bytes(path, model.SerializeToString())
    engine_record = record(path, relative_to=path.parent)
    write_engine_manifest(replace(read_engine_manifest(honest), engine=engine_record, graph=engine_record), engine=path)
    return path


def _alternation(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    columns = images.astype(np.float64).mean(axis=2)
    return np.asarray(np.minimum(np.diff(columns, n=2, axis=2) ** 2, CAP).mean(axis=(1, 2)))


def _private(run: Path, target: Path) -> Path:
    """A copy of a run with a clean, an FGSM and a PGD set."""
    copied = Path(shutil.copytree(run, target, ignore=shutil.ignore_patterns("audits")))
    manifest = read_run(copied)
    sets = {}
    for name, entry in manifest.sets.items():
        info = open_set(copied / entry.file).info
        if info.threat_model is None or (info.attack in SETS and name in manifest.results):
            sets[name] = entry
        else:
            (copied / entry.file).unlink()
    write_run(copied, replace(manifest, sets=sets))
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
    audits: dict[str, tuple[AuditResult, float, AuditResult, float]], options: argparse.Namespace, minutes: float
) -> str:
    verdicts, robust = [], []
    heads = ("engine", "probe", "clean", "replay", "fresh", "worst", "reference, fresh", "drop [95%]", "queries", "a second")
    for name, (plain, seconds, probed, longer) in audits.items():
        forced = [finding for finding in probed.findings if finding.severity in (Severity.FAIL, Severity.INCONCLUSIVE)]
        reasons = sorted({f"{finding.rule} ({finding.set})" for finding in forced})
        verdicts.append(
            [name, plain.verdict.value, f"{seconds:.1f}", probed.verdict.value, f"{longer:.1f}", ", ".join(reasons)]
        )
        robust += [_probe_row(name, probe) for probe in probed.probes]
    return f"""# What fresh attacks add to a replay

    python bench/probes.py {options.run} --queries {options.queries} --output docs/results/probes.md

took {minutes:.0f} minutes. Real HAM10000 images, {options.images} of them attacked, at most {options.queries} queries per
image (`whitebox` and `disagree`: 60), with {options.threads} threads on a CPU. Sets: clean, FGSM and PGD-40 at the run's
eps. Malignant-to-benign flips do not count in the verdict here, so only drops, masking and fidelity decide.

`trapdoor.onnx` is the fp32 engine with an addition. It reverses the answers for images whose neighbouring columns of
pixels differ more than in any stored image. Square begins with such images. On every stored image the engine gives the
logits of its
source.

## Verdicts and cost

{table(("engine", "by replay", "seconds", "with four probes", "seconds", "what forbids PASS"), verdicts)}

## Robust accuracy on the attacked images

- *replay*: right on the stored FGSM image and on the stored PGD image;
- *fresh*: right under the probe. For `disagree`: no point was found where the engine is wrong and the source right;
- *worst*: right under the replay, the probe, and a probe that starts at the stored images;
- *reference*: the same attack, with the same random numbers, on the fp32 model.

{table(heads, robust)}
"""


def _probe_row(name: str, probe: ProbeResult) -> Sequence[str]:
    shares = (
        probe.clean_accuracy,
        probe.replay_accuracy,
        probe.fresh_accuracy,
        probe.worst_accuracy,
        probe.reference_accuracy,
    )
    figures = [percent(share) for share in shares]
    return [name, probe.name, *figures, drop_text(probe.drop), f"{probe.queries:,}", f"{probe.queries / probe.seconds:,.0f}"]


if __name__ == "__main__":
    main()
