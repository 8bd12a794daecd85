"""What a user can choose about running a plan."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal

Specialisation = Literal["eager", "none"]


@dataclass(frozen=True)
class PlanOptions:
    """How to open and run a plan.

    device: index of the CUDA device. specialisation: of TensorRT-RTX's kernels to the shapes of a call. `eager` compiles
    them before the call, `none` keeps the general ones. The library's default replaces kernels in the background, so a
    second run differs; it is not offered. runtime_cache: file for the kernels that TensorRT-RTX compiles, created if
    missing. cuda_graphs: record a repeated call and replay it.
    """

    device: int = 0
    specialisation: Specialisation = "eager"
    runtime_cache: Path | None = None
    cuda_graphs: bool = False

    def given(self) -> tuple[str, ...]:
        """Command-line arguments for everything that differs from the default, one word each."""
        values = {flag: getattr(self, name) for name, flag in _FLAGS.items() if name in self._changed()}
        return tuple(word for flag, value in values.items() for word in ([flag] if value is True else [flag, str(value)]))

    def only(self, names: Collection[str]) -> PlanOptions:
        """The options with these field names; all others at their defaults."""
        return replace(PlanOptions(), **{name: getattr(self, name) for name in names})

    def beyond(self, names: Collection[str]) -> dict[str, str]:
        """Options that differ from the default in other fields than these: field name, and how it is typed."""
        return {name: _FLAGS[name] for name in self._changed() if name not in names}

    def _changed(self) -> tuple[str, ...]:
        return tuple(field.name for field in fields(self) if getattr(self, field.name) != field.default)


_FLAGS = MappingProxyType({
    "device": "--device", "specialisation": "--kernels", "runtime_cache": "--runtime-cache", "cuda_graphs": "--cuda-graphs",
})  # fmt: skip
"""How each field is typed on the command line."""
