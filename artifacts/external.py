"""External sets: clean and adversarial images of a data set other than the run's own, bound together by digests.

A folder of sets with an `external.json` is external: its images are not the test split of a run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.files import write_json
from skinaudit.artifacts.manifest import FileRecord
from skinaudit.artifacts.manifest_keys import COUNT
from skinaudit.artifacts.outside import real
from skinaudit.artifacts.plain_values import read_json
from skinaudit.artifacts.printable import show
from skinaudit.artifacts.run_folder import EXTERNAL_FILE
from skinaudit.artifacts.typed_json import build
from skinaudit.errors import InvalidInputError

_KIND = "skinaudit-external/1"
_AGAIN = "write the sets again with `skinaudit attack RUN --data DIR`"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")


@dataclass(frozen=True)
class ExternalSets:
    """name: of the data set, as chosen by the user. dataset: its title. data: its digest, before images were left out.

    left_out: why images were left out -> how many. sets: files of the folder by names of the sets. frames: width and height
    in pixels before resizing, and the number of images with this size; empty if unknown.
    """

    name: str
    dataset: str
    data: str
    left_out: Mapping[str, COUNT]
    sets: Mapping[str, FileRecord]
    created_with: Mapping[str, str]
    frames: tuple[tuple[COUNT, COUNT, COUNT], ...] = ()

    def __post_init__(self) -> None:
        check_name(self.name)

    @property
    def aspect(self) -> float | None:
        """Width over height of the most common frame; None if no size is known."""
        return self.frames[0][0] / self.frames[0][1] if self.frames and self.frames[0][1] else None


def check_name(name: str) -> str:
    """The name; raises InvalidInputError unless it is a plain file name."""
    if not _NAME.fullmatch(name):
        raise InvalidInputError(
            f"name {show(name)}: give up to 60 letters, digits, dots, dashes and underscores, such as hospital-b"
        )
    return name


def name_of(data: str) -> str:
    """A name made from the last part of a path: `/data/Hospital B` gives `hospital-b`."""
    return re.sub(r"[^a-z0-9._]+", "-", real(data).stem.lower()).strip("-._")[:60] or "external"


def counted(frames: NDArray[np.int32] | None) -> tuple[tuple[int, int, int], ...]:
    """Each size of the frames, int32 (N, 2), with its number of images, the most common first; empty for None."""
    if frames is None or not len(frames):
        return ()
    sizes, counts = np.unique(frames, axis=0, return_counts=True)
    rows = [(int(width), int(height), int(count)) for (width, height), count in zip(sizes, counts, strict=True)]
    return tuple(sorted(rows, key=lambda row: -row[2]))


def write_external(folder: Path, external: ExternalSets) -> None:
    """Write `external.json` into a folder of sets, atomically."""
    write_json(folder / EXTERNAL_FILE, {"kind": _KIND, **asdict(external)})


def read_external(folder: Path) -> ExternalSets | None:
    """The description that makes a folder of sets external; None if there is none. Raises InvalidInputError if damaged."""
    path = folder / EXTERNAL_FILE
    if not path.exists():
        return None
    value = read_json(path, kind="description of external sets", again=_AGAIN)
    kind = value.pop("kind", None)
    if kind != _KIND:
        raise InvalidInputError(f"{path}: kind should be {_KIND}, found {show(kind)}; {_AGAIN}")
    external: ExternalSets = build(ExternalSets, {"frames": [], **value}, where=str(path), again=_AGAIN)
    return external
