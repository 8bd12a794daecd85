"""From figures to a verdict. A wrong PASS is the worst that can happen here, so PASS has to be earned by every rule."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from skinaudit.artifacts.contract import MALIGNANT
from skinaudit.audit.figures.statistics import Interval
from skinaudit.audit.judgement.policy import Policy
from skinaudit.audit.judgement.result import Finding, Gate, SetResult, Severity, Verdict


def exit_code(verdict: Verdict) -> int:
    """0 pass, 1 fail, 3 inconclusive; 2 is kept for unusable input."""
    return {Verdict.PASS: 0, Verdict.FAIL: 1, Verdict.INCONCLUSIVE: 3}[verdict]


def of_gates(gates: Iterable[Gate], policy: Policy) -> list[Finding]:
    """What every gate that is not passed means for the reader."""
    findings, unprovable = [], dict[str, Gate]()
    for gate in gates:
        if gate.judgement.verdict is Verdict.PASS:
            continue
        failed = gate.judgement.verdict is Verdict.FAIL
        if not (failed or gate.binding):
            if gate.subject in MALIGNANT:
                unprovable.setdefault(gate.subject, gate)
            continue
        severity = Severity.FAIL if failed else Severity.INCONCLUSIVE
        findings.append(_of_gate(gate, severity, policy))
    for name, gate in unprovable.items():
        text = (
            f"{gate.images} images of {name} are too few to show that its sensitivity drops by less than "
            f"{margin_text(100 * gate.limit)} points; only clear losses and malignant-to-benign flips of it are caught"
        )
        findings.append(Finding(Severity.WARNING, "class-sensitivity", None, text, name))
    return findings


def _of_gate(gate: Gate, severity: Severity, policy: Policy) -> Finding:
    if gate.counts:
        count = round(gate.value)
        images = "malignant image" if count == 1 else "malignant images"
        if gate.rule == "malignant-to-benign":
            text = f"{count} {images} that the source gets right called benign (limit {gate.limit:.0f})"
            return Finding(severity, "malignant-to-benign", gate.set, text)
        text = f"{count} {images} of {gate.images} that the baseline gets right called benign (limit {gate.limit:.0f})"
        return Finding(severity, "baseline-malignant-to-benign", gate.set, text)
    if gate.rule == "floor":
        bounds = "" if gate.interval is None else f" {span(gate.interval)}"
        text = f"{gate.subject} is {100 * gate.value:.1f}%{bounds}, the policy's floor {100 * gate.limit:.1f}%"
        return Finding(severity, "floor", gate.set, text)
    text = _drop_text(gate, policy)
    if gate.rule == "class-sensitivity":
        return Finding(severity, "class-sensitivity", gate.set, f"sensitivity to {gate.subject}: {text}", gate.subject)
    if gate.rule == "baseline-drop":
        lesion_class = None if gate.subject == "accuracy" else gate.subject
        what = "accuracy" if lesion_class is None else f"sensitivity to {lesion_class}"
        return Finding(severity, "baseline-drop", gate.set, f"{what} against the baseline: {text}", lesion_class)
    if gate.rule == "probe-drop":
        return Finding(severity, "probe-drop", gate.set, f"against its reference under the same attack: {text}")
    return Finding(severity, "drop", gate.set, text)


def _drop_text(gate: Gate, policy: Policy) -> str:
    margin, needed = margin_text(100 * gate.limit), gate.judgement.images_needed
    bounds = "" if gate.interval is None else f" {span(gate.interval)}"
    if gate.judgement.verdict is Verdict.FAIL:
        low = gate.value if gate.interval is None else gate.interval.low
        return f"loses {points(gate.value)} points, at least {points(low)}; the margin is {margin}"
    if gate.images < policy.minimal_images and gate.subject == "accuracy" and gate.rule != "probe-drop":
        text = f"{gate.images} images are fewer than the policy's {policy.minimal_images}"
    elif gate.value <= gate.limit:
        text = f"cannot exclude a drop above {margin} points{bounds}"
    else:
        text = f"the drop of {points(gate.value)} points{bounds} may still lie below {margin}"
    return text + (
        "; no number of images would decide" if needed is None else f"; about {about(needed)} images would decide"
    )


def conclude(
    sets: Sequence[SetResult], gates: Sequence[Gate], findings: Sequence[Finding], policy: Policy
) -> tuple[Verdict, str]:
    """The overall verdict and its reason in one sentence.

    FAIL if any gate or finding fails; INCONCLUSIVE if a binding gate or a finding is; PASS only if all that were
    compared pass and among them are the clean set and at least one white-box adversarial set, each of enough images.
    """
    judged = [one for one in sets if one.judgement is not None]
    for wanted, severity in ((Verdict.FAIL, Severity.FAIL), (Verdict.INCONCLUSIVE, Severity.INCONCLUSIVE)):
        found = [finding for finding in findings if finding.severity is severity]
        if found:
            return wanted, _reason(found)
        titles = [one.title for one in judged if one.judgement is not None and one.judgement.verdict is wanted]
        titles += [
            gate.set for gate in gates if gate.judgement.verdict is wanted and (gate.binding or wanted is Verdict.FAIL)
        ]
        if titles:
            return wanted, f"{', '.join(dict.fromkeys(titles))}: see the gates"
    if not judged:
        return Verdict.INCONCLUSIVE, "no set was compared with a source model; nothing is judged"
    passed = [one for one in judged if one.comparison.images >= policy.minimal_images]
    if not any(one.clean for one in passed):
        return Verdict.INCONCLUSIVE, f"no clean set of at least {policy.minimal_images} images was compared"
    white_box = [one for one in passed if one.white_box and not one.clean]
    if not white_box:
        return Verdict.INCONCLUSIVE, "no white-box adversarial set was compared: nothing is known of its robustness"
    skipped = f"; {len(sets) - len(judged)} not compared" if len(judged) < len(sets) else ""
    kept = sum(gate.rule == "baseline-drop" and gate.subject == "accuracy" for gate in gates)
    skipped += f", {kept} within {margin_text(policy.baseline_margin)} of the baseline" if kept else ""
    skipped += " (own sets)" if kept and any(finding.rule == "own-sets" for finding in findings) else ""
    warnings = sum(finding.severity is Severity.WARNING for finding in findings)
    told = f"; {warnings} warning{'s' * (warnings > 1)} above" if warnings else ""
    return (
        Verdict.PASS,
        f"{len(judged)} sets hold within {margin_text(policy.margin)} points of the source model{skipped}{told}",
    )


def margin_text(points: float) -> str:
    """A margin with one decimal, or with as many as it has."""
    return f"{points:.1f}" if round(points, 1) == points else f"{points:g}"


def points(fraction: float) -> str:
    """A fraction of 1 in percentage points with one decimal."""
    return f"{100 * fraction:.1f}"


def span(interval: Interval) -> str:
    """An interval in percentage points."""
    return f"[{points(interval.low)}, {points(interval.high)}]"


def about(images: int) -> str:
    """Rounded up to two significant digits: it extrapolates an observed discordance."""
    unit = 10 ** max(0, len(str(images)) - 2)
    return f"{-(-images // unit) * unit:,}"


def _reason(findings: Sequence[Finding]) -> str:
    first = findings[0]
    where = f"{first.set}: " if first.set else ""
    more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    return f"{where}{first.text}{more}"
