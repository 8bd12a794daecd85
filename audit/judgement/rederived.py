"""Compute the figures and gates of a report again from the predictions per image that it stores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np

from skinaudit.artifacts.contract import InputContract
from skinaudit.artifacts.logits import Indices
from skinaudit.audit.figures.at_threshold import AtThreshold, at_threshold
from skinaudit.audit.figures.comparison import Comparison, compare
from skinaudit.audit.figures.image_answers import unpack_numbers
from skinaudit.audit.figures.right_answers import pack_right, unpack_right
from skinaudit.audit.figures.set_result import SetResult
from skinaudit.audit.figures.subgroup_excess import Answers, with_excess
from skinaudit.audit.figures.subgroups import subgroup_results
from skinaudit.audit.judgement.gates import judge
from skinaudit.audit.judgement.result import AuditResult, Gate, Verdict
from skinaudit.audit.judgement.subgroup_gates import RULE, judged

_TOLERANCE = 1e-9
_ANY_SIZE = 32


def disagreement(result: AuditResult) -> str:
    """A statement of the report that its own answers per image contradict, in one clause; empty if there is none.

    A report of an earlier version stores no such answers, so nothing can be checked. Raises InvalidInputError for answers
    that cannot be read.
    """
    if not result.by_image:
        return ""
    clean: Indices | None = None
    derived: list[SetResult] = []
    for entry in result.sets:
        derived.append(_derived(result, entry, clean))
        clean = _engine_answers(result, entry) if entry.clean else clean
    compared = _with_excess(result, derived)
    earlier = _of_earlier_subgroups(result.sets)
    for entry, own in zip(result.sets, derived if earlier else compared, strict=True):
        place = _first_difference(asdict(own), asdict(entry))
        if place:
            return f"{entry.title}: {place} does not match its predictions per image"
    gates = judge(compared, result.probes, result.policy, baseline=result.baseline)
    if earlier:
        return _earlier_disagreement(result.gates, gates)
    return _gate_difference(gates, result.gates)


def _gate_difference(derived: Sequence[Gate], reported: Sequence[Gate]) -> str:
    place = _first_difference([asdict(gate) for gate in derived], [asdict(gate) for gate in reported])
    return f"the gates: {place} does not match the figures" if place else ""


def _of_earlier_subgroups(sets: Sequence[SetResult]) -> bool:
    """Whether subgroups were judged by another test, as in earlier versions; their figures have no excess then."""
    shares = [share for entry in sets for subgroup in entry.subgroups for _, share in subgroup.shares]
    return bool(shares) and all(share.excess is None for share in shares)


def _earlier_disagreement(reported: Sequence[Gate], derived: Sequence[Gate]) -> str:
    """The same for a report with an earlier test of subgroups. What fails by today's test must fail there too."""
    missed = _failed_subgroups(derived) - _failed_subgroups(reported)
    if missed:
        return f"the gates: {min(missed)[1]} fails by the predictions per image, but no gate says so"
    return _gate_difference(_without_subgroups(derived), _without_subgroups(reported))


def _failed_subgroups(gates: Sequence[Gate]) -> set[tuple[str, str]]:
    return {(gate.set, gate.subject) for gate in gates if gate.rule == RULE and gate.judgement.verdict is Verdict.FAIL}


def _without_subgroups(gates: Sequence[Gate]) -> list[Gate]:
    return [gate for gate in gates if gate.rule != RULE]


def _with_excess(result: AuditResult, derived: Sequence[SetResult]) -> list[SetResult]:
    """The derived sets, with their subgroups compared with the rest."""
    images = derived[0].comparison.images
    answers = [Answers(_engine_answers(result, entry), _source_answers(result, entry)) for entry in derived]
    subgroups = with_excess(
        [entry.subgroups for entry in derived], answers, result.subgroups,
        labels=unpack_numbers(result.labels, images=images, below=len(result.classes)),
        groups=unpack_numbers(result.lesions, images=images, below=2**32),
        malignant=InputContract(size=_ANY_SIZE, classes=result.classes, malignant=result.malignant).malignant_labels,
        judged=partial(judged, result.policy), least=result.policy.subgroup_lesions,
    )  # fmt: skip
    return [replace(entry, subgroups=own) for entry, own in zip(derived, subgroups, strict=True)]


def _derived(result: AuditResult, entry: SetResult, clean: Indices | None) -> SetResult:
    """The set with every figure that its answers determine computed again."""
    contract = InputContract(size=_ANY_SIZE, classes=result.classes, malignant=result.malignant)
    images, count = entry.comparison.images, len(result.classes)
    labels = unpack_numbers(result.labels, images=images, below=count)
    answers = _engine_answers(result, entry)
    lesions = unpack_numbers(result.lesions, images=images, below=2**32)
    source = _source_answers(result, entry)
    comparison: Comparison = compare(
        answers, source, engine_clean=None if entry.clean else clean, labels=labels,
        groups=lesions, contract=contract,
        confidence=result.policy.confidence,
    )  # fmt: skip
    called = pack_right(np.isin(answers, contract.malignant_labels))
    return replace(
        entry, comparison=comparison, right=pack_right(answers == labels), called_malignant=called,
        at_threshold=None if entry.at_threshold is None else _at_threshold(result, entry.at_threshold, labels, contract),
        subgroups=subgroup_results(
            answers, source, result.subgroups, labels=labels, groups=lesions, malignant=contract.malignant_labels,
            confidence=result.policy.confidence,
        ),
    )  # fmt: skip


def _at_threshold(result: AuditResult, entry: AtThreshold, labels: Indices, contract: InputContract) -> AtThreshold:
    """The figures at the operating point, from the decisions that the report stores."""
    images = len(labels)
    return at_threshold(
        unpack_right(entry.engine_calls, images=images),
        unpack_right(entry.source_calls, images=images) if entry.source_calls else None,
        labels=labels, groups=unpack_numbers(result.lesions, images=images, below=2**32),
        malignant=contract.malignant_labels, prevalence=result.policy.operating_prevalence,
        confidence=result.policy.confidence,
    )  # fmt: skip


def _engine_answers(result: AuditResult, entry: SetResult) -> Indices:
    return unpack_numbers(entry.engine_answers, images=entry.comparison.images, below=len(result.classes))


def _source_answers(result: AuditResult, entry: SetResult) -> Indices | None:
    if not entry.source_answers:
        return None
    return unpack_numbers(entry.source_answers, images=entry.comparison.images, below=len(result.classes))


def _first_difference(derived: Any, reported: Any, at: str = "") -> str:
    """The path of the first value that differs; empty if none does."""
    if isinstance(derived, Mapping) and isinstance(reported, Mapping):
        keys = [key for key in derived if key in reported]
        pairs = [(f"{at}.{key}" if at else str(key), derived[key], reported[key]) for key in keys]
        alike = derived.keys() == reported.keys()
    elif isinstance(derived, list | tuple) and isinstance(reported, list | tuple):
        pairs = [(f"{at}[{index}]", *both) for index, both in enumerate(zip(derived, reported, strict=False))]
        alike = len(derived) == len(reported)
    elif isinstance(derived, float) and isinstance(reported, int | float):
        return "" if math.isclose(derived, reported, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE) else at or "a figure"
    else:
        return "" if derived == reported else at or "a figure"
    if not alike:
        return at or "their number"
    return next(
        (place for path, part, reported_part in pairs if (place := _first_difference(part, reported_part, path))), ""
    )
