"""Reports of an audit for people and for machines. Each format is one file; the file's name is the format's name on the
command line.

A format file defines `render(result) -> str` and, if it needs optional libraries, `NEEDS: Needs`. Nothing else needs to
change when a file is added. A trailing underscore is not part of the format's name; it avoids the name of a standard
module. A folder contains parts of a format and is not a format itself. `lineup` contains the formats for several audits
at once.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

from skinaudit.errors import InvalidInputError, choose_one, missing

if TYPE_CHECKING:  # the command line lists the formats in its help and must not load numpy
    from skinaudit.audit.judgement.result import AuditResult
    from skinaudit.audit.reports.parts.lineup import Lineup


Kind = Literal["audit", "lineup"]
"""What is shown: one audit, or several together, whose formats are in the folder of that name."""


@dataclass(frozen=True)
class Needs:
    """Optional libraries of a format. report: its name in words. libraries: module -> library. extra: installs them."""

    report: str
    libraries: Mapping[str, str]
    extra: str

    def check(self) -> None:
        """Raise MissingDependencyError for the first library that is not installed; loads none."""
        for module, library in self.libraries.items():
            if find_spec(module) is None:
                raise missing(library, self.extra, self.report)


def names(kind: Kind = "audit") -> tuple[str, ...]:
    """Names of the available formats."""
    return tuple(sorted(_modules(kind)))


def check_name(name: str, kind: Kind = "audit") -> None:
    """Raise InvalidInputError, which lists the formats, unless there is one with this name."""
    if name not in _modules(kind):
        raise InvalidInputError(choose_one("report format", name, names(kind)))


def check_needs(name: str, kind: Kind = "audit") -> None:
    """Raise MissingDependencyError if the format with this name needs a library that is not installed."""
    needs: Needs | None = getattr(importlib.import_module(_modules(kind)[name]), "NEEDS", None)
    if needs is not None:
        needs.check()


def render(name: str, result: AuditResult | Lineup, kind: Kind = "audit") -> str:
    """The result in the format with this name, ending in a line break.

    Raises InvalidInputError, which lists the formats, for an unknown one.
    """
    check_name(name, kind)
    text: str = importlib.import_module(_modules(kind)[name]).render(result)
    return text if text.endswith("\n") else f"{text}\n"


def _modules(kind: Kind) -> Mapping[str, str]:
    """Format -> module."""
    package = __name__ if kind == "audit" else f"{__name__}.{kind}"
    modules = pkgutil.iter_modules(importlib.import_module(package).__path__)
    return {module.name.rstrip("_"): f"{package}.{module.name}" for module in modules if not module.ispkg}
