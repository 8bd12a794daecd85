"""The batches of one adversarial set, shared by the processes that torchrun starts. Each batch is a file until all exist."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from skinaudit.artifacts.attack_record import TENSORS, AttackRecord, from_arrays
from skinaudit.artifacts.files import atomic_path
from skinaudit.artifacts.tensors import read_tensors
from skinaudit.errors import InvalidInputError

Part = tuple[NDArray[np.uint8], AttackRecord]
"""A batch: attacked images uint8 (n, 3, H, W), and the attack's record of them."""

_IMAGES = "images"
_LOOK = 0.2
"""Seconds between two checks for batches of other processes."""


@dataclass(frozen=True)
class Worker:
    """This process among `size` processes. The first, of rank 0, writes the result."""

    rank: int = 0
    size: int = 1

    @property
    def writes(self) -> bool:
        """Whether this process puts the batches together."""
        return self.rank == 0


ALONE = Worker()


def this_worker() -> Worker:
    """Read torchrun's RANK and WORLD_SIZE; a single process without them. Raises InvalidInputError for invalid values."""
    given = {name: os.environ.get(name, default) for name, default in (("RANK", "0"), ("WORLD_SIZE", "1"))}
    if not all(value.isdecimal() for value in given.values()) or int(given["RANK"]) >= int(given["WORLD_SIZE"]):
        raise InvalidInputError(
            f"RANK={given['RANK']}, WORLD_SIZE={given['WORLD_SIZE']}: no process of a group; start several with torchrun, "
            "or unset both"
        )
    return Worker(int(given["RANK"]), int(given["WORLD_SIZE"]))


def shared_batches(
    folder: Path, shapes: Sequence[tuple[int, ...]], craft: Callable[[int], Part], *, worker: Worker, patience: float
) -> Iterator[Part]:
    """All batches in order. This process crafts every `size`-th; a process that does not write gets none.

    shapes: of the images of each batch; a file with another shape is not a batch and is made again. folder: for the batch
    files, on a disk that all processes share. Its name must identify everything that decides the bytes. Existing batches are
    not crafted again, so a killed group continues. The caller deletes the folder once the result is written: a process that
    comes late finds the batches until then. patience: seconds to wait for the next batch of another process. Raises
    InvalidInputError after that time, and if another process makes batches of the same set with other options meanwhile.
    """
    folder.mkdir(parents=True, exist_ok=True)
    before = _changed(folder)
    for number in range(worker.rank, len(shapes), worker.size):
        if _read(folder, number, shapes[number]) is None:
            images, noted = craft(number)
            with atomic_path(_file(folder, number)) as temporary:
                save_file({_IMAGES: images, **noted.arrays()}, temporary)
    if not worker.writes:
        return
    for number, shape in enumerate(shapes):
        yield _awaited(folder, number, shape, patience, before)


def _changed(folder: Path) -> dict[Path, int]:
    """When each folder of the same set, but of other options, was last changed. Names: `.SET.DIGEST.batches`."""
    changed = {}
    for path in folder.parent.glob(".*.batches"):
        if path != folder and path.name.rsplit(".", 2)[0] == folder.name.rsplit(".", 2)[0]:
            with suppress(FileNotFoundError):  # its set may just have been finished
                changed[path] = path.stat().st_mtime_ns
    return changed


def _awaited(folder: Path, number: int, shape: tuple[int, ...], patience: float, before: Mapping[Path, int]) -> Part:
    end = time.monotonic() + patience
    while (part := _read(folder, number, shape)) is None:
        for other, changed in _changed(folder).items():
            if changed != before.get(other):
                raise InvalidInputError(
                    f"{other}: another process makes batches of this set with other options; stop all processes and start "
                    "each with the same options, --threads and --seed included, and the same versions of torch"
                )
        if time.monotonic() > end:
            raise InvalidInputError(
                f"{_file(folder, number)}: did not come within {patience:,.0f} s; do all processes see this folder? Start "
                "them again: finished batches are kept"
            )
        time.sleep(_LOOK)
    return part


def _read(folder: Path, number: int, shape: tuple[int, ...]) -> Part | None:
    """The batch; None if it is missing or incomplete."""
    try:
        arrays, _ = read_tensors(_file(folder, number), kind="batch", again="")
        images, noted = arrays[_IMAGES], from_arrays({name: arrays[name] for name in TENSORS})
    except (InvalidInputError, KeyError):
        return None
    fits = images.dtype == np.uint8 and images.shape == shape and not noted.problem(len(images))
    return (images, noted) if fits else None


def _file(folder: Path, number: int) -> Path:
    return folder / f"{number:05d}.safetensors"
