"""What the functions of the library share: arguments with the ranges of the command line, cores, and remarks."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from skinaudit.artifacts.cores import cores
from skinaudit.errors import InvalidInputError

if TYPE_CHECKING:
    import click

    from skinaudit.artifacts.files import Progress

LOG = logging.getLogger("skinaudit")
"""What happens, for programs that call the library. The command line shows it with -v."""

_Parameters = ParamSpec("_Parameters")
_Value = TypeVar("_Value")


def as_the_command_takes_them(function: Callable[_Parameters, _Value]) -> Callable[_Parameters, _Value]:
    """Check the arguments of `function` with the options of the command of its name, so that both have the same ranges.

    An argument belongs to the option of the same name: `probe_images` to `--probe-images`. Raises InvalidInputError.
    """
    signature = inspect.signature(function)

    @wraps(function)
    def checked(*positional: _Parameters.args, **named: _Parameters.kwargs) -> _Value:
        _check(function.__name__, signature.bind(*positional, **named).arguments)
        return function(*positional, **named)

    return checked


def option_name(parameter: click.Parameter) -> str:
    """The parameter name of an option: `probe_images` for `--probe-images`."""
    long = [word for word in parameter.opts if word.startswith("--")]
    return (long[0] if long else str(parameter.name)).removeprefix("--").replace("-", "_")


def thread_count(threads: int | None) -> int:
    """Number of CPU threads: the given one, else the number of cores for this process."""
    return cores() if threads is None else threads


def as_path(value: str | Path | None) -> Path | None:
    """A Path from a text or a Path; None stays None."""
    return None if value is None else Path(value)


def log_progress(title: str) -> Progress:
    """Progress of one part of the work for the log: only its end is logged."""
    return lambda done, total: LOG.info("%s: %d of %d", title, done, total) if done >= total else None


def _check(name: str, arguments: Mapping[str, object]) -> None:
    import click

    from skinaudit.commands import auditing, exporting, training

    commands = {"train": training.train, "attack": training.attack, "export": exporting.export, "audit": auditing.audit}
    command = commands[name]
    context = click.Context(command)
    for parameter in command.params:
        argument = option_name(parameter)
        if isinstance(parameter, click.Option) and argument in arguments:
            try:
                parameter.type_cast_value(context, arguments[argument])
            except click.BadParameter as error:
                raise InvalidInputError(f"{name}({argument}={arguments[argument]!r}): {error.message}") from error
