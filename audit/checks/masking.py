"""Whether stored images understate what an attack on the engine itself would find."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity
from skinaudit.audit.figures.statistics import holm, p_above, with_roles_exchanged
from skinaudit.audit.figures.text import percent, points, span

ABOUT: About = "figures"
RULES = {
    "masking": Rule(
        "Stored images understate an attack on the engine itself",
        "Images crafted on the source do not carry over, or a fresh attack breaks what they left whole: masked gradients.",
        "Attack the engine itself with --probe whitebox, or --probe square where torch is not at hand.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Forbid PASS where an engine looks more robust than it may be.

    An engine that beats its source under attack by more than the margin cannot pass by replay alone: only a probe under the
    same threat model settles it, passed and at least as strong on the engine as the stored sets. A fresh attack that breaks
    more than all stored sets of its threat model together forbids PASS as well. On sets of the engine's own every gain
    counts, since it is a gain over the baseline, too.
    """
    yield from _of_sets(evidence)
    for probe in evidence.probes:
        if probe.masking is not None and p_above(probe.masking, margin=0.0) < evidence.policy.alpha:
            text = (
                f"right under replay {percent(probe.replay_accuracy)}, under this fresh attack "
                f"{percent(probe.fresh_accuracy)}: a weaker attacker finds more than the stored sets, which therefore "
                "overstate robustness; craft them again"
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
            "the source do not carry over, so a replay overstates its robustness"
        )
        matters = result.title in evidence.own_sets or drop.interval.high < -policy.margin / 100
        unsettled = matters and (result.norm, result.eps) not in settled
        if unsettled:
            text += "; attack the engine itself with --probe whitebox"
        severity = Severity.INCONCLUSIVE if unsettled else Severity.WARNING
        yield Finding(severity, "masking", result.title, text, figures={"gain": gain.value})


def _settled(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """Norm and eps of the probes that passed and are as strong as replay: a weak attack breaks neither engine."""
    passed = {
        gate.set
        for gate in evidence.gates
        if gate.rule == "probe-drop" and gate.subject == "accuracy" and gate.judgement.verdict.value == "PASS"
    }
    for probe in evidence.probes:
        strong = probe.replay_accuracy is not None and probe.fresh_accuracy <= probe.replay_accuracy
        if probe.title in passed and strong:
            yield probe.norm, probe.eps
