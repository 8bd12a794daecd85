"""Reads audits from their JSON, by the type hints of the values in skinaudit.audit.judgement.result."""

from __future__ import annotations

from pathlib import Path

from skinaudit.artifacts.plain_values import read_json
from skinaudit.artifacts.printable import printable, show
from skinaudit.artifacts.typed_json import build
from skinaudit.audit.judgement.earlier_reports import EARLIER_FORMAT, completed, must_hold_answers, upgraded
from skinaudit.audit.judgement.rederived import disagreement
from skinaudit.audit.judgement.result import AUDIT_FORMAT, AuditResult
from skinaudit.audit.judgement.verdict import conclude, contradiction
from skinaudit.errors import InvalidInputError, in_one_line

_AGAIN = "skinaudit does not write such a file; name the JSON report of an audit, or audit the engine again"
_CHANGED = "the report was changed; audit the engine again"
_SHOWN = 160
_LONGEST = 2**20  # characters of a text: the right answers of six million images


def read_audit(path: Path) -> AuditResult:
    """Read the JSON report of an audit. Invariant: to_json of the result gives the content of the file.

    Raises InvalidInputError for another kind of file, for everything that skinaudit.artifacts.typed_json refuses, and for a
    report that contradicts itself: a verdict that does not follow from the figures, gates and findings, or figures that do
    not follow from the answers per image. A report without these answers is only accepted from an earlier version.
    """
    value = read_json(path, kind="JSON report of an audit", again=_AGAIN, text_limit=_LONGEST)
    kind = value.pop("kind", None)
    if kind == EARLIER_FORMAT:
        kind, value = AUDIT_FORMAT, upgraded(value)
    if kind != AUDIT_FORMAT:
        raise InvalidInputError(
            f"{path}: kind should be {AUDIT_FORMAT}, found {show(kind)}; name the JSON report that `skinaudit audit` wrote"
        )
    answered = must_hold_answers(value)
    result: AuditResult = build(AuditResult, completed(value), where=str(path), again=_AGAIN)
    if answered and not result.by_image:
        raise InvalidInputError(f"{path}: its predictions per image were removed, so its figures are not proved: {_CHANGED}")
    try:
        wrong = contradiction(result.sets, result.gates, result.policy) or disagreement(result)
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}: {error}: {_CHANGED}") from error
    # numbers that no audit writes, or nothing from which to compute
    except (ArithmeticError, LookupError, ValueError) as error:
        raise InvalidInputError(f"{path}: no figures follow from it ({in_one_line(error)}): {_CHANGED}") from error
    if wrong:
        raise InvalidInputError(f"{path}: {printable(wrong)[:_SHOWN]}: {_CHANGED}")
    verdict, reason = conclude(result.sets, result.gates, result.findings, result.policy)
    if result.verdict is not verdict:
        raise InvalidInputError(
            f"{path}: verdict is {result.verdict.value}, but by its own gates and findings it is {verdict.value} "
            f"({printable(reason)[:_SHOWN]}): {_CHANGED}"
        )
    return result
