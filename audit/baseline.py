"""An engine beside an earlier one, image by image: is a release worse than the last?"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.adversarial_set import AdversarialSet
from skinaudit.artifacts.contract import MALIGNANT
from skinaudit.artifacts.files import short
from skinaudit.audit.metrics import Hits, Indices, malignant_to_benign
from skinaudit.audit.reading import read_audit
from skinaudit.audit.result import (
    AuditResult,
    BaselineClass,
    BaselineResult,
    BaselineSet,
    Finding,
    SetResult,
    Severity,
    Verdict,
)
from skinaudit.audit.right import unpack_right
from skinaudit.audit.statistics import paired_drop
from skinaudit.audit.wording import engine_path
from skinaudit.errors import InvalidInputError

_CHANGED = "the report was changed, so audit the engine again"
_ON_THE_SAME = "audit both engines on the same sets with --sets DIR"


def read_baseline(path: Path) -> AuditResult:
    """The JSON report of the engine to compare with; raises InvalidInputError as read_audit, and where its figures and its
    right answers tell two stories.
    """
    result = read_audit(path)
    for one in result.sets:
        try:
            right = unpack_right(one.right, images=one.comparison.images)
        except InvalidInputError as error:
            raise InvalidInputError(f"{path}: {one.title}: {error}; {_CHANGED}") from error
        if abs(right.mean() - one.comparison.engine_accuracy) > 1e-9:
            accuracy = f"{one.comparison.engine_accuracy:.4f}, but {right.mean():.4f}"
            raise InvalidInputError(f"{path}: {one.title}: accuracy {accuracy} of its images are marked right; {_CHANGED}")
    return result


def check_baseline(
    baseline: AuditResult, sets: Sequence[AdversarialSet], titles: Sequence[str], *, classes: Sequence[str], path: Path
) -> None:
    """Raise InvalidInputError, naming the report at `path`, where the classes differ, where one of the sets, called
    `titles`, shares its title with a set of other images in the baseline, and where no set is in both.
    """
    if baseline.classes != tuple(classes):
        raise InvalidInputError(
            f"{path}: its classes are {' '.join(baseline.classes)}, not {' '.join(classes)}; name another baseline"
        )
    digests, earlier = {one.images_digest for one in sets}, {one.images_digest for one in baseline.sets}
    others = {one.title: one.images_digest for one in baseline.sets if one.images_digest not in digests}
    for one, title in zip(sets, titles, strict=True):
        if title in others and one.images_digest not in earlier:
            raise InvalidInputError(
                f"{path}: its set {title} has digest {short(others[title])}, that of this engine "
                f"{short(one.images_digest)}: other images; {_ON_THE_SAME}"
            )
    if not digests & earlier:
        raise InvalidInputError(f"{path}: no set of it is among those of this engine; {_ON_THE_SAME}")


def compare_baseline(
    baseline: AuditResult,
    results: Sequence[SetResult],
    sets: Sequence[AdversarialSet],
    answers: Sequence[Indices],
    *,
    classes: Sequence[str],
    confidence: float,
) -> tuple[BaselineResult, list[Finding]]:
    """Pair what both engines answered to the same images; what cannot be paired fairly is told in findings.

    results: of the replayed `sets`, in their order. answers: this engine's to each of them, int64 (N,). Sets are the same
    where their digests are: those are of images, labels, lesions and names.
    """
    earlier = {one.images_digest: one for one in baseline.sets}
    fair, findings = [], []
    for result, one, answered in zip(results, sets, answers, strict=True):
        before = earlier.get(result.images_digest)
        if before is None:
            text = "not in the baseline, so compared with the source model only"
            findings.append(Finding(Severity.NOTE, "baseline-drop", result.title, text))
        elif before.white_box != result.white_box and not result.clean:
            kinds = ("transfer", "white-box")
            text = (
                f"{kinds[before.white_box]} for the baseline and {kinds[result.white_box]} for this engine, which makes "
                "one of them look better than it is: not compared with the baseline"
            )
            findings.append(Finding(Severity.WARNING, "baseline-drop", result.title, text))
        else:
            fair.append(
                (result.clean, _paired(before, one, answered, title=result.title, classes=classes, confidence=confidence))
            )
    digests = {one.images_digest for one in results}
    absent = [one.title for one in baseline.sets if one.images_digest not in digests]
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
    before: SetResult,
    one: AdversarialSet,
    answers: Indices,
    *,
    title: str,
    classes: Sequence[str],
    confidence: float,
) -> BaselineSet:
    was = unpack_right(before.right, images=len(one))
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
        images_digest=one.images_digest,
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
