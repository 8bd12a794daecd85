"""Figures of merit as pure functions of predictions and labels, all int64 (N,) class indices.

Every function refuses an empty array, so a figure over nothing cannot look like a good one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.logits import Indices
from skinaudit.artifacts.typed_json import Count
from skinaudit.errors import InvalidInputError


@dataclass(frozen=True)
class Hits:
    """Number of correct answers among `count` images. Invariant: 0 <= right <= count."""

    right: Count
    count: Count

    def __post_init__(self) -> None:
        if self.right > self.count:
            raise InvalidInputError(f"{self.right} right answers of {self.count} images")

    @property
    def share(self) -> float | None:
        """right / count; None if there is no image, never 0 or NaN."""
        return self.right / self.count if self.count else None


def accuracy(predicted: Indices, labels: Indices) -> float:
    """Share of correct answers over all images. On an adversarial set this is the robust accuracy."""
    _check(predicted, labels)
    return float((predicted == labels).mean())


def hits_per_class(predicted: Indices, labels: Indices, classes: int) -> tuple[Hits, ...]:
    """Sensitivity of each class with its counts, in label order; an absent class has count 0."""
    _check(predicted, labels)
    right = np.bincount(labels[predicted == labels], minlength=classes)
    count = np.bincount(labels, minlength=classes)
    return tuple(Hits(int(r), int(n)) for r, n in zip(right, count, strict=True))


def balanced_accuracy(predicted: Indices, labels: Indices) -> float:
    """Mean sensitivity over the classes that are present in `labels`; see `classes_present`."""
    _check(predicted, labels)
    return float(np.mean([(predicted[labels == present] == present).mean() for present in np.unique(labels)]))


def classes_present(labels: Indices) -> tuple[int, ...]:
    """The classes over which balanced accuracy is computed, ascending."""
    return tuple(int(present) for present in np.unique(labels))


def constant_balanced_accuracy(labels: Indices) -> float:
    """Balanced accuracy of any constant answer among the classes present: 1 / their number."""
    _check(labels, labels)
    return 1.0 / len(np.unique(labels))


def majority_class(labels: Indices) -> tuple[int, float]:
    """The most frequent class and its share: the accuracy of always answering it."""
    _check(labels, labels)
    counts = np.bincount(labels)
    return int(counts.argmax()), float(counts.max() / len(labels))


def attack_success(clean: Indices, adversarial: Indices, labels: Indices) -> Hits:
    """Of the images that this engine classifies correctly without an attack, how many it misclassifies under attack.

    clean, adversarial: predictions of the same engine on the same images in the same order.
    """
    _check(clean, labels)
    _check(adversarial, labels)
    right_when_clean = clean == labels
    return Hits(int((right_when_clean & (adversarial != labels)).sum()), int(right_when_clean.sum()))


def top_answer(predicted: Indices) -> tuple[int, float]:
    """The class that is predicted most often, and its share of all predictions."""
    _check(predicted, predicted)
    counts = np.bincount(predicted)
    return int(counts.argmax()), float(counts.max() / len(predicted))


def confusion(predicted: Indices, labels: Indices, classes: int) -> NDArray[np.int64]:
    """How often each label got each prediction: int64 (classes, classes), label x prediction."""
    _check(predicted, labels)
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (labels, predicted), 1)
    return counts


def best_order(predicted: Indices, labels: Indices, classes: int) -> tuple[tuple[int, ...], float]:
    """The label that each prediction should mean for the best balanced accuracy, and that accuracy.

    Element j of the order is the label for prediction j. If the order is clearly better than the identity, the columns of
    the engine are probably permuted. The assignment is exact: all subsets of up to 16 classes are tried.
    """
    if classes > 16:
        raise InvalidInputError(f"{classes} classes: the best order is searched for up to 16")
    counts = confusion(predicted, labels, classes)
    shares = counts / counts.sum(axis=1, keepdims=True).clip(min=1)  # label x answer
    best: dict[int, tuple[float, tuple[int, ...]]] = {0: (0.0, ())}
    for answer in range(classes):
        grown: dict[int, tuple[float, tuple[int, ...]]] = {}
        for used_labels, (total, order) in best.items():
            for label in range(classes):
                if not used_labels >> label & 1:
                    candidate = (total + shares[label, answer], (*order, label))
                    key = used_labels | 1 << label
                    if key not in grown or candidate[0] > grown[key][0]:
                        grown[key] = candidate
        best = grown
    ((total, order),) = best.values()
    return order, float(total / len(np.unique(labels)))


def flips(source: Indices, engine: Indices) -> int:
    """Images for which the two predictions differ, right or wrong."""
    _check(source, engine)
    return int((source != engine).sum())


def turned_benign(
    called_malignant: NDArray[np.bool_], engine: Indices, labels: Indices, malignant: Sequence[int]
) -> NDArray[np.bool_]:
    """bool (N,): malignant images that were called malignant and that the engine calls benign. Each is a lost cancer.

    called_malignant: bool (N,), images that the source calls malignant, whichever malignant class it predicts.
    """
    _check(called_malignant, labels)
    _check(engine, labels)
    return np.asarray(np.isin(labels, malignant) & called_malignant & ~np.isin(engine, malignant))


def malignant_sensitivity(predicted: Indices, labels: Indices, malignant: Sequence[int]) -> Hits:
    """Malignant images that are called malignant, whichever malignant class is predicted."""
    _check(predicted, labels)
    ill = np.isin(labels, malignant)
    return Hits(int(np.isin(predicted[ill], malignant).sum()), int(ill.sum()))


def _check(predicted: Indices | NDArray[np.bool_], labels: Indices) -> None:
    if labels.ndim != 1 or predicted.shape != labels.shape or len(labels) == 0:
        raise InvalidInputError(
            f"predictions {predicted.shape} and labels {labels.shape} must be as long and not empty; write the set again"
        )
