"""Subgroups as every report shows them: those with the largest losses in a short table, and all of them by column."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from skinaudit.audit.figures.set_result import SetResult
from skinaudit.audit.figures.subgroups import SubgroupResult, SubgroupShare
from skinaudit.audit.figures.text import margin_text
from skinaudit.audit.judgement.result import AuditResult, Verdict
from skinaudit.audit.judgement.subgroup_gates import RULE, judged, subject_of

WORST = 5
"""Number of rows in the short table."""
OPEN, SMALL, ASIDE = "no clear loss", "too small to decide", "not judged"
"""The answer for a subgroup that does not fail."""
FEW_ROWS = 24
"""Largest number of rows of a column's table that a page shows unfolded."""


@dataclass(frozen=True)
class Row:
    """One figure of one subgroup in one set. answer: FAIL, OPEN, SMALL or ASIDE; empty if nothing was compared."""

    set: SetResult
    subgroup: SubgroupResult
    figure: str
    share: SubgroupShare
    answer: str

    @property
    def failed(self) -> bool:
        """Whether its gate failed."""
        return self.answer == Verdict.FAIL.value


@dataclass(frozen=True)
class Part:
    """All rows of a column, by subgroup. Values of the data without a row are unknown there, or too rare."""

    name: str
    subgroups: tuple[tuple[str, tuple[Row, ...]], ...]
    not_shown: int
    unfolded: bool


def worst_rows(result: AuditResult) -> list[Row]:
    """The failed ones, then, of the others that decide something, those with the strongest evidence of an extra loss."""
    compared = [row for row in _rows(result) if row.share.drop is not None and row.answer not in (SMALL, ASIDE)]
    return sorted(compared, key=lambda row: (not row.failed, *_chance(row)))[: max(WORST, sum(r.failed for r in compared))]


def parts(result: AuditResult) -> list[Part]:
    """Every column with all its subgroups, figures and sets."""
    rows = list(_rows(result))
    columns = []
    for column in result.subgroups:
        own = [row for row in rows if row.subgroup.column == column.name]
        own.sort(key=lambda row: column.values.index(row.subgroup.value))
        by_value = tuple((value, tuple(some)) for value, some in groupby(own, key=lambda row: row.subgroup.value))
        shown = sum(entry.images for entry in result.sets[0].subgroups if entry.column == column.name)
        unfolded = len(own) <= FEW_ROWS or any(row.failed for row in own)
        columns.append(Part(column.name.replace("_", " "), by_value, result.sets[0].comparison.images - shown, unfolded))
    return columns


def subgroups_text(result: AuditResult) -> str:
    """How many subgroups there are and which are judged, in one line; empty if the data have none."""
    if not result.subgroups:
        return ""
    names = ", ".join(f"{len(column.values)} by {column.name.replace('_', ' ')}" for column in result.subgroups)
    policy = result.policy
    if not any(share.drop for entry in result.sets for subgroup in entry.subgroups for _, share in subgroup.shares):
        return f"subgroups ({names}): shown and not judged, because there is no source model to compare with"
    if not any(judged(policy, column.name) for column in result.subgroups):
        return f"subgroups ({names}): the policy judges none"
    failed = sum(gate.rule == RULE and gate.judgement.verdict is Verdict.FAIL for gate in result.gates)
    return (
        f"subgroups ({names}): {failed or 'none'} {'loses' if failed == 1 else 'lose'} clearly more than the rest of the "
        f"set, by {margin_text(policy.subgroup_margin)} points or more; those below {policy.subgroup_lesions} lesions "
        "are not judged"
    )


def _rows(result: AuditResult) -> Iterator[Row]:
    failed = {(gate.set, gate.subject) for gate in result.gates
              if gate.rule == RULE and gate.judgement.verdict is Verdict.FAIL}  # fmt: skip
    for entry in result.sets:
        for subgroup in entry.subgroups:
            for figure, share in subgroup.shares:
                fails = (entry.title, subject_of(figure, subgroup)) in failed
                yield Row(entry, subgroup, figure, share, Verdict.FAIL.value if fails else _answer(result, subgroup, share))


def _answer(result: AuditResult, subgroup: SubgroupResult, share: SubgroupShare) -> str:
    if share.drop is None:
        return ""
    if not judged(result.policy, subgroup.column):
        return ASIDE
    if share.excess is not None:
        return OPEN
    if _of_earlier_test(result) and (share.drop.effective_lesions or 0) >= result.policy.subgroup_lesions:
        return OPEN
    return SMALL


def _of_earlier_test(result: AuditResult) -> bool:
    """Whether no subgroup was compared with the rest of its set, as in reports of earlier versions."""
    shares = (share for entry in result.sets for subgroup in entry.subgroups for _, share in subgroup.shares)
    return all(share.excess is None for share in shares)


def _chance(row: Row) -> tuple[float, float]:
    """How likely such a loss is if the subgroup loses no more than the rest; among equals, the largest first."""
    share = row.share
    if share.drop is None or share.excess is None:
        return 1.0, 0.0
    return share.excess.p_value, share.excess.rest - share.drop.value
