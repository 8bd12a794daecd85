"""Audit results as GitHub-flavoured Markdown, for comments on pull requests and for job summaries."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import chain

from skinaudit.artifacts.files import short
from skinaudit.audit.checks import Severity
from skinaudit.audit.checks.emulation import EMULATION
from skinaudit.audit.figures.set_result import SetResult
from skinaudit.audit.figures.text import NOTHING, drop_text, margin_text, percent, power_text, share
from skinaudit.audit.judgement.policy import Policy
from skinaudit.audit.judgement.result import AuditResult, Judgement
from skinaudit.audit.judgement.rules import RULES
from skinaudit.audit.judgement.subgroup_gates import subject_of
from skinaudit.audit.reports.parts.cases import Case, cases
from skinaudit.audit.reports.parts.operating import operating_rows, operating_text
from skinaudit.audit.reports.parts.subgroups import subgroups_text, worst_rows
from skinaudit.audit.reports.parts.wording import (
    EXTERNAL_NOTE,
    NO_OWN_TEST,
    OWN_SETS,
    POWER,
    baseline_rows,
    baseline_text,
    batches_text,
    clinical_rows,
    external_rows,
    first_lines,
    lineage_text,
    margin_points,
    own_sets_compared,
    precision_text,
    turned_benign_text,
    turned_since_text,
)
from skinaudit.audit.reports.parts.wording import markdown_text as safe
from skinaudit.errors import counted

LIMIT = 65_000
"""Largest number of characters in a report: GitHub accepts comments of up to 65,536."""

_DRAWN = ("--probe", "--probe-images", "--probe-queries", "--probe-eps", "--probe-norm", "--seed")


def render(result: AuditResult) -> str:
    """Verdict, reason, what was audited, a table of sets, the gates that did not pass, findings, how to reproduce.

    Text from files is escaped. If the whole would have more than LIMIT characters, the last findings and gates are left out
    and counted, then the last sets.
    """
    tail = _reproduce(result)
    head = [f"## {result.verdict.value}: {safe(result.engine_text)}", "", safe(result.reason), "", *_facts(result)]
    room = LIMIT - sum(len(line) + 1 for line in (*head, *tail))
    lines = list(head)
    for table in (_sets, _clinical, _operating, _external, _subgroups, _baseline):
        rows = table(result)
        fitting, room = _fitting("", rows, len(rows), room)
        lines += fitting
    for title, (many_rows, count) in (("### Gates", _gates(result)), ("### Findings", _findings(result))):
        fitting, room = _fitting(title, many_rows, count, room)
        lines += fitting
    return "\n".join((*lines, *tail)) + "\n"


def _fitting(title: str, rows: Iterable[str], count: int, room: int) -> tuple[list[str], int]:
    """Title and rows, as many of the `count` as there is room for, and the room that is left. Further rows are not made."""
    if not count:
        return [], room
    lines, room = ["", title, ""] if title else [""], room - len(title) - 100  # 100 is for the line that counts the rest
    for index, row in enumerate(rows):
        if len(row) + 1 > room:
            return [*lines, "", f"{count - index} more lines are in the JSON report."], room
        lines.append(row)
        room -= len(row) + 1
    return lines, room


def _facts(result: AuditResult) -> Iterable[str]:
    if result.synthetic:
        yield "**SYNTHETIC images: these figures say nothing about patients.**\n"
    if result.emulated:
        yield f"**{EMULATION}: {safe(result.engine_text)} was not run.**\n"
    for line in first_lines(result):
        yield f"**{safe(line)}**\n"
    about = result.description
    origin = (
        "foreign engine, read through a contract" if result.foreign else f"run {result.run_name}, {lineage_text(result)}"
    )
    yield f"- {safe(f'{about.runtime} {about.version} {about.provider}, {precision_text(result)}')}"
    yield f"- {safe(origin)}"
    yield f"- {safe(result.dataset)}"
    yield f"- control: {safe(result.control)}"
    if about.batches:
        yield f"- {safe(batches_text(result))}"


def _sets(result: AuditResult) -> list[str]:
    clean = result.sets[0].comparison
    interval = f"drop, {result.policy.confidence:.0%} interval"
    heads = ("set", "images", "source", "engine", interval, "margin", "power", "verdict")
    rows = [_row(heads), "|:--|--:|--:|--:|--:|--:|--:|:--|"]
    for set_result in result.sets:
        comparison = set_result.comparison
        margin = margin_text(margin_points(set_result, result))
        figures = (
            percent(comparison.source_accuracy),
            percent(comparison.engine_accuracy),
            drop_text(comparison.drop),
            margin,
            power_text(result.power_of(set_result.title)),
        )
        rows.append(
            _row(
                (
                    safe(_name(set_result)),
                    f"{comparison.images:,}",
                    *figures,
                    _verdict(result.judgement_of(set_result.title)),
                )
            )
        )
    always = f"Always {clean.majority_class}: accuracy {percent(clean.majority_share)}"
    power = f" {POWER.capitalize()}." if any(gate.power is not None for gate in result.gates) else ""
    text = f"{always}, balanced {percent(clean.constant_balanced)}; {counted(clean.lesions, 'lesion')}.{power}"
    return [*rows, "", safe(text)]


def _clinical(result: AuditResult) -> list[str]:
    """Malignant called malignant, pooled over the malignant classes, and the cancers that turned benign."""
    heads = ("malignant called malignant", "images", "source", "engine", f"drop, {result.policy.confidence:.0%} interval",
             "margin", "verdict", "turned benign")  # fmt: skip
    rows = [_row(heads), "|:--|--:|--:|--:|--:|--:|:--|:--|"]
    for set_result, pooled, turned in clinical_rows(result):
        comparison = set_result.comparison
        shares = (share(comparison.source_malignant), share(comparison.engine_malignant))
        margin = margin_text(round(100 * pooled.limit, 9))
        answers = (drop_text(comparison.malignant_drop), margin, _verdict(pooled.judgement), turned_benign_text(turned))
        rows.append(_row((safe(_name(set_result)), f"{pooled.images:,}", *shares, *answers)))
    return rows if len(rows) > 2 else []


def _operating(result: AuditResult) -> list[str]:
    """Malignant against benign without a threshold and at one, and how reliable the probabilities are."""
    heads = ("set", "figure", "source", "engine", "drop, points")
    rows = [f"{safe(operating_text(result))}.", "", _row(heads), "|:--|:--|--:|--:|--:|"]
    for set_result in result.sets:
        name = safe(_name(set_result))
        rows += [_row((name, row.name, row.source, row.engine, row.drop)) for row in operating_rows(set_result)]
    return rows if len(rows) > 4 else []


def _baseline(result: AuditResult) -> list[str]:
    """Accuracy and the sensitivity of each malignant class compared with an earlier engine, and malignant images lost."""
    if result.baseline is None:
        return []
    heads = (
        "set",
        "",
        "images",
        "baseline",
        "engine",
        f"drop, {result.policy.confidence:.0%} interval",
        "margin",
        "verdict",
    )
    rows = [safe(baseline_text(result.baseline)), "", _row(heads), "|:--|:--|--:|--:|--:|--:|--:|:--|"]
    for title, compared, gate in baseline_rows(result):
        verdict = gate.judgement.verdict.value
        answer = f"**{verdict}**" if gate.binding or verdict != "INCONCLUSIVE" else "open"
        subject = "malignant to benign"
        figures = (NOTHING, NOTHING, *turned_since_text(gate))
        if compared is not None:
            margin = margin_text(100 * gate.limit)
            subject, figures = (
                gate.subject,
                (share(compared.baseline), share(compared.engine), drop_text(compared.drop), margin),
            )
        rows.append(_row((safe(title), safe(subject), f"{gate.images:,}", *figures, answer)))
    return [*rows, "", safe(OWN_SETS)] if own_sets_compared(result) else rows


def _external(result: AuditResult) -> list[str]:
    """Own test and external validation."""
    external = result.external
    if external is None or not external.figures:
        return []
    heads = ("set", "figure", "own test", safe(external.name), "engine there", "difference", "explained by")
    rows = [_row(map(safe, row)) for row in external_rows(external)]
    if not rows:
        return [f"{safe(NO_OWN_TEST)}."]
    return [_row(heads), "|:--|:--|--:|--:|--:|--:|:--|", *rows, "", safe(EXTERNAL_NOTE)]


def _subgroups(result: AuditResult) -> list[str]:
    """The subgroups that lose most."""
    worst = worst_rows(result)
    if not worst:
        return [f"{safe(subgroups_text(result))}."] if result.subgroups else []
    heads = ("subgroup", "set", "images", "source", "engine", f"drop, {result.policy.confidence:.0%} interval", "answer")
    rows = [
        _row((
            safe(subject_of(row.figure, row.subgroup)), safe(_name(row.set)), f"{row.share.engine.count:,}",
            share(row.share.source), share(row.share.engine), drop_text(row.share.drop),
            f"**{row.answer}**" if row.failed else row.answer,
        ))
        for row in worst
    ]  # fmt: skip
    return [_row(heads), "|:--|:--|--:|--:|--:|--:|:--|", *rows, "", f"{safe(subgroups_text(result))}."]


def _gates(result: AuditResult) -> tuple[Iterable[str], int]:
    """All gates in one line, and a table of those that need attention: its rows, and their number."""
    all_cases = cases(result)
    passed = sum(case.outcome is not None and case.outcome.value == "PASS" for case in all_cases)
    open_cases = [case for case in all_cases if case.outcome is None or case.outcome.value != "PASS"]
    line = f"{passed} of {len(all_cases)} gates passed."
    if not open_cases:
        return [line], 1
    rows = (_row((safe(case.set or "all"), safe(case.name), _outcome(case), safe(case.figures))) for case in open_cases)
    first = (line, "", _row(("set", "gate", "answer", "figures")), "|:--|:--|:--|:--|")
    return chain(first, rows), len(first) + len(open_cases)


def _attack_arguments(arguments: Sequence[str]) -> list[str]:
    """The arguments of an audit that name its fresh attacks and their seed."""
    words: list[str] = []
    for at, word in enumerate(arguments):
        if word in _DRAWN:
            words += arguments[at : at + 2]
        elif word == "--no-probe":
            words.append(word)
    return words


def _findings(result: AuditResult) -> tuple[Iterable[str], int]:
    """One row per finding, the most severe first, and their number."""
    severities = list(Severity)
    rows = (
        f"- **{finding.severity.value}** `{finding.rule}` {f'{safe(finding.set)}: ' if finding.set else ''}"
        f"{safe(finding.text)}. {safe(RULES[finding.rule].remedy)}"
        for finding in sorted(result.findings, key=lambda finding: severities.index(finding.severity))
    )
    return rows, len(result.findings)


def _reproduce(result: AuditResult) -> list[str]:
    command = ["skinaudit", "audit", result.engine_text, "--threads", str(result.description.threads)]
    if result.policy.margin != Policy().margin:
        command += ["--margin", f"{result.policy.margin:g}"]
    if result.emulated:
        command.append("--emulate")
    if result.foreign:
        command += ["--contract", "FILE.toml"]
    if result.foreign or result.external is not None:
        command += ["--sets", "DIR"]
    if result.baseline is not None:
        command += ["--baseline", "AUDIT.json", *(["--baseline-own-sets"] if own_sets_compared(result) else [])]
    command += _attack_arguments(result.arguments)
    policy = ", ".join(f"{name} {value}" for name, value in asdict(result.policy).items())
    versions = ", ".join(f"{name} {version}" for name, version in sorted(result.versions.items()))
    sets = ", ".join(f"{set_result.file} {short(set_result.images_digest)}" for set_result in result.sets[:20])
    return [
        "", "### Reproduce", "", "```sh", shlex.join(" ".join(part.split()) for part in command), "```", "",
        f"- engine {safe(short(result.engine_digest))}; images {safe(sets)}",
        f"- policy: {safe(policy)}",
        f"- {safe(versions)}",
    ]  # fmt: skip


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _name(set_result: SetResult) -> str:
    return (
        set_result.title
        if set_result.clean
        else f"{set_result.title}, {'white-box' if set_result.white_box else 'transfer'}"
    )


def _verdict(judgement: Judgement | None) -> str:
    return "not compared" if judgement is None else f"**{judgement.verdict.value}**"


def _outcome(gate: Case) -> str:
    return "open" if gate.outcome is None else f"**{gate.outcome.value}**"
