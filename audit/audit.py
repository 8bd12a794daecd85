"""Audit one engine: control, replay, comparison, verdict."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.adversarial_set import AdversarialSet
from skinaudit.artifacts.files import Progress
from skinaudit.artifacts.manifest import BUILT_TYPED, read_engine_manifest, resolve, versions
from skinaudit.audit import verdict
from skinaudit.audit.comparison import compare
from skinaudit.audit.inputs import Inputs, check_engine, read_inputs, titles
from skinaudit.audit.metrics import Indices, predictions
from skinaudit.audit.policy import Policy
from skinaudit.audit.replay import Replayed, is_deterministic, replay
from skinaudit.audit.result import EMULATION, AuditResult, Control, Finding, SetResult, Severity
from skinaudit.engines.engine import Engine, Provider
from skinaudit.engines.open import LIBRARIES, open_emulated, open_engine
from skinaudit.errors import InvalidInputError, MissingDependencyError

CONTROL_TOLERANCE = 1e-3
"""How far a reproduced logit may lie from the stored one, relative to the range of the stored logits.

Two fp32 runtimes differ by 1e-7 to 1e-4 of it, another model by 1e-1 and more. Within the tolerance only images whose two
largest logits are closer than twice that can change their class, so agreement outside of near ties needs no second test.
"""


@dataclass(frozen=True, eq=False)
class _Reference:
    """The reference engine, or why there is none. is_subject: it is the audited engine itself, so it is not run twice."""

    engine: Engine | None
    is_subject: bool
    text: str


def audit_engine(
    engine_path: Path,
    *,
    sets: Path | None = None,
    contract: Path | None = None,
    control: Path | None = None,
    policy: Policy | None = None,
    runtime: str | None = None,
    emulate: bool = False,
    provider: Provider | None = None,
    threads: int | None = None,
    batch_size: int = 64,
    progress: Progress | None = None,
) -> AuditResult:
    """Replay every set on the engine and on its reference, and judge what was lost on the way from the source model.

    sets: a folder of sets instead of those of the engine's run. contract: the file that describes a foreign engine, whose
    figures are then shown and compared with nothing. control: another engine of the same weights, as the reference, instead
    of the one that the manifest names. policy: default Policy(). runtime: instead of the one that
    the manifest names. emulate: run the ONNX graph that the engine was built from on the CPU, in the engine's place; such an
    audit never passes. progress: called with images
    done and in all. A white-box set is compared with the source model's stored logits; a transfer set, whose logits are
    another model's, with the reference's answers to the same images. Raises InvalidInputError for inputs that do not
    belong together or whose stored logits the reference does not reproduce, EngineError for an engine that does not run.
    """
    policy = policy or Policy()
    inputs = read_inputs(engine_path, sets=sets, contract=contract)
    engine = _open_subject(engine_path, inputs, runtime=runtime, emulate=emulate, provider=provider, threads=threads)
    check_engine(engine, inputs.clean.info.contract, path=engine_path)
    reference = _open_reference(engine_path, inputs, engine, control=control, provider=provider, threads=threads)
    deterministic = is_deterministic(engine, inputs.clean, batch_size=batch_size)
    everything = (inputs.clean, *inputs.adversarial)
    runs = 1 if reference.engine is None or reference.is_subject else 2
    tick = whole(progress, runs * sum(map(len, everything)))
    findings = _audit_findings(inputs, engine, reference, deterministic, emulated=emulate)
    results: list[SetResult] = []
    engine_clean: Indices | None = None
    for one, title in zip(everything, titles(everything), strict=True):
        white_box = one.info.source == inputs.weights
        before = None  # the control comes first: a set that does not reproduce stops the audit
        if reference.engine is not None and not reference.is_subject:
            before = replay(reference.engine, one, batch_size=batch_size, progress=tick)
            _control(one, before, white_box=white_box, reference=reference)
        replayed = replay(engine, one, batch_size=batch_size, progress=tick)
        controlled = replayed if reference.is_subject else before
        checked = _control(one, controlled, white_box=white_box, reference=reference)
        answers = predictions(replayed.logits)
        comparison = compare(
            answers,
            _baseline(one, controlled, white_box=white_box),
            engine_clean=engine_clean,
            labels=one.labels,
            groups=one.group,
            classes=one.info.contract.classes,
            confidence=policy.confidence,
        )
        engine_clean = answers if engine_clean is None else engine_clean
        judgement, found = verdict.judge_set(title, comparison, policy)
        findings += found if inputs.manifest is not None else []  # that nothing is compared is said once, in the head
        results.append(
            SetResult(
                name=one.info.name,
                title=title,
                file=one.path.name,
                clean=one is inputs.clean,
                white_box=white_box,
                source=one.info.source,
                images_digest=one.images_digest,
                control=checked,
                comparison=comparison,
                judgement=judgement,
                images_per_second=replayed.images_per_second,
            )
        )
    findings += verdict.sanity(results[0], results[1:])
    manifest = inputs.manifest
    if manifest is None:
        findings += verdict.plausibility(results[0])
    answer, reason = verdict.conclude(results, findings, policy)
    return AuditResult(
        engine=engine_path,
        engine_digest=inputs.digest,
        description=engine.description,
        foreign=manifest is None,
        asked=None if manifest is None else manifest.asked,
        run_name=None if manifest is None else manifest.run_name,
        dataset=inputs.clean.info.dataset,
        synthetic=(manifest is not None and manifest.synthetic) or any(one.info.synthetic for one in everything),
        lineage={} if manifest is None else manifest.lineage,
        lineage_gaps=inputs.lineage_gaps,
        control=_control_line(reference, results),
        deterministic=deterministic,
        emulated=emulate,
        sets=tuple(results),
        policy=policy,
        findings=tuple(findings),
        verdict=answer,
        reason=reason,
        versions=versions("numpy", "onnx", "safetensors", *LIBRARIES),
    )


def check_reproduced(one: AdversarialSet, logits: NDArray[np.float32]) -> Control:
    """Compare logits with those stored in the set; raises InvalidInputError naming the set where they do not reproduce."""
    stored = one.source_logits
    scale = float(stored.max() - stored.min()) or 1.0
    largest = float(np.abs(logits.astype(np.float64) - stored).max()) / scale
    disagreements = int((predictions(logits) != predictions(stored)).sum())
    if not largest <= CONTROL_TOLERANCE:
        raise InvalidInputError(
            f"{one.path}: the reference does not reproduce the stored logits: off by {largest:.1e} of their range (allowed "
            f"{CONTROL_TOLERANCE:.0e}), {disagreements} of {len(one)} answers differ; write the sets and the engine again"
        )
    return Control(True, f"reproduced within {largest:.0e} of the logit range", largest, disagreements)


def _open_subject(
    path: Path, inputs: Inputs, *, runtime: str | None, emulate: bool, provider: Provider | None, threads: int | None
) -> Engine:
    manifest = inputs.manifest
    if manifest is None:
        if emulate:
            raise InvalidInputError(f"{path}: a foreign engine names no graph to emulate it by; leave --emulate out")
        order = inputs.clean.info.contract.classes
        return open_engine(path, runtime=runtime, contract=inputs.contract, order=order, provider=provider, threads=threads)
    if emulate:
        return open_emulated(resolve(path.parent, manifest.graph), threads=threads)
    return open_engine(path, runtime=runtime or manifest.runtime, provider=provider, threads=threads)


def _open_reference(
    path: Path,
    inputs: Inputs,
    engine: Engine,
    *,
    control: Path | None,
    provider: Provider | None,
    threads: int | None,
) -> _Reference:
    manifest = inputs.manifest
    if manifest is None:
        if control is not None:
            raise InvalidInputError(f"{control}: a foreign engine shares no weights with it; leave --control out")
        return _Reference(None, False, "not run, the engine is foreign and no model of its own is at hand")
    if control is not None:
        return _Reference(_open_control(control, inputs, provider=provider, threads=threads), False, "")
    record = manifest.reference
    if record.digest == manifest.engine.digest and engine.description.runtime == manifest.runtime:
        return _Reference(engine, True, "")
    if not (path.parent / record.file).is_file():
        return _Reference(None, False, f"not run, reference missing ({record.file})")
    file = resolve(path.parent, record)
    try:
        reference = open_engine(file, threads=threads)
    except MissingDependencyError as error:
        return _Reference(None, False, f"not run, {error}")
    check_engine(reference, manifest.contract, path=file)
    return _Reference(reference, False, "")


def _open_control(control: Path, inputs: Inputs, *, provider: Provider | None, threads: int | None) -> Engine:
    manifest = read_engine_manifest(control)
    if manifest.lineage.get("weights") != inputs.weights:
        raise InvalidInputError(f"{control}: built from other weights than the audited engine; name one of its own run")
    if manifest.asked != "fp32":
        raise InvalidInputError(f"{control}: is {manifest.asked}; a control is the source model in fp32")
    reference = open_engine(control, runtime=manifest.runtime, provider=provider, threads=threads)
    check_engine(reference, inputs.clean.info.contract, path=control)
    return reference


def _control(one: AdversarialSet, controlled: Replayed | None, *, white_box: bool, reference: _Reference) -> Control:
    if controlled is None:
        return Control(False, reference.text)
    if not white_box:
        return Control(False, "skipped: the stored logits are another model's")
    return check_reproduced(one, controlled.logits)


def _baseline(one: AdversarialSet, controlled: Replayed | None, *, white_box: bool) -> Indices | None:
    if white_box:
        return predictions(one.source_logits)
    return None if controlled is None else predictions(controlled.logits)


def _control_line(reference: _Reference, results: list[SetResult]) -> str:
    if reference.engine is None:
        return reference.text
    differences = [one.control.largest_difference for one in results if one.control.largest_difference is not None]
    if not differences:
        return "skipped, every set was crafted on another model"
    which = "this engine itself" if reference.is_subject else "the reference"
    return f"{which} reproduces {len(differences)} of {len(results)} sets, off by {max(differences):.0e} of the range"


def _audit_findings(
    inputs: Inputs, engine: Engine, reference: _Reference, deterministic: bool, *, emulated: bool
) -> list[Finding]:
    findings = []
    if emulated:
        text = f"{EMULATION}: what the file itself answers is unknown; run the audit where the engine runs"
        findings.append(Finding(Severity.INCONCLUSIVE, "emulation", None, text))
    elif "emulation" in engine.description.settings:
        text = f"this runtime cannot compute the file here and emulated it: {engine.description.settings['emulation']}"
        findings.append(Finding(Severity.INCONCLUSIVE, "emulation", None, text))
    manifest = inputs.manifest
    found = engine.description.found
    if not found and manifest is not None and manifest.settings.get("found_in") == BUILT_TYPED:
        found = manifest.found  # the file's digest is the manifest's, so this is the network that it was built from
    if manifest is not None:
        findings += verdict.precision(manifest.asked, manifest.found, found)
    findings += verdict.execution(found, engine.description.executed)
    if manifest is not None and reference.engine is None:
        findings.append(
            Finding(Severity.WARNING, "control", None, f"control {reference.text}: the stored logits are taken on trust")
        )
    if not deterministic:
        text = "the same batch gives other bits when it is run again: another audit could decide otherwise"
        findings.append(Finding(Severity.INCONCLUSIVE, "determinism", None, text))
    if inputs.lineage_gaps:
        text = f"lineage incomplete: no {', '.join(inputs.lineage_gaps)}"
        findings.append(Finding(Severity.WARNING, "lineage", None, text))
    return findings


def whole(progress: Progress | None, total: int) -> Progress:
    """Turn the progress of one replay after another into that of all `total` images."""
    before = 0

    def tick(done: int, count: int) -> None:
        nonlocal before
        if progress is not None:
            progress(before + done, total)
        if done == count:
            before += count

    return tick
