"""Help in sections: every option is listed once, and every flag of a section belongs to an option."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from skinaudit import cli
from skinaudit.commands.grouped_help import GroupedCommand

GROUPED = [name for name, command in cli.commands.commands.items() if isinstance(command, GroupedCommand)]


@pytest.mark.parametrize("name", GROUPED)
def test_every_option_is_in_one_section(name: str) -> None:
    command = cli.commands.commands[name]
    assert isinstance(command, GroupedCommand)
    flags = [flag for listed in command.sections.values() for flag in listed]
    assert len(set(flags)) == len(flags)
    visible = [option for option in command.params if isinstance(option, click.Option) and not option.hidden]
    for option in visible:
        assert len(set(option.opts) & set(flags)) == 1, option.opts
    assert set(flags) <= {flag for option in visible for flag in option.opts}


def test_the_longest_helps_have_sections() -> None:
    assert {"train", "export", "audit"} <= set(GROUPED)
    text = CliRunner().invoke(cli.commands, ["audit", "--help"]).output
    places = [text.index(f"\n{title}:\n") for title in ("What to audit", "Fresh attacks", "Other options")]
    assert places == sorted(places)
    assert text.index("\n  --probe NAME") > places[1]
    assert text.index("Show this message and exit") > places[2]


@pytest.mark.parametrize("name", cli.commands.commands)
def test_a_default_is_shown_as_it_is_typed(name: str) -> None:
    assert "[default: (" not in CliRunner().invoke(cli.commands, [name, "--help"]).output
