"""Signs that figures cannot be trusted, one check a file; a check can forbid a PASS, and none can earn one.

A check file defines `ABOUT`, the part of the audit that it looks at; `RULES`, the rules of its findings by name; and
`check(evidence) -> iterator of findings`. Nothing else needs to change when a file is added.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Literal, Protocol, get_args

from skinaudit.errors import InvalidInputError

if TYPE_CHECKING:  # a check reads what the later stages hand to it, and imports none of them
    from skinaudit.audit.contract_search import Search
    from skinaudit.audit.evidence.computed_precision import ComputedPrecision
    from skinaudit.audit.evidence.conditions import Conditions
    from skinaudit.audit.evidence.consistency import Consistency
    from skinaudit.audit.evidence.half_precision import HalfPrecision
    from skinaudit.audit.evidence.halved_reference import HalvedAnswers
    from skinaudit.audit.evidence.inputs import Inputs
    from skinaudit.audit.evidence.nearby_images import NearbyImages
    from skinaudit.audit.evidence.operating import Operating
    from skinaudit.audit.evidence.pairing import Pair
    from skinaudit.audit.evidence.proof import Proof
    from skinaudit.audit.evidence.reference import Reference
    from skinaudit.audit.figures.external import ExternalResult
    from skinaudit.audit.figures.fresh_attack import ProbeResult
    from skinaudit.audit.figures.set_result import SetResult
    from skinaudit.audit.judgement.policy import Policy
    from skinaudit.audit.judgement.result import AuditResult, Gate
    from skinaudit.engines.engine import EngineDescription

About = Literal["engine", "sets", "figures"]
"""What a check looks at. Findings are listed in this order, those of the gates before those about figures."""


class Severity(Enum):
    """What a finding does to the verdict: FAIL forces it, INCONCLUSIVE forbids PASS, the others only inform."""

    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True)
class Rule:
    """One kind of finding, for a reader who meets it for the first time: title, what it means, and what to do about it."""

    title: str
    meaning: str
    remedy: str


@dataclass(frozen=True)
class Finding:
    """One thing that a reader must know.

    rule: a name in skinaudit.audit.judgement.rules.RULES. set: the title of the set or probe, None for the whole audit.
    lesion_class: the class that it is about, where it is about one. gate: where a gate of this rule and set stands behind
    it, what that gate bounds (`Gate.subject`). figures: the numbers in the text, by name.
    """

    severity: Severity
    rule: str
    set: str | None
    text: str
    lesion_class: str | None = None
    gate: str | None = None
    figures: Mapping[str, int | float] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, eq=False)
class Earlier:
    """The baseline: the report of an earlier engine, and for each set of this audit the set of it to compare with."""

    report: AuditResult
    pairs: tuple[Pair | None, ...]


@dataclass(frozen=True, eq=False)
class Evidence:
    """Everything that an audit gathered and computed; what a check may look at.

    inputs: manifest, contract and sets as they were read. engine: what the opened engine says of itself. emulated: the graph
    that the engine was built from ran in its place. reference: the engine of the control. conditions: operators by which an
    answer can hang on a condition, beside its reference's; None for a foreign engine. proof: what came of comparing
    its layers and weights with those of its run. operating: the threshold of the malignant score, or why there is none.
    nearby: answers to images that no set
    holds. half_precision: None where no emulation of it is called for. halved_reference: empty but for half precision.
    computed_precision: None where the runtime reports the precision. sets: the clean set first. external: own test beside
    external validation, None where the sets are not external. search: other readings of a foreign engine. baseline: None
    where no earlier engine is compared. own_sets: titles of sets on which engine and baseline were each attacked with
    images of their own.
    """

    inputs: Inputs
    engine: EngineDescription
    emulated: bool
    reference: Reference
    conditions: Conditions | None
    proof: Proof
    operating: Operating
    consistency: Consistency
    nearby: NearbyImages
    half_precision: HalfPrecision | None
    halved_reference: tuple[HalvedAnswers, ...]
    computed_precision: ComputedPrecision | None
    sets: tuple[SetResult, ...]
    probes: tuple[ProbeResult, ...]
    gates: tuple[Gate, ...]
    baseline: Earlier | None
    own_sets: frozenset[str]
    policy: Policy
    external: ExternalResult | None = None
    search: Search | None = None

    @property
    def clean(self) -> SetResult:
        """The set of clean images."""
        return self.sets[0]

    @property
    def attacked(self) -> tuple[SetResult, ...]:
        """The adversarial sets."""
        return self.sets[1:]


class Check(Protocol):
    """Look at the evidence and yield what a reader must know; nothing where all is well."""

    def __call__(self, evidence: Evidence) -> Iterator[Finding]: ...


def names(about: About | None = None) -> tuple[str, ...]:
    """The checks that are there, by file, in alphabetical order; with `about` those that look at it."""
    return tuple(name for name in _files() if about is None or load(name)[0] == about)


@functools.cache
def _files() -> tuple[str, ...]:
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")))


def load(name: str) -> tuple[About, Mapping[str, Rule], Check]:
    """What a check looks at, its rules, and the check; raises InvalidInputError on another name."""
    if name not in _files():
        raise InvalidInputError(f"check {name!r}: there is none of that name")
    module = importlib.import_module(f"{__name__}.{name}")
    about: About = module.ABOUT
    rules: Mapping[str, Rule] = module.RULES
    check: Check = module.check
    if about not in get_args(About):
        raise TypeError(f"check {name}: ABOUT is {about!r}; choose one of {', '.join(get_args(About))}")
    return about, rules, check


def run_checks(evidence: Evidence, about: About) -> list[Finding]:
    """The findings of all checks that look at this part of the audit.

    Raises TypeError where a check yields a finding of a rule that is not its own.
    """
    findings = []
    for name in names(about):
        _, rules, check = load(name)
        for finding in check(evidence):
            if finding.rule not in rules:
                raise TypeError(f"check {name}: a finding of rule {finding.rule!r}, which is none of {', '.join(rules)}")
            findings.append(finding)
    return findings
