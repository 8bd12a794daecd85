"""Whether the audit attacked the engine itself."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity

ABOUT: About = "figures"
RULES = {
    "no-fresh-attack": Rule(
        "No fresh attack ran",
        "Only stored images were replayed. An engine that memorised them would not be detected.",
        "Audit without --no-probe, or with --probe square.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Forbid PASS without a fresh black-box attack in the norm and eps of a set; a policy can reduce this to a warning."""
    threats = {(result.norm, result.eps) for result in evidence.attacked}
    if any(probe.by_answers and (not threats or (probe.norm, probe.eps) in threats) for probe in evidence.probes):
        return
    severity = Severity.INCONCLUSIVE if evidence.policy.probe_required else Severity.WARNING
    text = "no fresh attack ran in the norm and eps of the sets: the engine was only tested on stored images"
    yield Finding(severity, "no-fresh-attack", None, text)
