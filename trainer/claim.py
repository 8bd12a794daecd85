"""Checks whether a folder can be used for a run, before any time is spent on training."""

from __future__ import annotations

import tempfile
from pathlib import Path

from skinaudit.artifacts.printable import UNPRINTABLE, show
from skinaudit.artifacts.run_folder import RunFolder
from skinaudit.errors import InvalidInputError, first_few


def check_folder(out: Path, *, resume: bool) -> None:
    """Raise InvalidInputError if a folder cannot be used for a run. Changes nothing.

    Such a folder contains a finished run, an unfinished run without `resume`, or other files.
    """
    files = RunFolder(out)
    files.check_links()
    if UNPRINTABLE.search(out.name):
        raise InvalidInputError(f"--out {show(out.name)}: the run's name holds control characters; choose another")
    if files.manifest.exists():
        raise InvalidInputError(f"{out}: contains a finished run; choose another --out, or delete the folder")
    if files.checkpoint.exists() and not resume:
        raise InvalidInputError(f"{out}: contains an unfinished run; continue it with --resume, or delete the folder")
    of_training = (
        files.options,
        files.best,
        files.checkpoint,
        files.log,
        files.weights,
        files.structure,
        files.pictures,
        files.calibration,
        files.curves,
        files.sets,
    )
    try:
        entries = list(out.iterdir()) if out.is_dir() else []
    except OSError as error:
        raise _unusable(out, error) from error
    # A killed run leaves temporary files, whose names start with a dot.
    foreign = sorted(path.name for path in entries if path not in of_training and path.name[0] != ".")
    if foreign:
        raise InvalidInputError(
            f"{out}: is not a run folder, because it contains {first_few(foreign)}; choose a new folder for --out"
        )


def claim_folder(out: Path, *, resume: bool) -> None:
    """Create the folder of a run if it does not exist.

    Raises InvalidInputError as `check_folder` does, and if the folder is not writable.
    """
    check_folder(out, resume=resume)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise _unusable(out, error) from error


def _unusable(out: Path, error: OSError) -> InvalidInputError:
    return InvalidInputError(f"{out}: cannot be made or written ({error.strerror}); choose another --out")
