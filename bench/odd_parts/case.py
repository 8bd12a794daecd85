"""What an odd input is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Place:
    """Where a case may write, and a run that it may copy. marker: what a payload writes if it runs."""

    folder: Path
    source: Path

    @property
    def marker(self) -> Path:
        return self.folder / "the-payload-ran"

    def run(self) -> Path:
        """A copy of the run."""
        return Path(shutil.copytree(self.source, self.folder / "run"))

    def write(self, name: str, content: bytes | str) -> str:
        """A file in the folder; returns its name."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return name

    def sparse(self, name: str, size: int) -> str:
        """A file of holes."""
        with (self.folder / name).open("wb") as stream:
            stream.truncate(size)
        return name


@dataclass(frozen=True)
class Case:
    """An input. build: writes it and gives the words of the command that meets it. codes: exit codes that are right."""

    name: str
    build: Callable[[Place], list[str]]
    codes: tuple[int, ...] = (2,)


def change_json(path: Path, change: Callable[[Any], None]) -> None:
    """Change a file of JSON in place."""
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))
