"""The common form in which every data source reaches the trainer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Skipped:
    """An image that was dropped under `--skip-bad`, and why."""

    image_id: str
    reason: str


@dataclass(frozen=True, eq=False)
class Dataset:
    """Decoded images with labels. Invariant: all arrays and `ids` have the same length N and a fixed order.

    images: uint8 (N, 3, size, size), RGB, read-only, memory-mapped if it comes from the cache.

    labels: int64 (N,), index into `classes`. groups: int64 (N,), lesion index; images of one lesion share it. ids: the
    image names of the distribution. classes: names of the classes, in the order of the labels. malignant: the classes
    that are known to be malignant, the most important one first. title: for people, such as `HAM10000` or `synthetic
    (procedural, seed 0)`. synthetic: True for generated images; every output says so. digest: of images, labels, groups
    and ids.

    official_split: int64 (N,) 0 train, 1 validation, 2 test, if the distribution has its own split. classes_from: for
    each class the original classes behind it; empty if they are the same. patients: int64 (N,), patient index, -1 if
    unknown; None if no patient is known. pictures: int64 (N,), index of the picture's content: images with identical
    pixels share it and belong to one lesion. subgroups: for each known name of skinaudit.trainer.data.subgroups.NAMES
    one value per image, empty if unknown. frames: int32 (N, 2), width and height in pixels before resizing; None for
    generated images. turned: number of pictures that an orientation tag turned. notes: what a person must know about how
    the images were read.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]
    ids: tuple[str, ...]
    classes: tuple[str, ...]
    malignant: tuple[str, ...]
    title: str
    synthetic: bool
    digest: str
    official_split: NDArray[np.int64] | None = None
    skipped: tuple[Skipped, ...] = field(default=())
    classes_from: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    patients: NDArray[np.int64] | None = None
    pictures: NDArray[np.int64] | None = None
    subgroups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    frames: NDArray[np.int32] | None = None
    turned: int = 0
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Side of the square images in pixels."""
        return int(self.images.shape[-1])

    def __len__(self) -> int:
        return len(self.labels)


def of_rows(dataset: Dataset, rows: NDArray[np.int64]) -> Dataset:
    """The images of `rows`, in that order, with everything known about them. The digest stays that of the whole dataset."""
    whole = len(rows) == len(dataset) and bool((np.diff(rows) == 1).all())
    return replace(
        dataset,
        images=dataset.images if whole else dataset.images[rows],
        labels=dataset.labels[rows],
        groups=dataset.groups[rows],
        ids=tuple(dataset.ids[row] for row in rows),
        official_split=None if dataset.official_split is None else dataset.official_split[rows],
        patients=None if dataset.patients is None else dataset.patients[rows],
        pictures=None if dataset.pictures is None else dataset.pictures[rows],
        frames=None if dataset.frames is None else dataset.frames[rows],
        subgroups={name: tuple(values[row] for row in rows) for name, values in dataset.subgroups.items()},
    )


@dataclass(frozen=True, eq=False)
class Split:
    """Index arrays (int64) into a Dataset: disjoint, each sorted, together complete."""

    train: NDArray[np.int64]
    val: NDArray[np.int64]
    test: NDArray[np.int64]
    leaked_lesions: int
    """Number of test lesions that also have images in train or val (0 under the lesion split)."""
    leaked_patients: int = 0
    """Number of test patients that also have images in train or val (0 under the lesion split)."""
