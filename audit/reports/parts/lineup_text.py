"""A lineup of audits as tables of text, which every form of it shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from skinaudit.audit.figures.text import NOTHING, drop_text, percent, share
from skinaudit.audit.reports.parts.cases import gate_figures
from skinaudit.audit.reports.parts.lineup import Entry, Lineup, Refusal, SetEntry

OTHER_IMAGES = "\N{NOT EQUAL TO}"
"""Marks a figure on other images than the first audit's."""


@dataclass(frozen=True)
class Table:
    """Cells of text. rows: a row of one cell is a heading of those below it. numbers: how many columns after the first are
    figures, to be set to the right.
    """

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: int


def tables(lineup: Lineup) -> tuple[Table, ...]:
    """The engines with their verdicts, then the sets, then the probes, each engine by engine."""
    found = [Table(("engine", "precision", "runtime", "verdict", "worst gate"), tuple(map(_engine, lineup.entries)), 0)]
    if lineup.titles:
        heads = ("set", "accuracy", "balanced", "drop from source", "malignant", "verdict")
        found.append(Table(heads, tuple(_sets(lineup)), 4))
    probes = tuple(_probes(lineup))
    if probes:
        found.append(Table(("fresh attack", "images", "fresh", "worst", "reference", "drop from reference"), probes, 5))
    return tuple(found)


def notes(lineup: Lineup) -> tuple[str, ...]:
    """What a reader has to know of the tables, in whole lines."""
    sets = [one for entry in lineup.audited for one in entry.sets]
    told = []
    if any(one.synthetic for one in lineup.audited):
        told.append("SYNTHETIC images: these figures say nothing about patients")
    emulated = [one.label for one in lineup.audited if one.emulated]
    if emulated:
        told.append(f"ONNX emulation, the engine itself was not run: {', '.join(emulated)}")
    told += [f"{one.label}: {one.clinical}" for one in lineup.audited if one.clinical is not None]
    if not all(one.comparable for one in sets):
        told.append(f"{OTHER_IMAGES} other images than in the first audit with a set of this title: not comparable")
    if any(_transfer(one) for one in sets):
        told.append("* transfer: crafted on another model")
    return tuple(told)


def _engine(one: Entry | Refusal) -> tuple[str, ...]:
    if isinstance(one, Refusal):
        return (one.label, NOTHING, NOTHING, "ERROR", one.reason)
    worst = NOTHING
    if one.worst is not None:
        against = "against the baseline, " if one.worst.rule.startswith("baseline-") else ""
        worst = f"{one.worst.set}: {against}{gate_figures(one.worst)}"
    return (one.label, one.precision, one.runtime, one.verdict.value, worst)


def _sets(lineup: Lineup) -> Iterator[tuple[str, ...]]:
    for title in lineup.titles:
        yield (title,)
        for entry in lineup.audited:
            for one in (one for one in entry.sets if one.title == title):
                marks = f"{' *' * _transfer(one)}{f' {OTHER_IMAGES}' * (not one.comparable)}"
                verdict = "not compared" if one.verdict is None else one.verdict.value
                figures = (percent(one.accuracy), percent(one.balanced), drop_text(one.drop), share(one.malignant))
                yield (f"{entry.label}{marks}", *figures, verdict)


def _probes(lineup: Lineup) -> Iterator[tuple[str, ...]]:
    for title in dict.fromkeys(one.title for entry in lineup.audited for one in entry.probes):
        yield (title,)
        for entry in lineup.audited:
            for one in (one for one in entry.probes if one.title == title):
                figures = (percent(one.fresh_accuracy), percent(one.worst_accuracy), percent(one.reference_accuracy))
                yield (entry.label, f"{one.images:,}", *figures, drop_text(one.drop))


def _transfer(one: SetEntry) -> bool:
    return not one.white_box and one.title != "clean"
