"""What the file of a runtime must define. Each runtime is one file in this folder, named after it with `_` at the end.

The file defines `RUNTIME` and, if needed, `LIBRARIES`, the distributions that it needs. To add a runtime, add a file;
nothing else has to change. The file `tensorrt_rtx_.py` is the runtime tensorrt-rtx.
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

    suffixes: of the files that it opens. provider: the default; None if the file decides. open: `open(path, *, provider,
    threads) -> Session`, which raises EngineError. on_request: suffixes that it opens only if the user or the manifest names
    the runtime. recognises: tells its own files by their content, for two runtimes with a common suffix. runs_code: its
    files may contain code that runs on opening. Its `open` then also takes `allow_code: bool`, and refuses such a file
    without it. confined: its files might run code, so they are opened only in a process that the system confines, or with
    `allow_code`. plan_options: fields of PlanOptions that its files use. Its `open` then also takes `options: PlanOptions`.
    conditions: by suffix, a function that counts the operators of a file that make an answer depend on a condition, by
    ONNX's names. Files of other suffixes cannot be checked for this. networks: by suffix, a function that reads a file as
    layers, to compare them with the layers of its run.
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
        """The suffixes that it opens if no runtime is named."""
        return tuple(suffix for suffix in self.suffixes if suffix not in self.on_request)
