"""From figures to a verdict. A wrong PASS is the worst that can happen here, so PASS has to be earned by every rule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from skinaudit.audit.comparison import Comparison
from skinaudit.audit.policy import Policy
from skinaudit.audit.result import Finding, Judgement, SetResult, Severity, Verdict
from skinaudit.audit.statistics import PairedDrop, images_to_decide


def exit_code(verdict: Verdict) -> int:
    """0 pass, 1 fail, 3 inconclusive; 2 is kept for unusable input."""
    return {Verdict.PASS: 0, Verdict.FAIL: 1, Verdict.INCONCLUSIVE: 3}[verdict]


def judge_drop(drop: PairedDrop, policy: Policy) -> Judgement:
    """PASS if the upper bound is below the margin, FAIL if the lower bound is above it, otherwise INCONCLUSIVE.

    A set with fewer than the policy's minimal images can FAIL but not PASS. NaN bounds are INCONCLUSIVE.
    """
    margin = policy.margin / 100
    enough = drop.images >= policy.minimal_images
    if drop.interval.low > margin:
        return Judgement(Verdict.FAIL)
    if drop.interval.high < margin and enough:
        return Judgement(Verdict.PASS)
    needed = images_to_decide(drop, margin=margin)
    return Judgement(Verdict.INCONCLUSIVE, None if needed is None else max(needed, policy.minimal_images))


def judge_set(title: str, comparison: Comparison, policy: Policy) -> tuple[Judgement | None, list[Finding]]:
    """The judgement on one set and the findings that go with it; None and a warning where nothing was compared."""
    if comparison.drop is None:
        text = "not compared: crafted on another model, and there is no reference of this one to compare with"
        return None, [Finding(Severity.WARNING, title, text)]
    judgement = judge_drop(comparison.drop, policy)
    findings = list(_drop_findings(title, comparison.drop, judgement, policy))
    flips = comparison.malignant_to_benign
    if flips is None or flips > policy.malignant_to_benign:
        text = f"{flips} malignant images that were right are now called benign (limit {policy.malignant_to_benign})"
        findings.append(Finding(Severity.FAIL, title, text))
    for one in comparison.classes:
        if one.malignant and one.drop is not None and one.drop.interval.low > policy.class_margin / 100:
            bounds = f"[{_points(one.drop.interval.low)}, {_points(one.drop.interval.high)}]"
            text = f"sensitivity to {one.name} drops by {_points(one.drop.value)} points {bounds}"
            text += f", margin {margin_text(policy.class_margin)}"
            findings.append(Finding(Severity.FAIL, title, text))
    return judgement, findings


def execution(found: Mapping[str, int], executed: Mapping[str, int] | None) -> list[Finding]:
    """A warning where the runtime computes in another precision than the file has: the replay shows less than it seems."""
    if executed is None or dict(executed) == dict(found):
        return []
    written, done = (", ".join(f"{name} in {count}" for name, count in sorted(one.items())) for one in (found, executed))
    text = f"the file has {written} layers, this device computes {done}: audit it where it will run"
    return [Finding(Severity.WARNING, None, text)]


def precision(asked: str, promised: Mapping[str, int], found: Mapping[str, int]) -> list[Finding]:
    """Findings on the precision that was asked for, that the manifest promises, and that the opened engine has.

    Each mapping counts layers by precision. FAIL where most layers compute in another precision than was asked for, or
    the engine is not what its manifest says; unproved precision forbids PASS.
    """
    total, right = sum(found.values()), found.get(asked, 0)
    if total == 0:
        text = f"{asked} was asked for, and the engine does not tell in which precision it computes"
        return [Finding(Severity.INCONCLUSIVE, None, text)]
    said = ", ".join(f"{name} in {count}" for name, count in sorted(found.items()))
    if 2 * right <= total:
        return [Finding(Severity.FAIL, None, f"{asked} was asked for, found {said} of {total} layers")]
    if dict(promised) != dict(found):
        told = ", ".join(f"{name} in {count}" for name, count in sorted(promised.items())) or "nothing"
        return [Finding(Severity.FAIL, None, f"the manifest promises {told}, found {said} of {total} layers")]
    if right < total:
        return [Finding(Severity.NOTE, None, f"{asked} was asked for, found {said} of {total} layers")]
    return []


def sanity(clean_set: SetResult, attacked: Iterable[SetResult]) -> list[Finding]:
    """Whether the figures can mean anything: all classes present, better than a constant answer, attacks that attack."""
    findings, clean = [], clean_set.comparison
    if clean.classes_absent:
        text = f"no image of {', '.join(clean.classes_absent)}: nothing is known of the engine there"
        findings.append(Finding(Severity.INCONCLUSIVE, "clean", text))
    constant = clean.constant_balanced
    lower = sum(one.engine_interval.low for one in clean.classes) / clean.classes_present
    if clean.engine_balanced <= constant and clean.classes_present > 1:
        text = f"balanced accuracy {clean.engine_balanced:.1%} is not above that of a constant answer, {constant:.1%}"
        findings.append(Finding(Severity.FAIL, "clean", text))
    elif lower <= constant:
        text = (
            f"balanced accuracy {clean.engine_balanced:.1%} (mean lower bound {lower:.1%}) "
            f"cannot be told from that of a constant answer, {constant:.1%}"
        )
        findings.append(Finding(Severity.INCONCLUSIVE, "clean", text))
    for one in attacked:
        found = one.comparison
        if one.images_digest == clean_set.images_digest:
            text = "these are the clean images, unperturbed: the attack does not attack; craft the set again"
            findings.append(Finding(Severity.INCONCLUSIVE, one.title, text))
        if not one.white_box or found.baseline_accuracy is None or clean.baseline_accuracy is None:
            continue
        if found.baseline_accuracy > clean.baseline_accuracy:
            text = (
                f"the source model is better here ({found.baseline_accuracy:.1%}) than on clean images "
                f"({clean.baseline_accuracy:.1%}): the attack does not attack; craft the set again"
            )
            findings.append(Finding(Severity.INCONCLUSIVE, one.title, text))
        elif found.engine_balanced <= found.constant_balanced or found.engine_accuracy < found.majority_share:
            text = (
                f"robust accuracy {found.engine_accuracy:.1%} (balanced {found.engine_balanced:.1%}), "
                f"always {found.majority_class} gets {found.majority_share:.1%} (balanced {found.constant_balanced:.1%})"
            )
            if found.engine_balanced <= found.constant_balanced:
                findings.append(Finding(Severity.WARNING, one.title, f"not robust in itself: {text}"))
            else:
                findings.append(Finding(Severity.NOTE, one.title, text))
    return findings


def plausibility(clean_set: SetResult) -> list[Finding]:
    """Whether a foreign engine seems to be fed and read as it was trained.

    None of this proves a mistake in the contract, and all of it forbids a PASS: a wrong scaling or order of classes gives
    figures that look like a poor model's.
    """
    found, findings = clean_set.comparison, []
    advice = "check scale, mean, std, colour and the order of classes in the contract"

    def doubt(text: str) -> None:
        findings.append(Finding(Severity.INCONCLUSIVE, "clean", f"{text}; {advice}"))

    if found.engine_accuracy <= found.majority_share:
        doubt(
            f"accuracy {found.engine_accuracy:.1%} is not above that of always answering {found.majority_class}, "
            f"{found.majority_share:.1%}"
        )
    if found.top_answer_share >= 0.95:
        doubt(f"{found.top_answer} takes {found.top_answer_share:.1%} of all answers")
    if found.better_order is not None:
        doubt(f"the answers fit the labels far better if they are read as {', '.join(found.better_order)}")
    return findings


def conclude(sets: Sequence[SetResult], findings: Sequence[Finding], policy: Policy) -> tuple[Verdict, str]:
    """The overall verdict and its reason in one sentence.

    FAIL if a hard limit is broken or any set fails; INCONCLUSIVE if any set or finding is; PASS only if all that were
    compared pass and among them are the clean set and at least one white-box adversarial set, each of enough images.
    """
    judged = [one for one in sets if one.judgement is not None]
    for wanted, severity in ((Verdict.FAIL, Severity.FAIL), (Verdict.INCONCLUSIVE, Severity.INCONCLUSIVE)):
        found = [finding for finding in findings if finding.severity is severity]
        if found:
            return wanted, _reason(found)
        titles = [one.title for one in judged if one.judgement is not None and one.judgement.verdict is wanted]
        if titles:
            return wanted, f"{', '.join(titles)} against a margin of {margin_text(policy.margin)} points"
    if not judged:
        return Verdict.INCONCLUSIVE, "no set was compared with a source model; nothing is judged"
    passed = [one for one in judged if one.comparison.images >= policy.minimal_images]
    if not any(one.clean for one in passed):
        return Verdict.INCONCLUSIVE, f"no clean set of at least {policy.minimal_images} images was compared"
    white_box = [one for one in passed if one.white_box and not one.clean]
    if not white_box:
        return Verdict.INCONCLUSIVE, "no white-box adversarial set was compared: nothing is known of its robustness"
    skipped = f"; {len(sets) - len(judged)} not compared" if len(judged) < len(sets) else ""
    warnings = sum(finding.severity is Severity.WARNING for finding in findings)
    told = f"; {warnings} warning{'s' * (warnings > 1)} above" if warnings else ""
    return (
        Verdict.PASS,
        f"{len(judged)} sets hold within {margin_text(policy.margin)} points of the source model{skipped}{told}",
    )


def margin_text(points: float) -> str:
    """A margin with one decimal, or with as many as it has."""
    return f"{points:.1f}" if round(points, 1) == points else f"{points:g}"


def _drop_findings(title: str, drop: PairedDrop, judgement: Judgement, policy: Policy) -> Iterable[Finding]:
    if judgement.verdict is Verdict.FAIL:
        text = f"loses {_points(drop.value)} points, at least {_points(drop.interval.low)}"
        text += f"; the margin is {margin_text(policy.margin)}"
        yield Finding(Severity.FAIL, title, text)
    elif judgement.verdict is Verdict.INCONCLUSIVE:
        if drop.images < policy.minimal_images:
            text = f"{drop.images} images are fewer than the policy's {policy.minimal_images}"
        elif drop.value <= policy.margin / 100:
            text = f"cannot exclude a drop above {margin_text(policy.margin)} points"
        else:
            text = f"the drop of {_points(drop.value)} points may still lie below {margin_text(policy.margin)}"
        needed = judgement.images_needed
        text += "; no number of images would decide" if needed is None else f"; about {about(needed)} images would decide"
        yield Finding(Severity.INCONCLUSIVE, title, text)
    if drop.interval.high < -policy.margin / 100:
        text = (
            f"the engine is better than its source by {_points(-drop.value)} points: images crafted on the source do not "
            "carry over, so a replay overstates its robustness"
        )
        yield Finding(Severity.WARNING, title, text)


def _points(fraction: float) -> str:
    return f"{100 * fraction:.1f}"


def about(images: int) -> str:
    """A number of images that would decide, rounded up to two digits: it extrapolates an observed discordance."""
    unit = 10 ** max(0, len(str(images)) - 2)
    return f"{-(-images // unit) * unit:,}"


def _reason(findings: Sequence[Finding]) -> str:
    first = findings[0]
    where = f"{first.set}: " if first.set else ""
    more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    return f"{where}{first.text}{more}"
