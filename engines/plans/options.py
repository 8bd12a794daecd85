"""What a user may say of the way in which a plan runs."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import MappingProxyType
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
        values = {flag: getattr(self, name) for name, flag in _FLAGS.items() if name in self._changed()}
        return tuple(word for flag, value in values.items() for word in ([flag] if value is True else [flag, str(value)]))

    def only(self, names: Collection[str]) -> PlanOptions:
        """The options of these field names; the others are at their defaults."""
        return replace(PlanOptions(), **{name: getattr(self, name) for name in names})

    def beyond(self, names: Collection[str]) -> dict[str, str]:
        """What differs from the default in other fields than these: the name of the field and what to type for it."""
        return {name: _FLAGS[name] for name in self._changed() if name not in names}

    def _changed(self) -> tuple[str, ...]:
        return tuple(field.name for field in fields(self) if getattr(self, field.name) != field.default)


_FLAGS = MappingProxyType({
    "device": "--device", "specialisation": "--kernels", "runtime_cache": "--runtime-cache", "cuda_graphs": "--cuda-graphs",
})  # fmt: skip
"""How each field is typed."""
