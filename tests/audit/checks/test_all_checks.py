"""Every check, whatever it looks at: silent on honest evidence, heard on damaged evidence, and never a traceback."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import pytest

from skinaudit.audit import checks
from skinaudit.audit.checks import Evidence, Finding, Severity
from skinaudit.audit.judgement.rules import RULES
from skinaudit.errors import InvalidInputError

Damages = Mapping[str, Callable[[Evidence], Evidence]]

FOLDER = Path(__file__).parent


@cache
def damages_of(check: str) -> Damages:
    """DAMAGES of a check's own test file: what is wrong -> the honest evidence with that damage."""
    spec = importlib.util.spec_from_file_location(f"damages_of_{check}", FOLDER / f"test_{check}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    damages: Damages = module.DAMAGES
    return damages


DAMAGES = [(check, damage) for check in checks.names() for damage in damages_of(check)]


def found_by(check: str, evidence: Evidence) -> list[Finding]:
    return list(checks.load(check)[2](evidence))


def test_every_check_has_a_test_with_damages_and_every_test_a_check() -> None:
    tested = {path.stem.removeprefix("test_") for path in FOLDER.glob("test_*.py")} - {"all_checks"}
    assert tested == set(checks.names())
    assert all(damages_of(check) for check in checks.names())


@pytest.mark.parametrize("check", checks.names())
def test_honest_evidence_raises_no_alarm(check: str, honest: Evidence) -> None:
    assert [finding for finding in found_by(check, honest) if finding.severity is not Severity.NOTE] == []


@pytest.mark.parametrize(("check", "damage"), DAMAGES)
def test_each_damage_is_found_by_its_check(check: str, damage: str, honest: Evidence) -> None:
    findings = found_by(check, damages_of(check)[damage](honest))
    assert any(finding.severity is not Severity.NOTE for finding in findings)


@pytest.mark.parametrize(("damaged", "damage"), DAMAGES)
def test_every_check_takes_the_damages_of_the_others(damaged: str, damage: str, honest: Evidence) -> None:
    """A finding is of one of the check's own rules, on one line, about what is there, with finite figures."""
    evidence = damages_of(damaged)[damage](honest)
    titles = {None, "clean", *(result.title for result in evidence.sets), *(probe.title for probe in evidence.probes)}
    for check in checks.names():
        check_function, rules, _ = checks.load(check)
        for finding in checks.run_checks(evidence, check_function):
            assert finding.rule in RULES
            assert finding.text.strip()
            assert "\n" not in finding.text
            assert finding.set in titles
            json.dumps(dict(finding.figures), allow_nan=False)
        assert set(rules) <= set(RULES)


def test_rules_belong_to_one_check_each() -> None:
    names = [rule for check in checks.names() for rule in checks.load(check)[1]]
    assert len(names) == len(set(names))


def test_a_finding_of_another_rule_is_an_error(monkeypatch: pytest.MonkeyPatch, honest: Evidence) -> None:
    from skinaudit.audit.checks import lineage

    monkeypatch.setattr(lineage, "check", lambda evidence: iter([Finding(Severity.NOTE, "whim", None, "text")]))
    with pytest.raises(TypeError, match="check lineage: a finding of rule 'whim', which is none of lineage"):
        checks.run_checks(honest, "engine")


def test_an_unknown_check_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="check 'whim'"):
        checks.load("whim")
