"""What may come from the environment, and that nothing there can change a verdict in silence."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from skinaudit import cli
from skinaudit.commands.environment import MACHINE, OPTIONS, Variable, variables
from skinaudit.errors import InvalidInputError

ROOT = Path(__file__).resolve().parents[2]
JUDGING = {
    "sets", "run", "contract", "data", "name", "classes", "control", "runtime", "emulate", "policy", "margin", "baseline",
    "baseline_own_sets", "probe", "probe_images", "probe_queries", "probe_eps", "probe_norm", "no_probe", "seed", "batch",
    "allow_code",
}  # fmt: skip


def settable() -> list[tuple[str, click.Option]]:
    return [
        (name, option)
        for name, command in cli.commands.commands.items()
        for option in command.params
        if isinstance(option, click.Option) and not option.hidden
    ]


def test_no_variable_sets_what_an_audit_judges() -> None:
    assert JUDGING & set(OPTIONS["audit"]) == set()
    settable_options = {option.name for name, option in settable() if name == "audit"}
    assert settable_options >= JUDGING  # the list above follows the options
    from_environment = {(name, option.name) for name, option in settable() if option.allow_from_autoenv}
    assert from_environment == {(name, option) for name, options in OPTIONS.items() for option in options}


def flag_of(option: click.Option) -> str:
    return next(word for word in option.opts if word.startswith("--"))


@pytest.mark.parametrize(
    ("name", "option"), settable(), ids=lambda value: value if isinstance(value, str) else flag_of(value)
)
def test_every_option_is_taken_or_its_variable_is_refused(
    name: str, option: click.Option, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = cli.commands.commands[name]
    variable = f"SKINAUDIT_{name}_{flag_of(option).removeprefix('--')}".replace("-", "_").upper()
    monkeypatch.setenv(variable, "1")
    assert list(variables(command)) == [Variable(variable, name, flag_of(option), option.allow_from_autoenv)]
    if option.allow_from_autoenv:
        context = click.Context(command, info_name=name, auto_envvar_prefix=f"SKINAUDIT_{name.upper()}")
        assert option.resolve_envvar_value(context) == "1"
    if not option.allow_from_autoenv:
        context = click.Context(command, info_name=name, auto_envvar_prefix=f"SKINAUDIT_{name.upper()}")
        assert option.resolve_envvar_value(context) is None
        assert command.callback is not None
        with pytest.raises(InvalidInputError, match=f"^{variable}: --"):
            command.callback()


def test_a_variable_reaches_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[object] = []
    monkeypatch.setattr("skinaudit.audit.transfer.transfer_matrix", lambda runs, **named: threads.append(named["threads"]))
    monkeypatch.setattr("skinaudit.audit.reports.parts.transfer_table.print_transfer", lambda *_: None)
    monkeypatch.setenv("SKINAUDIT_TRANSFER_THREADS", "3")
    for arguments in (["transfer", "a"], ["transfer", "a", "--threads", "2"]):
        outcome = CliRunner().invoke(cli.commands, arguments, auto_envvar_prefix="SKINAUDIT")
        assert outcome.exit_code == 0, outcome.output
    assert threads == [3, 2]


def test_doctor_tells_which_are_set_and_never_their_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skinaudit.engines.doctor.examine", lambda: ())
    assert "SKINAUDIT" not in CliRunner().invoke(cli.commands, ["doctor"]).output
    monkeypatch.setenv("SKINAUDIT_TRACK_TRACKING_URI", "https://user:secret@host")
    monkeypatch.setenv("SKINAUDIT_AUDIT_NO_PROBE", "1")
    monkeypatch.setenv("SKINAUDIT_AUDIT_THREAD", "1")
    monkeypatch.setenv("SKINAUDIT_AUDTI_THREADS", "1")
    monkeypatch.setenv("SKINAUDIT_CACHE", "/tmp")
    text = CliRunner().invoke(cli.commands, ["doctor"]).output
    assert "SKINAUDIT_TRACK_TRACKING_URI: sets --tracking-uri of skinaudit track" in text
    assert "SKINAUDIT_AUDIT_NO_PROBE: may not set --no-probe of skinaudit audit" in text
    assert "SKINAUDIT_AUDIT_THREAD: names no option of skinaudit audit" in text
    assert "SKINAUDIT_AUDTI_THREADS: names no command of skinaudit" in text
    assert "SKINAUDIT_CACHE" not in text
    as_json = CliRunner().invoke(cli.commands, ["doctor", "--json"]).output
    assert "SKINAUDIT_AUDIT_NO_PROBE" in as_json
    assert "SKINAUDIT_AUDTI_THREADS" in as_json
    assert "secret" not in text + as_json


def test_the_page_of_the_documentation_lists_exactly_these() -> None:
    page = (ROOT / "docs" / "environment.md").read_text(encoding="utf-8")
    rows = {line.split("|")[1].strip().strip("`"): line for line in page.splitlines() if line.startswith("| `SKINAUDIT_")}
    listed = {f"SKINAUDIT_{name}_{option}".upper() for name, options in OPTIONS.items() for option in options}
    assert set(rows) == {*MACHINE, *listed}
