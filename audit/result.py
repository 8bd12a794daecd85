"""What an audit finds out, as values; nothing here knows of printing or of exit codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from skinaudit.audit.comparison import Comparison
from skinaudit.audit.policy import Policy
from skinaudit.audit.rules import RULES
from skinaudit.engines.engine import EngineDescription
from skinaudit.errors import InvalidInputError

EMULATION = "ONNX emulation, not the plan"
"""Marks every line of a report on an audit that ran the graph from which the engine was built instead of the engine."""


class Verdict(Enum):
    """The answer of an audit, and of each compared set."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"


class Severity(Enum):
    """What a finding does to the verdict: FAIL forces it, INCONCLUSIVE forbids PASS, the others only inform."""

    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True)
class Finding:
    """One thing that a reader must know. Invariant: rule is in skinaudit.audit.rules.RULES.

    set: the title of the set, or None for the whole audit. lesion_class: the class that it is about, where it is about one.
    """

    severity: Severity
    rule: str
    set: str | None
    text: str
    lesion_class: str | None = None

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise InvalidInputError(f"finding of rule {self.rule!r}: there are {', '.join(RULES)}")


@dataclass(frozen=True)
class Judgement:
    """The verdict on one set. images_needed: about how many images would decide, None where decided or unattainable."""

    verdict: Verdict
    images_needed: int | None = None


@dataclass(frozen=True)
class Control:
    """Whether the reference reproduces the logits stored in a set.

    ran: false where it could not or makes no sense; `text` says why. largest_difference: of any logit, relative to the
    range of the stored ones. disagreements: images on which the two name different classes.
    """

    ran: bool
    text: str
    largest_difference: float | None = None
    disagreements: int | None = None


@dataclass(frozen=True)
class SetResult:
    """One replayed set. white_box: computed from digests: crafted on the weights that the engine was built from.

    judgement: None where nothing could be compared; then `findings` of the audit say why. images_per_second: of the
    engine, reading included.
    """

    name: str
    title: str
    file: str
    clean: bool
    white_box: bool
    source: str
    images_digest: str
    control: Control
    comparison: Comparison
    judgement: Judgement | None
    images_per_second: float


@dataclass(frozen=True)
class AuditResult:
    """A whole audit. Invariant: verdict is PASS only if every rule of skinaudit.audit.verdict.conclude holds.

    foreign: an engine of another tool, described by a contract and compared with nothing. asked: the precision of the
    manifest, None for a foreign engine; description.found: what the opened engine says. lineage: digests back to the
    data; lineage_gaps: what is missing of it, empty when complete. emulated: the graph that the engine was built from ran in
    its place. control: one line for the head of a report.
    """

    engine: Path
    engine_digest: str
    description: EngineDescription
    foreign: bool
    asked: str | None
    run_name: str | None
    dataset: str
    synthetic: bool
    lineage: Mapping[str, str]
    lineage_gaps: tuple[str, ...]
    control: str
    deterministic: bool
    emulated: bool
    sets: tuple[SetResult, ...]
    policy: Policy
    findings: tuple[Finding, ...]
    verdict: Verdict
    reason: str
    versions: Mapping[str, str]
