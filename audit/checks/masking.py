"""Whether an attack on the engine itself would find more than the stored images show."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity
from skinaudit.audit.figures.statistics import holm, p_above, with_roles_exchanged
from skinaudit.audit.figures.text import percent, points, span

ABOUT: About = "figures"
RULES = {
    "masking": Rule(
        "Stored images overstate the robustness of the engine",
        "Images crafted on the source have less effect on the engine, or a fresh attack breaks more: masked gradients.",
        "Attack the engine itself with --probe whitebox, or with --probe square if torch is not installed.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Forbid PASS if an engine may look more robust than it is.

    If an engine beats its source under attack by more than the margin, a replay alone cannot give a PASS. It needs a probe
    under the same threat model that passes and is at least as strong on the engine as the stored sets. PASS is also
    forbidden if a fresh attack breaks more images than all stored sets of its threat model together. On the engine's own
    sets every gain counts, because it is also a gain over the baseline.
    """
    yield from _of_sets(evidence)
    for probe in evidence.probes:
        if probe.masking is not None and p_above(probe.masking, margin=0.0) < evidence.policy.alpha:
            text = (
                f"accuracy is {percent(probe.replay_accuracy)} under replay but {percent(probe.fresh_accuracy)} under this "
                "fresh attack, although its attacker knows less: the stored sets overstate robustness; craft them again"
            )
            yield Finding(Severity.INCONCLUSIVE, "masking", probe.title, text, figures={"fresh": probe.fresh_accuracy})


def _of_sets(evidence: Evidence) -> Iterator[Finding]:
    policy = evidence.policy
    compared = [(result, drop) for result in evidence.attacked if (drop := result.comparison.drop) is not None]
    p_values = holm([p_above(with_roles_exchanged(drop), margin=0.0) for _, drop in compared])
    settled = set(_settled(evidence))
    for (result, drop), p_value in zip(compared, p_values, strict=True):
        if p_value >= policy.alpha:
            continue
        gain = with_roles_exchanged(drop)
        text = (
            f"the engine is better than its source by {points(gain.value)} points {span(gain.interval)}: images crafted on "
            "the source have less effect on it, so a replay overstates its robustness"
        )
        matters = result.title in evidence.own_sets or drop.interval.high < -policy.margin / 100
        unsettled = matters and (result.norm, result.eps) not in settled
        if unsettled:
            text += "; attack the engine itself with --probe whitebox"
        severity = Severity.INCONCLUSIVE if unsettled else Severity.WARNING
        yield Finding(severity, "masking", result.title, text, figures={"gain": gain.value})


def _settled(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """Norm and eps of the probes that passed and are at least as strong as replay. A weak attack would prove nothing."""
    passed = {
        gate.set
        for gate in evidence.gates
        if gate.rule == "probe-drop" and gate.figure == "accuracy" and gate.judgement.verdict.value == "PASS"
    }
    for probe in evidence.probes:
        strong = probe.replay_accuracy is not None and probe.fresh_accuracy <= probe.replay_accuracy
        if probe.title in passed and strong:
            yield probe.norm, probe.eps
