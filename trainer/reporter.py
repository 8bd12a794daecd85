"""The functions to which a training reports its progress."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the command line needs a reporter before torch is imported, which takes seconds
    from skinaudit.artifacts.files import Progress
    from skinaudit.trainer.data.summary import DataSummary
    from skinaudit.trainer.loop import Epoch


@dataclass(frozen=True)
class Reporter:
    """The functions to which a training reports. By default they do nothing."""

    say: Callable[[str], None] = lambda _: None
    data: Callable[[DataSummary], None] = lambda _: None
    epoch: Callable[[Epoch], None] = lambda _: None
    progress: Callable[[str], Progress | None] = lambda _: None
