"""Where runs go that have no name yet, and the link to the newest."""

from __future__ import annotations

import os
from pathlib import Path

from skinaudit.errors import InvalidInputError

RUNS = Path("runs")
LATEST = RUNS / "latest"


def free_folder(stem: str) -> Path:
    """runs/STEM, numbered where that run is finished already: an unfinished one is the next to go on with."""
    candidates = (RUNS / (stem if number == 1 else f"{stem}-{number}") for number in range(1, 10_000))
    for folder in candidates:
        if not (folder / "run.json").exists():
            return folder
    raise InvalidInputError(f"{RUNS}: ten thousand runs named {stem}; name one with --out")


def point_latest(run: Path) -> None:
    """Make runs/latest a link to this run, atomically."""
    RUNS.mkdir(exist_ok=True)
    temporary = RUNS / f".latest-{os.getpid()}"
    temporary.symlink_to(os.path.relpath(run, RUNS))
    temporary.replace(LATEST)
