"""Compare an engine with the model that it was built from, on one set. Reports print these figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.contract import InputContract
from skinaudit.artifacts.logits import Indices
from skinaudit.artifacts.typed_json import Count, Share
from skinaudit.audit.figures import metrics
from skinaudit.audit.figures.clinical import called_malignant_drop, turned_benign_share
from skinaudit.audit.figures.metrics import Hits
from skinaudit.audit.figures.statistics import Interval, PairedDrop, accuracy_interval, paired_drop

_BETTER_ORDER = 0.05
"""Gain in balanced accuracy from which another order of the columns is suspected."""


@dataclass(frozen=True)
class ClassComparison:
    """Sensitivity of one class. `source` and `drop` are None if there is no comparison, or no image."""

    name: str
    malignant: bool
    engine: Hits
    engine_interval: Interval
    source: Hits | None
    drop: PairedDrop | None


@dataclass(frozen=True)
class Comparison:
    """Figures of one set, accuracies as fractions of 1. Source fields are None if nothing was compared.

    The source is the source model's stored answers for a white-box set, and the reference engine's for a transfer set.
    engine_balanced, source_balanced: over the classes that have images, whose number is classes_present. engine_malignant,
    source_malignant: malignant images called malignant, whichever malignant class is predicted; without such images its
    interval is [0, 1]. attack_success: None for the clean set. malignant_to_benign: malignant images that the source calls
    malignant and the engine benign; also None if the contract names no malignant class. malignant_drop: of malignant called
    malignant, over the malignant images. turned_benign: those that turned benign, over the malignant images that the source
    calls malignant, so nothing can be gained. Both are None if there is no such image. classes: the malignant ones in the
    contract's order, then the rest in the order of the columns. top_answer: the class that the engine predicts most often.
    better_order: an order of classes, other than the contract's, with which the engine's answers fit the labels far better;
    None if the contract's own order fits, and under attack, when the order has no meaning.
    """

    images: Count
    lesions: Count
    classes_present: Count
    classes_absent: tuple[str, ...]
    engine_accuracy: Share
    engine_accuracy_interval: Interval
    source_accuracy: Share | None
    engine_balanced: Share
    source_balanced: Share | None
    constant_balanced: Share
    majority_class: str
    majority_share: Share
    top_answer: str
    top_answer_share: Share
    better_order: tuple[str, ...] | None
    engine_malignant: Hits
    engine_malignant_interval: Interval
    source_malignant: Hits | None
    attack_success: Hits | None
    flips: Count | None
    malignant_to_benign: Count | None
    drop: PairedDrop | None
    malignant_drop: PairedDrop | None
    turned_benign: PairedDrop | None
    classes: tuple[ClassComparison, ...]
    engine_confusion: tuple[tuple[Count, ...], ...]
    source_confusion: tuple[tuple[Count, ...], ...] | None


def compare(
    engine: Indices,
    source: Indices | None,
    *,
    engine_clean: Indices | None,
    labels: Indices,
    groups: NDArray[np.int64],
    contract: InputContract,
    confidence: float,
) -> Comparison:
    """Compare two models' predictions, int64 (N,) each, on the same images.

    engine_clean: the engine's predictions on the unperturbed images, for the attack success rate; None for the clean set.
    """
    classes, malignant = contract.classes, contract.malignant_labels
    majority, share = metrics.majority_class(labels)
    present = metrics.classes_present(labels)
    top, top_share = metrics.top_answer(engine)
    right = None if source is None else source == labels
    about: dict[str, Any] = {"labels": labels, "groups": groups, "malignant": malignant, "confidence": confidence}
    called = None if source is None else np.isin(source, malignant)
    turned = None if called is None else turned_benign_share(called, engine, **about)
    return Comparison(
        images=len(labels),
        lesions=len(np.unique(groups)),
        classes_present=len(present),
        classes_absent=tuple(name for index, name in enumerate(classes) if index not in present),
        engine_accuracy=metrics.accuracy(engine, labels),
        engine_accuracy_interval=accuracy_interval(engine == labels, groups, confidence=confidence),
        source_accuracy=None if source is None else metrics.accuracy(source, labels),
        engine_balanced=metrics.balanced_accuracy(engine, labels),
        source_balanced=None if source is None else metrics.balanced_accuracy(source, labels),
        constant_balanced=metrics.constant_balanced_accuracy(labels),
        majority_class=classes[majority],
        majority_share=share,
        top_answer=classes[top],
        top_answer_share=top_share,
        better_order=_better_order(engine, labels, classes) if engine_clean is None else None,
        engine_malignant=metrics.malignant_sensitivity(engine, labels, malignant),
        engine_malignant_interval=_hit_interval(
            np.isin(engine, malignant), np.isin(labels, malignant), groups, confidence=confidence
        ),
        source_malignant=None if source is None else metrics.malignant_sensitivity(source, labels, malignant),
        attack_success=None if engine_clean is None else metrics.attack_success(engine_clean, engine, labels),
        flips=None if source is None else metrics.flips(source, engine),
        malignant_to_benign=None if called is None or not malignant else 0 if turned is None else turned.lost,
        drop=None if right is None else paired_drop(right, engine == labels, groups, confidence=confidence),
        malignant_drop=None if called is None else called_malignant_drop(called, engine, **about),
        turned_benign=turned,
        classes=_classes(engine, source, labels=labels, groups=groups, contract=contract, confidence=confidence),
        engine_confusion=_confusion(engine, labels, len(classes)),
        source_confusion=None if source is None else _confusion(source, labels, len(classes)),
    )


def _hit_interval(
    right: NDArray[np.bool_], rows: NDArray[np.bool_], groups: NDArray[np.int64], *, confidence: float
) -> Interval:
    """The interval of the share of correct answers among some rows, from effective counts; [0, 1] without rows."""
    return accuracy_interval(right[rows], groups[rows], confidence=confidence) if rows.any() else Interval(0.0, 1.0)


def _confusion(predicted: Indices, labels: Indices, classes: int) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(int(count) for count in row) for row in metrics.confusion(predicted, labels, classes))


def _better_order(engine: Indices, labels: Indices, classes: Sequence[str]) -> tuple[str, ...] | None:
    """A better order of columns, if both accuracies show that the present one is wrong; else None.

    For a weak model with the right order, another order may increase the balanced accuracy by trading a rare class for a
    common one. It then decreases the plain accuracy, so both must increase.
    """
    if len(classes) > 16:
        return None
    order, balanced = metrics.best_order(engine, labels, len(classes))
    if balanced < metrics.balanced_accuracy(engine, labels) + _BETTER_ORDER:
        return None
    if metrics.accuracy(np.array(order)[engine], labels) <= metrics.accuracy(engine, labels):
        return None
    return tuple(classes[label] for label in order)


def _classes(
    engine: Indices,
    source: Indices | None,
    *,
    labels: Indices,
    groups: NDArray[np.int64],
    contract: InputContract,
    confidence: float,
) -> tuple[ClassComparison, ...]:
    classes = contract.classes
    of_engine = metrics.hits_per_class(engine, labels, len(classes))
    of_source = None if source is None else metrics.hits_per_class(source, labels, len(classes))
    comparisons = []
    for index, name in enumerate(classes):
        rows = labels == index
        hits, drop = of_engine[index], None
        if source is not None and hits.count:
            drop = paired_drop(source[rows] == index, engine[rows] == index, groups[rows], confidence=confidence)
        comparisons.append(
            ClassComparison(
                name=name,
                malignant=name in contract.malignant,
                engine=hits,
                engine_interval=_hit_interval(engine == index, rows, groups, confidence=confidence),
                source=None if of_source is None else of_source[index],
                drop=drop,
            )
        )
    malignant = [comparisons[label] for label in contract.malignant_labels]
    return (*malignant, *(comparison for comparison in comparisons if not comparison.malignant))
