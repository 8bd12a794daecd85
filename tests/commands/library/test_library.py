"""`import skinaudit`: light, with the defaults and the ranges of the command line, and with results that can be asked."""

from __future__ import annotations

import inspect
import pickle
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest

import skinaudit
from skinaudit import cli
from skinaudit.artifacts import engine_contract
from skinaudit.audit.judgement.result import Verdict
from skinaudit.commands import library
from skinaudit.commands.library import auditing
from skinaudit.commands.library.arguments import option_name
from skinaudit.errors import InvalidInputError

ROOT = Path(__file__).resolve().parents[3]
COMMANDS = ("train", "attack", "export", "audit")
OF_THE_COMMAND_ALONE = {
    "train": {"json"},
    "attack": set(),
    "export": {"fp32", "fp16", "bf16", "fp8", "int8"},  # they are `precision`
    "audit": {"json", "jobs"},  # one engine a call
}
OF_THE_FUNCTION_ALONE = {
    "train": {"report"},
    "attack": {"progress", "remark"},
    "export": {"precision", "progress", "refused", "remark"},
    "audit": {"progress"},
}


def parameters(name: str) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(getattr(library, name)).parameters)


def options(name: str) -> dict[str, click.Parameter]:
    """Those of the command, by the argument of the function that belongs to them."""
    visible = [option for option in cli.commands.commands[name].params if not getattr(option, "hidden", False)]
    return {option_name(option) if isinstance(option, click.Option) else name_of(option): option for option in visible}


def name_of(argument: click.Parameter) -> str:
    return {"engines": "engine"}.get(str(argument.name), str(argument.name))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_an_argument_and_the_other_way_round(name: str) -> None:
    assert set(options(name)) - OF_THE_COMMAND_ALONE[name] == set(parameters(name)) - OF_THE_FUNCTION_ALONE[name]


@pytest.mark.parametrize("name", COMMANDS)
def test_defaults_are_those_of_the_command_line(name: str) -> None:
    defaults = {argument: parameter.default for argument, parameter in parameters(name).items()}
    typed = cli.commands.commands[name].make_context(name, ["x.onnx"] if name == "audit" else [])
    compared = {
        argument: typed.params[str(option.name)] for argument, option in options(name).items() if argument in defaults
    }
    compared.pop("engine", None)  # the one that has to be given
    assert len(compared) > 10
    assert {argument: defaults[argument] for argument in compared} == compared
    if name == "export":
        assert defaults["precision"] == ("fp32",)


def bad_values() -> Iterator[tuple[str, str, Any]]:
    """(function, argument, a value that its option refuses)."""
    for name in COMMANDS:
        for argument, option in options(name).items():
            if argument not in parameters(name) or not isinstance(option, click.Option):
                continue
            kind, value = option.type, None
            if isinstance(kind, click.IntRange | click.FloatRange):
                assert kind.min is not None
                value = kind.min - 1
            elif isinstance(kind, click.Choice):
                value = "polished"
            if value is not None:
                yield name, argument, [value] if option.multiple else value


@pytest.mark.parametrize(("name", "argument", "value"), list(bad_values()))
def test_ranges_are_those_of_the_command_line(name: str, argument: str, value: Any) -> None:
    positional = ("x.onnx",) if name == "audit" else ()
    with pytest.raises(InvalidInputError, match=f"{name}.{argument}="):
        getattr(skinaudit, name)(*positional, **{argument: value})


def test_the_import_is_light_and_functions_stay_callable_behind_their_packages() -> None:
    code = """
import sys, skinaudit
heavy = {"numpy", "torch", "click", "rich", "onnx", "safetensors", "logging"} & set(sys.modules)
assert not heavy, heavy
import skinaudit.audit.judgement
import skinaudit.export
assert callable(skinaudit.audit) and callable(skinaudit.export) and callable(skinaudit.train)
assert set(skinaudit.__all__) <= set(dir(skinaudit))
assert not {"numpy", "torch", "click"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert pickle.loads(pickle.dumps(skinaudit.audit)) is skinaudit.audit
    with pytest.raises(AttributeError, match="polish"):
        skinaudit.polish  # noqa: B018


def test_five_lines_audit_an_engine(
    exported_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The example, and what it says beside the report that the audit wrote."""
    engine = Path(shutil.copytree(exported_run, tmp_path / "run")) / "engines" / "fp32.onnx"
    example = ROOT / "examples" / "04_audit_in_python.py"
    monkeypatch.setattr(sys, "argv", [str(example), str(engine)])
    runpy.run_path(str(example))
    printed = capsys.readouterr()
    result = skinaudit.read_report(tmp_path / "run" / "audits" / "fp32.onnx.json")
    assert printed.out.startswith(f"{result.verdict.value} - {result.reason}\n")
    assert printed.out.count("\n") == 2 + len(result.gates)
    assert result.verdict in Verdict
    assert printed.err == ""

    clean = result.answers("clean")
    figures = result.sets[0].comparison
    assert len(clean) == figures.images
    assert sum(answer.right for answer in clean) == round(figures.engine_accuracy * figures.images)
    assert {answer.label for answer in clean} <= set(result.classes)
    assert [answer.index for answer in clean] == list(range(len(clean)))
    assert result.answers(result.sets[1].title) == result.answers(result.sets[1].name)
    with pytest.raises(InvalidInputError, match="no set of this audit"):
        result.answers("moon")


def test_classes_reach_the_images_of_an_engine_without_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []

    def images_for(engine: Path, data: str, **named: Any) -> Path:
        calls.append({"data": data, **named})
        raise InvalidInputError("heard")

    monkeypatch.setattr(auditing, "images_for", images_for)
    monkeypatch.setattr(engine_contract, "read_engine_contract", lambda path: SimpleNamespace(size=32))
    with pytest.raises(InvalidInputError, match="heard"):
        skinaudit.audit("x.onnx", contract="x.toml", data=tmp_path, classes="classes.toml")
    assert calls[0]["data"] == str(tmp_path)
    assert (calls[0]["size"], calls[0]["classes"]) == (32, Path("classes.toml"))
    with pytest.raises(InvalidInputError, match="--name and --classes need --data"):
        skinaudit.audit("x.onnx", contract="x.toml", classes="classes.toml")


def test_a_function_says_which_report_it_cannot_write(exported_run: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="for the command line"):
        skinaudit.audit(exported_run / "engines" / "fp32.onnx", report=["terminal=-"], output=tmp_path / "x.json")
