"""Opens an engine file with the runtime that its suffix names. A new runtime is one file here and one row in `OPENERS`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from skinaudit.engines.engine import Engine
from skinaudit.engines.ort import Provider, open_onnx
from skinaudit.errors import EngineError


class Opener(Protocol):
    """What a runtime's file offers."""

    def __call__(self, path: Path, *, provider: Provider, threads: int | None) -> Engine:
        """Open the engine at `path` or raise EngineError."""


OPENERS: Mapping[str, Opener] = {".onnx": open_onnx}
"""Runtimes by file suffix."""


def open_engine(path: Path, *, provider: Provider = "cpu", threads: int | None = None) -> Engine:
    """Open the engine at `path`, its runtime chosen by the suffix.

    Raises EngineError for an unknown suffix, and as the runtime's own opener does.
    """
    opener = OPENERS.get(path.suffix.lower())
    if opener is None:
        raise EngineError(
            f"{path}: no runtime here opens {path.suffix or 'a file without suffix'}; supported: {', '.join(OPENERS)}"
        )
    return opener(path, provider=provider, threads=threads)
