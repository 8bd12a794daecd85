"""The results of an audit as values. Nothing here prints or sets an exit code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import Enum
from pathlib import Path, PurePath

from skinaudit.artifacts.operating_point import OperatingPoint
from skinaudit.artifacts.printable import printable_value
from skinaudit.artifacts.typed_json import Count, Share
from skinaudit.audit.checks import Finding
from skinaudit.audit.evidence.consistency import Consistency
from skinaudit.audit.evidence.inputs import Rebuilds
from skinaudit.audit.figures.external import ExternalResult
from skinaudit.audit.figures.fresh_attack import ProbeResult
from skinaudit.audit.figures.image_answers import ImageAnswer, image_answers
from skinaudit.audit.figures.metrics import Hits
from skinaudit.audit.figures.set_result import SetResult
from skinaudit.audit.figures.statistics import Interval, PairedDrop
from skinaudit.audit.figures.subgroups import SubgroupColumn
from skinaudit.audit.judgement.policy import Policy
from skinaudit.audit.judgement.rules import RULES
from skinaudit.engines.engine import EngineDescription
from skinaudit.errors import InvalidInputError, first_few

AUDIT_FORMAT = "skinaudit-audit/2"
"""Kind of the JSON report of an audit."""


class Verdict(Enum):
    """The verdict of an audit, and of each gate."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"


@dataclass(frozen=True)
class Judgement:
    """The verdict of one gate.

    images_needed: about how many images would decide with a probability of 80%; None if the gate is decided, or if more
    images would not help. Reports of earlier versions give the number that decides half of the time.
    """

    verdict: Verdict
    images_needed: Count | None = None


@dataclass(frozen=True)
class Gate:
    """One bound of the policy, applied. Invariant: rule is in skinaudit.audit.judgement.rules.RULES.

    set: title of the set or of the probe.
    subject: the bounded figure: `accuracy`, MALIGNANT_CALLS, ABOVE_THRESHOLD, a class, `images`, the figure of a floor, or
    `FIGURE, SUBGROUP`. A class may have any name, also that of a figure: see `figure`. Rule, set, subject and lesion_class
    together identify a gate.
    value, limit, interval: fractions of 1, or numbers of images if the gate counts. The value must be below the limit. If
    the rule is `floor`, it must be above. If the gate counts, it may equal the limit.
    p_value: one-sided, against "the bound holds", adjusted for all gates of the audit (Holm). For a subgroup:
    against "it loses no more than the rest", adjusted for all subgroups. None if the gate counts.
    binding: whether PASS is forbidden while this gate is undecided.
    lesion_class: the class whose sensitivity is bounded; None for other gates.
    effective_lesions: the effective number of lesions; None for floors and counts.
    power: probability that an engine as good as its source passes this gate on these images, at the observed discordance.
    None if there is no source, if the gate counts, and in reports of earlier versions.
    """

    rule: str
    set: str
    subject: str
    value: float
    limit: float
    interval: Interval | None
    p_value: Share | None
    images: Count
    judgement: Judgement
    binding: bool = True
    lesion_class: str | None = None
    effective_lesions: float | None = None
    power: Share | None = None

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise InvalidInputError(f"gate of rule {self.rule!r}: there are {first_few(tuple(RULES))}")

    @property
    def figure(self) -> str | None:
        """The subject of a gate that is not on a single class; None if it is on one, whatever that class is called."""
        return self.subject if self.lesion_class is None else None

    @property
    def counts(self) -> bool:
        """Whether value and limit are numbers of images: missed cancers are counted one by one, without an interval."""
        return self.rule in ("malignant-to-benign", "baseline-malignant-to-benign") and self.interval is None


@dataclass(frozen=True)
class BaselineClass:
    """Sensitivity to one malignant class, or to all together, of an earlier engine (`baseline`) and of the audited one."""

    name: str
    baseline: Hits
    engine: Hits
    drop: PairedDrop


@dataclass(frozen=True)
class BaselineSet:
    """Correct predictions of an earlier engine (`baseline`) and of the audited engine on one set.

    own: True if each engine was tested on images crafted against itself from the same clean images; False if both were
    tested on the same images. images_digest: of the audited engine's images; baseline_digest: of the earlier engine's.
    malignant: number of images of malignant classes. malignant_to_benign: how many of them the earlier engine calls
    malignant and the audited engine benign. pooled: malignant images called malignant by each engine, under the name
    MALIGNANT_CALLS. It is None if there is no malignant image, or if the earlier report does not say which images it calls
    malignant; then malignant_to_benign counts those that it classifies correctly. classes: the malignant classes that have
    images, in the order of the contract. turned: malignant_to_benign as a share of the malignant images, with its interval;
    nothing can be gained. None if pooled is None, and in reports of earlier versions.
    """

    title: str
    own: bool
    images_digest: str
    baseline_digest: str
    baseline: Hits
    engine: Hits
    drop: PairedDrop
    malignant: Count
    malignant_to_benign: Count
    pooled: BaselineClass | None
    classes: tuple[BaselineClass, ...]
    turned: PairedDrop | None = None


@dataclass(frozen=True)
class BaselineResult:
    """An earlier engine that this one must not be worse than, and each set that both were run on.

    engine: its path as it was audited, without the folders of an absolute path. verdict: of its own audit.
    """

    engine: str
    engine_digest: str
    run_name: str | None
    verdict: Verdict
    sets: tuple[BaselineSet, ...]


@dataclass(frozen=True)
class AuditResult:
    """A whole audit. Invariants: verdict is PASS only if every rule of skinaudit.audit.judgement.verdict.conclude holds; all
    texts are printable, on one line and without hidden characters, whatever names came from outside.

    foreign: whether another tool made the engine; it was then read through a contract and compared with no model. asked: the
    precision in the manifest, None for a foreign engine. description.found: the precision of the layers in the opened
    engine. lineage: digests that lead back to the data. lineage_gaps: what is missing in it, empty if it is complete.
    emulated: whether the graph ran instead of the engine that was built from it. rebuilds: None if the engine was built
    once. control: one line for the head of a report. arguments: the command line that repeats this audit. classes: in the
    order of the contract. malignant: those of them that are malignant, the most important first. baseline: the comparison
    with an earlier audit, None if none was named. operating_point: the threshold of the malignant score at which engine and
    source are compared. operating_point_lacking: why there is none, empty if there is one. agreement_only: whether the
    source keeps no robustness under attack, so that the audit can only show that both agree. labels, lesions: of each image,
    the same in all sets, packed by skinaudit.audit.figures.image_answers; empty in reports of earlier versions. external:
    comparison with the run's own test, None if the sets are not external. subgroups: for each column of the data, the
    subgroup of each image; empty if the sets have no such columns, and in reports of earlier versions.
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
    malignant: tuple[str, ...]
    synthetic: bool
    lineage: Mapping[str, str]
    lineage_gaps: tuple[str, ...]
    control: str
    consistency: Consistency
    emulated: bool
    rebuilds: Rebuilds | None
    labels: str
    lesions: str
    sets: tuple[SetResult, ...]
    probes: tuple[ProbeResult, ...]
    baseline: BaselineResult | None
    gates: tuple[Gate, ...]
    operating_point: OperatingPoint | None
    operating_point_lacking: str
    policy: Policy
    findings: tuple[Finding, ...]
    verdict: Verdict
    reason: str
    agreement_only: bool
    versions: Mapping[str, str]
    external: ExternalResult | None = None
    subgroups: tuple[SubgroupColumn, ...] = ()

    def __post_init__(self) -> None:
        for item in fields(self):  # checked here, so that no report can contain text that controls a terminal or a page
            object.__setattr__(self, item.name, printable_value(getattr(self, item.name)))
        for finding in self.findings:
            if finding.rule not in RULES:
                raise InvalidInputError(f"finding of rule {finding.rule!r}: there are {first_few(tuple(RULES))}")

    @property
    def by_image(self) -> bool:
        """Whether the report stores the answers to single images, from which its figures can be computed again."""
        return bool(self.labels)

    @property
    def engine_text(self) -> str:
        """The engine as it was named, without the folders of an absolute path, which would identify a machine."""
        path = PurePath(self.engine)
        return path.name if path.is_absolute() else path.as_posix()

    def answers(self, set: str) -> tuple[ImageAnswer, ...]:
        """The answers of engine and source to each image of a set, in its order. set: its name or its title.

        Raises InvalidInputError if the audit has no such set, or if a report of an earlier version has no answers per image.
        """
        entry = next((entry for entry in self.sets if set in (entry.name, entry.title)), None)
        if entry is None:
            raise InvalidInputError(
                f"{set!r}: no set of this audit; it has {first_few([known.name for known in self.sets])}"
            )
        if not self.by_image:
            raise InvalidInputError(f"{self.engine_text}: an earlier version wrote this report, without answers by image")
        return image_answers(
            classes=self.classes, images=entry.comparison.images, labels=self.labels, lesions=self.lesions,
            engine=entry.engine_answers, source=entry.source_answers,
        )  # fmt: skip

    def judgement_of(self, title: str) -> Judgement | None:
        """The verdict on the drop in accuracy of the set with this title; None if nothing could be compared."""
        return next((gate.judgement for gate in self.gates if gate.rule == "drop" and gate.set == title), None)

    def power_of(self, title: str) -> float | None:
        """The power of the gate on the drop in accuracy of the set with this title; None if it has none."""
        return next((gate.power for gate in self.gates if gate.rule == "drop" and gate.set == title), None)
