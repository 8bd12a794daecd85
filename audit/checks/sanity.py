"""What makes figures untrustworthy, whatever they are: each check here can forbid a PASS, and none can earn one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from skinaudit.audit.evidence.consistency import Consistency
from skinaudit.audit.evidence.half_precision import Halved
from skinaudit.audit.evidence.inputs import Inputs
from skinaudit.audit.figures.statistics import Interval, PairedDrop, holm, p_above
from skinaudit.audit.judgement.policy import Policy
from skinaudit.audit.judgement.result import Finding, Gate, ProbeResult, Rebuilds, SetResult, Severity, Verdict
from skinaudit.audit.judgement.verdict import points, span

BATCH_TOLERANCE = 1e-2
"""How far a logit may move with the batch, relative to the range of all: other kernels round otherwise, by 1e-3 in fp16."""

EXPLAINED = {"fp32": 1e-3, "fp16": 0.05, "bf16": 0.25, "int8": 0.6}
"""Median drift of the logits over the median logit margin that a precision explains: two to ten times what honest exports of
trained models showed (docs/results/drift.md)."""


_SPENT = 0.9
_COPIES = 0.01
_HALVED = 0.02


def masking(
    sets: Sequence[SetResult],
    probes: Sequence[ProbeResult],
    gates: Sequence[Gate],
    policy: Policy,
    *,
    own: Collection[str] = (),
) -> list[Finding]:
    """Signs that stored images understate what an attack on the engine itself would find.

    An engine that beats its source under attack by more than the margin cannot pass by replay alone: only a probe under the
    same threat model settles it, passed and at least as strong on the engine as the stored sets. A fresh attack that breaks
    more than all stored sets of its threat model together forbids PASS as well. own: titles of sets on which the engine is
    compared with an earlier one that was attacked with other images; there every gain counts, since it is one over that
    engine, too.
    """
    findings = []
    attacked = [one for one in sets if not one.clean and one.comparison.drop is not None]
    gains = holm([p_above(_swapped(one.comparison.drop), margin=0.0) for one in attacked if one.comparison.drop])
    passed = {gate.set for gate in gates if gate.rule == "probe-drop" and gate.judgement.verdict is Verdict.PASS}
    settled = {(one.norm, one.eps) for one in probes if one.title in passed and _as_strong_as_replay(one)}
    for one, p in zip(attacked, gains, strict=True):
        drop = one.comparison.drop
        if drop is None or p >= policy.alpha:
            continue
        text = (
            f"the engine is better than its source by {points(-drop.value)} points {span(_swapped(drop).interval)}: images "
            "crafted on the source do not carry over, so a replay overstates its robustness"
        )
        matters = one.title in own or drop.interval.high < -policy.margin / 100
        open_case = matters and (one.norm, one.eps) not in settled
        if open_case:
            text += "; attack the engine itself with --probe whitebox"
        findings.append(Finding(Severity.INCONCLUSIVE if open_case else Severity.WARNING, "masking", one.title, text))
    for probe in probes:
        if probe.drop is None and probe.reference_accuracy is not None and probe.fresh_accuracy < probe.reference_accuracy:
            lost = round((probe.reference_accuracy - probe.fresh_accuracy) * probe.images)
            text = (
                f"{lost} of {probe.images} images have a point in the ball where the engine is wrong and its source right: "
                "an attacker who knows the source can make the two differ"
            )
            findings.append(Finding(Severity.WARNING, "disagreement", probe.title, text))
        if probe.masking is not None and p_above(probe.masking, margin=0.0) < policy.alpha:
            text = (
                f"right under replay {probe.replay_accuracy:.1%}, under this fresh attack {probe.fresh_accuracy:.1%}: a "
                "weaker attacker finds more than the stored sets, which therefore overstate robustness; craft them again"
            )
            findings.append(Finding(Severity.INCONCLUSIVE, "masking", probe.title, text))
    return findings


def _as_strong_as_replay(probe: ProbeResult) -> bool:
    """A weak attack breaks neither engine nor reference, and shows nothing by that."""
    return probe.replay_accuracy is not None and probe.fresh_accuracy <= probe.replay_accuracy


def _swapped(drop: PairedDrop) -> PairedDrop:
    """The gain that a loss is, seen from the other side."""
    turned = Interval(-drop.interval.high, -drop.interval.low)
    again = Interval(-drop.bootstrap.high, -drop.bootstrap.low)
    return replace(drop, lost=drop.gained, gained=drop.lost, value=-drop.value, interval=turned, bootstrap=again)


def consistency(found: Consistency) -> list[Finding]:
    """Whether an image's answer depends on the run, on the size of its batch or on its neighbours."""
    findings = []
    if not found.repeats:
        text = "the same batch gives other bits when it is run again: another audit could decide otherwise"
        findings.append(Finding(Severity.INCONCLUSIVE, "determinism", None, text))
    if found.odd:
        text = f"answers NaN or infinity to a frame that is {', '.join(found.odd)}: whoever gets such an answer has no class"
        findings.append(Finding(Severity.FAIL, "odd-frames", None, text))
    if found.identical:
        return findings
    sizes = ", ".join(map(str, found.sizes))
    text = (
        f"{found.images} images in batches of {sizes} and in reverse order: logits differ by up to {found.largest:.0e} of "
        f"their range, and {found.flips} answers do"
    )
    severity = Severity.NOTE
    if found.largest > BATCH_TOLERANCE:
        severity, text = Severity.FAIL, f"{text}; an image's answer hangs on its batch"
    elif found.flips:
        severity = Severity.WARNING
    findings.append(Finding(severity, "batch-dependence", None, text))
    return findings


def fidelity(one: SetResult, asked: str) -> list[Finding]:
    """Whether the logits lie as close to the source's as their precision explains.

    A file that answers by another function than its source's may still score as well on the sets at hand.
    """
    drift = one.drift
    if drift is None or asked not in EXPLAINED:
        return []
    allowed, seen = EXPLAINED[asked], drift.median / max(drift.median_margin, 1e-30)
    if seen <= allowed:
        return []
    text = (
        f"half of the images lie further from the source's logits than {drift.median:.2g}, {seen:.2g} of the median logit "
        f"margin; {asked} explains up to {allowed:g}"
    )
    return [Finding(Severity.INCONCLUSIVE, "fidelity", one.title, text)]


def inputs(given: Inputs, titles: Sequence[str], results: Sequence[SetResult]) -> list[Finding]:
    """Whether the sets are what they say: of their eps, without copies, and as the run's training measured them.

    titles: of the adversarial sets, in the order of given.adversarial. results: the clean set's first.
    """
    findings = []
    for title, share in zip(titles, given.spent, strict=True):
        if share < _SPENT:
            text = f"no image is perturbed by more than {share:.0%} of the stated eps: the attack is weaker than its name"
            findings.append(Finding(Severity.INCONCLUSIVE, "attack-strength", title, text))
    if given.repeated:
        text = f"{given.repeated} clean images are copies of others: there is less evidence than the numbers of images say"
        severity = Severity.INCONCLUSIVE if given.repeated > _COPIES * len(given.clean) else Severity.WARNING
        findings.append(Finding(severity, "repeated-images", "clean", text))
    for one in results:
        recorded, found = given.recorded.get(one.name), one.comparison.baseline_accuracy
        if recorded is not None and found is not None and one.white_box and abs(recorded - found) > 1e-9:
            text = (
                f"the source model is right on {found:.2%} of these images, its training measured {recorded:.2%}: images or "
                "labels are not those that were measured"
            )
            findings.append(Finding(Severity.INCONCLUSIVE, "results", one.title, text))
    return findings


def unseen(precision: str, why: str) -> list[Finding]:
    """That nothing shows what a half precision file answers where it is computed as it says."""
    text = f"this device does not compute in {precision}, and its emulation did not run: {why}"
    return [Finding(Severity.INCONCLUSIVE, "execution", None, text)]


def halved(checked: Halved) -> list[Finding]:
    """What an emulation of half precision says of a file that this device computes in single precision."""
    if checked.overflows:
        text = (
            f"{checked.precision} overflows: NaN or infinity on {checked.overflows} of {checked.images} images in an "
            "emulation of it, which this device does not show"
        )
        return [Finding(Severity.FAIL, "execution", None, text)]
    if checked.odd:
        text = (
            f"{checked.precision} overflows: NaN or infinity to a frame that is {', '.join(checked.odd)} "
            "in an emulation of it, which this device does not show: audit it where it is computed as it says"
        )
        return [Finding(Severity.INCONCLUSIVE, "execution", None, text)]
    text = f"an emulation of {checked.precision} answers {checked.flips} of {checked.images} images otherwise"
    severity = Severity.INCONCLUSIVE if checked.flips > _HALVED * checked.images else Severity.NOTE
    return [Finding(severity, "execution", None, text)]


def rebuilds(found: Rebuilds | None, policy: Policy) -> list[Finding]:
    """Whether another build of the same engine would be another classifier."""
    if found is None:
        return []
    text = f"{found.builds} builds gave {found.files} different files"
    if found.flips is None:
        return [Finding(Severity.NOTE, "rebuilds", "clean", f"{text}, which could not run where they were built")]
    text += f", and any two answer at most {found.flips} of {found.images} clean images otherwise"
    unstable = 100 * found.flips >= policy.margin * found.images
    return [Finding(Severity.INCONCLUSIVE if unstable else Severity.NOTE, "rebuilds", "clean", text)]


def conditions(added: Sequence[str]) -> list[Finding]:
    """Whether the engine's graph can decide by something that no stored image holds."""
    if not added:
        return []
    text = (
        f"the graph has {', '.join(added)}, which its reference has not: an answer can hang on a trigger that no stored "
        "image holds"
    )
    return [Finding(Severity.INCONCLUSIVE, "conditions", None, text)]


def uncompared(one: SetResult) -> list[Finding]:
    """A warning where nothing tells what was lost on a set."""
    if one.comparison.drop is not None:
        return []
    text = "not compared: crafted on another model, and there is no reference of this one to compare with"
    return [Finding(Severity.WARNING, "not-compared", one.title, text)]


def answers(clean_set: SetResult) -> list[Finding]:
    """Whether the engine answers logits, as its manifest says."""
    if not clean_set.probabilities:
        return []
    text = "every row lies in [0, 1] and sums to 1: the engine answers probabilities where its manifest promises logits"
    return [Finding(Severity.FAIL, "probabilities", "clean", text)]


def execution(found: Mapping[str, int], executed: Mapping[str, int] | None) -> list[Finding]:
    """A warning where the runtime computes in another precision than the file has: the replay shows less than it seems."""
    if executed is None or dict(executed) == dict(found):
        return []
    written, done = (", ".join(f"{name} in {count}" for name, count in sorted(one.items())) for one in (found, executed))
    text = f"the file has {written} layers, this device computes {done}: audit it where it will run"
    return [Finding(Severity.WARNING, "execution", None, text)]


def precision(asked: str, promised: Mapping[str, int], found: Mapping[str, int]) -> list[Finding]:
    """Findings on the precision that was asked for, that the manifest promises, and that the opened engine has.

    Each mapping counts layers by precision. FAIL where most layers compute in another precision than was asked for, or
    the engine is not what its manifest says; unproved precision forbids PASS.
    """
    total, right = sum(found.values()), found.get(asked, 0)
    if total == 0:
        text = f"{asked} was asked for, and the engine does not tell in which precision it computes"
        return [Finding(Severity.INCONCLUSIVE, "precision", None, text)]
    said = ", ".join(f"{name} in {count}" for name, count in sorted(found.items()))
    if 2 * right <= total:
        return [Finding(Severity.FAIL, "precision", None, f"{asked} was asked for, found {said} of {total} layers")]
    if dict(promised) != dict(found):
        told = ", ".join(f"{name} in {count}" for name, count in sorted(promised.items())) or "nothing"
        return [Finding(Severity.FAIL, "precision", None, f"the manifest promises {told}, found {said} of {total} layers")]
    if right < total:
        return [Finding(Severity.NOTE, "precision", None, f"{asked} was asked for, found {said} of {total} layers")]
    return []


def figures(clean_set: SetResult, attacked: Iterable[SetResult]) -> list[Finding]:
    """Whether the figures can mean anything: all classes present, better than a constant answer, attacks that attack."""
    findings, clean = [], clean_set.comparison
    if clean.classes_absent:
        text = f"no image of {', '.join(clean.classes_absent)}: nothing is known of the engine there"
        findings.append(Finding(Severity.INCONCLUSIVE, "class-absent", "clean", text))
    constant = clean.constant_balanced
    lower = sum(one.engine_interval.low for one in clean.classes) / clean.classes_present
    if clean.engine_balanced <= constant and clean.classes_present > 1:
        text = f"balanced accuracy {clean.engine_balanced:.1%} is not above that of a constant answer, {constant:.1%}"
        findings.append(Finding(Severity.FAIL, "constant-answer", "clean", text))
    elif lower <= constant:
        text = (
            f"balanced accuracy {clean.engine_balanced:.1%} (mean lower bound {lower:.1%}) "
            f"cannot be told from that of a constant answer, {constant:.1%}"
        )
        findings.append(Finding(Severity.INCONCLUSIVE, "constant-answer", "clean", text))
    for one in attacked:
        found = one.comparison
        if one.images_digest == clean_set.images_digest:
            text = "these are the clean images, unperturbed: the attack does not attack; craft the set again"
            findings.append(Finding(Severity.INCONCLUSIVE, "attack-strength", one.title, text))
        if not one.white_box or found.baseline_accuracy is None or clean.baseline_accuracy is None:
            continue
        if found.baseline_accuracy > clean.baseline_accuracy:
            text = (
                f"the source model is better here ({found.baseline_accuracy:.1%}) than on clean images "
                f"({clean.baseline_accuracy:.1%}): the attack does not attack; craft the set again"
            )
            findings.append(Finding(Severity.INCONCLUSIVE, "attack-strength", one.title, text))
        elif found.engine_balanced <= found.constant_balanced or found.engine_accuracy < found.majority_share:
            text = (
                f"robust accuracy {found.engine_accuracy:.1%} (balanced {found.engine_balanced:.1%}), "
                f"always {found.majority_class} gets {found.majority_share:.1%} (balanced {found.constant_balanced:.1%})"
            )
            if found.engine_balanced <= found.constant_balanced:
                findings.append(Finding(Severity.WARNING, "not-robust", one.title, f"not robust in itself: {text}"))
            else:
                findings.append(Finding(Severity.NOTE, "not-robust", one.title, text))
    return findings


def plausibility(clean_set: SetResult) -> list[Finding]:
    """Whether a foreign engine seems to be fed and read as it was trained.

    None of this proves a mistake in the contract, and all of it forbids a PASS: a wrong scaling or order of classes gives
    figures that look like a poor model's.
    """
    found, findings = clean_set.comparison, []
    advice = "check scale, mean, std, colour and the order of classes in the contract"

    def doubt(text: str) -> None:
        findings.append(Finding(Severity.INCONCLUSIVE, "plausibility", "clean", f"{text}; {advice}"))

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
