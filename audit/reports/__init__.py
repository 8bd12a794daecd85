"""What an audit found, for people and for machines: one format a file, whose name is the format's name on the command line.

A format file defines `render(result) -> str`. Nothing else needs to change when a file is added. A trailing underscore,
which keeps a file's name clear of a module of the standard library, is not part of the format's name. A folder holds
parts of a format and is none.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from typing import TYPE_CHECKING

from skinaudit.errors import InvalidInputError

if TYPE_CHECKING:  # the command line lists the formats in its help, which loads no numpy
    from skinaudit.audit.result import AuditResult


def names() -> tuple[str, ...]:
    """The formats that are there, by file."""
    return tuple(sorted(_modules()))


def check_name(name: str) -> None:
    """Raise InvalidInputError, listing the formats, unless there is one of that name."""
    if name not in _modules():
        raise InvalidInputError(f"report format {name!r}: choose among {', '.join(names())}")


def render(name: str, result: AuditResult) -> str:
    """The result in the format of that name, its last line ended.

    Raises InvalidInputError, listing the formats, for an unknown one.
    """
    check_name(name)
    text: str = importlib.import_module(f"{__name__}.{_modules()[name]}").render(result)
    return text if text.endswith("\n") else f"{text}\n"


def _modules() -> Mapping[str, str]:
    """Format -> module."""
    return {module.name.rstrip("_"): module.name for module in pkgutil.iter_modules(__path__) if not module.ispkg}
