"""One trained run to plant faults in: built once, real files throughout, never read by anything but these tests."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto

from skinaudit.artifacts.adversarial_set import AdversarialSet, open_set
from skinaudit.artifacts.contract import CLASSES
from skinaudit.artifacts.files import write_bytes
from skinaudit.artifacts.manifest import EngineManifest, read_engine_manifest, record, write_engine_manifest
from skinaudit.artifacts.run_folder import RunFolder
from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.audit.audit import audit_engine
from skinaudit.audit.checks import Severity
from skinaudit.audit.judgement.policy import Policy
from skinaudit.audit.judgement.result import Verdict
from skinaudit.engines.onnx_graph import found_precisions
from skinaudit.errors import SkinauditError
from skinaudit.export.export import export_run
from skinaudit.tests.faults.surgery import Surgery
from skinaudit.trainer import checkpoint
from skinaudit.trainer.data.dataset import Dataset, of_rows
from skinaudit.trainer.data.load import load
from skinaudit.trainer.data.splits import lesion_split
from skinaudit.trainer.loop import Epoch, Examples, fit
from skinaudit.trainer.recipes import Hardening, adapted
from skinaudit.trainer.reporter import Reporter
from skinaudit.trainer.train import Training, train_run

IMAGES, SIZE, WIDTH, THREADS = 1600, 32, 0.25, 1
TESTED = 450
"""Test images asked for, each a lesion of its own: an engine that agrees on all needs 381 to pass at a margin of 1 point,
and 73 malignant ones at 5."""
EPS = ThreatModel("linf", Fraction(2))

FAIL, INCONCLUSIVE = Severity.FAIL, Severity.INCONCLUSIVE
RULES: Mapping[str, tuple[str, Severity | None]] = {
    "drop of accuracy": ("drop", FAIL),
    "undecided drop": ("drop", INCONCLUSIVE),
    "malignant flips": ("turned-benign", None),
    "malignant sensitivity": ("malignant-sensitivity", None),
    "class sensitivity": ("class-sensitivity", FAIL),
    "constant answer": ("constant-answer", None),
    "precision found": ("precision", None),
    "logits, not probabilities": ("probabilities", None),
    "repeatability": ("determinism", None),
    "attack strength": ("attack-strength", None),
    "attack quality": ("attack-quality", None),
    "test split": ("test-split", None),
    "logits near the source's": ("fidelity", None),
    "batches": ("batch-dependence", None),
    "conditions in the graph": ("conditions", None),
    "layers and weights of the run": ("unexplained", None),
    "odd frames": ("odd-frames", None),
    "beside the stored images": ("nearby-images", None),
    "rounded input": ("input-rounding", None),
    "fresh attack": ("probe-drop", None),
    "half precision emulated": ("execution", None),
    "recorded results": ("results", None),
    "repeated images": ("repeated-images", None),
    "control run": ("control", None),
}
"""Checks of the audit: the rule of their findings, and its severity where the rule has several meanings."""

ERRORS: Mapping[str, str] = {
    "finite logits": r"NaN or infinit",
    "logits, not probabilities": r"outputs probabilities",
    "control": r"does not reproduce the stored logits",
    "eps in integers": r"is outside of linf",
    "digest": r"changed after it was written",
    "labels of the clean set": r"labels or image names differ",
}
"""Checks that end an audit before there are findings, by the words of their errors."""

CHECKS = frozenset({*RULES, *ERRORS})

ANOTHER = "another"
"""Of an outcome that none of these explains."""
DROP = "drop of accuracy"
ANY_LOSS = (DROP, "malignant flips", "malignant sensitivity", "undecided drop")
"""For faults whose size depends on the weights that the training happens to end with."""
LOGITS = "logits near the source's"
BEYOND_INT8 = (DROP, "class sensitivity", "constant answer", LOGITS)
"""For int8 faults: an honest int8 engine loses single images too, so a flip or an undecided drop proves nothing here."""
WITHOUT_PROBE: Mapping[str, Any] = {"small_probe": False, "policy": Policy(probe_required=False)}
"""Settings of an audit whose verdict may not come from the small probe, nor from its absence."""


@dataclass(frozen=True)
class Lab:
    """Where everything lies. run: hardened, with its engines. standard: the run that it was hardened from. early: the
    hardened run's weights after its first epoch at full eps. again: those after one epoch more than the run's."""

    run: Path
    standard: Path
    early: Path
    again: Path

    def engine(self, graph: str) -> Path:
        """The honest engine of a graph's name: fp32, fp16 or int8-u8s8."""
        return self.run / "engines" / f"{graph}.onnx"

    def model(self, graph: str = "fp32") -> ModelProto:
        """A fresh copy of an honest graph."""
        return onnx.load(self.engine(graph))

    def set(self, name: str) -> AdversarialSet:
        """A stored set of the run: clean, fgsm or pgd-dlr."""
        return open_set(next((self.run / "sets").glob(f"{name}*.safetensors")))


@dataclass(frozen=True)
class Outcome:
    """What an audit said: PASS, FAIL, INCONCLUSIVE or `error`; the checks that fired and their words; the largest drop."""

    verdict: str
    checks: tuple[str, ...]
    texts: tuple[str, ...]
    drop: float | None


@dataclass(frozen=True)
class Fault:
    """One row of the zoo.

    mimics: the mistake or attack that it stands for. plant: writes it below a scratch folder, or into the lab, and returns
    the engine to audit. caught_by: the checks of CHECKS of which one has to see it. needs: the check that is missing, for a
    fault that nothing sees. by_luck: without that check some models show it and some do not.
    surgery: the edit of the fp32 graph, where that is all of it.
    """

    name: str
    mimics: str
    plant: Callable[[Lab, Path], Path]
    caught_by: tuple[str, ...] = ()
    needs: str = ""
    by_luck: bool = False
    surgery: Surgery | None = None


def build_lab(folder: Path, *, seed: int = 0) -> Lab:
    """Train, harden and export below `folder`: most of a minute of one CPU."""
    dataset = _dataset()
    standard = _train(_hardly_tested(dataset), folder / "standard", epochs=8, learning_rate=2e-2, seed=seed)
    run, early = folder / "hardened", folder / "early.safetensors"

    def keep(epoch: Epoch) -> None:
        if epoch["best"] and not early.exists():
            shutil.copy(RunFolder(run).best, early)

    hardening = Hardening(EPS, steps=2)
    _train(dataset, run, epochs=6, learning_rate=1e-2, seed=seed, hardening=hardening, start=standard, on_epoch=keep)
    export_run(run, precisions=("fp32", "fp16", "int8"), threads=THREADS)
    _trained_again(dataset, run, folder / "again", hardening)
    return lab_in(folder)


def lab_in(folder: Path) -> Lab:
    """What `build_lab` has made below `folder`."""
    return Lab(
        folder / "hardened", folder / "standard", folder / "early.safetensors", folder / "again" / "weights.safetensors"
    )


def plant(
    lab: Lab,
    name: str,
    model: ModelProto,
    *,
    base: str = "fp32",
    claim: Callable[[EngineManifest], EngineManifest] = lambda manifest: manifest,
) -> Path:
    """Write `model` as an engine of the lab's run, as a careless pipeline does: the manifest of the honest engine
    `base` with the new file's digest and the precisions that are found in it. claim: what else the manifest says."""
    path = lab.run / "engines" / "planted" / f"{name}.onnx"
    write_bytes(path, model.SerializeToString())
    honest = read_engine_manifest(lab.engine(base))
    engine = record(path, relative_to=path.parent)
    manifest = replace(
        honest, engine=engine, graph=engine, found=found_precisions(model), run="../..",
        reference=replace(honest.reference, file=f"../{honest.reference.file}"),
    )  # fmt: skip
    write_engine_manifest(claim(manifest), engine=path)
    return path


def edited(surgery: Surgery, mimics: str, *caught_by: str, needs: str = "", by_luck: bool = False) -> Fault:
    """The fault of an fp32 engine whose graph was edited, beside an honest reference. Its name is the surgery's."""

    def write(lab: Lab, folder: Path) -> Path:
        model = lab.model()
        surgery(model)
        return plant(lab, surgery.__name__, model)

    return Fault(surgery.__name__.replace("_", " "), mimics, write, caught_by, needs, by_luck, surgery=surgery)


def in_reference(lab: Lab, fault: Fault) -> Path:
    """The fault in an engine that is its own reference: the export went wrong, and all else was built from it."""
    assert fault.surgery is not None
    model = lab.model()
    fault.surgery(model)
    name = f"reference-{fault.surgery.__name__}"

    def own_reference(manifest: EngineManifest) -> EngineManifest:
        lineage = {**manifest.lineage, "onnx": manifest.engine.digest}
        return replace(manifest, reference=manifest.engine, lineage=lineage)

    return plant(lab, name, model, claim=own_reference)


def judge(engine: Path, **settings: Any) -> Outcome:
    """Audit an engine with its defaults and say what caught it; an expected error is an outcome too."""
    try:
        result = audit_engine(engine, **{"threads": THREADS, **settings})
    except SkinauditError as error:
        checks = tuple(name for name, words in ERRORS.items() if re.search(words, str(error)))
        return Outcome("error", checks or (ANOTHER,), (str(error),), None)
    alarms = [finding for finding in result.findings if finding.severity in (FAIL, INCONCLUSIVE)]
    texts = tuple(f"{finding.set or 'audit'}: {finding.text}" for finding in alarms)
    checks = tuple(
        name
        for name, (rule, severity) in RULES.items()
        if any(finding.rule == rule and severity in (None, finding.severity) for finding in alarms)
    )
    if result.verdict is not Verdict.PASS:
        texts, checks = texts or (result.reason,), checks or (ANOTHER,)
    drops = [entry.comparison.drop.value for entry in result.sets if entry.comparison.drop is not None]
    return Outcome(result.verdict.value, checks, texts, max(drops, default=None))


def _dataset() -> Dataset:
    """Synthetic images with a test part large enough for a PASS."""
    dataset = load("synthetic", size=SIZE, images=IMAGES)
    dataset = replace(dataset, groups=np.arange(len(dataset)))
    tested = TESTED / IMAGES
    parts = lesion_split(dataset, seed=0, fractions=(0.94 - tested, 0.06, tested))
    number = np.zeros(len(dataset), np.int64)
    number[parts.val], number[parts.test] = 1, 2
    return replace(dataset, official_split=number)


def _hardly_tested(dataset: Dataset) -> Dataset:
    """The images with 40 of those for tests: attacks on the others take a quarter of a minute, and nobody reads them."""
    assert dataset.official_split is not None
    tested = np.flatnonzero(dataset.official_split == 2)[40:]
    return of_rows(dataset, np.setdiff1d(np.arange(len(dataset)), tested))


def _train(
    dataset: Dataset, out: Path, *, epochs: int, learning_rate: float, seed: int, hardening: Hardening | None = None,
    start: Path | None = None, on_epoch: Callable[[Epoch], None] = lambda _: None,
) -> Path:  # fmt: skip
    recipe = adapted(
        "default", epochs=epochs, batch=64, learning_rate=learning_rate, averaging=0.97,
        class_weighting=0.5 if start is None else 0.75,
    )  # fmt: skip
    training = Training(
        arch="mobilenet", width=WIDTH, size=SIZE, recipe=recipe, hardening=hardening, threat_model=EPS, split="official",
        seed=seed, weights=None if start is None else str(start), threads=THREADS,
    )  # fmt: skip
    train_run(dataset, training, out=out, resume=False, report=Reporter(epoch=on_epoch))
    return out


def _trained_again(dataset: Dataset, run: Path, folder: Path, hardening: Hardening) -> None:
    """Weights of the run's model after one more epoch on half of the training images."""
    assert dataset.official_split is not None
    model = checkpoint.load_run_model(run)
    train, validation = (np.flatnonzero(dataset.official_split == part) for part in (0, 1))
    fit(
        model, Examples(dataset.images[train[::2]], dataset.labels[train[::2]]),
        Examples(dataset.images[validation], dataset.labels[validation]), classes=CLASSES,
        recipe=adapted("default", epochs=1, learning_rate=2e-3, averaging=0.0), hardening=replace(hardening, ramp=0.0),
        seed=1, folder=folder, resume=False, settings_digest="",
    )  # fmt: skip
    checkpoint.save(folder / "weights.safetensors", model.state_dict(), {})
