"""Whether a folder can take a run: asked before any time is spent on training."""

from __future__ import annotations

import tempfile
from pathlib import Path

from skinaudit.artifacts.manifest import RUN_FILE
from skinaudit.errors import InvalidInputError, first_few
from skinaudit.trainer.generate import SETS_FOLDER
from skinaudit.trainer.loop import BEST_FILE, CHECKPOINT_FILE, LOG_FILE

WEIGHTS_FILE = "weights.safetensors"
CALIBRATION_FILE = "calibration.safetensors"
CURVES_FILE = "curves.png"
_UNFINISHED = {BEST_FILE, CHECKPOINT_FILE, LOG_FILE, WEIGHTS_FILE, CALIBRATION_FILE, CURVES_FILE, SETS_FOLDER}


def claim_folder(out: Path, *, resume: bool) -> None:
    """Make the folder of a run where there is none yet.

    Raises InvalidInputError where it holds a finished run, an unfinished one without `resume`, or files of something else,
    and where nothing can be written into it.
    """
    if (out / RUN_FILE).exists():
        raise InvalidInputError(f"{out}: holds a finished run already; choose another --out, or delete the folder")
    if (out / CHECKPOINT_FILE).exists() and not resume:
        raise InvalidInputError(f"{out}: holds an unfinished run; go on with --resume, or delete the folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
        # A killed run leaves temporary files, whose names start with a dot.
        foreign = sorted(path.name for path in out.iterdir() if path.name not in _UNFINISHED and path.name[0] != ".")
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise InvalidInputError(f"{out}: cannot be made or written ({error.strerror}); choose another --out") from error
    if foreign:
        raise InvalidInputError(f"{out}: is no run folder, it holds {first_few(foreign)}; choose a new folder as --out")
