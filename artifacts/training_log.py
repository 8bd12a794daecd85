"""The log of a training: one JSON object per line and epoch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from skinaudit.artifacts.plain_values import parse_json, read_text
from skinaudit.artifacts.typed_json import Known, Range, build

_AGAIN = "restore the file, or delete it"
_KIND = "training log"
_FIGURES = {
    "epoch": Annotated[int, Range(1)],
    "seconds": Annotated[float, Range(0, 1e9)],
    "images_per_second": Annotated[float, Range(0)],
    "learning_rate": float,
    "loss": float,
    "train_accuracy": Annotated[float, Range(0, 1)],
    "monitor": float,
    "best": bool,
}
_Scalars = Mapping[str, bool | int | float | str | None]
EPOCH = Annotated[_Scalars, Known(_FIGURES, required=("epoch",))]
"""Type of an epoch in the log of a finished run."""
RESUMED = Annotated[_Scalars, Known(_FIGURES, required=("epoch", "monitor", "best"))]
"""Type of an epoch after which a training continues."""


def read_log(path: Path) -> tuple[Mapping[str, Any], ...]:
    """The epochs of a log, first to last; empty if there is no file. Raises InvalidInputError with file, line and field."""
    if not path.exists() and not path.is_symlink():  # a link that leads nowhere is read, and refused
        return ()
    epochs = []
    for number, line in enumerate(read_text(path, kind=_KIND, again=_AGAIN).splitlines(), start=1):
        where = f"{path}: line {number}"
        epochs.append(build(EPOCH, parse_json(line, where=where, kind=_KIND, again=_AGAIN), where=where, again=_AGAIN))
    return tuple(epochs)
