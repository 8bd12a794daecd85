"""Whether a folder can take a run: asked before any time is spent on training."""

from __future__ import annotations

import tempfile
from pathlib import Path

from skinaudit.artifacts.printable import UNPRINTABLE, show
from skinaudit.artifacts.run_folder import RunFolder
from skinaudit.errors import InvalidInputError, first_few


def claim_folder(out: Path, *, resume: bool) -> None:
    """Make the folder of a run where there is none yet.

    Raises InvalidInputError where it holds a finished run, an unfinished one without `resume`, or files of something else,
    and where nothing can be written into it.
    """
    files = RunFolder(out)
    if UNPRINTABLE.search(out.name):
        raise InvalidInputError(f"--out {show(out.name)}: the run's name holds control characters; choose another")
    if files.manifest.exists():
        raise InvalidInputError(f"{out}: contains a finished run; choose another --out, or delete the folder")
    if files.checkpoint.exists() and not resume:
        raise InvalidInputError(f"{out}: contains an unfinished run; continue it with --resume, or delete the folder")
    unfinished = (
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
        out.mkdir(parents=True, exist_ok=True)
        # A killed run leaves temporary files, whose names start with a dot.
        foreign = sorted(path.name for path in out.iterdir() if path not in unfinished and path.name[0] != ".")
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise InvalidInputError(f"{out}: cannot be made or written ({error.strerror}); choose another --out") from error
    if foreign:
        raise InvalidInputError(
            f"{out}: is not a run folder, because it contains {first_few(foreign)}; choose a new folder for --out"
        )
