"""Checks for signs that the figures cannot be trusted. One check per file. A check can forbid a PASS; it can never grant
one.

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
    """Effect of a finding on the verdict: FAIL forces a FAIL, INCONCLUSIVE forbids a PASS, the others only inform."""

    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True)
class Rule:
    """One kind of finding, explained for a first-time reader: its title, what it means, and what to do about it."""

    title: str
    meaning: str
    remedy: str


@dataclass(frozen=True)
class Finding:
    """One thing that the reader of a report must know.

    rule: a name in skinaudit.audit.judgement.rules.RULES. set: the title of the set or probe, None for the whole audit.
    lesion_class: the class concerned, if the finding is about a single class. gate: what the gate behind this finding
    bounds (`Gate.subject`), None if no gate is behind it. figures: the numbers in the text, by name.
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
    """The baseline: the report of an earlier engine. pairs: for each set of this audit, the matching set of that report."""

    report: AuditResult
    pairs: tuple[Pair | None, ...]


@dataclass(frozen=True, eq=False)
class Evidence:
    """Everything that an audit gathered and computed. This is what a check may look at.

    inputs: manifest, contract and sets as they were read. engine: the description that the opened engine gives of itself.
    emulated: True if the graph that the engine was built from ran instead of the engine. reference: the engine of the
    control. conditions: operators in the graphs of engine and reference that can make the output depend on a condition;
    None for a foreign engine. proof: result of comparing the engine's layers and weights with those of its run. operating:
    the threshold of the malignant score, or the reason why there is none. nearby: outputs for images that are in no set.
    half_precision: None if no emulation of half precision is needed. halved_reference: empty unless the engine is half
    precision. computed_precision: None if the runtime reports the precision. sets: the clean set first. external: figures
    on the run's own test images and on external images, None if the sets are not external. search: other ways to read a
    foreign engine. baseline: None if the engine is not compared with an earlier one. own_sets: titles of sets for which
    engine and baseline were each attacked with images crafted against themselves. taken_up: titles of sets with outputs
    that an interrupted audit had kept.
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
    taken_up: tuple[str, ...] = ()

    @property
    def clean(self) -> SetResult:
        """The set of clean images."""
        return self.sets[0]

    @property
    def attacked(self) -> tuple[SetResult, ...]:
        """The adversarial sets."""
        return self.sets[1:]


class Check(Protocol):
    """Look at the evidence and yield a finding for each problem; yield nothing if all is well."""

    def __call__(self, evidence: Evidence) -> Iterator[Finding]: ...


def names(about: About | None = None) -> tuple[str, ...]:
    """Names of all checks (their file names) in alphabetical order; with `about`, only those that look at this part."""
    return tuple(name for name in _files() if about is None or load(name)[0] == about)


@functools.cache
def _files() -> tuple[str, ...]:
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")))


def load(name: str) -> tuple[About, Mapping[str, Rule], Check]:
    """Return what the check looks at, its rules, and the check itself; raises InvalidInputError for an unknown name."""
    if name not in _files():
        raise InvalidInputError(f"check {name!r}: there is no check of that name")
    module = importlib.import_module(f"{__name__}.{name}")
    about: About = module.ABOUT
    rules: Mapping[str, Rule] = module.RULES
    check: Check = module.check
    if about not in get_args(About):
        raise TypeError(f"check {name}: ABOUT is {about!r}; choose one of {', '.join(get_args(About))}")
    return about, rules, check


def run_checks(evidence: Evidence, about: About) -> list[Finding]:
    """Run all checks that look at this part of the audit and return their findings.

    Raises TypeError if a check yields a finding of a rule that it does not define.
    """
    findings = []
    for name in names(about):
        _, rules, check = load(name)
        for finding in check(evidence):
            if finding.rule not in rules:
                raise TypeError(f"check {name}: a finding of rule {finding.rule!r}, which is none of {', '.join(rules)}")
            findings.append(finding)
    return findings
