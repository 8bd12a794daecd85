"""Options that may come from the environment, such as `SKINAUDIT_AUDIT_THREADS=4` for `skinaudit audit --threads 4`.

Only those in OPTIONS may: they say where and how fast a command works. Options that say what an audit compares, with which
bounds, and which code it trusts must be on the command line, so that no variable on a machine can change a verdict. A
variable for any other option is an error, because whoever set it relies on it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import click

from skinaudit.errors import InvalidInputError

PREFIX = "SKINAUDIT"
OPTIONS: Mapping[str, tuple[str, ...]] = MappingProxyType({
    "train": ("data", "threads"),
    "attack": ("threads",),
    "export": ("provider", "timing_cache", "workspace", "threads"),
    "audit": ("provider", "device", "runtime_cache", "limit_seconds", "limit_memory", "jobs", "threads"),
    "transfer": ("provider", "threads"),
    "defences": ("provider", "threads"),
    "sweep": ("threads",),
    "contract": ("limit_seconds", "limit_memory", "threads"),
    "track": ("tracking_uri", "experiment"),
    "paper": ("data", "jobs", "threads"),
    "demo": ("threads",),
})  # fmt: skip
"""Command -> its options that a variable may set, by parameter name."""
MACHINE = ("SKINAUDIT_CACHE", "SKINAUDIT_DEBUG", "SKINAUDIT_UNCONFINED_GPU")
"""Settings of the machine, for all commands."""


@dataclass(frozen=True)
class Variable:
    """A variable that is set and belongs to a command. flag: its option; None if there is no such option.

    accepted: whether the command reads the option from it.
    """

    name: str
    command: str
    flag: str | None
    accepted: bool


def restrict(command: click.Command) -> None:
    """Let the command read the options in OPTIONS from the environment, and no other ones."""
    for option in command.params:
        if isinstance(option, click.Option):
            option.allow_from_autoenv = option.name in OPTIONS.get(str(command.name), ())


def variables(command: click.Command, environment: Mapping[str, str] = os.environ) -> Iterator[Variable]:
    """The variables set for a command, in alphabetical order: accepted, refused, and those without an option."""
    name = str(command.name)
    flags = {flag: option for option in command.params for flag in option.opts if flag.startswith("--")}
    called = {f"{PREFIX}_{name}_{flag.removeprefix('--')}".replace("-", "_").upper(): flag for flag in flags}
    for variable in sorted(environment):
        if environment[variable] and variable.startswith(f"{PREFIX}_{name}_".upper()):
            flag = called.get(variable)
            yield Variable(variable, name, flag, flag is not None and flags[flag].name in OPTIONS.get(name, ()))


def unknown(commands: Iterable[str], environment: Mapping[str, str] = os.environ) -> list[str]:
    """Variables that look like skinaudit's but belong to no command and to no machine setting."""
    prefixes = tuple(f"{PREFIX}_{name}_".upper() for name in commands)
    mine = (name for name in sorted(environment) if environment[name] and name.startswith(f"{PREFIX}_"))
    return [name for name in mine if name not in MACHINE and not name.startswith(prefixes)]


def check(command: click.Command) -> None:
    """Raise InvalidInputError if a variable is set for an option that must not come from the environment."""
    for variable in variables(command):
        if variable.flag is not None and not variable.accepted:
            raise InvalidInputError(
                f"{variable.name}: {variable.flag} does not come from the environment; unset the variable and give "
                f"{variable.flag} to skinaudit {variable.command}"
            )
