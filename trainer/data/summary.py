"""What a person must know about the data before trusting a figure: counts, majority class, leakage, dropped images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.files import short
from skinaudit.artifacts.printable import printable
from skinaudit.errors import counted, first_few
from skinaudit.trainer.data.dataset import Dataset, Skipped, Split

_LONGEST = 300  # characters of a contradiction, because a manifest stores them


@dataclass(frozen=True)
class DataSummary:
    """Figures of one dataset under one split. Invariant: the numbers in `counts` (class, then part) sum to `images`.

    majority_share: accuracy of always answering `majority_class`, the most frequent class of the test part. lesions: of all
    parts; part_lesions: of each part; leaked_lesions: of the test part that are also in the others. Fields of patients: the
    same, if any patient is known. identical: images with the same pixels as another one; they belong to its lesion.
    contradictions: those of them whose labels differ. turned: pictures turned by their orientation tag.
    """

    title: str
    synthetic: bool
    digest: str
    size: int
    images: int
    lesions: int
    counts: Mapping[str, Mapping[str, int]]
    part_images: Mapping[str, int]
    part_lesions: Mapping[str, int]
    majority_class: str
    majority_share: float
    leaked_lesions: int
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]
    patients: int = 0
    part_patients: Mapping[str, int] = field(default_factory=dict)
    leaked_patients: int = 0
    identical: int = 0
    contradictions: tuple[str, ...] = ()
    turned: int = 0

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        skipped = [{"image_id": printable(item.image_id), "reason": printable(item.reason)} for item in self.skipped]
        return {**asdict(self), "skipped": skipped, "notes": list(self.notes), "contradictions": list(self.contradictions)}

    def lines(self) -> list[str]:
        """The same for people: a few lines of clean text with a table of the counts."""
        people = f" of {self.patients:,} patients" if self.patients else ""
        return [
            printable(f"{self.title}: {self.images:,} images of {self.lesions:,} lesions{people}"),
            f"{self.size}x{self.size} pixels, data {short(self.digest)}",
            *self._table(),
            *map(printable, self._remarks()),
        ]

    def _table(self) -> list[str]:
        """Images by class and part, then images, lesions and known patients by part."""
        parts, names = list(self.part_images), [(printable(name), count) for name, count in self.counts.items()]
        width = max(8, *(len(name) + 1 for name, _ in names))
        return [
            f"{'':{width}}" + "".join(f"{part:>8}" for part in parts),
            *(_row(name, count, parts, width) for name, count in names),
            _row("images", self.part_images, parts, width),
            _row("lesions", self.part_lesions, parts, width),
            *([_row("patients", self.part_patients, parts, width)] if self.patients else []),
        ]

    def _remarks(self) -> list[str]:
        text = [
            f"always answering {self.majority_class} scores {self.majority_share:.1%} on test",
            f"leaked lesions: {self.leaked_lesions:,} of {self.part_lesions['test']:,} in test",
        ]
        if self.patients:
            text.append(f"leaked patients: {self.leaked_patients:,} of {self.part_patients['test']:,} in test")
        if self.identical:
            have = "has" if self.identical == 1 else "have"
            images = counted(self.identical, "image")
            text.append(f"identical pictures: {images} {have} the same pixels as another image and count as its lesion")
        if self.contradictions:
            text.append(
                f"identical pictures with different labels: {len(self.contradictions)}: {first_few(self.contradictions)}"
            )
        if self.turned:
            text.append(f"turned by their orientation tag: {counted(self.turned, 'picture')}")
        if self.skipped:
            listed = first_few([f"{item.image_id} ({item.reason})" for item in self.skipped])
            text.append(f"dropped {counted(len(self.skipped), 'image')}: {listed}")
        return text + [f"note: {note}" for note in self.notes]


def _row(name: str, counts: Mapping[str, int], parts: Sequence[str], width: int) -> str:
    return f"{name:{width}}" + "".join(f"{counts[part]:8,}" for part in parts)


def summarise(dataset: Dataset, split: Split) -> DataSummary:
    """Count classes, lesions and leaks of `dataset` under `split`."""
    indices = {"train": split.train, "val": split.val, "test": split.test}
    by_part = {part: np.bincount(dataset.labels[index], minlength=len(dataset.classes)) for part, index in indices.items()}
    tested = by_part["test"]
    people = {part: _count(dataset.patients, index) for part, index in indices.items()}
    identical, contradictions = _repeated(dataset)
    return DataSummary(
        title=dataset.title,
        synthetic=dataset.synthetic,
        digest=dataset.digest,
        size=dataset.size,
        images=len(dataset),
        lesions=len(np.unique(dataset.groups)),
        counts={
            name: {part: int(counts[label]) for part, counts in by_part.items()}
            for label, name in enumerate(dataset.classes)
        },
        part_images={part: len(index) for part, index in indices.items()},
        part_lesions={part: len(np.unique(dataset.groups[index])) for part, index in indices.items()},
        majority_class=dataset.classes[int(np.argmax(tested))],
        majority_share=float(tested.max() / tested.sum()),
        leaked_lesions=split.leaked_lesions,
        skipped=dataset.skipped,
        notes=_notes(dataset, split, tested=tested.tolist()),
        patients=_count(dataset.patients, np.arange(len(dataset))),
        part_patients=people if dataset.patients is not None else {},
        leaked_patients=split.leaked_patients,
        identical=identical,
        contradictions=contradictions,
        turned=dataset.turned,
    )


def _count(patients: NDArray[np.int64] | None, index: NDArray[np.int64]) -> int:
    """Number of known patients among the images of `index`."""
    return 0 if patients is None else len(np.setdiff1d(patients[index], [-1]))


def _repeated(dataset: Dataset) -> tuple[int, tuple[str, ...]]:
    """Number of images with the pixels of another one and, by picture, those whose labels differ: `a mel = b nv`."""
    if dataset.pictures is None:
        return 0, ()
    order = np.argsort(dataset.pictures, kind="stable")
    _, starts = np.unique(dataset.pictures[order], return_index=True)
    contradictions = [same for same in np.split(order, starts[1:]) if len(same) > 1 and len(set(dataset.labels[same])) > 1]
    return len(dataset) - len(starts), tuple(_contradiction(dataset, same) for same in contradictions)


def _contradiction(dataset: Dataset, same: NDArray[np.int64]) -> str:
    """The first image of each label of a picture, and the number of further ones."""
    _, first = np.unique(dataset.labels[same], return_index=True)
    shown = [f"{dataset.ids[row]} {dataset.classes[dataset.labels[row]]}" for row in same[np.sort(first)]]
    more = f" and {len(same) - len(shown)} more" if len(same) > len(shown) else ""
    return printable(" = ".join(shown) + more)[:_LONGEST]


def _notes(dataset: Dataset, split: Split, *, tested: list[int]) -> tuple[str, ...]:
    notes = list(dataset.notes)
    if dataset.synthetic:
        notes.append("synthetic images: figures on them say nothing about patients")
    if len(np.unique(dataset.groups)) == len(dataset):
        notes.append(
            "each image counts as its own lesion, because the files name no lesion of two images; if several images do show "
            "one lesion, as in DermaMNIST, test lesions may also be in training"
        )
    if split.leaked_lesions or split.leaked_patients:
        leaked = "lesions" if split.leaked_lesions else "patients"
        notes.append(f"test {leaked} are also in training, so test figures are too good; --split lesion avoids this")
    if dataset.patients is not None and (unknown := int((dataset.patients < 0).sum())):
        notes.append(f"the patient of {unknown:,} images is not known, so they are only grouped by lesion")
    if not dataset.malignant:
        notes.append(
            "no class is marked as malignant, so missed cancers will not be measured; mark them in a file for --classes"
        )
    absent = [name for name, count in zip(dataset.classes, tested, strict=True) if count == 0]
    if absent:
        notes.append(f"no test image of class {', '.join(absent)}: its sensitivity cannot be measured")
    return tuple(notes)
