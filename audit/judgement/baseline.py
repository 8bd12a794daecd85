"""Compare an engine with an earlier engine, image by image: is this release worse than the last one?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.adversarial_set import AdversarialSet
from skinaudit.artifacts.contract import InputContract
from skinaudit.audit.checks import Earlier
from skinaudit.audit.evidence.answers import AnsweredSet
from skinaudit.audit.evidence.inputs import Inputs, titles
from skinaudit.audit.evidence.pairing import Pair, pair_sets
from skinaudit.audit.figures.clinical import MALIGNANT_CALLS, called_malignant_drop
from skinaudit.audit.figures.metrics import Hits, turned_benign
from skinaudit.audit.figures.right_answers import unpack_right
from skinaudit.audit.figures.set_result import SetResult
from skinaudit.audit.figures.statistics import paired_drop
from skinaudit.audit.judgement.reading import read_audit
from skinaudit.audit.judgement.result import AuditResult, BaselineClass, BaselineResult, BaselineSet
from skinaudit.errors import InvalidInputError

_CHANGED = "the report was changed, so audit the engine again"


def read_baseline(path: Path) -> AuditResult:
    """Read the JSON report of the engine to compare with.

    Raises InvalidInputError like read_audit, and if the figures of a set contradict its predictions per image.
    """
    report = read_audit(path)
    for result in report.sets:
        right = _right_answers(result, result.comparison.images, path=path)
        if abs(right.mean() - result.comparison.engine_accuracy) > 1e-9:
            accuracy = f"{result.comparison.engine_accuracy:.4f}, but {right.mean():.4f}"
            raise InvalidInputError(
                f"{path}: {result.title}: accuracy is {accuracy} of its images are marked correct; {_CHANGED}"
            )
    return report


def pair_with(path: Path, inputs: Inputs, *, own_sets: bool) -> Earlier:
    """Read the report at `path` and pair its sets with those of `inputs`; raises InvalidInputError if they do not match."""
    report, contract = read_baseline(path), inputs.clean.info.contract
    if report.malignant != contract.malignant:
        raise InvalidInputError(
            f"{path}: its malignant classes are {' '.join(report.malignant) or 'none'}, not "
            f"{' '.join(contract.malignant) or 'none'}; name another baseline"
        )
    pairs = pair_sets(
        report, inputs.sets, titles(inputs.sets),
        classes=contract.classes, weights=inputs.weights, own_sets=own_sets, path=path,
    )  # fmt: skip
    for pair, images in zip(pairs, inputs.sets, strict=True):
        if pair is not None:
            _check_classes(pair.before, images, contract.classes, path=path)
    return Earlier(report, pairs)


def compare_baseline(
    earlier: Earlier, results: Sequence[SetResult], answered: Sequence[AnsweredSet], *, confidence: float
) -> BaselineResult:
    """Compare the predictions of both engines, image by image, on every set that is fair to both.

    results, answered: of the sets of this audit, in the order of `earlier.pairs`. confidence: of every interval.
    """
    report = earlier.report
    return BaselineResult(
        engine=report.engine_text,
        engine_digest=report.engine_digest,
        run_name=report.run_name,
        verdict=report.verdict,
        sets=tuple(
            _paired(pair, own_answers, title=result.title, confidence=confidence)
            for pair, result, own_answers in zip(earlier.pairs, results, answered, strict=True)
            if pair is not None and pair.fair_for(result)
        ),
    )


def _paired(pair: Pair, answered: AnsweredSet, *, title: str, confidence: float) -> BaselineSet:
    images, answers = answered.images, answered.answers
    contract = images.info.contract
    was = unpack_right(pair.before.right, images=len(images))
    now = answers == images.labels
    known = bool(pair.before.called_malignant)
    called = unpack_right(pair.before.called_malignant, images=len(images)) if known else was
    turned = turned_benign(called, answers, images.labels, contract.malignant_labels)
    ill = np.isin(images.labels, contract.malignant_labels)
    return BaselineSet(
        title=title,
        own=pair.own,
        images_digest=images.images_digest,
        baseline_digest=pair.before.images_digest,
        baseline=_hits(was),
        engine=_hits(now),
        drop=paired_drop(was, now, answered.lesions, confidence=confidence),
        malignant=int(ill.sum()),
        malignant_to_benign=int(turned.sum()),
        pooled=_pooled(called, answered, confidence=confidence) if known else None,
        classes=tuple(_malignant_classes(was, now, answered, contract, confidence=confidence)),
        turned=(
            paired_drop(called[ill], (called & ~turned)[ill], answered.lesions[ill], confidence=confidence)
            if known and ill.any()
            else None
        ),
    )


def _pooled(called: NDArray[np.bool_], answered: AnsweredSet, *, confidence: float) -> BaselineClass | None:
    labels, answers = answered.images.labels, answered.answers
    malignant = answered.images.info.contract.malignant_labels
    drop = called_malignant_drop(
        called, answers, labels=labels, groups=answered.lesions, malignant=malignant, confidence=confidence
    )
    if drop is None:
        return None
    ill = np.isin(labels, malignant)
    return BaselineClass(MALIGNANT_CALLS, _hits(called[ill]), _hits(np.isin(answers[ill], malignant)), drop)


def _malignant_classes(
    was: NDArray[np.bool_],
    now: NDArray[np.bool_],
    answered: AnsweredSet,
    contract: InputContract,
    *,
    confidence: float,
) -> Iterator[BaselineClass]:
    for name, label in zip(contract.malignant, contract.malignant_labels, strict=True):
        rows = answered.images.labels == label
        if rows.any():
            drop = paired_drop(was[rows], now[rows], answered.lesions[rows], confidence=confidence)
            yield BaselineClass(name, _hits(was[rows]), _hits(now[rows]), drop)


def _hits(right: NDArray[np.bool_]) -> Hits:
    return Hits(int(right.sum()), len(right))


def _right_answers(result: SetResult, images: int, *, path: Path) -> NDArray[np.bool_]:
    return _unpacked(result, result.right, images, path=path)


def _unpacked(result: SetResult, packed: str, images: int, *, path: Path) -> NDArray[np.bool_]:
    try:
        return unpack_right(packed, images=images)
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}: {result.title}: {error}; {_CHANGED}") from error


def _check_classes(before: SetResult, images: AdversarialSet, classes: Sequence[str], *, path: Path) -> None:
    """Raise InvalidInputError unless the number of correct predictions of each class matches the report's own figures."""
    right = _right_answers(before, len(images), path=path)
    marked = np.bincount(images.labels[right], minlength=len(classes))
    reported = {class_result.name: class_result.engine.right for class_result in before.comparison.classes}
    for name, count in zip(classes, marked, strict=True):
        if reported.get(name) != count:
            raise InvalidInputError(
                f"{path}: {before.title}: {count} images of {name} are marked correct, but its figures say "
                f"{reported.get(name)}; "
                f"{_CHANGED}"
            )
    if before.called_malignant:
        called = _unpacked(before, before.called_malignant, len(images), path=path)
        count = int(called[np.isin(images.labels, images.info.contract.malignant_labels)].sum())
        if before.comparison.engine_malignant.right != count:
            raise InvalidInputError(
                f"{path}: {before.title}: {count} malignant images are marked as called malignant, but its figures say "
                f"{before.comparison.engine_malignant.right}; {_CHANGED}"
            )
