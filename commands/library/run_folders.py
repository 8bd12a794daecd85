"""Folders for runs without a name, and the link to the newest run."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from shlex import quote

from skinaudit.artifacts.outside import real
from skinaudit.artifacts.run_folder import RunFolder
from skinaudit.errors import InvalidInputError

RUNS = Path("runs")
LATEST = RUNS / "latest"


def free_folder(stem: str) -> Path:
    """runs/STEM, with a number if that run is already finished. An unfinished run is continued."""
    candidates = (RUNS / (stem if number == 1 else f"{stem}-{number}") for number in range(1, 10_000))
    for folder in candidates:
        if not RunFolder(folder).manifest.exists():
            return folder
    raise InvalidInputError(f"{RUNS}: there are ten thousand runs named {stem}; choose a new name with --out")


def check_latest(run: Path, *, remark: Callable[[str], None]) -> None:
    """If `run` is runs/latest, say which run that is, and name a newer one that is not finished.

    remark: called with a line. Raises InvalidInputError if no run is finished.
    """
    if run != LATEST or (LATEST.exists() and not LATEST.is_symlink()):
        return
    newest = RunFolder(LATEST)
    unfinished = _unfinished(since=newest.weights.stat().st_mtime if newest.weights.exists() else 0.0)
    place = quote(str(unfinished))
    advice = f"its training has not ended; continue it with `skinaudit train --resume --out {place}` and its options"
    if newest.manifest.exists():
        remark(f"{LATEST} is {RUNS / LATEST.readlink()}")
        if unfinished is not None:
            remark(f"{unfinished} is newer, but {advice}")
        return
    problem = f"{LATEST}: the run {RUNS / LATEST.readlink()} is gone" if LATEST.is_symlink() else "no finished run here"
    if unfinished is not None:
        raise InvalidInputError(f"{problem}; there is {unfinished}, but {advice}")
    raise InvalidInputError(
        f"{problem}; train one with `skinaudit train`, or name the folder of a run, such as runs/hardened"
    )


def _unfinished(*, since: float) -> Path | None:
    """The folder of the latest unfinished training that was active after this time."""
    signs = []
    for path in RUNS.iterdir() if RUNS.is_dir() else ():
        files = RunFolder(path)
        if path.name != LATEST.name and not files.manifest.exists():
            signs += [(sign.stat().st_mtime, path) for sign in (files.checkpoint, files.training_lock) if sign.exists()]
    return max((sign for sign in signs if sign[0] > since), default=(0.0, None))[1]


def check_out(out: Path) -> None:
    """Before a training: raise InvalidInputError if `out` is the link to the newest run, or if the link cannot be set."""
    if real(out.parent) / out.name == real(RUNS) / LATEST.name:  # resolving the whole path would follow the link
        raise InvalidInputError(
            f"{out}: is the link to the newest run, which train sets itself; omit --out, or choose another folder"
        )
    if LATEST.exists() and not LATEST.is_symlink():
        raise InvalidInputError(
            f"{LATEST}: train sets a link of this name to the newest run, but something else has this name; rename it"
        )
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
