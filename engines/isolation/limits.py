"""How much time and memory an engine's process may use."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from skinaudit.errors import InvalidInputError

_SECONDS, _SECONDS_PER_MIB = 300.0, 1.0
_MEMORY, _MEMORY_PER_BYTE = 4 * 2**30, 20
_OF_MACHINE = 0.9
_WRITTEN, _WRITTEN_PER_BYTE = 2**28, 4


@dataclass(frozen=True)
class Limits:
    """Limits of one engine's process. None means the default for the size of the engine file.

    seconds: to open the file, and to run one batch. memory: bytes of the process's own memory at any moment, without mapped
    files. Both are upper limits for a process that has gone wrong, far above the needs of a correct engine.
    """

    seconds: float | None = None
    memory: int | None = None

    def __post_init__(self) -> None:
        for option, value in (("--limit-seconds", self.seconds), ("--limit-memory", self.memory)):
            if value is not None and not value > 0:
                raise InvalidInputError(f"{option}: should be more than 0, found {value:g}; leave it out for the default")

    def given(self) -> tuple[str, ...]:
        """The command-line arguments for these limits, one word each."""
        seconds = () if self.seconds is None else ("--limit-seconds", f"{self.seconds:g}")
        return seconds if self.memory is None else (*seconds, "--limit-memory", f"{self.memory / 2**30:g}")


NO_LIMITS = Limits()
"""The defaults for the size of the file."""


@dataclass(frozen=True)
class Bounds:
    """Limits computed for one file.

    written: largest size in bytes of a file that the process writes to its scratch folder. size: bytes of the engine's file.
    """

    seconds: float
    memory: int
    written: int
    size: int


def bounds_of(path: Path, limits: Limits) -> Bounds:
    """Limits for the file at `path`. A missing file counts as empty.

    Time: 5 minutes plus one second per MiB. Memory: 4 GiB plus 20 times the size, but at most nine tenths of the machine's
    memory.
    """
    size = 0
    with suppress(OSError):
        size = path.stat().st_size
    memory = min(_MEMORY + _MEMORY_PER_BYTE * size, int(_OF_MACHINE * _machine_memory()))
    return Bounds(
        seconds=limits.seconds or _SECONDS + _SECONDS_PER_MIB * size / 2**20,
        memory=limits.memory or memory,
        written=_WRITTEN + _WRITTEN_PER_BYTE * size,
        size=size,
    )


def _machine_memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
