"""Figures and facts of an audit as every report words them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from skinaudit.artifacts.files import short
from skinaudit.audit.figures.set_result import SetResult
from skinaudit.audit.judgement.result import AuditResult, BaselineClass, BaselineResult, BaselineSet, Gate

_LONGEST = 1_000
"""Characters of a single text at most in Markdown."""


def margin_points(one: SetResult, result: AuditResult) -> float:
    """Points of accuracy that the policy lets this set lose: its own margin where the policy names one."""
    limits = (gate.limit for gate in result.gates if gate.rule == "drop" and gate.set == one.title)
    return round(100 * next(limits, result.policy.margin / 100), 9)  # 9: 1.1 points are no binary fraction


def precision_text(result: AuditResult) -> str:
    """The precision that was asked for, and in how many layers it was found."""
    found = result.description.found
    if result.asked is None:
        return ", ".join(f"{name} found in {count} layers" for name, count in found.items()) or "precision unknown"
    if not found:
        return f"{result.asked}, which the opened file does not tell"
    return f"{result.asked} found in {found.get(result.asked, 0)} of {sum(found.values())} layers"


def baseline_text(baseline: BaselineResult) -> str:
    """Which engine the audit compares with."""
    run = "" if baseline.run_name is None else f" of run {baseline.run_name}"
    return f"baseline {baseline.engine}{run} ({short(baseline.engine_digest)}), audited as {baseline.verdict.value}"


OWN_SETS = "own: each engine was attacked with images made against itself, by the same attack on the same clean images"
"""Stands below a table of the baseline where sets of each engine's own are compared."""


def baseline_rows(result: AuditResult) -> Iterator[tuple[str, BaselineSet | BaselineClass | None, Gate]]:
    """What a table of the baseline shows: title of the set, right answers of both engines, and the gate on them.

    Each set, each malignant class of it, and last, without answers, its malignant images that are now called benign. The
    title of a set of each engine's own says so.
    """
    gates = {(gate.set, gate.rule, gate.subject): gate for gate in result.gates}
    for one in () if result.baseline is None else result.baseline.sets:
        title = f"{one.title}, own" if one.own else one.title
        yield title, one, gates[one.title, "baseline-drop", "accuracy"]
        for item in one.classes:
            yield title, item, gates[one.title, "baseline-drop", item.name]
        yield title, None, gates[one.title, "baseline-malignant-to-benign", "images"]


def own_sets_compared(result: AuditResult) -> bool:
    """Whether a set of the baseline is compared that was made against the earlier engine itself."""
    return result.baseline is not None and any(one.own for one in result.baseline.sets)


def lineage_text(result: AuditResult) -> str:
    """Whether the lineage leads back to the data."""
    return f"lineage without {', '.join(result.lineage_gaps)}" if result.lineage_gaps else "lineage complete"


def markdown_text(text: str) -> str:
    """On one line, not too long, and without anything that Markdown, a table, HTML or GitHub's mentions would act upon."""
    line = " ".join(text.split())
    line = line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("@", "@\N{ZERO WIDTH NON-JOINER}")
    return re.sub(r"([\\`*_\[\]|#~$])", r"\\\1", line)
