"""Compares several audits: engines of one release, or one engine over several releases."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from skinaudit.artifacts.printable import printable_value
from skinaudit.audit.figures.fresh_attack import ProbeResult
from skinaudit.audit.figures.metrics import Hits
from skinaudit.audit.figures.set_result import SetResult
from skinaudit.audit.figures.statistics import PairedDrop
from skinaudit.audit.judgement.result import AuditResult, Gate, Judgement, Verdict
from skinaudit.audit.judgement.verdict import exit_code
from skinaudit.audit.reports.parts.wording import first_lines, precision_text

_RANKS = {Verdict.FAIL: 0, Verdict.INCONCLUSIVE: 1, Verdict.PASS: 2}
_WORST_FIRST = (2, 1, 3, 0)
"""Exit codes by priority: an engine that could not be audited, a definite loss, an undecided one, a pass."""


@dataclass(frozen=True)
class SetEntry:
    """The result of one audit on one set.

    comparable: the images are those of the first audit that has a set with this title. drop: from the source model; None if
    nothing was compared. verdict: on that drop. malignant: malignant images called malignant.
    """

    title: str
    images_digest: str
    comparable: bool
    white_box: bool
    images: int
    accuracy: float
    balanced: float
    drop: PairedDrop | None
    verdict: Verdict | None
    malignant: Hits


@dataclass(frozen=True)
class Entry:
    """One audited engine.

    label: unique in the lineup. worst: the gate that is closest to failing or fails most, None without gates. clinical: the
    audit's text if no class is malignant; None if clinical gates were applied. first_lines: the lines that every report
    shows before its figures.
    """

    label: str
    engine_digest: str
    run_name: str | None
    runtime: str
    precision: str
    synthetic: bool
    emulated: bool
    foreign: bool
    verdict: Verdict
    reason: str
    clinical: str | None
    first_lines: tuple[str, ...]
    worst: Gate | None
    sets: tuple[SetEntry, ...]
    probes: tuple[ProbeResult, ...]


@dataclass(frozen=True)
class Refusal:
    """An engine that could not be audited, and the reason."""

    label: str
    reason: str


@dataclass(frozen=True)
class Lineup:
    """Audits in the order in which they were named. titles: of all their sets, in the order of first occurrence."""

    titles: tuple[str, ...]
    entries: tuple[Entry | Refusal, ...]

    @property
    def audited(self) -> tuple[Entry, ...]:
        """The entries that are audits."""
        return tuple(entry for entry in self.entries if isinstance(entry, Entry))


def line_up(answers: Sequence[tuple[Path, AuditResult | str]]) -> Lineup:
    """Put audits together for comparison. answers: for each, its path as named, and the audit or why there is none."""
    audits = [answer for _, answer in answers if isinstance(answer, AuditResult)]
    first_digests: dict[str, str] = {}
    for audit in audits:
        for set_result in audit.sets:
            first_digests.setdefault(set_result.title, set_result.images_digest)
    entries = [
        Refusal(label, answer.removeprefix(f"{path}: ")) if isinstance(answer, str) else _entry(label, answer, first_digests)
        for label, (path, answer) in zip(_labels(answers), answers, strict=True)
    ]
    return printable_value(Lineup(tuple(first_digests), tuple(entries)))


def worst_exit_code(lineup: Lineup) -> int:
    """2 if an engine could not be audited, else 1 if one fails, else 3 if one is undecided, else 0."""
    codes = [2 if isinstance(entry, Refusal) else exit_code(entry.verdict) for entry in lineup.entries]
    return min(codes, key=_WORST_FIRST.index, default=2)


def worst_gate(gates: Sequence[Gate]) -> Gate | None:
    """The gate with the worst outcome: failed before undecided before passed; gates that do not bind come last.

    Among equals, the one whose interval (for a count, whose value) exceeds its limit most.
    """
    return max(gates, key=lambda gate: (-_rank(gate), _excess(gate)), default=None)


def _rank(gate: Gate) -> int:
    verdict = gate.judgement.verdict
    return _RANKS[verdict] if gate.binding or verdict is Verdict.FAIL else len(_RANKS)


def _excess(gate: Gate) -> float:
    """How far the worse end of the interval is beyond the limit; in images for a count, which has no interval."""
    if gate.interval is None and gate.judgement.verdict is Verdict.PASS:
        return -math.inf
    if gate.rule == "floor":
        return gate.limit - (gate.value if gate.interval is None else gate.interval.low)
    return (gate.value if gate.interval is None else gate.interval.high) - gate.limit


def _entry(label: str, result: AuditResult, first_digests: dict[str, str]) -> Entry:
    about = result.description
    return Entry(
        label=label,
        engine_digest=result.engine_digest,
        run_name=result.run_name,
        runtime=f"{about.runtime} {about.version}",
        precision=precision_text(result),
        synthetic=result.synthetic,
        emulated=result.emulated,
        foreign=result.foreign,
        verdict=result.verdict,
        reason=result.reason,
        clinical=next((finding.text for finding in result.findings if finding.rule == "clinical"), None),
        first_lines=tuple(first_lines(result)),
        worst=worst_gate(result.gates),
        sets=tuple(
            _set_entry(
                set_result,
                result.judgement_of(set_result.title),
                comparable=first_digests[set_result.title] == set_result.images_digest,
            )
            for set_result in result.sets
        ),
        probes=result.probes,
    )


def _set_entry(set_result: SetResult, judgement: Judgement | None, *, comparable: bool) -> SetEntry:
    comparison = set_result.comparison
    return SetEntry(
        title=set_result.title,
        images_digest=set_result.images_digest,
        comparable=comparable,
        white_box=set_result.white_box,
        images=comparison.images,
        accuracy=comparison.engine_accuracy,
        balanced=comparison.engine_balanced,
        drop=comparison.drop,
        verdict=None if judgement is None else judgement.verdict,
        malignant=comparison.engine_malignant,
    )


def _labels(answers: Sequence[tuple[Path, AuditResult | str]]) -> list[str]:
    """The shortest distinct labels: the engine's name, else also its run's name, else the path as named, else a number."""
    for names in _names(answers):
        if len(set(names)) == len(names):
            return names
    return [f"{name} ({index})" for index, name in enumerate(names, start=1)]


def _names(answers: Sequence[tuple[Path, AuditResult | str]]) -> Iterator[list[str]]:
    yield [path.name if isinstance(answer, str) else answer.engine.name for path, answer in answers]
    yield [path.name if isinstance(answer, str) else f"{answer.run_name}/{answer.engine.name}" for path, answer in answers]
    # An absolute path would identify a machine.
    yield [path.name if path.is_absolute() else PurePath(path).as_posix() for path, _ in answers]
