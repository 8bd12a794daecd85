"""Divides images into training, validation and test: by lesion, at random as in the paper, or as distributed."""

from __future__ import annotations

import math
from typing import Literal, assert_never

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.lesions import effective_lesions
from skinaudit.errors import InvalidInputError, counted, first_few
from skinaudit.trainer.data.dataset import Dataset, Split
from skinaudit.trainer.data.joined import joined

SplitKind = Literal["lesion", "paper", "official"]

PAPER_SIZES = (8111, 902, 1002)
"""Numbers of train, validation and test images of HAM10000's 10,015 in Huq & Pervin (2020), drawn image by image."""

DECISIVE, DECISIVE_MALIGNANT = 457, 88
"""Effective lesions, in all and malignant, with which an audit can decide on a test part.

They are a fifth more than the 381, and 73 malignant, that a PASS needs at the default margins of 1 and 5 points.
"""


def split(dataset: Dataset, *, kind: SplitKind, seed: int) -> Split:
    """Split `dataset` by the named method. The same seed gives the same split; `official` ignores it."""
    match kind:
        case "lesion":
            return lesion_split(dataset, seed=seed)
        case "paper":
            return paper_split(dataset, seed=seed)
        case "official":
            return official_split(dataset)
        case _:
            assert_never(kind)


def lesion_split(dataset: Dataset, *, seed: int, fractions: tuple[float, float, float] | None = None) -> Split:
    """Split so that no lesion and no known patient is in two parts, and each part gets its share of each class.

    fractions: of training, validation and test. With None, validation gets a tenth and test the result of `test_fraction`.
    Images that must stay together (lesions, and all lesions of a patient) count for the rarest class among them. A class
    with three or more such groups is in all three parts; with two, one is for training and one for testing; with one, for
    training.
    """
    if fractions is None:
        malignant = np.isin(dataset.labels, [dataset.classes.index(name) for name in dataset.malignant])
        tested_share = test_fraction(dataset.groups, malignant=malignant)
        fractions = (0.9 - tested_share, 0.1, tested_share)
    if min(fractions) <= 0 or not math.isclose(sum(fractions), 1.0):
        raise InvalidInputError(f"split fractions {fractions}: must be positive and sum to 1")
    generator = _generator(seed)
    families = _families(dataset)
    label_of, counts = _rarest_labels(dataset.labels, families), np.bincount(families)
    part_of_family = np.zeros(len(counts), dtype=np.int64)
    for label in range(len(dataset.classes)):
        mine = generator.permutation(np.flatnonzero(label_of == label))
        images = np.cumsum(counts[mine])
        tested = _cut(images, fractions[2], least=1, most=len(mine) - 2 if len(mine) > 2 else len(mine) - 1)
        tuned = _cut(images, fractions[2] + fractions[1], least=tested + 1, most=len(mine) - 1)
        part_of_family[mine[:tested]] = 2
        part_of_family[mine[tested:tuned]] = 1
    return _from_parts(dataset, part_of_family[families])


def _families(dataset: Dataset) -> NDArray[np.int64]:
    """The group that a split keeps together, int64 (N,) from 0: images of one lesion and, if known, of one patient."""
    known = [] if dataset.patients is None else [dataset.patients]
    return joined(dataset.groups, *known)


def _rarest_labels(labels: NDArray[np.int64], families: NDArray[np.int64]) -> NDArray[np.int64]:
    """The label of each family: the one of its labels with the fewest images overall."""
    order = np.argsort(np.bincount(labels), kind="stable")
    rank = np.argsort(order)
    least = np.full(families.max() + 1, len(order))
    np.minimum.at(least, families, rank[labels])
    return np.asarray(order[least])


def test_fraction(groups: NDArray[np.int64], *, malignant: NDArray[np.bool_]) -> float:
    """Share of the images for testing: a tenth, or more if an audit could not decide on a tenth.

    groups: int64 (N,) lesion of each image. malignant: bool (N,). Up to a quarter is used if that gives DECISIVE effective
    lesions and DECISIVE_MALIGNANT malignant ones. If even a quarter is not enough, the share stays a tenth.
    """
    needed = DECISIVE / max(effective_lesions(groups), 1.0)
    if malignant.any():
        needed = max(needed, DECISIVE_MALIGNANT / effective_lesions(groups[malignant]))
    return needed if 0.1 < needed <= 0.25 else 0.1


def paper_split(dataset: Dataset, *, seed: int) -> Split:
    """Split image by image at random into 8111, 902 and 1002 of 10,015; in proportion for other numbers.

    The paper's method, kept for comparison. On HAM10000 nearly half of the test lesions have other images in training or
    validation; `leaked_lesions` counts them.
    """
    number, total = len(dataset), sum(PAPER_SIZES)
    tuned, tested = (round(number * size / total) for size in PAPER_SIZES[1:])
    order = _generator(seed).permutation(number)
    parts = np.zeros(number, dtype=np.int64)
    parts[order[:tested]] = 2
    parts[order[tested : tested + tuned]] = 1
    return _from_parts(dataset, parts)


def official_split(dataset: Dataset) -> Split:
    """The split that comes with the data; raises InvalidInputError if there is none.

    If it has no validation images, a tenth of the training images of each class is used, as whole lesions and always the
    same ones.
    """
    if dataset.official_split is None:
        raise InvalidInputError(f"{dataset.title}: has no split of its own; choose --split lesion or --split paper")
    parts = dataset.official_split
    untrained = [dataset.classes[label] for label in np.setdiff1d(dataset.labels, dataset.labels[parts == 0])]
    if untrained:
        raise InvalidInputError(
            f"{dataset.title}: no training image of class {first_few(untrained)}; add some, or choose another --split"
        )
    if not (parts == 1).any():
        parts = parts.copy()
        rows = np.flatnonzero(parts == 0)
        parts[rows[_drawn_for_validation(dataset, rows, fraction=0.1)]] = 1
    return _from_parts(dataset, parts)


def _drawn_for_validation(dataset: Dataset, rows: NDArray[np.int64], *, fraction: float) -> NDArray[np.bool_]:
    """Mask of `rows` drawn for validation: whole families, about `fraction` of the images of each class."""
    generator = _generator(0)
    _, families = np.unique(_families(dataset)[rows], return_inverse=True)
    label_of, counts = _rarest_labels(dataset.labels[rows], families), np.bincount(families)
    drawn = np.zeros(len(counts), np.bool_)
    for label in range(len(dataset.classes)):
        mine = generator.permutation(np.flatnonzero(label_of == label))
        drawn[mine[: _cut(np.cumsum(counts[mine]), fraction, least=1, most=len(mine) - 1)]] = True
    return np.asarray(drawn[families])


def usual_split(dataset: Dataset) -> SplitKind:
    """The split of the distribution if there is one, else the split by lesion."""
    return "lesion" if dataset.official_split is None else "official"


def _generator(seed: int) -> np.random.Generator:
    if seed < 0:
        raise InvalidInputError(f"seed {seed}: must be 0 or greater")
    return np.random.default_rng(seed)


def _cut(images: NDArray[np.int64], fraction: float, *, least: int, most: int) -> int:
    """Number of lesions whose images are nearest to `fraction`, within [least, most]; `most` wins if the two conflict."""
    if len(images) == 0:
        return 0
    nearest = int(np.argmin(np.abs(images - fraction * images[-1]))) + 1
    return min(max(nearest, least), most)


def _from_parts(dataset: Dataset, parts: NDArray[np.int64]) -> Split:
    leaked = np.intersect1d(dataset.groups[parts == 2], dataset.groups[parts != 2])
    patients = np.full(len(dataset), -1) if dataset.patients is None else dataset.patients
    shared = np.intersect1d(patients[parts == 2], patients[parts != 2])
    train, val, test = (np.flatnonzero(parts == part) for part in range(3))
    for name, indices in (("train", train), ("validation", val), ("test", test)):
        if len(indices) == 0:
            unit = "lesion" if dataset.patients is None else "patient"
            families = counted(int(_families(dataset).max()) + 1, unit)
            raise InvalidInputError(
                f"{dataset.title}: {counted(len(dataset), 'image')} of {families} leave the {name} part empty; use images "
                f"of more {unit}s"
            )
    return Split(train=train, val=val, test=test, leaked_lesions=len(leaked), leaked_patients=int((shared >= 0).sum()))
