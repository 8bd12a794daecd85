"""Completion as shells ask for it, and once as a person with a Tab key gets it."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from skinaudit import cli
from skinaudit.audit import reports
from skinaudit.audit.evidence import probes
from skinaudit.commands.completion import SHELLS


def run(*arguments: str, cwd: Path | None = None, **environment: str) -> str:
    process = subprocess.run(
        [sys.executable, "-c", "from skinaudit.cli import main; main()", *arguments],
        cwd=cwd, capture_output=True, text=True, timeout=100, env={**os.environ, **environment}, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""
    return process.stdout


def completed(line: str, *, shell: str = "bash", cwd: Path | None = None) -> list[str]:
    """What the shell is offered behind this line, whose last word is unfinished."""
    words = line.split(" ")
    variables = {"COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    if shell == "fish":
        variables = {"COMP_WORDS": line, "COMP_CWORD": words[-1]}
    answer = run(cwd=cwd, _SKINAUDIT_COMPLETE=f"{shell}_complete", **variables).splitlines()
    if shell == "zsh":  # a type, a word and its help a item, a line each
        return answer[1::3]
    return [item.split(",", 1)[1].split("\t")[0] for item in answer]


@pytest.mark.parametrize("shell", SHELLS)
def test_commands_options_probes_and_formats_are_completed(shell: str, tmp_path: Path) -> None:
    assert completed("skinaudit ", shell=shell) == sorted(cli.commands.commands)
    assert completed("skinaudit au", shell=shell) == ["audit"]
    options = completed("skinaudit audit --", shell=shell)
    assert {"--policy", "--probe", "--report"} <= set(options)
    assert "--prove" not in options
    names = set(probes.names())
    if find_spec("torch"):
        from skinaudit.trainer import probes as of_gradients

        names |= set(of_gradients.names())
    assert completed("skinaudit audit --probe ", shell=shell) == sorted(names)
    assert completed("skinaudit audit --probe sq", shell=shell) == ["square"]
    for command in ("audit", "report"):
        completions = completed(f"skinaudit {command} a --report ", shell=shell)
        assert completions == [f"{name}=" for name in reports.names()]
    assert completed("skinaudit train --arch mob", shell=shell) == ["mobilenet", "mobilenet_v2"]


def test_files_behind_a_format_are_completed(tmp_path: Path) -> None:
    (tmp_path / "out" / "deep").mkdir(parents=True)
    (tmp_path / "out" / "a [b].xml").touch()
    for shell in ("zsh", "fish"):
        assert completed("skinaudit report a --report junit=o", shell=shell, cwd=tmp_path) == ["junit=out/"]
        completions = completed("skinaudit report a --report junit=out/", shell=shell, cwd=tmp_path)
        assert completions == ["junit=out/a [b].xml", "junit=out/deep/"]


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_one_of_its_shell(shell: str, tmp_path: Path) -> None:
    text = run("completion", shell)
    assert f"_SKINAUDIT_COMPLETE={shell}_complete" in text
    file = tmp_path / "script"
    file.write_text(text)
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"no {shell} here")
    checked = subprocess.run([program, "-n", str(file)], capture_output=True, text=True, timeout=60, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_another_shell_is_a_usage_error() -> None:
    process = subprocess.run(
        [sys.executable, "-m", "skinaudit.cli", "completion", "tcsh"], capture_output=True, text=True, check=False
    )
    assert process.returncode == 2
    assert "'bash', 'zsh', 'fish'" in process.stderr


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_tab_completes_in_bash(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "skinaudit"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m skinaudit.cli "$@"\n')
    program.chmod(0o755)
    path = f"{program.parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PS1": "> ", "TERM": "dumb", "INPUTRC": "/dev/null"}
    terminal, inner = pty.openpty()
    bash = subprocess.Popen(
        ["bash", "--norc", "--noprofile", "-i"],
        cwd=tmp_path, stdin=inner, stdout=inner, stderr=inner, start_new_session=True, env=environment,
    )  # fmt: skip
    try:
        type_in(terminal, 'eval "$(skinaudit completion bash)"; echo rea""dy\n', until="ready")
        screen = type_in(terminal, "skinaudit aud\tx --report jun\tok", until="junit=ok")
        assert "skinaudit audit x --report junit=ok" in screen
    finally:
        bash.kill()
        bash.wait()
        os.close(inner)
        os.close(terminal)


def type_in(terminal: int, text: str, *, until: str) -> str:
    """Write to the terminal, as nothing is lost that is typed ahead, and return what it shows up to `until`."""
    os.write(terminal, text.encode())
    screen, deadline = "", time.monotonic() + 60
    while until not in screen and time.monotonic() < deadline:
        if select.select([terminal], [], [], 1)[0]:
            screen += os.read(terminal, 4096).decode()
    return screen
