"""Help in sections: every option is listed once, and every flag of a section belongs to an option."""

from __future__ import annotations

import re

import click
import pytest
from click.testing import CliRunner

from skinaudit import cli
from skinaudit.commands.grouped_help import GroupedCommand, GroupedProgram

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


def test_every_command_is_in_one_section_of_the_help_of_the_program() -> None:
    assert isinstance(cli.commands, GroupedProgram)
    listed = [name for names in cli.commands.sections.values() for name in names]
    assert sorted(listed) == sorted(cli.commands.commands)
    text = CliRunner().invoke(cli.commands, ["--help"]).output
    assert all(f"\n  {name} " in text for name in listed)


@pytest.mark.parametrize("name", cli.commands.commands)
def test_every_option_says_what_it_does_and_no_argument_is_listed_as_one(name: str) -> None:
    command = cli.commands.commands[name]
    assert all(option.help for option in command.params if isinstance(option, click.Option) and not option.hidden)
    text = CliRunner().invoke(cli.commands, [name, "--help"]).output
    assert "RANGE" not in text
    if isinstance(command, GroupedCommand):
        assert re.search(r"^Other options:\n  (-h, )?--help", text, re.MULTILINE)


def test_the_longest_helps_have_sections() -> None:
    assert {"train", "attack", "export", "audit", "report", "compare", "contract", "bom"} <= set(GROUPED)
    text = CliRunner().invoke(cli.commands, ["audit", "--help"]).output
    places = [text.index(f"\n{title}:\n") for title in ("What to audit", "Fresh attacks", "Other options")]
    assert places == sorted(places)
    assert text.index("\n  --probe NAME") > places[1]
    assert text.index("Show this message and exit") > places[2]


@pytest.mark.parametrize("name", cli.commands.commands)
def test_a_default_is_shown_as_it_is_typed(name: str) -> None:
    assert "[default: (" not in CliRunner().invoke(cli.commands, [name, "--help"]).output


@pytest.mark.parametrize("name", [None, *cli.commands.commands])
def test_help_fits_80_columns_and_has_an_example(name: str | None) -> None:
    words = ["--help"] if name is None else [name, "--help"]
    text = CliRunner().invoke(cli.commands, words, terminal_width=80).output
    assert [line for line in text.splitlines() if len(line) > 80] == []
    assert re.search(r"^ +(eval .)?skinaudit [a-z]", text, re.MULTILINE)
