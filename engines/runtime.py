"""What a runtime's file has to offer: one runtime a file of this folder, named after it with `_` at the end.

The file defines `RUNTIME` and, where it has any, `LIBRARIES`, the distributions that it needs. Nothing else needs to change
when a file is added; the file `tensorrt_rtx_.py` is the runtime tensorrt-rtx.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from skinaudit.engines.engine import Provider
from skinaudit.engines.networks.layers import Layer
from skinaudit.engines.session import Session


@dataclass(frozen=True)
class Runtime:
    """How to open files with a runtime.

    suffixes: of the files that it opens. provider: the usual one, where the user names none; None where the file decides.
    open: `open(path, *, provider, threads) -> Session`, which raises EngineError. on_request: those of the suffixes that it
    opens only where the user or the manifest names it. recognises: of two runtimes with a suffix in common, the one that
    tells its own files by their content. runs_code: its files may hold code that runs when they are opened; `open` then
    takes `allow_code: bool`, too, and refuses such a file without it. confined: its files might run code, and are opened
    only where the system confines the process that opens them, or with `allow_code`. plan_options: fields of PlanOptions
    that have a meaning for its files; `open` then takes `options: PlanOptions`, too. conditions: by suffix, what counts the
    operators of a file that make an answer depend on a condition, by ONNX's names; files of other suffixes cannot be read
    for that. networks: by suffix, what reads a file as layers that can be compared with those of its run.
    """

    suffixes: tuple[str, ...]
    provider: Provider | None
    open: Callable[..., Session]
    on_request: tuple[str, ...] = ()
    recognises: Callable[[Path], bool] | None = None
    runs_code: bool = False
    confined: bool = False
    plan_options: tuple[str, ...] = ()
    conditions: Mapping[str, Callable[[Path], Mapping[str, int]]] = field(default_factory=dict)
    networks: Mapping[str, Callable[[Path], Layer]] = field(default_factory=dict)

    @property
    def by_default(self) -> tuple[str, ...]:
        """The suffixes that it opens where no runtime is named."""
        return tuple(suffix for suffix in self.suffixes if suffix not in self.on_request)
