"""Audit one engine: control, replay, comparison, verdict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.adversarial_set import AdversarialSet
from skinaudit.artifacts.files import Progress
from skinaudit.artifacts.manifest import BUILT_TYPED, resolve, versions
from skinaudit.audit.checks import sanity
from skinaudit.audit.evidence.consistency import check_consistency
from skinaudit.audit.evidence.half_precision import check_halved
from skinaudit.audit.evidence.inputs import Inputs, check_engine, read_inputs, titles
from skinaudit.audit.evidence.pairing import Pair, pair_sets, read_baseline
from skinaudit.audit.evidence.probing import ProbePlan, run_probe
from skinaudit.audit.evidence.reference import Reference, added_conditions, open_reference, open_subject
from skinaudit.audit.evidence.replay import Replayed, replay, whole
from skinaudit.audit.figures.comparison import compare
from skinaudit.audit.figures.drift import Drift, measure_drift
from skinaudit.audit.figures.flips import Flip, worst_flips
from skinaudit.audit.figures.metrics import Indices, predictions
from skinaudit.audit.figures.right_answers import pack_right
from skinaudit.audit.judgement import verdict
from skinaudit.audit.judgement.baseline import compare_baseline, own_set_findings
from skinaudit.audit.judgement.gates import judge
from skinaudit.audit.judgement.policy import Policy, check_names
from skinaudit.audit.judgement.reproduction import DEFAULT_BATCH, arguments, beside
from skinaudit.audit.judgement.result import EMULATION, AuditResult, BaselineResult, Finding, Rebuilds, SetResult, Severity
from skinaudit.engines.engine import Engine, Provider
from skinaudit.engines.half import HALVES
from skinaudit.engines.open import LIBRARIES, open_emulated
from skinaudit.errors import InvalidInputError, MissingDependencyError


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
    batch_size: int = DEFAULT_BATCH,
    probes: Sequence[ProbePlan] = (),
    baseline: Path | None = None,
    baseline_own_sets: bool = False,
    progress: Progress | None = None,
    probe_progress: Callable[[str], Progress | None] | None = None,
) -> AuditResult:
    """Replay every set on the engine and on its reference, and judge what was lost on the way from the source model.

    sets: a folder of sets instead of those of the engine's run. contract: the file that describes a foreign engine, whose
    figures are then shown and compared with nothing. control: another engine of the same weights, as the reference, instead
    of the one that the manifest names. policy: default Policy(). runtime: instead of the one that the manifest names.
    emulate: run the ONNX graph that the engine was built from on the CPU, in the engine's place; such an audit never passes.
    probes: fresh attacks to run after the replay. baseline: the JSON report of an earlier engine, which this one must not be
    worse than on the same images; baseline_own_sets: nor, for a model trained anew, on the images that the same attacks made
    against each of the two itself. progress: called with images done and in all; probe_progress: gives the
    same for a probe by its name. A white-box set is compared with the source model's stored logits; a transfer set, whose
    logits are another model's, with the reference's answers to the same images. Raises InvalidInputError for inputs that do
    not belong together or whose stored logits the reference does not reproduce, EngineError for an engine that does not run.
    """
    policy = policy or Policy()
    if baseline_own_sets and baseline is None:
        raise InvalidInputError("--baseline-own-sets: says how to compare with an earlier audit; name one with --baseline")
    earlier = None if baseline is None else read_baseline(baseline)
    inputs = read_inputs(engine_path, sets=sets, contract=contract)
    engine = open_subject(engine_path, inputs, runtime=runtime, emulate=emulate, provider=provider, threads=threads)
    check_engine(engine, inputs.clean.info.contract, path=engine_path)
    everything = (inputs.clean, *inputs.adversarial)
    named = titles(everything)
    known = {name for one, title in zip(everything, named, strict=True) for name in (one.info.name, title, one.info.attack)}
    classes = inputs.clean.info.contract.classes
    check_names(policy, sets=known, classes=classes)
    pairs: Sequence[Pair | None] = ()
    if earlier is not None and baseline is not None:
        pairs = pair_sets(
            earlier, everything, named,
            classes=classes, weights=inputs.weights, own_sets=baseline_own_sets, path=baseline,
        )  # fmt: skip
    reference = open_reference(engine_path, inputs, engine, control=control, provider=provider, threads=threads)
    steady = check_consistency(engine, inputs.clean, batch_size=batch_size)
    runs = 1 if reference.engine is None or reference.is_subject else 2
    tick = whole(progress, runs * sum(map(len, everything)))
    results: list[SetResult] = []
    replayed: list[Indices] = []
    for one, title in zip(everything, named, strict=True):
        result, answers = _replay_set(
            one, title, engine, reference,
            inputs=inputs, engine_path=engine_path, engine_clean=replayed[0] if replayed else None,
            confidence=policy.confidence, batch_size=batch_size, tick=tick,
        )  # fmt: skip
        results.append(result)
        replayed.append(answers)
    compared = None if reference.is_subject else reference.engine
    fresh = tuple(
        run_probe(
            probe, engine, compared, inputs.clean, list(zip(inputs.adversarial, replayed[1:], strict=True)),
            batch_size=batch_size, confidence=policy.confidence,
            progress=None if probe_progress is None else probe_progress(f"probe {probe.name}"),
        )
        for probe in probes
    )  # fmt: skip
    beaten: BaselineResult | None = None
    told: list[Finding] = []
    if earlier is not None:
        beaten, told = compare_baseline(
            earlier, pairs, results, everything, replayed, classes=classes, confidence=policy.confidence
        )
        told += own_set_findings(earlier, beaten, results, fresh, policy)
    gates = judge(results, fresh, policy, baseline=beaten)
    judged = {gate.set: gate.judgement for gate in gates if gate.rule == "drop"}
    results = [replace(one, judgement=judged.get(one.title)) for one in results]
    findings = _audit_findings(inputs, engine, reference, policy, emulated=emulate)
    findings += sanity.consistency(steady)
    findings += sanity.inputs(inputs, named[1:], results)
    rebuilds = _rebuilds(inputs)
    findings += sanity.rebuilds(rebuilds, policy)
    findings += sanity.conditions(added_conditions(engine_path, inputs))
    findings += _halved(engine_path, inputs, engine, everything, emulated=emulate, threads=threads)
    findings += verdict.of_gates(gates, policy) + told
    own = () if beaten is None else tuple(one.title for one in beaten.sets if one.own)
    findings += sanity.masking(results, fresh, gates, policy, own=own)
    findings += sanity.figures(results[0], results[1:])
    manifest = inputs.manifest
    if manifest is None:
        findings += sanity.plausibility(results[0])
    else:
        findings += sanity.answers(results[0])
        for result in results:
            findings += sanity.uncompared(result) + sanity.fidelity(result, manifest.asked)
    answer, reason = verdict.conclude(results, gates, findings, policy)
    return AuditResult(
        engine=engine_path,
        engine_digest=inputs.digest,
        description=engine.description,
        foreign=manifest is None,
        asked=None if manifest is None else manifest.asked,
        run_name=None if manifest is None else manifest.run_name,
        arguments=arguments(
            engine_path,
            sets=sets,
            contract=contract,
            control=control,
            runtime=runtime,
            emulate=emulate,
            policy=policy,
            provider=provider,
            threads=engine.description.threads,
            batch_size=batch_size,
            probes=probes,
            baseline=baseline,
            baseline_own_sets=baseline_own_sets,
        ),
        dataset=inputs.clean.info.dataset,
        classes=classes,
        synthetic=(manifest is not None and manifest.synthetic) or any(one.info.synthetic for one in everything),
        lineage={} if manifest is None else manifest.lineage,
        lineage_gaps=inputs.lineage_gaps,
        control=_control_line(reference, results),
        consistency=steady,
        emulated=emulate,
        rebuilds=rebuilds,
        sets=tuple(results),
        probes=fresh,
        baseline=beaten,
        gates=gates,
        policy=policy,
        findings=tuple(findings),
        verdict=answer,
        reason=reason,
        versions=versions("numpy", "onnx", "safetensors", *LIBRARIES),
    )


def _replay_set(
    one: AdversarialSet,
    title: str,
    engine: Engine,
    reference: Reference,
    *,
    inputs: Inputs,
    engine_path: Path,
    engine_clean: Indices | None,
    confidence: float,
    batch_size: int,
    tick: Progress,
) -> tuple[SetResult, Indices]:
    """One set, replayed and compared but not judged, and the engine's answers to it, int64 (N,)."""
    white_box = one.info.source == inputs.weights
    before = None  # the control comes first: a set that does not reproduce stops the audit
    if reference.engine is not None and not reference.is_subject:
        before = replay(reference.engine, one, batch_size=batch_size, progress=tick)
        reference.control(one, before, white_box=white_box)
    replayed = replay(engine, one, batch_size=batch_size, progress=tick)
    controlled = replayed if reference.is_subject else before
    checked = reference.control(one, controlled, white_box=white_box)
    answers = predictions(replayed.logits)
    baseline = _baseline(one, controlled, white_box=white_box)
    classes, threat_model = one.info.contract.classes, one.info.threat_model
    flipped: tuple[Flip, ...] = ()
    drift: Drift | None = None
    if baseline is not None:
        flipped = worst_flips(baseline, replayed.logits, labels=one.labels, groups=one.group, classes=classes)
        drift = measure_drift(baseline, replayed.logits, labels=one.labels, groups=one.group, classes=classes)
    result = SetResult(
        name=one.info.name,
        title=title,
        file=one.path.name,
        path=beside(engine_path, one.path),
        attack=one.info.attack,
        norm=None if threat_model is None else threat_model.norm,
        eps=None if threat_model is None else threat_model.eps_text,
        settings=one.info.settings,
        clean=one is inputs.clean,
        white_box=white_box,
        source=one.info.source,
        images_digest=one.images_digest,
        control=checked,
        comparison=compare(
            answers,
            None if baseline is None else predictions(baseline),
            engine_clean=engine_clean,
            labels=one.labels,
            groups=one.group,
            classes=classes,
            confidence=confidence,
        ),
        drift=drift,
        probabilities=_are_probabilities(replayed.logits),
        judgement=None,
        images_per_second=replayed.images_per_second,
        flipped=flipped,
        right=pack_right(answers == one.labels),
    )
    return result, answers


def _rebuilds(inputs: Inputs) -> Rebuilds | None:
    noted = None if inputs.manifest is None else inputs.manifest.parity.get("rebuilds")
    if not isinstance(noted, dict):
        return None
    return Rebuilds(noted["builds"], noted["files"], noted["flips"], noted["images"])


def _halved(
    path: Path, inputs: Inputs, engine: Engine, sets: Sequence[AdversarialSet], *, emulated: bool, threads: int | None
) -> list[Finding]:
    """What an emulation says of a half precision file that the device computes in another precision; nothing of others."""
    manifest, found, executed = inputs.manifest, engine.description.found, engine.description.executed
    if emulated or manifest is None or manifest.asked not in HALVES or not found.get(manifest.asked) or executed is None:
        return []
    if 2 * executed.get(manifest.asked, 0) > sum(executed.values()):
        return []
    if not (path.parent / manifest.graph.file).is_file():
        return sanity.unseen(manifest.asked, f"{manifest.graph.file}, by which to emulate it, is missing")
    try:
        halved = open_emulated(resolve(path.parent, manifest.graph), precision=manifest.asked, threads=threads)
    except MissingDependencyError as error:
        return sanity.unseen(manifest.asked, str(error))
    return sanity.halved(check_halved(manifest.asked, engine, halved, sets))


def _are_probabilities(logits: NDArray[np.float32]) -> bool:
    return bool((logits >= 0).all() and np.abs(logits.sum(axis=1, dtype=np.float64) - 1).max() < 1e-2)


def _baseline(one: AdversarialSet, controlled: Replayed | None, *, white_box: bool) -> NDArray[np.float32] | None:
    if white_box:
        return one.source_logits
    return None if controlled is None else controlled.logits


def _control_line(reference: Reference, results: list[SetResult]) -> str:
    if reference.engine is None:
        return reference.text
    differences = [one.control.largest_difference for one in results if one.control.largest_difference is not None]
    if not differences:
        return "skipped, every set was crafted on another model"
    which = "this engine itself" if reference.is_subject else "the reference"
    return f"{which} reproduces {len(differences)} of {len(results)} sets, off by {max(differences):.0e} of the range"


def _audit_findings(
    inputs: Inputs, engine: Engine, reference: Reference, policy: Policy, *, emulated: bool
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
        findings += sanity.precision(manifest.asked, manifest.found, found)
    findings += sanity.execution(found, engine.description.executed)
    if manifest is not None and reference.engine is None:
        text = f"control {reference.text}: the stored logits are taken on trust"
        severity = Severity.INCONCLUSIVE if policy.control == "required" else Severity.WARNING
        findings.append(Finding(severity, "control", None, text))
    if inputs.lineage_gaps:
        text = f"lineage incomplete: no {', '.join(inputs.lineage_gaps)}"
        findings.append(Finding(Severity.WARNING, "lineage", None, text))
    return findings
