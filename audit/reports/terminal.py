"""Audit results for people: tables that fit into 80 columns; with fewer columns they are split into parts."""

from __future__ import annotations

import io

from rich.console import Console
from rich.text import Text

from skinaudit.audit.checks.emulation import EMULATION
from skinaudit.audit.figures.text import NOTHING
from skinaudit.audit.judgement.result import AuditResult
from skinaudit.audit.reports.parts.columns import plain_console, print_table
from skinaudit.audit.reports.parts.operating import operating_text
from skinaudit.audit.reports.parts.subgroups import subgroups_text
from skinaudit.audit.reports.parts.terminal_cells import STYLES, print_line, set_name
from skinaudit.audit.reports.parts.terminal_tables import (
    baseline_table,
    clinical_table,
    drops_table,
    external_table,
    figures_table,
    findings_table,
    operating_table,
    probes_table,
    sensitivities_table,
    subgroups_table,
)
from skinaudit.audit.reports.parts.wording import (
    EXTERNAL_NOTE,
    NO_OWN_TEST,
    OWN_SETS,
    POWER,
    baseline_rows,
    baseline_text,
    batches_text,
    first_lines,
    lineage_text,
    own_sets_compared,
    powers_text,
    precision_text,
    turned_since_text,
)
from skinaudit.errors import counted

_WIDTH = 80


def render(result: AuditResult) -> str:
    """The output of print_audit, as text without colours."""
    stream = io.StringIO()
    print_audit(result, plain_console(stream, width=_WIDTH))
    return "".join(f"{line.rstrip()}\n" for line in stream.getvalue().splitlines())


def print_audit(result: AuditResult, console: Console) -> None:
    """Print what was audited, the drops, the figures, the findings, and last the verdict with its reason."""
    _head(result, console)
    tables = [(drops_table(result), 1), (clinical_table(result), 1), (figures_table(result), 1)]
    tables += [(sensitivities_table(result), 2), (operating_table(result), 1)]
    for table, keys in ((table, keys) for table, keys in tables if table.row_count):
        console.print()
        print_table(table, console, keys=keys)
    console.print()
    _print_notes(result, console)
    if result.baseline is not None:
        console.print()
        _print_baseline(result, console)
    if result.external is not None and result.external.figures:
        console.print()
        table = external_table(result.external)
        if table.row_count:
            print_table(table, console, keys=2)
        print_line(console, EXTERNAL_NOTE if table.row_count else NO_OWN_TEST)
    if result.subgroups:
        console.print()
        table = subgroups_table(result)
        if table.row_count:
            print_table(table, console, keys=2)
        print_line(console, subgroups_text(result))
    if result.probes:
        console.print()
        _print_probes(result, console)
    if result.findings:
        console.print()
        console.print(findings_table(result))
    console.print()
    _print_verdict(result, console)


def _head(result: AuditResult, console: Console) -> None:
    clean = result.sets[0].comparison
    boxes = {"white-box" if set_result.white_box else "transfer" for set_result in result.sets[1:]}
    box = " and ".join(sorted(boxes, reverse=True))
    about = result.description
    if result.synthetic:
        print_line(console, "SYNTHETIC images: these figures say nothing about patients", style="bold magenta")
    if result.emulated:
        print_line(console, f"{EMULATION}: {result.engine.name} was not run", style="bold magenta")
    for line in first_lines(result):
        print_line(console, line, style="bold magenta")
    runtime = f"{about.runtime} {about.version} {about.provider}"
    _print_parts(console, result.engine.name, runtime, precision_text(result))
    images = f"{counted(clean.images, 'image')}, {counted(clean.lesions, 'lesion')}"
    origin = (
        ("foreign engine, read through a contract",) if result.foreign else (f"run {result.run_name}", lineage_text(result))
    )
    _print_parts(console, *origin, box, result.dataset, images)
    print_line(console, f"control: {result.control}", style="" if _controlled(result) else "bold magenta")


def _print_notes(result: AuditResult, console: Console) -> None:
    """Notes that a reader needs for the tables above."""
    clean = result.sets[0].comparison
    if any("*" in set_name(set_result, result) for set_result in result.sets):
        source = "" if result.foreign else "; source is the fp32 reference of this model"
        print_line(console, f"* transfer: crafted on a different model{source}")
    print_line(
        console,
        f"always {clean.majority_class}: accuracy {clean.majority_share:.1%}, balanced {clean.constant_balanced:.1%} "
        f"(over {clean.classes_present} classes)",
    )
    if any(gate.power is not None for gate in result.gates):
        print_line(console, f"{POWER}. {powers_text(result)}")
    print_line(console, operating_text(result))
    speeds = [set_result.images_per_second for set_result in result.sets]
    print_line(console, f"replayed at {sum(speeds) / len(speeds):,.0f} images/s, threads: {result.description.threads}")
    if result.description.batches:
        print_line(console, batches_text(result))
    ties = [
        f"{set_result.title} {set_result.drift.near_ties:,}"
        for set_result in result.sets
        if set_result.drift and set_result.drift.near_ties
    ]
    if ties:
        print_line(console, f"near ties (logit margin at most the image's own drift): {', '.join(ties)}")


def _print_baseline(result: AuditResult, console: Console) -> None:
    assert result.baseline is not None
    print_line(console, baseline_text(result.baseline))
    print_table(baseline_table(result), console)
    if own_sets_compared(result):
        print_line(console, OWN_SETS)
    rows = [(title, *turned_since_text(gate)) for title, compared, gate in baseline_rows(result) if compared is None]
    lost = "; ".join(f"{title} {turned} (limit: {limit})" for title, turned, limit in rows)
    print_line(console, f"malignant for the baseline, benign for this engine: {lost or NOTHING}")


def _print_probes(result: AuditResult, console: Console) -> None:
    print_table(probes_table(result), console)
    for probe in result.probes:
        budget = f"at most {probe.settings['queries']:,} per image"
        speed = f"{probe.queries / probe.seconds:,.0f} queries/s"
        print_line(console, f"{probe.name}: {probe.queries:,} queries, {budget}, {speed}")


def _controlled(result: AuditResult) -> bool:
    return any(set_result.control.ran for set_result in result.sets)


def _print_verdict(result: AuditResult, console: Console) -> None:
    """The verdict with its reason. Further lines are indented, so that no name in them looks like another verdict."""
    text = Text(f"{result.verdict.value}: {result.reason}", style=STYLES[result.verdict])
    first, *further = text.wrap(console, max(console.width - 2, 1), tab_size=1)
    console.print(first, *(Text("  ").append_text(line) for line in further), sep="\n")


def _print_parts(console: Console, *parts: str) -> None:
    """Print parts beside each other; on a narrow console, line breaks are only between them."""
    line = parts[0]
    for part in parts[1:]:
        if len(line) + 3 + len(part) > console.width:
            print_line(console, line)
            line = part
        else:
            line = f"{line}   {part}"
    print_line(console, line)
