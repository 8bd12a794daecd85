"""Loads every data source: the synthetic set, a folder in one of the layouts, or MedMNIST."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.contract import CLASSES, MALIGNANT, MAX_CLASSES
from skinaudit.artifacts.files import Progress, default_cache_dir, digest_file
from skinaudit.artifacts.outside import expanded
from skinaudit.artifacts.printable import UNPRINTABLE, show
from skinaudit.errors import InvalidInputError, first_few
from skinaudit.trainer.data import layouts, medmnist, synthetic
from skinaudit.trainer.data.cache import (
    CacheEntry,
    cache_key,
    dataset_digest,
    entry_of,
    open_entry,
)
from skinaudit.trainer.data.classes import ClassPlan, in_order, regrouped
from skinaudit.trainer.data.dataset import Dataset
from skinaudit.trainer.data.decode import DECODER
from skinaudit.trainer.data.joined import joined
from skinaudit.trainer.data.layouts import archive
from skinaudit.trainer.data.listed import read_listing
from skinaudit.trainer.data.reading import Reading, frames_of, pictures_of
from skinaudit.trainer.data.records import find_files
from skinaudit.trainer.data.tables import may_be_table

SYNTHETIC_IMAGES = 6000
"""Enough images that a tenth of them, for testing, can exclude a loss of one point even if one image is lost.
"""
SIZES = range(8, 1025)
"""Accepted sides of the square image, in pixels."""


def load(
    source: str,
    *,
    size: int,
    seed: int = 0,
    cache: Path | None = None,
    skip_bad: bool = False,
    images: int | None = None,
    classes: ClassPlan | None = None,
    wanted: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Load `synthetic`, a folder in a layout of skinaudit.trainer.data.layouts, or a MedMNIST `.npz`, at `size` x `size`.

    If a folder holds several tables of an archive, one of them can be given instead of the folder. Images are decoded (or
    generated) once into `cache` (default_cache_dir() if None) and memory-mapped from there. seed, images: for the synthetic
    set only; `images` is the number of images. skip_bad: drop unusable images and record them in Dataset.skipped. classes:
    how the source's classes become those of the task; None keeps them. wanted: classes of a run with which the images will
    be used; some may have no image. Raises InvalidInputError for a source that cannot be used, for too few or too many
    classes, for a class without any image, and for a class outside `wanted`.
    """
    if size not in SIZES:
        raise InvalidInputError(f"size {size}: choose a side between {SIZES.start} and {SIZES.stop - 1} pixels")
    folder = default_cache_dir() if cache is None else cache
    if source == "synthetic":
        count = SYNTHETIC_IMAGES if images is None else images
        dataset = _load_synthetic(count=count, size=size, seed=seed, cache=folder, progress=progress)
        return _of_task(dataset, classes, wanted, "synthetic data", remedy=f"use more than {count} images")
    if images is not None:
        raise InvalidInputError(f"{source}: the number of images can be set for the synthetic data only")
    path = expanded(source)
    if path.is_dir():
        dataset = read_listing(layouts.recognise(path), size=size, cache=folder, skip_bad=skip_bad, progress=progress)
    elif path.is_file() and path.suffix == ".npz":
        dataset = _load_medmnist(path, size=size, cache=folder, progress=progress)
    elif path.is_file() and may_be_table(path):
        listing = archive.list_images(path, find_files(path.parent), only=path)
        dataset = read_listing(listing, size=size, cache=folder, skip_bad=skip_bad, progress=progress)
    elif path.exists():
        raise InvalidInputError(f"{path}: give a folder of images, an archive's table, a MedMNIST .npz file, or synthetic")
    else:
        raise InvalidInputError(f"{path}: no such folder or file; give a folder, a MedMNIST .npz file, or synthetic")
    _refuse_unprintable(dataset, str(path))
    remedy = "add images of it, or name the classes of the task in a file for --classes: training and audit need every class"
    return _of_task(dataset, classes, wanted, str(path), remedy=remedy)


def _of_task(
    dataset: Dataset, classes: ClassPlan | None, wanted: Sequence[str] | None, where: str, *, remedy: str
) -> Dataset:
    """The dataset with the classes of the task; raises InvalidInputError if there are too many or one has no image."""
    as_they_are = classes is None or (classes.of_run and set(dataset.classes) <= set(wanted or ()))
    grouped = dataset if classes is None or as_they_are else regrouped(dataset, classes, wanted=wanted or ())
    if wanted is not None:
        return in_order(grouped, wanted, where=where)
    count = len(grouped.classes)
    if not 2 <= count <= MAX_CLASSES:
        raise InvalidInputError(
            f"{where}: {count} classes ({first_few(grouped.classes)}); a task has 2 to {MAX_CLASSES}: merge them in a "
            "file for --classes"
        )
    _refuse_empty_class(grouped, where, remedy=remedy)
    return grouped


def _load_medmnist(path: Path, *, size: int, cache: Path, progress: Progress | None) -> Dataset:
    listing = medmnist.list_medmnist(path)
    key = cache_key(npz=digest_file(path), size=size, decoder=DECODER)
    reading = Reading(lambda: medmnist.read_images(path, listing, size=size, progress=progress))
    entry = entry_of(cache, key, reading.pixels, size=size, details=reading.details)
    pictures = pictures_of(entry)
    return _dataset(
        entry,
        labels=listing.labels,
        groups=joined(pictures),
        ids=listing.ids,
        classes=listing.classes,
        malignant=listing.malignant,
        title=listing.title if listing.side == size else f"{listing.title}, resized to {size}x{size}",
        parts=listing.official_split,
        pictures=pictures,
        frames=frames_of(entry),
    )


def _load_synthetic(*, count: int, size: int, seed: int, cache: Path, progress: Progress | None) -> Dataset:
    generator = [digest_file(path) for path in sorted(Path(synthetic.__file__).parent.glob("*.py"))]
    key = cache_key(synthetic=generator, numpy=np.__version__, images=count, size=size, seed=seed)
    entry = open_entry(cache, key)
    if entry is None:
        generated = synthetic.generate(images=count, size=size, seed=seed, progress=progress)
        details = {
            "labels": generated.labels.tolist(),
            "groups": generated.groups.tolist(),
            "ids": list(generated.ids),
            "title": generated.title,
            "digest": generated.digest,
        }
        entry = entry_of(cache, key, lambda: generated.images, size=size, details=details)
    described = {name: entry.details[name] for name in ("labels", "groups", "ids", "title")}
    dataset = _dataset(entry, **described, classes=CLASSES, malignant=MALIGNANT)
    return dataclasses.replace(dataset, synthetic=True, digest=entry.details["digest"])


def _dataset(
    entry: CacheEntry,
    *,
    labels: Sequence[int],
    groups: Sequence[int] | NDArray[np.int64],
    ids: Sequence[str],
    classes: Sequence[str],
    malignant: Sequence[str],
    title: str,
    parts: Sequence[int] = (),
    pictures: NDArray[np.int64] | None = None,
    frames: NDArray[np.int32] | None = None,
) -> Dataset:
    label_array = np.asarray(labels, dtype=np.int64)
    group_array = np.asarray(groups, dtype=np.int64)
    return Dataset(
        images=entry.images,
        labels=label_array,
        groups=group_array,
        ids=tuple(ids),
        classes=tuple(classes),
        malignant=tuple(malignant),
        title=title,
        synthetic=False,
        digest=dataset_digest(entry.pixels_digest, label_array, group_array, ids),
        official_split=np.asarray(parts, dtype=np.int64) if parts else None,
        pictures=pictures,
        frames=frames,
    )


def _refuse_unprintable(dataset: Dataset, where: str) -> None:
    """Refuse names and titles that a set or a manifest cannot store, before any time is spent."""
    strange = [name for name in (dataset.title, *dataset.classes, *dataset.ids) if UNPRINTABLE.search(name)]
    if strange:
        raise InvalidInputError(f"{where}: the name {show(strange[0])} contains control characters; rename it")


def _refuse_empty_class(dataset: Dataset, where: str, *, remedy: str) -> None:
    counts = np.bincount(dataset.labels, minlength=len(dataset.classes))
    empty = [name for name, count in zip(dataset.classes, counts, strict=True) if count == 0]
    if empty:
        raise InvalidInputError(f"{where}: no image of class {first_few(empty, limit=MAX_CLASSES)}; {remedy}")
