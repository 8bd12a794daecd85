"""`skinaudit completion`: the script that the shell loads, and the values that only this program can list."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import click
from click.shell_completion import CompletionItem, get_completion_class

from skinaudit.audit import reports
from skinaudit.commands.names import names_in

SHELLS = ("bash", "zsh", "fish")


def script(program: click.Command, shell: str, *, name: str) -> str:
    """The script that makes `shell`, one of SHELLS, complete the command line of `program` under this name."""
    completion = get_completion_class(shell)
    assert completion is not None, f"click has no completion for {shell}"
    variable = f"_{name.upper().replace('-', '_')}_COMPLETE"
    text = completion(program, {}, name, variable).source()
    # bash adds a space after every completed word, but after `junit=` a file name must follow
    added = "COMPREPLY+=($value)"
    return text.replace(added, f"{added}; [[ $value != *= ]] || compopt -o nospace")


def report_formats(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """`junit=` and other formats, and the files after it."""
    name, separator, file = incomplete.partition("=")
    if not separator:
        return [CompletionItem(f"{format_name}=") for format_name in reports.names() if format_name.startswith(name)]
    folder, slash, start = file.rpartition("/")
    paths = sorted(Path(folder + slash or ".").glob("*"))
    return [
        CompletionItem(f"{name}={folder}{slash}{path.name}{'/' if path.is_dir() else ''}")
        for path in paths
        if path.name.startswith(start)
    ]


def probe_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The probes, by file name; those that follow gradients only if torch is installed. Imports neither."""
    folders = ("audit/evidence/probes", "trainer/probes") if find_spec("torch") else ("audit/evidence/probes",)
    names = sorted(name for folder in folders for name in names_in(folder))
    return [CompletionItem(probe_name) for probe_name in names if probe_name.startswith(incomplete)]


@click.command(short_help="Print a shell's completion script.")
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print a script for SHELL that completes commands, options, files, report formats and probes.

    \b
    Examples:
      eval "$(skinaudit completion bash)"            in ~/.bashrc
      eval "$(skinaudit completion zsh)"             in ~/.zshrc, behind compinit
      skinaudit completion fish > ~/.config/fish/completions/skinaudit.fish
    """
    program = click.get_current_context().find_root().command
    click.echo(script(program, shell, name="skinaudit"), nl=False)
