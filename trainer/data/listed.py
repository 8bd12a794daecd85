"""From a listing of a folder to a Dataset: decode each picture once, join identical ones, set unusable ones aside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.files import Progress
from skinaudit.trainer.data.cache import CacheEntry, cache_key, dataset_digest, entry_of
from skinaudit.trainer.data.dataset import Dataset, Skipped
from skinaudit.trainer.data.decode import DECODER, decode_files, digest_copies
from skinaudit.trainer.data.joined import joined
from skinaudit.trainer.data.reading import Reading, frames_of, pictures_of, turned_of
from skinaudit.trainer.data.records import Listing, Record, refuse_bad
from skinaudit.trainer.data.subgroups import NAMES
from skinaudit.trainer.data.unreadable import Unreadable


def read_listing(listing: Listing, *, size: int, cache: Path, skip_bad: bool, progress: Progress | None = None) -> Dataset:
    """Decode the pictures of a listing at `size` x `size`, once into `cache`.

    Images with identical pixels become one lesion. Raises InvalidInputError for unusable pictures unless `skip_bad` is set.
    """
    skipped = refuse_bad(listing.bad, where=listing.table, skip_bad=skip_bad)
    digests = digest_copies([record.files for record in listing.records])
    unread = [
        Skipped(record.image_id, digest.reason)
        for record, digest in zip(listing.records, digests, strict=True)
        if isinstance(digest, Unreadable)
    ]
    skipped += refuse_bad(unread, where=listing.table, skip_bad=skip_bad)
    read = [pair for pair in zip(listing.records, digests, strict=True) if isinstance(pair[1], str)]

    key = cache_key(images=[digest for _, digest in read], size=size, decoder=DECODER)
    reading = Reading(lambda: decode_files([record.files[0] for record, _ in read], size=size, progress=progress))
    entry = entry_of(cache, key, reading.pixels, size=size, details=reading.details)
    corrupt = [Skipped(read[position][0].image_id, reason) for position, reason in entry.unreadable.items()]
    skipped += refuse_bad(corrupt, where=listing.table, skip_bad=skip_bad)
    records = [record for position, (record, _) in enumerate(read) if position not in entry.unreadable]
    return _dataset(listing, records, entry, skipped)


def _dataset(listing: Listing, records: Sequence[Record], entry: CacheEntry, skipped: tuple[Skipped, ...]) -> Dataset:
    labels = np.array([listing.classes.index(record.label) for record in records], np.int64)
    pictures = pictures_of(entry)
    groups = joined(_indices([record.lesion_id for record in records]), pictures)
    patients = _indices([record.patient_id for record in records])
    ids = tuple(record.image_id for record in records)
    parts = [record.part for record in records]
    subgroups = {name: tuple(record.subgroups[index] for record in records) for index, name in enumerate(NAMES)}
    return Dataset(
        images=entry.images,
        labels=labels,
        groups=groups,
        ids=ids,
        classes=listing.classes,
        malignant=listing.malignant,
        title=listing.title,
        synthetic=False,
        digest=dataset_digest(entry.pixels_digest, labels, groups, ids),
        official_split=np.array(parts, np.int64) if parts and None not in parts else None,
        skipped=skipped,
        patients=patients if (patients >= 0).any() else None,
        pictures=pictures,
        subgroups={name: values for name, values in subgroups.items() if any(values)},
        frames=frames_of(entry),
        turned=turned_of(entry),
        notes=listing.notes,
    )


def _indices(names: Sequence[str]) -> NDArray[np.int64]:
    """Index of each name among all names, sorted; -1 for an empty one."""
    places = {name: index for index, name in enumerate(sorted(set(names) - {""}))}
    return np.array([places.get(name, -1) for name in names], np.int64)
