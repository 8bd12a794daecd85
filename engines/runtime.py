"""What a runtime's file has to offer: one runtime a file of this folder, named after it with `_` at the end.

The file defines `RUNTIME` and, where it has any, `LIBRARIES`, the distributions that it needs. Nothing else needs to change
when a file is added; the file `tensorrt_rtx_.py` is the runtime tensorrt-rtx.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from skinaudit.engines.engine import Provider
from skinaudit.engines.session import Session


class Opener(Protocol):
    """What a runtime's file offers."""

    def __call__(self, path: Path, *, provider: Provider, threads: int | None) -> Session:
        """Open the file at `path` or raise EngineError."""


@dataclass(frozen=True)
class Runtime:
    """How to open files with a runtime.

    suffixes: of the files that it opens. provider: the usual one, where the user names none. on_request: those of the
    suffixes that it opens only where the user or the manifest names it. conditions: by suffix, what counts the operators of
    a file by which an answer can hang on a condition, by ONNX's names; files of other suffixes cannot be read for that.
    """

    suffixes: tuple[str, ...]
    provider: Provider
    open: Opener
    on_request: tuple[str, ...] = ()
    conditions: Mapping[str, Callable[[Path], Mapping[str, int]]] = field(default_factory=dict)

    @property
    def by_default(self) -> tuple[str, ...]:
        """The suffixes that it opens where no runtime is named."""
        return tuple(suffix for suffix in self.suffixes if suffix not in self.on_request)
