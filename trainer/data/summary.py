"""What a person must know about the data before believing a figure: counts, majority class, leakage, what was dropped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from skinaudit.artifacts.files import short
from skinaudit.artifacts.plain_values import printable
from skinaudit.errors import first_few
from skinaudit.trainer.data.dataset import Dataset, Skipped, Split


@dataclass(frozen=True)
class DataSummary:
    """Figures of one dataset under one split. Invariant: the numbers in `counts` (class, then part) sum to `images`.

    `majority_share` is the accuracy of always answering the most frequent class of the test part, `majority_class`.
    `lesions` counts them all, `part_lesions` those in each part; `leaked_lesions` of the test part are also in the others.
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

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        skipped = [{"image_id": printable(item.image_id), "reason": printable(item.reason)} for item in self.skipped]
        return {**asdict(self), "skipped": skipped, "notes": list(self.notes)}

    def lines(self) -> list[str]:
        """The same for people, as a few lines of text."""
        parts = list(self.part_images)
        width = max(8, *(len(name) + 1 for name in self.counts))
        text = [
            f"{self.title}: {self.images:,} images of {self.lesions:,} lesions",
            f"{self.size}x{self.size} pixels, data {short(self.digest)}",
            f"{'':{width}}" + "".join(f"{part:>8}" for part in parts),
            *(f"{name:{width}}" + "".join(f"{count[part]:8,}" for part in parts) for name, count in self.counts.items()),
            f"{'images':{width}}" + "".join(f"{self.part_images[part]:8,}" for part in parts),
            f"{'lesions':{width}}" + "".join(f"{self.part_lesions[part]:8,}" for part in parts),
            f"always answering {self.majority_class} scores {self.majority_share:.1%} on test",
            f"leaked lesions: {self.leaked_lesions:,} of {self.part_lesions['test']:,} in test",
        ]
        if self.skipped:
            listed = first_few([f"{item.image_id} ({item.reason})" for item in self.skipped])
            text.append(f"dropped {len(self.skipped):,} images: {listed}")
        return text + [f"note: {note}" for note in self.notes]


def summarise(dataset: Dataset, split: Split) -> DataSummary:
    """Count classes, lesions and leaks of `dataset` under `split`."""
    indices = {"train": split.train, "val": split.val, "test": split.test}
    by_part = {part: np.bincount(dataset.labels[index], minlength=len(dataset.classes)) for part, index in indices.items()}
    tested = by_part["test"]
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
    )


def _notes(dataset: Dataset, split: Split, *, tested: list[int]) -> tuple[str, ...]:
    notes = []
    if dataset.synthetic:
        notes.append("synthetic images: no figure measured on them says anything about patients")
    if len(np.unique(dataset.groups)) == len(dataset):
        notes.append(
            "each image counts as its own lesion: where the source hides that several images show one lesion, as "
            "DermaMNIST does, test lesions may have been trained on, and these files cannot tell"
        )
    if split.leaked_lesions:
        notes.append("test lesions are also seen in training: test figures are too good; --split lesion avoids that")
    if not dataset.malignant:
        notes.append(
            "no class is marked as malignant, so missed cancers will not be measured; mark them in a file for --classes"
        )
    absent = [name for name, count in zip(dataset.classes, tested, strict=True) if count == 0]
    if absent:
        notes.append(f"no test image of class {', '.join(absent)}: its sensitivity cannot be measured")
    return tuple(notes)
