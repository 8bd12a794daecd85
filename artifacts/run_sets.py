"""The clean set of a run, opened and checked against the run's manifest."""

from __future__ import annotations

from pathlib import Path

from skinaudit.artifacts.adversarial_set import CLEAN, AdversarialSet, open_set
from skinaudit.artifacts.manifest import RunManifest, resolve
from skinaudit.artifacts.run_folder import RunFolder
from skinaudit.errors import InvalidInputError


def open_clean_set(run: Path, manifest: RunManifest) -> AdversarialSet:
    """The set that the manifest calls clean; InvalidInputError where it is missing, changed or differs."""
    if CLEAN not in manifest.sets:
        raise InvalidInputError(f"{run}: the run has no clean set; train it again")
    clean = open_set(resolve(run, manifest.sets[CLEAN]))
    if clean.info.contract != manifest.contract:
        raise InvalidInputError(
            f"{RunFolder(run).manifest}: contract should be that of {clean.path.name}; restore it or train again"
        )
    return clean
