"""The clean set of a run, opened and compared with the run's record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from skinaudit.artifacts.adversarial_set import CLEAN, AdversarialSet, open_set
from skinaudit.artifacts.manifest import RunManifest, resolve
from skinaudit.artifacts.run_folder import RunFolder
from skinaudit.errors import InvalidInputError, first_few


def open_clean_set(run: Path, manifest: RunManifest) -> AdversarialSet:
    """The set that the manifest calls clean; raises InvalidInputError if it is missing, changed or not as recorded."""
    if CLEAN not in manifest.sets:
        raise InvalidInputError(f"{run}: the run has no clean set; train it again")
    clean = open_set(resolve(run, manifest.sets[CLEAN]))
    if clean.info.contract != manifest.contract:
        raise InvalidInputError(
            f"{RunFolder(run).manifest}: contract should be that of {clean.path.name}; restore it or train again"
        )
    return clean


CLASSES_FROM = "classes_from"
"""Key of a run's data: for each class the original classes behind it, if a file defined the task's classes."""

TEST_SET = "test_set"
"""Key of a run's data and of an engine's lineage: images digest of the clean set at the end of training."""


@dataclass(frozen=True)
class RecordedSplit:
    """The record of a run's test images from the end of its training; earlier versions recorded less.

    digests: of names, labels, lesions and pixels, from the run and from the lineage of its engine. counts: number of test
    images by class name. lesions: None if they were not counted.
    """

    digests: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    lesions: int | None = None

    def differences(self, clean: AdversarialSet) -> tuple[str, ...]:
        """How a set of clean images differs from the record, in one clause each; empty if it does not."""
        clauses = []
        classes = clean.info.contract.classes
        counts = dict(zip(classes, np.bincount(clean.labels, minlength=len(classes)).tolist(), strict=True))
        if self.counts:
            unlike = [
                f"{name} {counts.get(name, 0):,} instead of {self.counts.get(name, 0):,}"
                for name in dict.fromkeys((*self.counts, *classes))
                if counts.get(name, 0) != self.counts.get(name, 0)
            ]
            clauses += [f"images by class: {first_few(unlike)}"] if unlike else []
            total = sum(self.counts.values())
            clauses += [f"{len(clean):,} images instead of {total:,}"] if len(clean) != total else []
        lesions = len(np.unique(clean.group))
        if self.lesions is not None and lesions != self.lesions:
            clauses.append(f"{lesions:,} lesions instead of {self.lesions:,}")
        if not clauses and any(digest != clean.images_digest for digest in self.digests):
            clauses.append("names, labels, lesions or pixels differ from the recorded digest")
        return tuple(clauses)


def recorded_split(run: RunManifest | None, lineage: Mapping[str, str]) -> RecordedSplit:
    """The test split that a run and its engine's lineage recorded. run: None if it is not available."""
    recorded = (lineage.get(TEST_SET), None if run is None else run.data.get(TEST_SET))
    digests = tuple(digest for digest in recorded if digest is not None)
    if run is None:
        return RecordedSplit(digests)
    counts = {name: parts["test"] for name, parts in run.data.get("counts", {}).items() if "test" in parts}
    lesions = run.data.get("part_lesions", {}).get("test")
    return RecordedSplit(digests, counts, lesions)
