"""What a user may say of the way in which a plan runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Specialisation = Literal["eager", "none"]


@dataclass(frozen=True)
class PlanOptions:
    """How a plan is opened and run.

    device: index of the CUDA device. specialisation: of TensorRT-RTX's kernels to the shapes of a call: eager compiles them
    before the call, none keeps the general ones. The library's own default swaps kernels in the background, so that a second
    run differs, and is not offered. runtime_cache: file of the kernels that TensorRT-RTX has compiled, made where it is
    missing. cuda_graphs: record a repeated call and replay it.
    """

    device: int = 0
    specialisation: Specialisation = "eager"
    runtime_cache: Path | None = None
    cuda_graphs: bool = False

    def given(self) -> tuple[str, ...]:
        """What to type for whatever differs from the default, one word each."""
        typed = {
            ("--device", str(self.device)): self.device != 0,
            ("--kernels", self.specialisation): self.specialisation != "eager",
            ("--runtime-cache", str(self.runtime_cache)): self.runtime_cache is not None,
            ("--cuda-graphs",): self.cuda_graphs,
        }
        return tuple(word for words, is_given in typed.items() if is_given for word in words)
