"""What an audit finds out, as values; nothing here knows of printing or of exit codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from skinaudit.audit.evidence.consistency import Consistency
from skinaudit.audit.figures.comparison import Comparison
from skinaudit.audit.figures.drift import Drift
from skinaudit.audit.figures.flips import Flip
from skinaudit.audit.figures.metrics import Hits
from skinaudit.audit.figures.statistics import Interval, PairedDrop
from skinaudit.audit.judgement.policy import Policy
from skinaudit.audit.judgement.rules import RULES
from skinaudit.engines.engine import EngineDescription
from skinaudit.errors import InvalidInputError

EMULATION = "ONNX emulation, not the engine"
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
    """One thing that a reader must know. Invariant: rule is in skinaudit.audit.judgement.rules.RULES.

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
class Gate:
    """One bound of the policy, applied. Invariant: rule is in skinaudit.audit.judgement.rules.RULES.

    set: title of the set or of the probe. subject: what is bounded: `accuracy`, a class, `images`, or the figure of a floor.
    value, limit, interval: fractions of 1, and images where the gate counts; the value must lie below the limit, above it
    where the rule is `floor`, and may reach it where the gate counts. p_value: one-sided, against "the bound holds",
    adjusted for all gates of the audit (Holm); None where the gate counts. binding: whether an undecided gate forbids PASS.
    """

    rule: str
    set: str
    subject: str
    value: float
    limit: float
    interval: Interval | None
    p_value: float | None
    images: int
    judgement: Judgement
    binding: bool = True

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise InvalidInputError(f"gate of rule {self.rule!r}: there are {', '.join(RULES)}")

    @property
    def counts(self) -> bool:
        """Whether value and limit are images: lost cancers are counted singly."""
        return self.rule in ("malignant-to-benign", "baseline-malignant-to-benign")


@dataclass(frozen=True)
class ProbeResult:
    """A fresh attack on the opened engine, beside the same attack on its reference.

    title: of probe and threat model. images: how many were attacked, the first of the clean set in a random order that the
    seed fixes. queries: asked of the engine, in all; seconds: of the engine's attack. clean_accuracy: of the engine on these
    images. replay_accuracy: on the stored adversarial images of the same threat model, all sets together: right in each;
    None where there is none. fresh_accuracy: right when clean and under this probe. worst_accuracy: right under all of
    them, and under a probe that starts at the stored images. drop: from the reference's fresh accuracy to the engine's; None
    without a reference, or where the attack is not a fair comparison. masking: from the engine's replay accuracy to its
    fresh one, None without a replay: clearly above 0 where stored images miss what a fresh attack finds.
    """

    name: str
    title: str
    norm: str
    eps: str
    settings: Mapping[str, int | float]
    seed: int
    images: int
    queries: int
    seconds: float
    clean_accuracy: float
    replay_accuracy: float | None
    fresh_accuracy: float
    fresh_interval: Interval
    worst_accuracy: float
    reference_accuracy: float | None
    drop: PairedDrop | None
    masking: PairedDrop | None


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

    path: of its file, relative to the engine's folder. attack, norm, eps, settings: how it was crafted, eps as it is written
    (`8/255`); norm and eps are None for clean images, which have no settings. drift: from the source model's logits; None
    where they are not known. probabilities: whether every row of the engine's answers lies in [0, 1] and sums to 1.
    judgement: on the drop in accuracy; None where nothing could be compared; then `findings` of the audit say why.
    images_per_second: of the engine, reading included. flipped: the worst of the images that the engine loses, at most
    flips.LIMIT; empty where nothing was compared. right: which images the engine names rightly, as
    skinaudit.audit.figures.right_answers packs them.
    """

    name: str
    title: str
    file: str
    path: Path
    attack: str
    norm: str | None
    eps: str | None
    settings: Mapping[str, bool | int | float | str | None]
    clean: bool
    white_box: bool
    source: str
    images_digest: str
    control: Control
    comparison: Comparison
    drift: Drift | None
    probabilities: bool
    judgement: Judgement | None
    images_per_second: float
    flipped: tuple[Flip, ...]
    right: str


@dataclass(frozen=True)
class BaselineClass:
    """Sensitivity to one malignant class, of an earlier engine (`baseline`) and of the audited one on the same images."""

    name: str
    baseline: Hits
    engine: Hits
    drop: PairedDrop


@dataclass(frozen=True)
class BaselineSet:
    """Right answers of an earlier engine (`baseline`) and of the audited one to one set.

    own: each engine answered images that were made against itself from the same clean ones; otherwise both answered the same
    images. images_digest: of those of the audited engine; baseline_digest: of those of the earlier one.
    malignant: how many images of malignant classes there are. malignant_to_benign: how many of them the earlier engine names
    rightly and the audited one calls benign. classes: the malignant ones that have images, melanoma first.
    """

    title: str
    own: bool
    images_digest: str
    baseline_digest: str
    baseline: Hits
    engine: Hits
    drop: PairedDrop
    malignant: int
    malignant_to_benign: int
    classes: tuple[BaselineClass, ...]


@dataclass(frozen=True)
class BaselineResult:
    """An earlier engine that this one must not be worse than, and each set that both answered.

    engine: its path as it was audited, without the folders of an absolute one. verdict: of its own audit.
    """

    engine: str
    engine_digest: str
    run_name: str | None
    verdict: Verdict
    sets: tuple[BaselineSet, ...]


@dataclass(frozen=True)
class Rebuilds:
    """What the export noted of several builds of this engine.

    files: different ones among them. flips: the most clean images, of `images`, that any two builds answer otherwise; None
    where they could not run where they were built.
    """

    builds: int
    files: int
    flips: int | None
    images: int


@dataclass(frozen=True)
class AuditResult:
    """A whole audit. Invariant: verdict is PASS only if every rule of skinaudit.audit.judgement.verdict.conclude holds.

    foreign: an engine of another tool, described by a contract and compared with nothing. asked: the precision of the
    manifest, None for a foreign engine; description.found: what the opened engine says. lineage: digests back to the
    data; lineage_gaps: what is missing of it, empty when complete. emulated: the graph that the engine was built from ran in
    its place. rebuilds: None where the engine was built once. control: one line for the head of a report. arguments: the
    command line that gives this audit again. classes: in the contract's order. baseline: the comparison with an earlier
    audit, None where none was named.
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
    consistency: Consistency
    emulated: bool
    rebuilds: Rebuilds | None
    sets: tuple[SetResult, ...]
    probes: tuple[ProbeResult, ...]
    baseline: BaselineResult | None
    gates: tuple[Gate, ...]
    policy: Policy
    findings: tuple[Finding, ...]
    verdict: Verdict
    reason: str
    versions: Mapping[str, str]
