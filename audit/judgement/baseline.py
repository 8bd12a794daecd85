"""An engine beside an earlier one, image by image: is a release worse than the last?"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.adversarial_set import AdversarialSet
from skinaudit.artifacts.contract import MALIGNANT
from skinaudit.audit.evidence.pairing import Pair
from skinaudit.audit.evidence.probes import names
from skinaudit.audit.figures.metrics import Hits, Indices, malignant_to_benign
from skinaudit.audit.figures.right_answers import unpack_right
from skinaudit.audit.figures.statistics import paired_drop
from skinaudit.audit.judgement.policy import Policy
from skinaudit.audit.judgement.result import (
    AuditResult,
    BaselineClass,
    BaselineResult,
    BaselineSet,
    Finding,
    ProbeResult,
    SetResult,
    Severity,
    Verdict,
)
from skinaudit.audit.reports.parts.wording import engine_path


def compare_baseline(
    baseline: AuditResult,
    pairs: Sequence[Pair | None],
    results: Sequence[SetResult],
    sets: Sequence[AdversarialSet],
    answers: Sequence[Indices],
    *,
    classes: Sequence[str],
    confidence: float,
) -> tuple[BaselineResult, list[Finding]]:
    """Compare what both engines answered, image by image; what cannot be compared fairly is told in findings.

    pairs: of skinaudit.audit.evidence.pairing.pair_sets. results: of the replayed `sets`. answers: this engine's to each of
    them, int64 (N,). All are in the order of the sets.
    """
    fair, findings = [], []
    for pair, result, one, answered in zip(pairs, results, sets, answers, strict=True):
        if pair is None:
            text = "not in the baseline, so compared with the source model only"
            findings.append(Finding(Severity.NOTE, "baseline-drop", result.title, text))
        elif pair.before.white_box != result.white_box and not result.clean:
            before, now = (("transfer", "white-box")[white] for white in (pair.before.white_box, result.white_box))
            text = (
                f"{before} for the baseline and {now} for this engine, which makes one of them look better than it is: not "
                "compared with the baseline"
            )
            findings.append(Finding(Severity.WARNING, "baseline-drop", result.title, text))
        else:
            fair.append(
                (result.clean, _paired(pair, one, answered, title=result.title, classes=classes, confidence=confidence))
            )
    replayed = {pair.before.images_digest for pair in pairs if pair is not None}
    absent = [one.title for one in baseline.sets if one.images_digest not in replayed]
    findings += _of_all(baseline, absent, {clean for clean, _ in fair})
    found = BaselineResult(
        engine=engine_path(baseline),
        engine_digest=baseline.engine_digest,
        run_name=baseline.run_name,
        verdict=baseline.verdict,
        sets=tuple(one for _, one in fair),
    )
    return found, findings


def _paired(
    pair: Pair,
    one: AdversarialSet,
    answers: Indices,
    *,
    title: str,
    classes: Sequence[str],
    confidence: float,
) -> BaselineSet:
    was = unpack_right(pair.before.right, images=len(one))
    now = answers == one.labels
    malignant = [index for index, name in enumerate(classes) if name in MALIGNANT]
    found = []
    for index, name in enumerate(classes):
        rows = one.labels == index
        if name in MALIGNANT and rows.any():
            drop = paired_drop(was[rows], now[rows], one.group[rows], confidence=confidence)
            found.append(BaselineClass(name, _hits(was[rows]), _hits(now[rows]), drop))
    return BaselineSet(
        title=title,
        own=pair.own,
        images_digest=one.images_digest,
        baseline_digest=pair.before.images_digest,
        baseline=_hits(was),
        engine=_hits(now),
        drop=paired_drop(was, now, one.group, confidence=confidence),
        malignant=int(np.isin(one.labels, malignant).sum()),
        malignant_to_benign=malignant_to_benign(was, answers, one.labels, malignant),
        classes=tuple(sorted(found, key=lambda item: item.name != "mel")),
    )


def _hits(right: NDArray[np.bool_]) -> Hits:
    return Hits(int(right.sum()), len(right))


def _of_all(baseline: AuditResult, absent: Sequence[str], compared: Collection[bool]) -> list[Finding]:
    """absent: titles of the baseline's sets that were not replayed. compared: whether a clean set was, and another one."""
    findings = []
    if absent:
        text = f"sets of the baseline that were not replayed here: {', '.join(absent)}"
        findings.append(Finding(Severity.WARNING, "baseline-drop", None, text))
    if baseline.emulated:
        text = "the baseline was an emulation: what its file answers is unknown"
        findings.append(Finding(Severity.WARNING, "baseline-drop", None, text))
    if baseline.verdict is not Verdict.PASS:
        text = f"the baseline's own verdict was {baseline.verdict.value}"
        findings.append(Finding(Severity.NOTE, "baseline-drop", None, text))
    for clean, kind in ((True, "clean"), (False, "adversarial")):
        if clean not in compared:
            text = f"no {kind} set is compared with the baseline: nothing shows that this engine is no worse there"
            findings.append(Finding(Severity.INCONCLUSIVE, "baseline-drop", None, text))
    return findings


def own_set_findings(
    baseline: AuditResult,
    compared: BaselineResult,
    results: Sequence[SetResult],
    probes: Sequence[ProbeResult],
    policy: Policy,
) -> list[Finding]:
    """What a comparison on own sets hangs on beside the two engines: how well the attack works on each.

    An attack that follows gradients finds little where they are masked, so that the worse engine would look like the better
    one. PASS therefore needs a fresh attack on this engine by its answers alone, in the norm and eps of an own set, that
    breaks an image; skinaudit.audit.checks.sanity.masking tells whether it breaks more than the stored sets.
    """
    own = [one for one in results if one.title in {item.title for item in compared.sets if item.own}]
    if not own:
        return []
    text = (
        f"{', '.join(one.title for one in own)}: each engine was attacked with images made against itself, so the "
        "comparison with the baseline also depends on how well the attack works on each: masked gradients, which the checks "
        "of masking and fresh attacks look for, flatter an engine"
    )
    findings = [Finding(Severity.NOTE, "own-sets", None, text)]
    least = min(policy.minimal_images, own[0].comparison.images)
    threats = {(one.norm, one.eps) for one in own}
    if not any(
        probe.name in names()
        and (probe.norm, probe.eps) in threats
        and probe.images >= least
        and probe.fresh_accuracy < probe.clean_accuracy
        for probe in probes
    ):
        text = (
            f"no fresh attack by this engine's answers alone broke any of at least {least} images in the norm and eps of "
            "its own sets: nothing shows that these are as strong as they look; add --probe square"
        )
        findings.append(Finding(Severity.INCONCLUSIVE, "own-sets", None, text))
    if any(one.rule == "masking" for one in baseline.findings):
        text = "the baseline's own audit tells of masked gradients: it may look more robust than it is, and a loss be none"
        findings.append(Finding(Severity.WARNING, "own-sets", None, text))
    return findings
