"""All errors that skinaudit raises on purpose. Each message is one line that names the file and says what to do.

Other exceptions are faults. They are also reported in one line, and their traceback is shown on request.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

DEBUG = "SKINAUDIT_DEBUG"
"""The environment variable that requests tracebacks. `--debug` sets it, also for processes that are started later."""
NO_ENGINE = "`skinaudit export` prints the paths that it writes"
"""What to do if there is no engine of this name."""
_LONGEST, _END = 300, 140


_MEMORY = re.compile(
    r"bad_?alloc|can(no|')t allocate|cannot map|failed to map|out of memory|fail\w* to allocate|alloc\w* fail|MemoryError",
    re.I,
)


class SkinauditError(Exception):
    """Base of all expected failures; the command line prints it as one line and exits with code 2."""


class InvalidInputError(SkinauditError):
    """A file or a setting given by the user cannot be used: missing, truncated, tampered, of the wrong shape."""


class EngineError(SkinauditError):
    """An engine cannot be opened or run, or its answer is not finite logits (N, classes)."""


class NoDeviceError(EngineError):
    """An engine needs a device, such as a CUDA GPU, that this machine does not have."""


class EngineStoppedError(SkinauditError):
    """An engine's process was ended by a limit or a crash. Not an EngineError, so that nobody takes it for an answer."""


class UnusableDeviceError(EngineError):
    """A device exists but cannot be used now, such as a CUDA GPU whose driver is too old."""


class MissingDependencyError(SkinauditError):
    """An optional library is needed but not installed. The message has the command that installs it."""


class TrainingDivergedError(SkinauditError):
    """The training loss became NaN or infinite."""


def missing(library: str, extra: str, purpose: str) -> MissingDependencyError:
    """The error for an absent optional library. It names the extra that installs it."""
    return MissingDependencyError(f"{purpose} needs {library}, which is not installed: pip install 'skinaudit[{extra}]'")


def not_imported(error: Exception, library: str, extra: str, purpose: str) -> SkinauditError:
    """The error for an optional library whose import raised `error`: it is absent, or cannot be loaded.

    If memory is too small, this is not a MissingDependencyError, because audits continue without libraries that are not
    installed.
    """
    if isinstance(error, ModuleNotFoundError):
        return missing(library, extra, purpose)
    loaded = f"{purpose} needs {library}, which is installed but cannot be loaded ({in_one_line(error)})"
    if about_memory(str(error)):
        return SkinauditError(f"{loaded}: not enough memory; free some, or raise the limit (ulimit -v)")
    return MissingDependencyError(f"{loaded}; repair it with pip install 'skinaudit[{extra}]'")


def about_memory(text: str) -> bool:
    """Whether a message of a library or of the system is about too little memory."""
    return bool(_MEMORY.search(text))


def first_few(items: Sequence[str], *, limit: int = 5) -> str:
    """The first few items, each shortened, for a one-line message, and the number of the rest."""
    shown = ", ".join(map(shortened, items[:limit]))
    return shown if len(items) <= limit else f"{shown} and {len(items) - limit} more"


def counted(number: int, noun: str) -> str:
    """`1 image`, `1,200 images`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def shortened(text: str) -> str:
    """The beginning of a text that is too long for a message: names from outside may have a million characters."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def choose_one(what: str, name: str, choices: Sequence[str]) -> str:
    """A message about an unknown name: `attack 'pdg': choose one of fgsm, pgd; did you mean 'pgd'?`."""
    near = _nearest(name, choices)
    return f"{what} {name!r}: choose one of {', '.join(choices)}" + (f"; did you mean {near!r}?" if near else "")


def no_such_file(path: Path, kind: str, advice: str) -> str:
    """A message about a file that does not exist, with the most similar name beside it, or else the advice."""
    if path.is_symlink():
        return f"{path}: no such {kind}; it is a link that leads nowhere, so copy the file itself to this place"
    try:
        near = _nearest(path.name, [beside.name for beside in islice(path.parent.iterdir(), 1000)])
    except OSError:
        near = None
    return f"{path}: no such {kind}; " + (f"did you mean {near!r} in the same folder?" if near else advice)


def _nearest(name: str, choices: Sequence[str]) -> str | None:
    from difflib import get_close_matches

    lower = {choice.lower(): choice for choice in choices}
    near = get_close_matches(name.lower(), list(lower), n=1)
    return lower[near[0]] if near else None


def reason_of(error: BaseException, *, limit: int = 120) -> str:
    """A library's error for the middle of a message: its first line, cut to `limit`, because it may quote a whole file."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:limit]


def debugging() -> bool:
    """Whether tracebacks are requested: `$SKINAUDIT_DEBUG` is set, and neither empty nor 0."""
    return os.environ.get(DEBUG, "") not in ("", "0")


def in_one_line(error: BaseException) -> str:
    """Name and message of any exception, such as `KeyError: 'x'`, in one line of about 300 characters at most."""
    name = type(error).__name__
    try:
        text = " ".join(f"{name}: {error}".split()).removesuffix(":")
    except Exception:  # a fault in a library's wording of its error must not hide the error
        return name
    if len(text) <= _LONGEST:
        return text
    # messages of C++ libraries start with a signature and end with the cause
    return f"{text[: _LONGEST - _END]}...{text[-_END:]}"
