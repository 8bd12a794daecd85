"""Where runs go that have no name yet, and the link to the newest."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from skinaudit.artifacts.run_folder import RunFolder
from skinaudit.errors import InvalidInputError

RUNS = Path("runs")
LATEST = RUNS / "latest"


def free_folder(stem: str) -> Path:
    """runs/STEM, numbered where that run is finished already: an unfinished one is the next to go on with."""
    candidates = (RUNS / (stem if number == 1 else f"{stem}-{number}") for number in range(1, 10_000))
    for folder in candidates:
        if not RunFolder(folder).manifest.exists():
            return folder
    raise InvalidInputError(f"{RUNS}: ten thousand runs named {stem}; name one with --out")


def check_out(out: Path) -> None:
    """Before a training: raises InvalidInputError where `out` is the link to the newest run, or the link cannot be set."""
    if out.parent.resolve() / out.name == RUNS.resolve() / LATEST.name:  # resolving all of it would follow the link
        raise InvalidInputError(
            f"{out}: the link to the newest run, which train sets itself; leave --out away, or choose another"
        )
    if LATEST.exists() and not LATEST.is_symlink():
        raise InvalidInputError(f"{LATEST}: in the way of the link to the newest run, which train sets; rename it")
    try:
        RUNS.mkdir(exist_ok=True)
        with tempfile.TemporaryFile(dir=RUNS):
            pass
    except OSError as error:
        raise InvalidInputError(
            f"{RUNS}: cannot be made or written ({error.strerror}), and train sets the link {LATEST} there;"
            " start it in another folder"
        ) from error


def point_latest(run: Path) -> None:
    """Make runs/latest a link to this run, atomically."""
    RUNS.mkdir(exist_ok=True)
    temporary = RUNS / f".latest-{os.getpid()}"
    temporary.symlink_to(os.path.relpath(run, RUNS))
    temporary.replace(LATEST)
