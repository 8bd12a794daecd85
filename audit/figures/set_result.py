"""The figures of one replayed set."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.logits import predictions
from skinaudit.artifacts.operating_point import OperatingPoint, malignant_scores, unshifted
from skinaudit.artifacts.outside import real
from skinaudit.audit.evidence.answers import AnsweredSet
from skinaudit.audit.evidence.reference import Control
from skinaudit.audit.figures.at_threshold import AtThreshold, at_threshold
from skinaudit.audit.figures.comparison import Comparison, compare
from skinaudit.audit.figures.drift import Drift, measure_drift
from skinaudit.audit.figures.flips import Flip, worst_flips
from skinaudit.audit.figures.image_answers import pack_numbers
from skinaudit.audit.figures.right_answers import pack_right
from skinaudit.audit.figures.scores import ScoreComparison, compare_scores
from skinaudit.audit.figures.subgroup_excess import Answers, with_excess
from skinaudit.audit.figures.subgroups import SubgroupColumn, SubgroupResult, subgroup_results


@dataclass(frozen=True)
class SetResult:
    """One replayed set. white_box: crafted on the weights from which the engine was built; computed from digests.

    path: of its file, relative to the engine's folder. attack, norm, eps, settings: how it was crafted, eps as written
    (`8/255`); norm and eps are None for clean images, which have no settings. drift: from the source model's logits; None if
    these are unknown. probabilities: whether every row of the engine's answers is in [0, 1] and sums to 1.
    images_per_second: of the engine, including reading. flipped: all cancers that turned benign and the worst other images
    that the engine loses, see flips.LIMIT; empty if nothing was compared. right: images that the engine classifies
    correctly; called_malignant: those that it calls malignant, both packed by skinaudit.audit.figures.right_answers. A
    report of an earlier version does not say which are called malignant; the text is then empty. engine_answers,
    source_answers: the predicted classes, by number, packed by skinaudit.audit.figures.image_answers; empty in reports of
    earlier versions, and source_answers if nothing was compared. scores: figures of the probabilities; None in reports of
    earlier versions. at_threshold: at the operating point; None if there is none. subgroups: the figures of every subgroup
    in the data.
    """

    name: str
    title: str
    file: str
    path: Path
    attack: str
    norm: str | None
    eps: str | None
    settings: Mapping[str, bool | int | float | str | None]
    clean: bool
    white_box: bool
    source: str
    images_digest: str
    control: Control
    comparison: Comparison
    drift: Drift | None
    probabilities: bool
    images_per_second: float
    flipped: tuple[Flip, ...]
    right: str
    called_malignant: str
    engine_answers: str
    source_answers: str
    scores: ScoreComparison | None = None
    at_threshold: AtThreshold | None = None
    subgroups: tuple[SubgroupResult, ...] = ()


def set_results(
    answered: Sequence[AnsweredSet],
    *,
    engine: Path,
    columns: Sequence[SubgroupColumn] = (),
    judged: Callable[[str], bool] = lambda _: True,
    least_lesions: int,
    confidence: float,
    point: OperatingPoint | None = None,
    prevalence: float | None = None,
) -> tuple[SetResult, ...]:
    """The figures of every set, the clean one first. engine: the audited file; paths are relative to its folder.

    columns: subgroups of the clean images, which all sets share. judged: whether the subgroups of a column are compared with
    the rest, if both have at least least_lesions effective lesions. confidence: of every interval, two-sided. point: the
    operating point. prevalence: of malignant images, for predictive values there.
    """
    clean = answered[0]
    results = [
        replace(
            _set_result(
                answered_set, None if answered_set is clean else clean, engine=engine, columns=columns, confidence=confidence
            ),
            scores=_scores(answered_set, confidence=confidence),
            at_threshold=None if point is None else _at(point, answered_set, prevalence=prevalence, confidence=confidence),
        )
        for answered_set in answered
    ]
    subgroups = with_excess(
        [result.subgroups for result in results],
        [
            Answers(stored.answers, None if stored.source_logits is None else predictions(stored.source_logits))
            for stored in answered
        ],
        columns, labels=clean.images.labels, groups=clean.lesions, malignant=clean.images.info.contract.malignant_labels,
        judged=judged, least=least_lesions,
    )  # fmt: skip
    return tuple(replace(result, subgroups=own) for result, own in zip(results, subgroups, strict=True))


def _scores(answered: AnsweredSet, *, confidence: float) -> ScoreComparison:
    images, (engine, source, probabilities) = answered.images, _unshifted(answered)
    return compare_scores(
        engine, source,
        labels=images.labels, groups=answered.lesions, malignant=images.info.contract.malignant_labels,
        confidence=confidence, probabilities=probabilities,
    )  # fmt: skip


def _unshifted(answered: AnsweredSet) -> tuple[NDArray[np.floating], NDArray[np.floating] | None, bool]:
    """Logits of engine and source whose softmax gives probabilities; and whether the engine's answers are probabilities."""
    contract, source, already = answered.images.info.contract, answered.source_logits, _are_probabilities(answered.logits)
    engine = answered.logits if already else unshifted(answered.logits, contract)
    return engine, None if source is None else unshifted(source, contract), already


def _at(point: OperatingPoint, answered: AnsweredSet, *, prevalence: float | None, confidence: float) -> AtThreshold:
    images, (engine, source, probabilities) = answered.images, _unshifted(answered)
    malignant = images.info.contract.malignant_labels
    scores = malignant_scores(engine, malignant, probabilities=probabilities)
    return at_threshold(
        scores > point.threshold,
        None if source is None else malignant_scores(source, malignant) > point.threshold,
        labels=images.labels, groups=answered.lesions, malignant=malignant, prevalence=prevalence, confidence=confidence,
    )  # fmt: skip


def _set_result(
    answered: AnsweredSet,
    clean: AnsweredSet | None,
    *,
    engine: Path,
    columns: Sequence[SubgroupColumn],
    confidence: float,
) -> SetResult:
    images, answers, source = answered.images, answered.answers, answered.source_logits
    source_answers = None if source is None else predictions(source)
    info, contract = images.info, images.info.contract
    about: dict[str, Any] = {"labels": images.labels, "groups": images.group, "contract": contract}
    flipped: tuple[Flip, ...] = () if source is None else worst_flips(source, answered.logits, names=images.ids, **about)
    return SetResult(
        name=info.name,
        title=answered.title,
        file=images.path.name,
        path=_from_folder_of(engine, images.path),
        attack=info.attack,
        norm=None if info.threat_model is None else info.threat_model.norm,
        eps=None if info.threat_model is None else info.threat_model.eps_text,
        settings=info.settings,
        clean=clean is None,
        white_box=answered.white_box,
        source=info.source,
        images_digest=images.images_digest,
        control=answered.control,
        comparison=compare(
            answers,
            source_answers,
            engine_clean=None if clean is None else clean.answers,
            labels=images.labels,
            groups=answered.lesions,
            contract=contract,
            confidence=confidence,
        ),
        drift=None if source is None else measure_drift(source, answered.logits, **about),
        probabilities=_are_probabilities(answered.logits),
        images_per_second=answered.images_per_second,
        flipped=flipped,
        right=pack_right(answers == images.labels),
        called_malignant=pack_right(np.isin(answers, contract.malignant_labels)),
        engine_answers=pack_numbers(answers),
        source_answers="" if source_answers is None else pack_numbers(source_answers),
        subgroups=subgroup_results(
            answers, source_answers, columns, labels=images.labels, groups=answered.lesions,
            malignant=contract.malignant_labels, confidence=confidence,
        ),
    )  # fmt: skip


def _are_probabilities(logits: NDArray[np.float32]) -> bool:
    return bool((logits >= 0).all() and np.abs(logits.sum(axis=1, dtype=np.float64) - 1).max() < 1e-2)


def _from_folder_of(engine: Path, file: Path) -> Path:
    """A file's path relative to the engine's folder, so a report names no machine and still works for a moved run."""
    try:
        return Path(os.path.relpath(real(file), real(engine.parent)))
    except ValueError:  # the file is on another drive
        return file
