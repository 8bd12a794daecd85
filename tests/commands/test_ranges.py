"""Numbers of any size: what a library could not hold is refused when the command begins, with the range."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from skinaudit.cli import commands

ONLY_LONGER = {
    "--batch", "--epochs", "--images", "--jobs", "--minutes", "--probe-images", "--probe-queries", "--rebuilds", "--seeds",
    "--take", "--verbose",
}  # fmt: skip
"""Options without a largest value: there are no more images, cores or candidates than there are, the rest takes time, or the
command has a limit of its own."""


def numbers(kind: click.ParamType) -> Iterator[click.IntRange | click.FloatRange]:
    """The ranges of an option's values."""
    if isinstance(kind, click.IntRange | click.FloatRange):
        yield kind
    elif isinstance(kind, click.Tuple):
        for part in kind.types:
            yield from numbers(part)


BOUNDED = [
    (command, option.opts[-1], len(ranges))
    for command, entry in commands.commands.items()
    for option in entry.params
    if (ranges := list(numbers(option.type))) and ranges[0].max is not None
]


def test_only_what_takes_longer_has_no_largest_value() -> None:
    without = {
        option.opts[-1]
        for entry in commands.commands.values()
        for option in entry.params
        if any(kind.max is None for kind in numbers(option.type))
    }
    assert without == ONLY_LONGER


@pytest.mark.parametrize(("command", "option", "count"), BOUNDED)
@pytest.mark.parametrize("value", ["1" + "0" * 30, "9" * 400])
def test_a_huge_number_is_refused_with_the_range(command: str, option: str, count: int, value: str) -> None:
    outcome = CliRunner().invoke(commands, [command, option, *[value] * count])
    assert outcome.exit_code == 2
    assert "is not in the range" in outcome.output
