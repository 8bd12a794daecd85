"""Audit results as SARIF 2.1.0, for code scanning: one result per finding, under the stable name of its rule.

FAIL and INCONCLUSIVE both have the level `error`, because by default only errors block a merge. SARIF also has the kind
`open` for an evaluation that could not decide. It requires the level `none`, which code scanning does not show, so undecided
would look like passed. The property `severity` tells the two apart. An audit that did not pass has at least one error.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any
from urllib.parse import quote

from skinaudit import __version__
from skinaudit.audit.checks import Finding, Rule, Severity
from skinaudit.audit.judgement.result import AuditResult, Verdict
from skinaudit.audit.judgement.rules import RULES
from skinaudit.audit.judgement.verdict import exit_code

SCHEMA = "https://json.schemastore.org/sarif-2.1.0-rtm.5.json"

_LEVELS = {
    Severity.FAIL: "error",
    Severity.INCONCLUSIVE: "error",
    Severity.WARNING: "warning",
    Severity.NOTE: "note",
}
_FORCES = {Verdict.FAIL: Severity.FAIL, Verdict.INCONCLUSIVE: Severity.INCONCLUSIVE}


def render(result: AuditResult) -> str:
    """A SARIF log with one run: the rules, the audited engine as artifact, and one result per finding."""
    engine = quote(result.engine_text)
    run = {
        "tool": {
            "driver": {
                "name": "skinaudit",
                "version": result.versions.get("skinaudit", __version__),
                "rules": [_rule(name, rule) for name, rule in RULES.items()],
            }
        },
        "automationDetails": {"id": f"skinaudit/{engine}/"},  # audits of several engines are kept apart
        "invocations": [
            {
                "executionSuccessful": True,
                "exitCode": exit_code(result.verdict),
                "exitCodeDescription": result.verdict.value,
            }
        ],
        "artifacts": [
            {
                "location": {"uri": engine},
                "roles": ["analysisTarget"],
                "hashes": {"sha-256": result.engine_digest.removeprefix("sha256:")},
            }
        ],
        "results": [_result(finding, engine) for finding in _findings(result)],
        "properties": {
            "verdict": result.verdict.value,
            "reason": result.reason,
            "synthetic": result.synthetic,
            "emulated": result.emulated,
        },
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2, ensure_ascii=False) + "\n"


def _findings(result: AuditResult) -> list[Finding]:
    """The findings of the audit, and the verdict itself if no finding forces it."""
    severity = _FORCES.get(result.verdict)
    if severity is None or any(finding.severity is severity for finding in result.findings):
        return list(result.findings)
    return [Finding(severity, "verdict", None, result.reason), *result.findings]


def _rule(name: str, rule: Rule) -> dict[str, Any]:
    return {
        "id": name,
        "shortDescription": {"text": f"{rule.title}."},
        "fullDescription": {"text": rule.meaning},
        "help": {"text": f"{rule.meaning} {rule.remedy}", "markdown": f"{rule.meaning}\n\n**What to do:** {rule.remedy}"},
    }


def _result(finding: Finding, engine: str) -> dict[str, Any]:
    where = f"{finding.set}: " if finding.set else ""
    forced = f"{finding.severity.value.upper()}: " if _LEVELS[finding.severity] == "error" else ""
    subject = [part for part in (finding.set, finding.lesion_class) if part]
    bounded = [finding.gate] if finding.gate else []  # two gates of the same rule and set differ in what they bound
    mark = hashlib.sha256("\n".join((engine, finding.rule, *subject, *bounded)).encode()).hexdigest()[:16]
    location: dict[str, Any] = {
        # Code scanning needs a line, although an engine has none.
        "physicalLocation": {"artifactLocation": {"uri": engine, "index": 0}, "region": {"startLine": 1}}
    }
    if subject:
        location["logicalLocations"] = [{"fullyQualifiedName": "/".join(subject), "kind": "set"}]
    return {
        "ruleId": finding.rule,
        "ruleIndex": list(RULES).index(finding.rule),
        "level": _LEVELS[finding.severity],
        "message": {"text": f"{forced}{where}{finding.text}"},
        "locations": [location],
        "partialFingerprints": {"primaryLocationLineHash": f"{mark}:1"},
        "properties": {"severity": finding.severity.value, "set": finding.set, "lesion_class": finding.lesion_class},
    }
