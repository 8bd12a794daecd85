"""What an audit finds out, as values; nothing here knows of printing or of exit codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from skinaudit.audit.comparison import Comparison
from skinaudit.audit.flips import Flip
from skinaudit.audit.policy import Policy
from skinaudit.engines.engine import EngineDescription

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
    """One thing that a reader must know; `set` is the title of the set, or None for the whole audit."""

    severity: Severity
    set: str | None
    text: str


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

    path: of its file, relative to the engine's folder. attack, norm, eps: how it was crafted, eps as it is written
    (`8/255`); norm and eps are None for clean images. judgement: None where nothing could be compared; then `findings` of
    the audit say why. images_per_second: of the engine, reading included. flipped: the worst of the images that the engine
    loses, at most flips.LIMIT; empty where nothing was compared.
    """

    name: str
    title: str
    file: str
    path: Path
    attack: str
    norm: str | None
    eps: str | None
    clean: bool
    white_box: bool
    source: str
    images_digest: str
    control: Control
    comparison: Comparison
    judgement: Judgement | None
    images_per_second: float
    flipped: tuple[Flip, ...]


@dataclass(frozen=True)
class AuditResult:
    """A whole audit. Invariant: verdict is PASS only if every rule of skinaudit.audit.verdict.conclude holds.

    foreign: an engine of another tool, described by a contract and compared with nothing. asked: the precision of the
    manifest, None for a foreign engine; description.found: what the opened engine says. lineage: digests back to the
    data; lineage_gaps: what is missing of it, empty when complete. emulated: the graph that the engine was built from ran in
    its place. control: one line for the head of a report. arguments: the command line that gives this audit again.
    classes: in the contract's order.
    """

    engine: Path
    engine_digest: str
    description: EngineDescription
    foreign: bool
    asked: str | None
    run_name: str | None
    arguments: tuple[str, ...]
    dataset: str
    classes: tuple[str, ...]
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
