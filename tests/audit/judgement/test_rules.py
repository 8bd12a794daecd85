from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import pytest

from skinaudit.audit.checks import Finding, Severity
from skinaudit.audit.judgement.result import AuditResult
from skinaudit.audit.judgement.rules import GATES, RULES
from skinaudit.errors import InvalidInputError

AUDIT = Path(__file__).resolve().parents[3] / "audit"


def rules_in_the_sources() -> set[str]:
    """The second argument of every call of Finding in a check; each is written out, so that it can be searched for."""
    rules = set()
    for path in sorted((AUDIT / "checks").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Finding":
                assert isinstance(node.args[1], ast.Constant), f"{path}:{node.lineno}"
                rules.add(node.args[1].value)
    return rules


def test_every_rule_in_use_is_in_the_table_and_every_rule_of_the_table_is_in_use() -> None:
    assert rules_in_the_sources() | set(GATES) == set(RULES)
    assert rules_in_the_sources() & set(GATES) == set()


@pytest.mark.parametrize("name", RULES)
def test_every_rule_says_what_it_means_and_what_to_do(name: str) -> None:
    rule = RULES[name]
    assert name == name.lower().strip().replace(" ", "-")
    for text in (rule.title, rule.meaning, rule.remedy):
        assert text == text.strip()
        assert text[0].isupper()
        assert len(text.split()) >= 3
    assert not rule.title.endswith(".")
    assert rule.meaning.endswith(".")
    assert rule.remedy.endswith(".")


def test_a_report_with_a_finding_of_no_rule_is_refused(audits: dict[str, AuditResult]) -> None:
    with pytest.raises(InvalidInputError, match=r"finding of rule 'whim': there are verdict, drop"):
        replace(audits["pass"], findings=(Finding(Severity.NOTE, "whim", None, "text"),))
