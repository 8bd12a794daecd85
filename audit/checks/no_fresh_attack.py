"""Whether the audit attacked the engine itself at all."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity

ABOUT: About = "figures"
RULES = {
    "no-fresh-attack": Rule(
        "Nothing but stored images was tried",
        "No fresh attack by the engine's answers ran: an engine that knows the stored images by heart would not be seen.",
        "Audit without --no-probe, or with --probe square.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Forbid PASS without a fresh attack by answers alone in the norm and eps of a set; a policy may make it a warning."""
    threats = {(result.norm, result.eps) for result in evidence.attacked}
    if any(probe.by_answers and (not threats or (probe.norm, probe.eps) in threats) for probe in evidence.probes):
        return
    severity = Severity.INCONCLUSIVE if evidence.policy.probe_required else Severity.WARNING
    text = "no fresh attack in the norm and eps of the sets: how the engine answers images that no set holds is unknown"
    yield Finding(severity, "no-fresh-attack", None, text)
