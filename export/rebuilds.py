"""Measure how builds of one engine differ: in bytes, and in predictions on the clean set."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np

from skinaudit.artifacts.adversarial_set import AdversarialSet
from skinaudit.engines.engine import Engine
from skinaudit.export.run_build import RunBuild

BATCH = 64


@dataclass(frozen=True)
class Rebuilds:
    """Builds of one engine from the same graph and calibration images.

    files: number of different files. flips: the largest number of the `images` of the clean set on which any two builds
    predict different classes; None if they cannot run here, so only bytes were compared.
    """

    builds: int
    files: int
    flips: int | None
    images: int

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


def compare_builds(builds: Sequence[tuple[bytes, Engine | None]], clean: AdversarialSet) -> Rebuilds:
    """Run every build over the clean set. builds: the bytes of each file, and the engine opened from it or None."""
    answers = [
        np.concatenate([engine.logits(batch).argmax(axis=1) for batch in clean.batches(BATCH)])
        for _, engine in builds
        if engine is not None
    ]
    flips = max((int((first != second).sum()) for first, second in combinations(answers, 2)), default=0)
    return Rebuilds(
        builds=len(builds),
        files=len({hashlib.sha256(content).digest() for content, _ in builds}),
        flips=flips if len(answers) == len(builds) else None,
        images=len(clean),
    )


def built_again(
    build: RunBuild, label: str, first_build: tuple[bytes, Engine | None], rebuild: Callable[[], tuple[bytes, Engine | None]]
) -> dict[str, Any]:
    """The manifest's entry about further builds of the same engine; empty if none was requested."""
    if build.options.rebuilds < 2:
        return {}
    builds = [first_build]
    for number in range(2, build.options.rebuilds + 1):
        build.progress(f"{label}: build {number} of {build.options.rebuilds}")
        builds.append(rebuild())
    return {"rebuilds": compare_builds(builds, build.clean).to_json()}
