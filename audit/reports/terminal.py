"""Audit results for people: tables that fit into 80 columns, and into fewer in parts."""

from __future__ import annotations

import io
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from skinaudit.artifacts.contract import short_title
from skinaudit.audit.checks import Severity
from skinaudit.audit.checks.emulation import EMULATION
from skinaudit.audit.figures.external import ExternalResult
from skinaudit.audit.figures.metrics import Hits
from skinaudit.audit.figures.set_result import SetResult
from skinaudit.audit.figures.text import NOTHING, drop_text, margin_text, percent, power_text, share
from skinaudit.audit.judgement.result import AuditResult, Judgement, Verdict
from skinaudit.audit.judgement.subgroup_gates import subject_of
from skinaudit.audit.reports.parts.columns import plain_console, print_table
from skinaudit.audit.reports.parts.operating import operating_text, short_figures
from skinaudit.audit.reports.parts.subgroups import subgroups_text, worst_rows
from skinaudit.audit.reports.parts.wording import (
    EXTERNAL_NOTE,
    MANY_CLASSES,
    OWN_SETS,
    baseline_rows,
    baseline_text,
    batches_text,
    clinical_rows,
    external_rows,
    first_lines,
    lineage_text,
    margin_points,
    own_sets_compared,
    powers_text,
    precision_text,
    turned_benign_text,
)
from skinaudit.audit.transfer import TransferMatrix
from skinaudit.engines.doctor import RuntimeReport

_STYLES = {Verdict.PASS: "green", Verdict.FAIL: "bold red", Verdict.INCONCLUSIVE: "yellow"}
_WIDTH = 80
_FINDINGS = {
    Severity.FAIL: "bold red",
    Severity.INCONCLUSIVE: "yellow",
    Severity.WARNING: "magenta",
    Severity.NOTE: "",
}


def render(result: AuditResult) -> str:
    """What print_audit prints, as text without colours."""
    stream = io.StringIO()
    print_audit(result, plain_console(stream, width=_WIDTH))
    return "".join(f"{line.rstrip()}\n" for line in stream.getvalue().splitlines())


def print_audit(result: AuditResult, console: Console) -> None:
    """Print the audit: what was audited, the drops, the figures, the findings, and last the verdict with its reason."""
    _head(result, console)
    tables = [(_drops(result), 1), (_clinical(result), 1), (_figures(result), 1), (_sensitivities(result), 2)]
    tables += [(_operating(result), 1)]
    for table, keys in ((table, keys) for table, keys in tables if table.row_count):
        console.print()
        print_table(table, console, keys=keys)
    console.print()
    clean = result.sets[0].comparison
    if any("*" in _name(set_result, result) for set_result in result.sets):
        source = "" if result.foreign else "; source is the fp32 reference of this model"
        _line(console, f"* transfer: crafted on a different model{source}")
    _line(
        console,
        f"always {clean.majority_class}: accuracy {clean.majority_share:.1%}, balanced {clean.constant_balanced:.1%} "
        f"(over {clean.classes_present} classes)",
    )
    if any(gate.power is not None for gate in result.gates):
        _line(console, f"power (probability that an engine as good as its source passes): {powers_text(result)}")
    _line(console, operating_text(result))
    speeds = [set_result.images_per_second for set_result in result.sets]
    _line(console, f"replayed at {sum(speeds) / len(speeds):,.0f} images/s with {result.description.threads} threads")
    if result.description.batches:
        _line(console, batches_text(result))
    ties = [
        f"{set_result.title} {set_result.drift.near_ties:,}"
        for set_result in result.sets
        if set_result.drift and set_result.drift.near_ties
    ]
    if ties:
        _line(console, f"near ties (logit margin at most the image's own drift): {', '.join(ties)}")
    if result.baseline is not None:
        console.print()
        _line(console, baseline_text(result.baseline))
        print_table(_baseline(result), console)
        if own_sets_compared(result):
            _line(console, OWN_SETS)
        lost = [f"{title} {gate.value:.0f} of at most {gate.limit:.0f}" for title, compared, gate in baseline_rows(result)
                if compared is None]  # fmt: skip
        _line(console, f"malignant for the baseline, benign for this engine: {'; '.join(lost) or NOTHING}")
    if result.external is not None and result.external.figures:
        console.print()
        print_table(_external(result.external), console, keys=2)
        _line(console, EXTERNAL_NOTE)
    if result.subgroups:
        console.print()
        table = _subgroups(result)
        if table.row_count:
            print_table(table, console, keys=2)
        _line(console, subgroups_text(result))
    if result.probes:
        console.print()
        print_table(_probes(result), console)
        for probe in result.probes:
            budget = f"at most {probe.settings['queries']:,} per image"
            speed = f"{probe.queries / probe.seconds:,.0f} queries/s"
            _line(console, f"{probe.name}: {probe.queries:,} queries, {budget}, {speed}")
    if result.findings:
        console.print()
        console.print(_findings(result))
    console.print()
    _verdict_line(result, console)


def print_transfer(matrix: TransferMatrix, console: Console) -> None:
    """Print the transfer matrix: robust accuracy with the balanced one behind it, clean images first."""
    if matrix.synthetic:
        _line(console, "SYNTHETIC images: these figures say nothing about patients", style="bold magenta")
    _line(console, f"{matrix.attack}   {matrix.dataset}   {matrix.images:,} images, {matrix.lesions:,} lesions")
    table = _table("crafted on \\ tested on")
    for name in matrix.names:
        table.add_column(name, justify="right", overflow="fold")
    for title, row in zip(("clean", *matrix.names), (matrix.clean, *matrix.cells), strict=True):
        table.add_row(title, *(f"{100 * cell.accuracy:.1f}% ({100 * cell.balanced:.1f})" for cell in row))
    print_table(table, console)
    _line(
        console,
        f"accuracy (balanced); always {matrix.majority_class}: {matrix.majority_share:.1%} "
        f"({100 * matrix.constant_balanced:.1f})",
    )


def print_doctor(reports: Sequence[RuntimeReport], console: Console) -> None:
    """Print what is installed as a table, and below it the commands that install the rest and what is wrong."""
    table = _table("runtime")
    for title in ("version", "devices", "builds", "runs"):
        table.add_column(title, overflow="fold")
    for report in reports:
        version = Text(report.version, style="green") if report.version else Text("missing", style="yellow")
        table.add_row(
            report.name, version, ", ".join(report.devices) or NOTHING, report.builds or NOTHING, report.runs or NOTHING
        )
    print_table(table, console)
    for report in reports:
        if report.version is None:
            _line(console, f"{report.name}: {report.install}")
    for report in reports:
        if report.note:
            _line(console, f"{report.name}: {report.note}", style="magenta")


def _head(result: AuditResult, console: Console) -> None:
    clean = result.sets[0].comparison
    boxes = {"white-box" if set_result.white_box else "transfer" for set_result in result.sets[1:]}
    box = " and ".join(sorted(boxes, reverse=True))
    about = result.description
    if result.synthetic:
        _line(console, "SYNTHETIC images: these figures say nothing about patients", style="bold magenta")
    if result.emulated:
        _line(console, f"{EMULATION}: {result.engine.name} was not run", style="bold magenta")
    for line in first_lines(result):
        _line(console, line, style="bold magenta")
    runtime = f"{about.runtime} {about.version} {about.provider}"
    _parts(console, result.engine.name, runtime, precision_text(result))
    images = f"{clean.images:,} images, {clean.lesions:,} lesions"
    whose = (
        ("foreign engine, read through a contract",) if result.foreign else (f"run {result.run_name}", lineage_text(result))
    )
    _parts(console, *whose, box, result.dataset, images)
    _line(console, f"control: {result.control}", style="" if _controlled(result) else "bold magenta")


def _drops(result: AuditResult) -> Table:
    table = _table("set")
    for title in ("source", "engine", f"drop, {result.policy.confidence:.0%} interval", "margin"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for set_result in result.sets:
        comparison = set_result.comparison
        table.add_row(
            _name(set_result, result),
            percent(comparison.source_accuracy),
            percent(comparison.engine_accuracy),
            drop_text(comparison.drop),
            margin_text(margin_points(set_result, result)),
            _verdict(result.judgement_of(set_result.title)),
        )
    return table


def _clinical(result: AuditResult) -> Table:
    """Malignant called malignant, with the verdict on it, and the cancers that turned benign."""
    table = _table("malignant called malignant")
    for title in ("source", "engine", f"drop, {result.policy.confidence:.0%} interval", "margin"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("turned benign")
    for set_result, pooled, turned in clinical_rows(result):
        comparison = set_result.comparison
        table.add_row(
            _name(set_result, result),
            share(comparison.source_malignant),
            share(comparison.engine_malignant),
            drop_text(comparison.malignant_drop),
            margin_text(round(100 * pooled.limit, 9)),
            _verdict(pooled.judgement),
            turned_benign_text(turned),
        )
    return table


def _figures(result: AuditResult) -> Table:
    table = _table("set")
    for title in ("balanced", "attack\nsuccess", "flips", "malignant\nto benign"):
        table.add_column(title, justify="right", no_wrap=True)
    for set_result in result.sets:
        comparison = set_result.comparison
        table.add_row(
            _name(set_result, result),
            _pair(comparison.source_balanced, comparison.engine_balanced),
            share(comparison.attack_success),
            NOTHING if comparison.flips is None else f"{comparison.flips:,}",
            NOTHING if comparison.malignant_to_benign is None else f"{comparison.malignant_to_benign:,}",
        )
    return table


def _operating(result: AuditResult) -> Table:
    """Source and engine beside each other: area, sensitivity and specificity at the threshold, calibration."""
    table = _table("malignant score")
    for title in ("ROC AUC", "sensitivity", "specificity", "calibration\nerror", "Brier"):
        table.add_column(title, justify="right", no_wrap=True)
    for set_result in result.sets:
        if set_result.scores is not None:
            table.add_row(_name(set_result, result), *short_figures(set_result))
    return table


def _sensitivities(result: AuditResult) -> Table:
    """Rows of a set: source, engine and the power of the gates; columns are classes with their images, malignant first."""
    if len(result.classes) > MANY_CLASSES:
        return _many_sensitivities(result)
    powers = {(gate.set, gate.lesion_class): gate.power for gate in result.gates if gate.rule == "class-sensitivity"}
    table = _table("sensitivity, %")
    table.add_column("", no_wrap=True)
    for class_result in result.sets[0].comparison.classes:
        table.add_column(f"{short_title(class_result.name)}\n{class_result.engine.count:,}", justify="right", no_wrap=True)
    for set_result in result.sets:
        compared = set_result.comparison.source_accuracy is not None
        if compared:
            table.add_row(
                _name(set_result, result),
                "source",
                *(_share(class_result.source) for class_result in set_result.comparison.classes),
            )
        table.add_row(
            "" if compared else _name(set_result, result),
            "engine",
            *(_share(class_result.engine) for class_result in set_result.comparison.classes),
        )
        of_classes = [powers.get((set_result.title, found.name)) for found in set_result.comparison.classes]
        if any(power is not None for power in of_classes):
            table.add_row("", "power", *map(power_text, of_classes))
    return table


def _many_sensitivities(result: AuditResult) -> Table:
    """Rows of a class, malignant first; columns are sets, source and engine."""
    table = _table("sensitivity, %, source -> engine")
    table.add_column("", no_wrap=True)
    table.add_column("images", justify="right", no_wrap=True)
    for set_result in result.sets:
        table.add_column(_name(set_result, result), justify="right")
    for rows in zip(*(set_result.comparison.classes for set_result in result.sets), strict=True):
        shares = (
            f"{_share(found.source)} -> {_share(found.engine)}" if found.source else _share(found.engine) for found in rows
        )
        table.add_row(rows[0].name, f"{rows[0].engine.count:,}", *shares)
    return table


def _probes(result: AuditResult) -> Table:
    """Robust accuracy by replay and under fresh attacks, on the images that were attacked."""
    table = _table("fresh attack")
    for title in ("replay", f"fresh, {result.policy.confidence:.0%} interval", "worst", "reference", "images"):
        table.add_column(title, justify="right", no_wrap=True)
    for probe in result.probes:
        table.add_row(
            probe.title.removeprefix("probe "),
            percent(probe.replay_accuracy),
            f"{percent(probe.fresh_accuracy)} [{100 * probe.fresh_interval.low:.1f}, {100 * probe.fresh_interval.high:.1f}]",
            percent(probe.worst_accuracy),
            percent(probe.reference_accuracy),
            f"{probe.images:,}",
        )
    return table


def _baseline(result: AuditResult) -> Table:
    """Right answers of an earlier engine and of this one, and the answer to whether this one is worse."""
    table = _table("against the baseline")
    for title in ("baseline", "engine", f"drop, {result.policy.confidence:.0%} interval", "margin"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for title, compared, gate in baseline_rows(result):
        if compared is None or gate.subject != "accuracy":
            continue
        figures = (share(compared.baseline), share(compared.engine), drop_text(compared.drop), margin_text(100 * gate.limit))
        verdict = gate.judgement.verdict
        table.add_row(title, *figures, Text(verdict.value, style=_STYLES[verdict]))
    return table


def _subgroups(result: AuditResult) -> Table:
    """The subgroups that lose most."""
    table = _table("subgroup")
    table.add_column("set")
    for title in ("images", "source", "engine", f"drop, {result.policy.confidence:.0%} interval"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("answer")
    for row in worst_rows(result):
        answer = Text(row.answer, style=_STYLES[Verdict.FAIL] if row.failed else "")
        figures = (share(row.share.source), share(row.share.engine), drop_text(row.share.drop))
        subject = subject_of(row.figure, row.subgroup)
        table.add_row(subject, _name(row.set, result), f"{row.share.engine.count:,}", *figures, answer)
    return table


def _external(external: ExternalResult) -> Table:
    """Own test beside external validation."""
    table = _table("set")
    table.add_column("figure", no_wrap=True)
    for title in ("own test", external.name, "engine there", "difference"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("explained by", no_wrap=True)
    for row in external_rows(external):
        table.add_row(*row)
    return table


def _findings(result: AuditResult) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for finding in sorted(result.findings, key=lambda finding: list(Severity).index(finding.severity)):
        grid.add_row(
            finding.severity.value,
            f"{finding.set}: {finding.text}" if finding.set else finding.text,
            style=_FINDINGS[finding.severity],
        )
    return grid


def _table(first: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column(first)
    return table


def _name(set_result: SetResult, result: AuditResult) -> str:
    title = set_result.title if set_result.white_box or set_result.clean else f"{set_result.title} *"
    # Broken in two, so that it fits beside the figures.
    return "\n".join((title, *map(str.strip, EMULATION.split(",")))) if result.emulated else title


def _verdict(judgement: Judgement | None) -> Text:
    if judgement is None:
        return Text("not compared")
    return Text(judgement.verdict.value, style=_STYLES[judgement.verdict])


def _controlled(result: AuditResult) -> bool:
    return any(set_result.control.ran for set_result in result.sets)


def _verdict_line(result: AuditResult, console: Console) -> None:
    """The verdict with its reason; further lines begin with blanks, so that no name in it looks like another verdict."""
    text = Text(f"{result.verdict.value}: {result.reason}", style=_STYLES[result.verdict])
    first, *further = text.wrap(console, max(console.width - 2, 1), tab_size=1)
    console.print(first, *(Text("  ").append_text(line) for line in further), sep="\n")


def _line(console: Console, text: str, *, style: str = "") -> None:
    console.print(Text(text, style=style), soft_wrap=False)


def _parts(console: Console, *parts: str) -> None:
    """Print parts beside each other, with line breaks only between them where the console is too narrow."""
    line = parts[0]
    for part in parts[1:]:
        if len(line) + 3 + len(part) > console.width:
            _line(console, line)
            line = part
        else:
            line = f"{line}   {part}"
    _line(console, line)


def _pair(source: float | None, engine: float | None) -> str:
    if engine is None:
        return NOTHING
    return f"{100 * engine:.1f}" if source is None else f"{100 * source:.1f} -> {100 * engine:.1f}"


def _share(hits: Hits | None) -> str:
    share = _fraction(hits)
    return NOTHING if share is None else f"{100 * share:.1f}"


def _fraction(hits: Hits | None) -> float | None:
    return None if hits is None else hits.share
