"""A lineup of audits as tables of text, shared by all its formats."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from skinaudit.audit.figures.text import NOTHING, drop_text, percent, share
from skinaudit.audit.reports.parts.cases import gate_figures
from skinaudit.audit.reports.parts.lineup import Entry, Lineup, Refusal, SetEntry

OTHER_IMAGES = "\N{NOT EQUAL TO}"
"""Marks a figure on other images than those of the first audit."""


@dataclass(frozen=True)
class Table:
    """Cells of text.

    rows: a row with one cell is a heading for the rows below it. numbers: how many columns after the first are figures,
    aligned to the right. sentences: whether the last column contains sentences, which a narrow page shows below the table.
    """

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: int
    sentences: bool = False

    @property
    def narrow(self) -> Table:
        """The table without its last column if that contains sentences."""
        if not self.sentences:
            return self
        return replace(self, heads=self.heads[:-1], rows=tuple(row[:-1] for row in self.rows), sentences=False)


def tables(lineup: Lineup) -> tuple[Table, ...]:
    """The engines with their verdicts, then the sets, then the probes, each by engine."""
    of_engines = ("engine", "precision", "runtime", "verdict", "worst gate")
    all_tables = [Table(of_engines, tuple(map(_engine, lineup.entries)), 0, sentences=True)]
    if lineup.titles:
        heads = ("set", "accuracy", "balanced", "drop from source", "malignant", "verdict")
        all_tables.append(Table(heads, tuple(_sets(lineup)), 4))
    probes = tuple(_probes(lineup))
    if probes:
        all_tables.append(Table(("fresh attack", "images", "fresh", "worst", "reference", "drop from reference"), probes, 5))
    return tuple(all_tables)


def notes(lineup: Lineup) -> tuple[str, ...]:
    """What a reader must know about the tables, in whole lines."""
    sets = [set_entry for entry in lineup.audited for set_entry in entry.sets]
    lines = []
    if any(entry.synthetic for entry in lineup.audited):
        lines.append("SYNTHETIC images: these figures say nothing about patients")
    emulated = [entry.label for entry in lineup.audited if entry.emulated]
    if emulated:
        lines.append(f"ONNX emulation, the engine itself was not run: {', '.join(emulated)}")
    lines += _by_engine(lineup, lambda entry: entry.first_lines)
    lines += _by_engine(lineup, lambda entry: () if entry.clinical is None else (entry.clinical,))
    if not all(set_entry.comparable for set_entry in sets):
        lines.append(f"{OTHER_IMAGES} the images differ from those of the first audit with this set: not comparable")
    if any(_transfer(set_entry) for set_entry in sets):
        lines.append("* transfer: crafted on a different model")
    return tuple(lines)


def _by_engine(lineup: Lineup, lines_of: Callable[[Entry], Iterable[str]]) -> list[str]:
    """Lines about single engines. A line about several engines is printed once, after their labels."""
    labels: dict[str, list[str]] = {}
    for entry in lineup.audited:
        for line in lines_of(entry):
            labels.setdefault(line, []).append(entry.label)
    engines = len(lineup.audited)
    return [f"{'all engines' if 1 < len(names) == engines else ', '.join(names)}: {line}" for line, names in labels.items()]


def _engine(entry: Entry | Refusal) -> tuple[str, ...]:
    if isinstance(entry, Refusal):
        return (entry.label, NOTHING, NOTHING, "ERROR", entry.reason)
    worst = NOTHING
    if entry.worst is not None:
        against = "against the baseline, " if entry.worst.rule.startswith("baseline-") else ""
        worst = f"{entry.worst.set}: {against}{gate_figures(entry.worst)}"
    return (entry.label, entry.precision, entry.runtime, entry.verdict.value, worst)


def _sets(lineup: Lineup) -> Iterator[tuple[str, ...]]:
    for title in lineup.titles:
        yield (title,)
        for entry in lineup.audited:
            for set_entry in (set_entry for set_entry in entry.sets if set_entry.title == title):
                marks = f"{' *' * _transfer(set_entry)}{f' {OTHER_IMAGES}' * (not set_entry.comparable)}"
                verdict = "not compared" if set_entry.verdict is None else set_entry.verdict.value
                figures = (
                    percent(set_entry.accuracy),
                    percent(set_entry.balanced),
                    drop_text(set_entry.drop),
                    share(set_entry.malignant),
                )
                yield (f"{entry.label}{marks}", *figures, verdict)


def _probes(lineup: Lineup) -> Iterator[tuple[str, ...]]:
    for title in dict.fromkeys(probe.title for entry in lineup.audited for probe in entry.probes):
        yield (title,)
        for entry in lineup.audited:
            for probe in (probe for probe in entry.probes if probe.title == title):
                figures = (percent(probe.fresh_accuracy), percent(probe.worst_accuracy), percent(probe.reference_accuracy))
                yield (entry.label, f"{probe.images:,}", *figures, drop_text(probe.drop))


def _transfer(set_entry: SetEntry) -> bool:
    return not set_entry.white_box and set_entry.title != "clean"
