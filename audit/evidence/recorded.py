"""Compares the sets with what the run recorded about them when its training ended, from whatever folder they come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skinaudit.artifacts.adversarial_set import AdversarialSet, open_set
from skinaudit.artifacts.files import digest_file
from skinaudit.artifacts.manifest import EngineManifest, RunManifest, read_run, resolve
from skinaudit.artifacts.operating_point import OperatingPoint
from skinaudit.artifacts.run_folder import RunFolder
from skinaudit.artifacts.run_sets import recorded_split
from skinaudit.errors import InvalidInputError

NOT_LISTED = "is not listed"
CHANGED = "is listed with another digest"


@dataclass(frozen=True)
class Recorded:
    """The run's record of its sets at the end of training.

    figures: the source's figures on each set by name, as shares of 1. differences: how the clean set differs from the
    recorded test images, in clauses. own: whether the clean set claims to be that of the engine's run. unlisted: for each
    set that was crafted on the engine's source but is not listed by its run, NOT_LISTED or CHANGED. operating_points: of the
    run, or those copied by its export if the run is not available.
    """

    figures: Mapping[str, Mapping[str, float]]
    differences: tuple[str, ...]
    own: bool
    unlisted: Mapping[str, str]
    operating_points: tuple[OperatingPoint, ...] = ()


def read_recorded(folder: Path, manifest: EngineManifest, sets: Sequence[AdversarialSet]) -> Recorded:
    """The record of the run in `folder`, if it exists, and of the lineage of its engine. sets: the clean one first."""
    run = read_run(folder) if RunFolder(folder).has_manifest else None
    split, clean, weights = recorded_split(run, manifest.lineage), sets[0], manifest.lineage["weights"]
    own = [image_set for image_set in sets if image_set.info.source == weights]
    reasons = {} if run is None else {image_set.path.name: _unlisted(image_set, folder, run) for image_set in own}
    return Recorded(
        figures={} if run is None else {name: _figures(results) for name, results in run.results.items()},
        differences=split.differences(clean),
        own=clean.info.source == weights,
        unlisted={file: reason for file, reason in reasons.items() if reason},
        operating_points=manifest.operating_points if run is None else run.operating_points,
    )


def _unlisted(image_set: AdversarialSet, folder: Path, run: RunManifest) -> str:
    """Why a set is not one of those listed by its run; empty if one of them has its digest, or its images and logits."""
    listed = run.sets.get(image_set.info.name)
    if digest_file(image_set.path) in {file.digest for file in run.sets.values()}:
        return ""
    if listed is None:
        return NOT_LISTED
    try:
        own_set = open_set(resolve(folder, listed))
    except InvalidInputError:  # without a record, nothing says that the two are different attacks
        return CHANGED
    if own_set.images_digest == image_set.images_digest and np.array_equal(own_set.source_logits, image_set.source_logits):
        return ""  # the same set written again in another format
    own, given = own_set.info, image_set.info
    same = (own.attack, own.threat_model, own.settings) == (given.attack, given.threat_model, given.settings)
    return CHANGED if same else NOT_LISTED


def _figures(results: Mapping[str, object]) -> dict[str, float]:
    """The numbers in the results of a set."""
    return {name: float(value) for name, value in results.items() if isinstance(value, int | float)}
