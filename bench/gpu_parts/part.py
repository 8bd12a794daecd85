"""What the parts of `bench/gpu.py` are asked and what they answer: each runs in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from skinaudit.engines.engine import Provider


@dataclass(frozen=True)
class Settings:
    """What every part is asked. Invariant: all values are plain, so that they travel to another process as JSON.

    run: a finished run; engines are built into it. data: what the part that trains is given as `--data`, with `size`,
    `width`, `epochs` and `images` (of synthetic data; 0 for the command's default). formats: only these engine formats, all
    that are installed if empty. steps: of PGD. attacked: clean images that the attack takes, one batch. compiled: whether
    torch.compile takes part.
    """

    run: str
    provider: Provider
    threads: int
    batches: tuple[int, ...]
    rounds: int
    formats: tuple[str, ...]
    data: str
    size: int
    width: float
    epochs: int
    images: int
    steps: int
    attacked: int
    compiled: bool

    @property
    def folder(self) -> Path:
        """The run."""
        return Path(self.run)

    @property
    def device(self) -> torch.device:
        """Where torch works."""
        return torch.device("cuda" if self.provider == "cuda" else "cpu")


@dataclass(frozen=True)
class Answer:
    """What a part measured. text: Markdown below its heading. figures: the same and more, as plain JSON values."""

    text: str
    figures: dict[str, Any] = field(default_factory=dict)


Keep = Callable[[Answer], None]
"""Called with all that a part has so far whenever a row comes in: the page has it even if the part does not end in time."""


class Part(Protocol):
    """A module of this folder."""

    TITLE: str

    def measure(self, settings: Settings, keep: Keep, /) -> Answer:
        """Measure; any exception is written down as this part's result and stops no other part."""
