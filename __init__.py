"""Says, with statistics and evidence, whether the engine that ships is as robust as the model that was measured.

The library has five functions. Each does what the command of the same name does, and has the same defaults:

    train(data)            train a classifier, harden it if asked, and write a run
    attack(run)            write more adversarial sets of a run
    export(run)            compile a run to engine files
    audit(engine)          judge an engine: verdict, gates, findings, the answer to each image
    read_report(path)      read the JSON report of an earlier audit

They are loaded when they are first used, so that this import stays fast.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from skinaudit import no_telemetry, thread_waiting

if TYPE_CHECKING:
    from skinaudit.commands.library import attack, audit, export, read_report, train

__all__ = ["attack", "audit", "export", "read_report", "train"]
__version__ = "0.1.0"

no_telemetry.switch_off()
thread_waiting.share_cores()


class _CallablePackage(ModuleType):
    """A package that shares its name with a function of the library: `skinaudit.audit` and `skinaudit.export`."""

    def __call__(self, *positional: Any, **named: Any) -> Any:
        return _function(self.__name__.rpartition(".")[2])(*positional, **named)

    def __reduce__(self) -> tuple[Any, ...]:  # so that a pool of processes can take skinaudit.audit
        return importlib.import_module, (self.__name__,)


class _Library(ModuleType):
    """This package. After `import skinaudit.audit.checks`, `skinaudit.audit(engine)` can still be called."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in __all__ and type(value) is ModuleType:
            value.__class__ = _CallablePackage
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Library


def _function(name: str) -> Any:
    from skinaudit.commands import library

    return getattr(library, name)


if not TYPE_CHECKING:  # type checkers take the functions from the import above

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return importlib.import_module(f"{__name__}.{name}") if name in ("audit", "export") else _function(name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
