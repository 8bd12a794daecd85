"""What people see on a terminal, and what programs get that read from a pipe."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import ioctl
from pathlib import Path

import pytest
from click.testing import CliRunner
from command_line import in_process, remarks

from skinaudit import cli

COLOUR = re.compile(r"\x1b\[[\d;]*(?:3\d|9\d|4\d)m")
NARROW = 60
WITHOUT = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "TTY_COMPATIBLE", "CI")


@contextmanager
def terminal(width: int) -> Iterator[tuple[int, int]]:
    """(a terminal's outer, its inner end)."""
    outer, inner = pty.openpty()
    ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    try:
        yield outer, inner
    finally:
        os.close(outer)


def on_terminal(*arguments: str, cwd: Path, width: int = 100, **environment: str) -> str:
    """What the program writes to a terminal that is its stdout and stderr."""
    inherited = {name: value for name, value in os.environ.items() if name not in WITHOUT}
    with terminal(width) as (outer, inner):
        process = subprocess.Popen(
            [str(cwd / "skinaudit"), *arguments],
            cwd=cwd, stdin=inner, stdout=inner, stderr=inner, env={**inherited, "TERM": "xterm-256color", **environment},
        )  # fmt: skip
        os.close(inner)
        content = b""
        while True:
            try:
                part = os.read(outer, 65536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            content += part
        process.wait(timeout=100)
    return content.decode().replace("\r\n", "\n")


def piped(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if name not in WITHOUT}
    return subprocess.run(
        [str(cwd / "skinaudit"), *arguments],
        cwd=cwd, capture_output=True, text=True, timeout=300, env={**inherited, **environment}, check=False,
    )  # fmt: skip


def printed(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The same without a process of its own, for what does not depend on where the output goes."""
    with pytest.MonkeyPatch.context() as patch:
        for name in WITHOUT:
            patch.delenv(name, raising=False)
        return in_process(*arguments, cwd=cwd, **environment)


@pytest.fixture(scope="module")
def workplace(exported_run: Path, ready_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the program, an exported run, its audit with a probe, and the terminal's table of it."""
    folder = tmp_path_factory.mktemp("workplace")
    (folder / "skinaudit").symlink_to(ready_program)
    shutil.copytree(exported_run, folder / "run")
    shutil.copytree(folder / "run", folder / "copy")
    process = printed("audit", *PROBED, cwd=folder)
    assert process.returncode in (1, 3), process.stderr
    assert remarks(process.stderr) == []
    return folder


PROBED = ("run/engines/fp32.onnx", "--probe", "square", "--probe-images", "8", "--probe-queries", "4", "-o", "audit.json")


def test_colour_is_for_terminals_and_for_those_who_want_it(workplace: Path) -> None:
    assert COLOUR.search(on_terminal("report", "audit.json", cwd=workplace))
    assert not COLOUR.search(on_terminal("report", "audit.json", cwd=workplace, NO_COLOR="1"))
    assert "\x1b" not in on_terminal("report", "audit.json", cwd=workplace, TERM="dumb")
    assert "\x1b" not in piped("report", "audit.json", cwd=workplace).stdout
    assert "\x1b" not in printed("audit", *PROBED, cwd=workplace).stdout


def test_progress_is_for_terminals_and_leaves_nothing_behind(workplace: Path) -> None:
    screen = on_terminal("audit", *PROBED, cwd=workplace)
    assert "replaying" in screen
    assert "images/s" not in screen[: screen.rindex("\x1b[2K")], "not every part counts images"
    assert screen.rindex("\x1b[2K") > screen.rindex("replaying"), "the bar is wiped before the report is printed"
    assert "replaying" not in screen[screen.index("fp32 found in") :]
    process = printed("audit", *PROBED, cwd=workplace)
    assert remarks(process.stderr) == []
    assert "replaying" not in process.stdout


@pytest.mark.parametrize("width", [NARROW, 80])
def test_narrow_terminals_lose_no_figure_and_break_no_word(workplace: Path, width: int) -> None:
    wide = printed("report", "audit.json", cwd=workplace, COLUMNS="200").stdout
    narrow = printed("report", "audit.json", cwd=workplace, COLUMNS=str(width)).stdout
    assert max(map(len, narrow.splitlines())) <= width
    assert "…" not in narrow
    assert set(narrow.split()) == set(wide.split())
    screen = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", on_terminal("report", "audit.json", cwd=workplace, width=width))
    assert [line.rstrip() for line in screen.splitlines()] == [line.rstrip() for line in narrow.splitlines()]
    wide, narrow = (printed("doctor", cwd=workplace, COLUMNS=str(columns)).stdout for columns in (200, width))
    assert set(narrow.split()) == set(wide.split())


@pytest.mark.parametrize("name", ["", *sorted(cli.commands.commands)])
def test_help_wraps_between_words_where_it_is_no_command_to_copy(name: str) -> None:
    arguments = [name, "--help"] if name else ["--help"]
    wide, narrow = (CliRunner().invoke(cli.commands, arguments, terminal_width=columns).output for columns in (200, NARROW))
    # click breaks a usage line and a list of choices at their bars.
    words = set(re.split(r"[\s|]+", narrow))
    assert {word for word in re.split(r"[\s|]+", wide) if word.isalpha()} <= words
    for line in narrow.splitlines():
        assert len(line) <= NARROW or re.match(r"    (skinaudit|eval) ", line) or "|" in line, line


def test_every_command_that_prints_a_table_prints_json_too(workplace: Path) -> None:
    for arguments in (["report", "audit.json"], ["doctor"], ["transfer", "run", "copy"], ["audit", *PROBED]):
        process = printed(*arguments, "--json", cwd=workplace)
        assert json.loads(process.stdout), arguments
        assert process.stderr == ""
    for name in ("train", "demo", "report", "doctor", "transfer", "audit"):
        assert "--json" in {option for parameter in cli.commands.commands[name].params for option in parameter.opts}
    assert printed("report", "audit.json", "--json", cwd=workplace).stdout == (workplace / "audit.json").read_text()
    refused = printed("report", "audit.json", "--json", "--report", "markdown=-", cwd=workplace)
    assert refused.returncode == 2
    assert "something else goes to" in refused.stderr


def test_help_is_quick(tmp_path: Path) -> None:
    for arguments in (["--help"], ["audit", "--help"], ["completion", "fish"]):
        program = (
            "import resource, sys\nsys.argv[0] = 'skinaudit'\nimport skinaudit.cli as cli\n"
            "try:\n    cli.main()\nfinally:\n    used = resource.getrusage(resource.RUSAGE_SELF)\n"
            "    print(used.ru_utime + used.ru_stime, file=sys.stderr)"
        )
        times = []
        for _ in range(3):
            process = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
            times.append(float(process.stderr))
        assert min(times) < 0.3, f"{arguments}: seconds of CPU"
