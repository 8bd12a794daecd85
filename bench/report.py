"""Figures of the benches as Markdown."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from skinaudit.bench import attacks, hardening, replay, reports
from skinaudit.bench.attacks import EVALUATING, FULL_BUDGET, AttackFigures
from skinaudit.bench.hardening import HardeningFigures
from skinaudit.bench.replay import MemoryFigures, ReplayFigures
from skinaudit.bench.reports import ReportFigures

_WORD = re.compile(r"[^\W\d_]{4}")
"""Four letters in a row: more than a unit such as MiB."""


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table. Columns of figures are aligned to the right; the first column and columns of text are not."""
    columns = [[row[index] for row in rows] for index in range(1, len(header))]
    marks = ["---", *("---:" if holds_figures(cells) else "---" for cells in columns)]
    return "".join(f"| {' | '.join(line)} |\n" for line in (header, marks, *rows))


def holds_figures(cells: Sequence[str]) -> bool:
    """Whether at least half of a column's cells are figures; empty cells and dashes do not count."""
    said = [cell for cell in cells if cell.strip(" -")]
    figures = sum(any(sign.isdigit() for sign in cell) and not _WORD.search(cell) for cell in said)
    return 2 * figures >= len(said)


def verdict(measured: float, target: float, *, at_most: bool = False) -> str:
    """A measured ratio beside its target, and whether it is met."""
    met = measured <= target if at_most else measured >= target
    return f"{measured:.2f} (target {'at most' if at_most else 'at least'} {target:g}: {'met' if met else 'MISSED'})"


def machine(threads: int) -> str:
    """The machine in one line."""
    return f"{_processor()}, {threads} of {os.cpu_count()} CPUs, {platform.system()} {platform.machine()}"


def heading(command: str, *, trainings: Sequence[str], threads: int, versions: Mapping[str, str], seconds: float) -> str:
    """How it was measured, on what, and with which versions. trainings: the commands that made the runs."""
    commands = "\n".join(f"    {line}" for line in trainings)
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"""# skinaudit beside its peers

    {command}

on runs trained by

{commands}

took {seconds / 60:.1f} minutes. All contestants work in turns in one process, with the same number of threads; times are
medians of wall-clock seconds over the rounds, ratios are ratios of medians.

- machine: {machine(threads)}
- versions: {listed}
"""


def attack_section(figures: AttackFigures, *, setting: str) -> str:
    """One run's attacks beside the targets: time, ratio to the fastest peer, robust accuracy."""
    return f"""
## PGD on the run `{figures.run}`

{attack_table(figures, setting=setting)}
- Evaluating (steps that fall from 2 eps to eps/10; images that are broken by a margin, or that the gradient can no longer
  break, leave the loop, [how surely](settle.md)): {verdict(figures.ratios[EVALUATING], figures.targets[EVALUATING])}
- Full budget (as sets are stored): {verdict(figures.ratios[FULL_BUDGET], figures.targets[FULL_BUDGET])}
- {figures.fastest} given our folded, channels-last copy of the model instead of the model as it is takes
  {figures.on_folded:.2f} times as long as our full budget; its own row shows it without.
"""


def attack_table(figures: AttackFigures, *, setting: str) -> str:
    """The setting and the table of one run's attacks."""
    rows = [
        [
            f"**{name}**" if name in figures.ratios else name,
            f"{seconds:.2f}",
            f"{figures.seconds[figures.fastest] / seconds:.2f}",
            f"{figures.accuracy[name]:.2%}",
            f"{figures.accuracy[name] - figures.accuracy[figures.fastest]:+.2%}",
            str(figures.rounds[name]),
        ]
        for name, seconds in sorted(figures.seconds.items(), key=lambda item: item[1])
    ]
    columns = (
        "",
        "seconds",
        f"times as fast as {figures.fastest}",
        "robust accuracy",
        f"against {figures.fastest}",
        "rounds",
    )
    return f"""{setting}; the first {figures.images} test images as one batch, clean accuracy {figures.clean_accuracy:.2%}.
Robust accuracy is averaged over the rounds, which differ in their random starts. Peers that need more than
{attacks.CUTOFF:g} times the fastest one's time ran once.

{table(columns, rows)}"""


def hardening_section(figures: HardeningFigures) -> str:
    """One hardened epoch beside the others."""
    ours = figures.seconds[hardening.OURS]
    rows = [
        [f"**{name}**" if name == hardening.OURS else name, f"{seconds:.2f}", f"{seconds / ours:.2f}"]
        for name, seconds in sorted(figures.seconds.items(), key=lambda item: item[1])
    ]
    lines = [f"- {name} / ours: {verdict(ratio, hardening.TARGETS[name])}\n" for name, ratio in figures.ratios.items()]
    limit = (figures.steps + 1) * hardening.STANDARD_SHARE
    return f"""
## Hardened training

One epoch over {figures.images} images with PGD-{figures.steps}, batch {figures.batch}, AdamW, {figures.rounds} rounds.

{table(("", "seconds", "of our hardened epoch"), rows)}
{"".join(lines)}- our hardened epoch / our standard epoch: {verdict(figures.in_standard_epochs, limit, at_most=True)}
"""


def replay_section(replays: Sequence[ReplayFigures], memory: MemoryFigures) -> str:
    """Replay throughput by engine, and the audit's memory."""
    rows = [
        [
            figures.engine,
            str(figures.images),
            str(figures.rounds),
            f"{figures.ours:,.0f}",
            f"{figures.bare:,.0f}",
            verdict(figures.share, replay.TARGET),
        ]
        for figures in replays
    ]
    columns = ("engine", "images", "rounds", "replay, images/s", "bare loop, images/s", "share")
    return f"""
## Replay

The audit's replay (8-bit images from disk, scaled, every answer checked) beside `session.run` over float32 arrays in memory.

{table(columns, rows)}
Peak memory of `skinaudit audit` in a process of its own: {memory.peak:.0f} MiB on two sets of {memory.images:,} images,
{memory.peak_of_many:.0f} MiB on two of {replay.TIMES * memory.images:,}. Those have
{memory.images_of_many:.0f} MiB of pixels.
"""


def reports_section(figures: ReportFigures) -> str:
    """What the report forms add to an audit."""
    return f"""
## Reports

`skinaudit audit {figures.engine}`, {figures.sets} sets, the whole command in a process of its own, {figures.rounds} rounds:
{figures.alone:.2f} s with `--report json=...` alone, {figures.every:.2f} s with {", ".join(figures.forms)}.

- with every form / with JSON alone: {verdict(figures.ratio, reports.TARGET, at_most=True)}
"""


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
