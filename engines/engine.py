"""What every opened engine offers, whatever its runtime."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.typed_json import Count

Provider = Literal["cpu", "cuda"]
Images = NDArray[np.uint8] | NDArray[np.float32]
"""Pixels that an engine gets: 0 to 255; float32 also allows values between the steps of the 8-bit grid."""
UNREPORTED = "unknown"
"""Key in counts of layers, for layers whose precision the runtime does not report."""


@dataclass(frozen=True)
class BatchRange:
    """Batch sizes that an engine accepts in one call: from `smallest` to `largest`, tuned for `usual`."""

    smallest: int
    usual: int
    largest: int


@dataclass(frozen=True)
class EngineDescription:
    """The description that an opened engine gives of itself. Nothing here comes from a manifest.

    found: number of weighted layers (convolutions and matrix products) by their precision in the file, such as {"fp16":
    28}; empty if the file does not report it. executed: the same by the precision in which this runtime computes the
    layers on this device. It may differ, because x86 CPUs have no fp16 convolutions. It is None if the runtime reports
    nothing; parts that it does not report are counted under UNREPORTED. provider: as the runtime reports it after
    opening, not as it was requested. settings: settings of the runtime, such as its level of graph optimisation.
    batches: ranges of batch sizes that it accepts in one call; empty if it accepts any. More images are split, fewer are
    padded. unused: number of optimisation profiles of a plan that no batch size selects.
    """

    runtime: str
    version: str
    provider: str
    device: str
    threads: Count
    found: Mapping[str, Count]
    size: Count
    classes: Count
    executed: Mapping[str, Count] | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    batches: tuple[BatchRange, ...] = ()
    unused: Count = 0


class Engine(Protocol):
    """An open engine: deterministic, pinned threads, verified provider."""

    @property
    def description(self) -> EngineDescription:
        """Its description."""

    def logits(self, images: Images) -> NDArray[np.float32]:
        """Answer for RGB (B, 3, size, size): float32 (B, classes), finite.

        Raises EngineError on NaN, infinity or a wrong shape, and on float32 images if the engine's input has an integer
        type.
        """
