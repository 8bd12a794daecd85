"""`-v` and `-q`: what they add to stderr and leave out of it, and that nothing of it outlives the command."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from skinaudit.commands import loudness
from skinaudit.commands.screen import bars, note, say, step


@pytest.fixture
def program() -> Iterator[click.Group]:
    @click.group()
    def program() -> None: ...

    @program.command()
    def work() -> None:
        logging.getLogger("skinaudit.audit").info("opened \x1b[2Jengine")
        logging.getLogger("skinaudit.audit").debug("a detail")
        step("a step")
        note("a warning")
        say("a result")
        with bars() as make_bar:
            click.echo("bar" if make_bar("replaying") else "no bar")

    work.params += loudness.options(hidden=True)
    program.params += loudness.options(hidden=False)
    before = logging.getLogger("skinaudit")
    handlers, level = list(before.handlers), before.level
    yield program
    assert (before.handlers, before.level) == (handlers, level)


@pytest.mark.parametrize(
    ("arguments", "stderr", "stdout"),
    [
        (["work"], ["a step", "a warning"], ["a result", "bar"]),
        (["-q", "work"], ["a warning"], ["a result", "no bar"]),
        (["work", "--quiet"], ["a warning"], ["a result", "no bar"]),
        (["-v", "work"], ["opened", "a step", "a warning"], ["a result", "bar"]),
        (["work", "-vv"], ["opened", "a detail", "a step", "a warning"], ["a result", "bar"]),
    ],
)
def test_results_and_warnings_stay(program: click.Group, arguments: list[str], stderr: list[str], stdout: list[str]) -> None:
    outcome = CliRunner().invoke(program, arguments)
    assert outcome.stdout.splitlines() == stdout
    lines = outcome.stderr.splitlines()
    assert len(lines) == len(stderr)
    assert all(part in line for part, line in zip(stderr, lines, strict=True))
    assert "\x1b" not in outcome.stderr


def test_remarks_of_libraries_are_shown_with_v_alone_and_never_act_on_a_terminal() -> None:
    """pydicom warns with the text of a file's own field as it is."""

    @click.command()
    def work() -> None:
        with loudness.libraries_held_back():
            warnings.warn("unknown encoding \x1b[2JPASS", UserWarning, stacklevel=1)
            logging.lastResort.handle(logging.LogRecord("pydicom", logging.WARNING, "", 0, "\x1b[2J%s", ("PASS",), None))  # type: ignore[union-attr]

    work.params += loudness.options(hidden=False)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        quiet, loud = CliRunner().invoke(work), CliRunner().invoke(work, ["-v"])
    assert (quiet.output, quiet.exit_code) == ("", 0)
    assert "unknown encoding ?[2JPASS" in loud.stderr
    assert "pydicom: ?[2JPASS" in loud.stderr
    assert "\x1b" not in loud.stderr


def test_what_libraries_remark_elsewhere_is_left_as_it_was() -> None:
    before = logging.lastResort, warnings.showwarning
    with loudness.libraries_held_back():
        assert (logging.lastResort, warnings.showwarning) != before
    assert (logging.lastResort, warnings.showwarning) == before
