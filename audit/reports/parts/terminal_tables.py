"""The tables of an audit on a terminal. Each fits into 80 columns; with fewer columns it is split into parts."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from skinaudit.artifacts.contract import short_title
from skinaudit.audit.checks import Severity
from skinaudit.audit.figures.external import ExternalResult
from skinaudit.audit.figures.text import NOTHING, drop_text, margin_text, percent, power_text, share
from skinaudit.audit.judgement.result import AuditResult, Verdict
from skinaudit.audit.judgement.subgroup_gates import subject_of
from skinaudit.audit.reports.parts.operating import short_figures
from skinaudit.audit.reports.parts.subgroups import worst_rows
from skinaudit.audit.reports.parts.terminal_cells import STYLES, hits_share, new_table, pair, set_name, verdict_text
from skinaudit.audit.reports.parts.wording import (
    MANY_CLASSES,
    baseline_rows,
    clinical_rows,
    external_rows,
    margin_points,
    turned_benign_text,
)

_FINDINGS = {
    Severity.FAIL: "bold red",
    Severity.INCONCLUSIVE: "yellow",
    Severity.WARNING: "magenta",
    Severity.NOTE: "",
}


def drops_table(result: AuditResult) -> Table:
    """Accuracy of source and engine on each set, and the verdict on the drop."""
    table = new_table("set")
    for title in ("source", "engine", f"drop, {result.policy.confidence:.0%} interval", "margin"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for set_result in result.sets:
        comparison = set_result.comparison
        table.add_row(
            set_name(set_result, result),
            percent(comparison.source_accuracy),
            percent(comparison.engine_accuracy),
            drop_text(comparison.drop),
            margin_text(margin_points(set_result, result)),
            verdict_text(result.judgement_of(set_result.title)),
        )
    return table


def clinical_table(result: AuditResult) -> Table:
    """Malignant called malignant with its verdict, and the cancers that turned benign."""
    table = new_table("malignant called malignant")
    for title in ("source", "engine", f"drop, {result.policy.confidence:.0%} interval", "margin"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("turned benign")
    for set_result, pooled, turned in clinical_rows(result):
        comparison = set_result.comparison
        table.add_row(
            set_name(set_result, result),
            share(comparison.source_malignant),
            share(comparison.engine_malignant),
            drop_text(comparison.malignant_drop),
            margin_text(round(100 * pooled.limit, 9)),
            verdict_text(pooled.judgement),
            turned_benign_text(turned),
        )
    return table


def figures_table(result: AuditResult) -> Table:
    """Balanced accuracy, attack success and flips of each set."""
    table = new_table("set")
    for title in ("balanced", "attack\nsuccess", "flips", "malignant\nto benign"):
        table.add_column(title, justify="right", no_wrap=True)
    for set_result in result.sets:
        comparison = set_result.comparison
        table.add_row(
            set_name(set_result, result),
            pair(comparison.source_balanced, comparison.engine_balanced),
            share(comparison.attack_success),
            NOTHING if comparison.flips is None else f"{comparison.flips:,}",
            NOTHING if comparison.malignant_to_benign is None else f"{comparison.malignant_to_benign:,}",
        )
    return table


def operating_table(result: AuditResult) -> Table:
    """Source and engine: area, sensitivity and specificity at the threshold, calibration."""
    table = new_table("malignant score")
    for title in ("ROC AUC", "sensitivity", "specificity", "calibration\nerror", "Brier"):
        table.add_column(title, justify="right", no_wrap=True)
    for set_result in result.sets:
        if set_result.scores is not None:
            table.add_row(set_name(set_result, result), *short_figures(set_result))
    return table


def sensitivities_table(result: AuditResult) -> Table:
    """For each set, rows for source, engine and the power of the gates; columns are classes, malignant first."""
    if len(result.classes) > MANY_CLASSES:
        return _table_of_many_classes(result)
    powers = {(gate.set, gate.lesion_class): gate.power for gate in result.gates if gate.rule == "class-sensitivity"}
    table = new_table("sensitivity, %")
    table.add_column("", no_wrap=True)
    for class_result in result.sets[0].comparison.classes:
        table.add_column(f"{short_title(class_result.name)}\n{class_result.engine.count:,}", justify="right", no_wrap=True)
    for set_result in result.sets:
        compared = set_result.comparison.source_accuracy is not None
        if compared:
            table.add_row(
                set_name(set_result, result),
                "source",
                *(hits_share(class_result.source) for class_result in set_result.comparison.classes),
            )
        table.add_row(
            "" if compared else set_name(set_result, result),
            "engine",
            *(hits_share(class_result.engine) for class_result in set_result.comparison.classes),
        )
        of_classes = [powers.get((set_result.title, class_result.name)) for class_result in set_result.comparison.classes]
        if any(power is not None for power in of_classes):
            table.add_row("", "power", *map(power_text, of_classes))
    return table


def _table_of_many_classes(result: AuditResult) -> Table:
    """One row per class, malignant first; columns are sets, source and engine."""
    table = new_table("sensitivity, %, source -> engine")
    table.add_column("", no_wrap=True)
    table.add_column("images", justify="right", no_wrap=True)
    for set_result in result.sets:
        table.add_column(set_name(set_result, result), justify="right")
    for rows in zip(*(set_result.comparison.classes for set_result in result.sets), strict=True):
        shares = (
            f"{hits_share(class_result.source)} -> {hits_share(class_result.engine)}"
            if class_result.source
            else hits_share(class_result.engine)
            for class_result in rows
        )
        table.add_row(rows[0].name, f"{rows[0].engine.count:,}", *shares)
    return table


def probes_table(result: AuditResult) -> Table:
    """Robust accuracy by replay and under fresh attacks, on the attacked images."""
    table = new_table("fresh attack")
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


def baseline_table(result: AuditResult) -> Table:
    """Correct answers of an earlier engine and of this one, and whether this one is worse."""
    table = new_table("against the baseline")
    for title in ("baseline", "engine", f"drop, {result.policy.confidence:.0%} interval", "margin"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for title, compared, gate in baseline_rows(result):
        if compared is None or gate.figure != "accuracy":
            continue
        figures = (share(compared.baseline), share(compared.engine), drop_text(compared.drop), margin_text(100 * gate.limit))
        verdict = gate.judgement.verdict
        table.add_row(title, *figures, Text(verdict.value, style=STYLES[verdict]))
    return table


def subgroups_table(result: AuditResult) -> Table:
    """The subgroups with the largest losses."""
    table = new_table("subgroup")
    table.add_column("set")
    for title in ("images", "source", "engine", f"drop, {result.policy.confidence:.0%} interval"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("answer")
    for row in worst_rows(result):
        answer = Text(row.answer, style=STYLES[Verdict.FAIL] if row.failed else "")
        figures = (share(row.share.source), share(row.share.engine), drop_text(row.share.drop))
        subject = subject_of(row.figure, row.subgroup)
        table.add_row(subject, set_name(row.set, result), f"{row.share.engine.count:,}", *figures, answer)
    return table


def external_table(external: ExternalResult) -> Table:
    """Own test and external validation."""
    table = new_table("set")
    table.add_column("figure", no_wrap=True)
    for title in ("own test", external.name, "engine there", "difference"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("explained by", no_wrap=True)
    for row in external_rows(external):
        table.add_row(*row)
    return table


def findings_table(result: AuditResult) -> Table:
    """The findings, the most severe first."""
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
