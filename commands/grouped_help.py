"""Help in sections: of the options of a command, and of the commands of the program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click


class GroupedCommand(click.Command):
    """A command that lists its options in titled sections.

    sections: for each title the flags of its options, in the order of the help. Options without a section come last.
    """

    def __init__(self, *args: Any, sections: Mapping[str, Sequence[str]], **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.sections = sections

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections with their options, then all other options."""
        for title, options in self.options_by_section(ctx).items():
            with formatter.section(title):
                formatter.write_dl([record for option in options if (record := option.get_help_record(ctx)) is not None])

    def options_by_section(self, ctx: click.Context) -> dict[str, list[click.Option]]:
        """The visible options of each section, in the order of the help; those without a section under `Other options`."""
        place = {flag: (title, index) for title, flags in self.sections.items() for index, flag in enumerate(flags)}
        rows: dict[str, list[tuple[int, click.Option]]] = {title: [] for title in (*self.sections, "Other options")}
        for option in self.get_params(ctx):
            if isinstance(option, click.Option) and not option.hidden:  # the usage line shows the arguments
                title, index = next((place[flag] for flag in option.opts if flag in place), ("Other options", 0))
                rows[title].append((index, option))
        ordered = {title: sorted(listed, key=lambda row: row[0]) for title, listed in rows.items() if listed}
        return {title: [option for _, option in listed] for title, listed in ordered.items()}


class GroupedProgram(click.Group):
    """A program that lists its commands in titled sections.

    sections: for each title its commands, in the order of the help. Each command is in one section.
    """

    def __init__(self, *args: Any, sections: Mapping[str, Sequence[str]], **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.sections = sections

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections with their commands."""
        width = max(len(name) for names in self.sections.values() for name in names)
        for title, names in self.sections.items():
            with formatter.section(title):
                formatter.write_dl([(f"{name:<{width}}", self.commands[name].get_short_help_str(100)) for name in names])


def name_values(command: click.Command) -> None:
    """Let the help call the values of numeric options N or NUMBER, not INTEGER RANGE or FLOAT RANGE."""
    for option in command.params:
        if isinstance(option, click.Option) and option.metavar is None:
            if isinstance(option.type, click.IntRange):
                option.metavar = "N"
            elif isinstance(option.type, click.FloatRange):
                option.metavar = "NUMBER"
