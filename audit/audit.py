"""Audit one engine: the steps, in order."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Unpack

from skinaudit.artifacts.files import Progress
from skinaudit.artifacts.logits import range_text
from skinaudit.artifacts.manifest import versions
from skinaudit.audit.checks import Earlier, Evidence, Finding, run_checks
from skinaudit.audit.contract_search import USUAL_ASPECT, Search, search_contract
from skinaudit.audit.evidence.answers import AnsweredSet, answer_sets, attacked_sets
from skinaudit.audit.evidence.computed_precision import measure_precision
from skinaudit.audit.evidence.conditions import compare_conditions
from skinaudit.audit.evidence.consistency import Consistency, answer_later, answer_once_more, check_consistency
from skinaudit.audit.evidence.half_precision import emulate_half_precision
from skinaudit.audit.evidence.halved_reference import answer_in_halves
from skinaudit.audit.evidence.inputs import Inputs, check_engine, read_inputs, titles
from skinaudit.audit.evidence.nearby_images import NearbyImages, try_nearby_images
from skinaudit.audit.evidence.operating import Operating, operating_point
from skinaudit.audit.evidence.probing import run_probe, small_probe
from skinaudit.audit.evidence.proof import prove
from skinaudit.audit.evidence.reference import Reference, open_reference, open_subject
from skinaudit.audit.evidence.unfinished import Say, Shelf, discard, shelf_of
from skinaudit.audit.figures.external import external_result
from skinaudit.audit.figures.fresh_attack import ProbeResult, probe_figures
from skinaudit.audit.figures.image_answers import lesion_numbers, pack_numbers
from skinaudit.audit.figures.set_result import SetResult, set_results
from skinaudit.audit.figures.subgroups import columns_of
from skinaudit.audit.judgement.baseline import compare_baseline, pair_with
from skinaudit.audit.judgement.gate_findings import gate_findings
from skinaudit.audit.judgement.gates import judge
from skinaudit.audit.judgement.policy import check_names
from skinaudit.audit.judgement.result import AuditResult, BaselineResult, Gate
from skinaudit.audit.judgement.subgroup_gates import judged
from skinaudit.audit.judgement.verdict import agreement_only, conclude
from skinaudit.audit.request import Request, Settings, arguments
from skinaudit.engines.engine import Engine
from skinaudit.engines.engine_files import digest_engine
from skinaudit.engines.isolation.launching import engine_processes
from skinaudit.engines.open import LIBRARIES, open_session
from skinaudit.errors import EngineError

_LOG = logging.getLogger(__name__)

ProbeProgress = Callable[[str], Progress | None]
"""For a probe's name, returns the function that is called with the images done and in total."""


def audit_engine(
    engine: Path,
    *,
    progress: Progress | None = None,
    probe_progress: ProbeProgress | None = None,
    say: Say = lambda line: None,
    **settings: Unpack[Settings],
) -> AuditResult:
    """Run every set on the engine and on its reference, attack the engine, and judge the loss against the source model.

    settings: the fields of skinaudit.audit.request.Request. progress: called with the number of images done and in
    total. A white-box set is compared with the stored logits of the source model. A transfer set has the logits of a
    different model, so it is compared with the outputs of the reference. Raises InvalidInputError if inputs do not
    belong together or if the reference does not reproduce the stored logits, EngineError if the engine does not run.
    """
    request = Request(engine, **settings)
    evidence, baseline = gather(request, progress=progress, probe_progress=probe_progress, say=say)
    findings = find(evidence)
    return _result(request, evidence, baseline, findings)


def gather(
    request: Request, *, progress: Progress | None = None, probe_progress: ProbeProgress | None = None,
    say: Say = lambda line: None,
) -> tuple[Evidence, BaselineResult | None]:  # fmt: skip
    """Read, open, run and measure. This gives everything but the findings and the verdict."""
    with engine_processes(request.limits, at_once=True):
        return _gathered(request, progress=progress, probe_progress=probe_progress, say=say)


@dataclass(frozen=True, eq=False)
class _Replay:
    """The opened engines and their answers. shelves: where the answers are kept until the audit ends."""

    engine: Engine
    reference: Reference
    shelves: Sequence[Shelf]
    answered: tuple[AnsweredSet, ...]
    consistency: Consistency
    nearby: NearbyImages


def _gathered(
    request: Request, *, progress: Progress | None, probe_progress: ProbeProgress | None, say: Say
) -> tuple[Evidence, BaselineResult | None]:
    policy, inputs = request.policy, _read(request)
    earlier = None
    if request.baseline is not None:
        earlier = pair_with(request.baseline, inputs, own_sets=request.baseline_own_sets)
    operating = operating_point(inputs, specificity=policy.operating_specificity)
    replay = _replay(request, inputs, progress=progress, say=say)
    answered = replay.answered
    sets = set_results(
        answered, engine=request.engine, columns=columns_of(inputs.clean.subgroups), confidence=policy.confidence,
        judged=partial(judged, policy), least_lesions=policy.subgroup_lesions,
        point=operating.point, prevalence=policy.operating_prevalence,
    )  # fmt: skip
    _LOG.info("replayed %d sets; attacking afresh with seed %d", len(sets), request.drawn_seed)
    probes = _attack_afresh(request, replay, progress=probe_progress)
    later = answer_later(replay.consistency, replay.engine, answered, batch_size=request.batch_size, seed=request.drawn_seed)
    compared = None if earlier is None else compare_baseline(earlier, sets, answered, confidence=policy.confidence)
    gates = judge(sets, probes, policy, baseline=compared)
    evidence = _evidence(
        request, inputs, replace(replay, consistency=later),
        operating=operating, sets=sets, probes=probes, gates=gates, earlier=earlier, compared=compared,
    )  # fmt: skip
    for shelf in replay.shelves:
        discard(shelf)
    return evidence, compared


def _read(request: Request) -> Inputs:
    inputs = read_inputs(request.engine, sets=request.sets, contract=request.contract, run=request.run)
    _LOG.info("%s: %s of %s", request.engine, ", ".join(titles(inputs.sets)), inputs.clean.info.dataset)
    return inputs


def _replay(request: Request, inputs: Inputs, *, progress: Progress | None, say: Say) -> _Replay:
    """Open the engine and its reference, and run the sets and the further images."""
    batch_size, seed = request.batch_size, request.drawn_seed
    engine, reference = _open(request, inputs)
    opened = engine.description
    _LOG.info("opened with %s %s on %s, threads: %d", opened.runtime, opened.version, opened.provider, opened.threads)
    consistency = check_consistency(engine, inputs.clean, batch_size=batch_size, seed=seed)
    nearby = try_nearby_images(engine, reference, inputs, batch_size=batch_size, seed=seed)
    shelves = _shelves(request, inputs, engine, reference)
    answered = answer_sets(engine, reference, inputs, shelves, batch_size=batch_size, seed=seed, progress=progress, say=say)
    consistency = answer_once_more(consistency, engine, answered, batch_size=batch_size)
    return _Replay(engine, reference, shelves, answered, consistency, nearby)


def _evidence(
    request: Request, inputs: Inputs, replay: _Replay, *,
    operating: Operating, sets: tuple[SetResult, ...], probes: tuple[ProbeResult, ...], gates: tuple[Gate, ...],
    earlier: Earlier | None, compared: BaselineResult | None,
) -> Evidence:  # fmt: skip
    """All evidence, together with what only the file, its precision and external images tell."""
    path, answered, description, threads = request.engine, replay.answered, replay.engine.description, request.threads
    return Evidence(
        inputs=inputs,
        engine=description,
        emulated=request.emulate,
        reference=replay.reference,
        conditions=compare_conditions(path, inputs, control=request.control),
        proof=prove(path, inputs),
        operating=operating,
        consistency=replay.consistency,
        nearby=replay.nearby,
        computed_precision=measure_precision(
            path, inputs, description, answered, emulated=request.emulate, threads=threads
        ),
        half_precision=emulate_half_precision(
            path, inputs, description, answered,
            emulated=request.emulate, batch_size=request.batch_size, threads=threads, seed=request.drawn_seed,
        ),
        halved_reference=answer_in_halves(path, inputs, answered, threads=threads),
        sets=sets,
        search=_search(request, inputs),
        external=None
        if inputs.external is None
        else external_result(inputs.external, answered, confidence=request.policy.confidence),
        probes=probes,
        gates=gates,
        baseline=earlier,
        taken_up=tuple(answered_set.title for answered_set in answered if answered_set.kept),
        own_sets=frozenset() if compared is None else frozenset(result.title for result in compared.sets if result.own),
        policy=request.policy,
    )  # fmt: skip


def find(evidence: Evidence) -> list[Finding]:
    """The findings, in this order: about the engine, the sets, the gates, the figures."""
    gates = gate_findings(evidence.gates, evidence.policy, malignant=evidence.inputs.clean.info.contract.malignant)
    return [*run_checks(evidence, "engine"), *run_checks(evidence, "sets"), *gates, *run_checks(evidence, "figures")]


def _open(request: Request, inputs: Inputs) -> tuple[Engine, Reference]:
    """The engine under audit and its reference. Size and classes must be those of the sets, and the policy must fit them."""
    path, contract = request.engine, inputs.clean.info.contract
    engine = open_subject(
        path, inputs,
        runtime=request.runtime, emulate=request.emulate, provider=request.provider, threads=request.threads,
        plan=request.plan,
        allow_code=request.allow_code,
    )  # fmt: skip
    check_engine(engine, contract, path=path)
    set_names = [
        (images.info.name, title, images.info.attack) for images, title in zip(inputs.sets, titles(inputs.sets), strict=True)
    ]
    check_names(request.policy, sets=set_names, classes=contract.classes, subgroups=inputs.clean.subgroups)
    reference = open_reference(
        path, inputs, engine,
        control=request.control, provider=request.provider, threads=request.threads,
        plan=request.plan, allow_code=request.allow_code,
    )  # fmt: skip
    return engine, reference


def _shelves(request: Request, inputs: Inputs, engine: Engine, reference: Reference) -> list[Shelf]:
    """The places where the answers of the engine and of its reference are kept until the audit ends."""
    common = {
        "files": inputs.digest, "manifest": inputs.manifest, "contract": inputs.contract, "emulate": request.emulate,
        "plan": request.plan, "control": None if request.control is None else digest_engine(request.control),
    }  # fmt: skip
    opened = [engine] if reference.engine is None or reference.is_subject else [engine, reference.engine]
    return [
        shelf_of(answering, depends_on={**common, "part": part}, batch_size=request.batch_size)
        for answering, part in zip(opened, ("engine", "reference"), strict=False)
    ]


def _search(request: Request, inputs: Inputs) -> Search | None:
    """Common preprocessings and class orders, tried on a foreign engine."""
    contract = inputs.contract
    if contract is None:
        return None
    session = open_session(
        request.engine, runtime=request.runtime, provider=request.provider, threads=request.threads, plan=request.plan,
        allow_code=request.allow_code,
    )  # fmt: skip
    aspect = (None if inputs.external is None else inputs.external.described.aspect) or USUAL_ASPECT
    try:
        return search_contract(session, inputs.clean, contract, where=str(request.engine), given=True, aspect=aspect)
    except EngineError:  # it answers only with its own contract, so there is no other one to name
        return None


def _attack_afresh(request: Request, replay: _Replay, *, progress: ProbeProgress | None) -> tuple[ProbeResult, ...]:
    """Run the requested probes and the small probe of every audit, on the engine and on its reference."""
    answered, reference = replay.answered, replay.reference
    sets = [stored.images for stored in answered]
    small = None
    if request.small_probe:
        small = small_probe(request.probes, sets, images=request.policy.probe_images, seed=request.drawn_seed)
    compared = None if reference.is_subject else reference.engine
    return tuple(
        probe_figures(
            run_probe(
                probe, replay.engine, compared, answered[0].images, attacked_sets(answered), lesions=answered[0].lesions,
                batch_size=request.batch_size,
                progress=None if progress is None else progress(f"probe {probe.name}"),
            ),
            confidence=request.policy.confidence,
        )
        for probe in (*request.probes, *([] if small is None else [small]))
    )  # fmt: skip


def _result(
    request: Request, evidence: Evidence, baseline: BaselineResult | None, findings: Sequence[Finding]
) -> AuditResult:
    """The evidence, the findings and the verdict as one value."""
    inputs, manifest = evidence.inputs, evidence.inputs.manifest
    contract = inputs.clean.info.contract
    verdict, reason = conclude(evidence.sets, evidence.gates, findings, request.policy)
    _LOG.info("%d gates, %d findings: %s, %s", len(evidence.gates), len(findings), verdict.value, reason)
    return AuditResult(
        engine=request.engine,
        engine_digest=inputs.digest,
        description=evidence.engine,
        foreign=manifest is None,
        asked=None if manifest is None else manifest.asked,
        run_name=None if manifest is None else manifest.run_name,
        arguments=arguments(request, threads=evidence.engine.threads),
        dataset=inputs.clean.info.dataset,
        classes=contract.classes,
        malignant=contract.malignant,
        synthetic=(manifest is not None and manifest.synthetic) or any(images.info.synthetic for images in inputs.sets),
        lineage={} if manifest is None else manifest.lineage,
        lineage_gaps=inputs.lineage_gaps,
        control=_control_line(evidence),
        consistency=evidence.consistency,
        emulated=evidence.emulated,
        rebuilds=inputs.rebuilds,
        labels=pack_numbers(inputs.clean.labels),
        lesions=pack_numbers(lesion_numbers(inputs.copies.lesions)),
        sets=evidence.sets,
        probes=evidence.probes,
        baseline=baseline,
        gates=evidence.gates,
        operating_point=evidence.operating.point,
        operating_point_lacking=evidence.operating.lacking,
        policy=request.policy,
        findings=tuple(findings),
        verdict=verdict,
        reason=reason,
        agreement_only=agreement_only(findings),
        external=evidence.external,
        subgroups=columns_of(inputs.clean.subgroups),
        versions=versions("numpy", "onnx", "safetensors", *LIBRARIES),
    )


def _control_line(evidence: Evidence) -> str:
    reference, controls = evidence.reference, [result.control for result in evidence.sets]
    if reference.engine is None:
        return reference.text
    differences = [control.largest_difference for control in controls if control.largest_difference is not None]
    if not differences:
        return "skipped: every set was crafted on a different model"
    controlled_by = "this engine itself" if reference.is_subject else "the reference"
    reproduced = f"{controlled_by} reproduces {len(differences)} of {len(controls)} sets"
    return f"{reproduced}: logits differ {range_text(max(differences))}"
