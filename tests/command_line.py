"""What tests of the command line share."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
from pathlib import Path
from unittest import mock

from skinaudit import cli

PROGRESS = re.compile(r"[^:]+(: [^:]+)?: [\d,]+ of [\d,]+ \(\d+%\)")


def remarks(stderr: str) -> list[str]:
    """The lines on stderr without those of progress, which are there only where the machine is slow."""
    return [line for line in stderr.splitlines() if not PROGRESS.match(line)]


def in_process(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in this process: for tests of what it prints and writes, not of how a program starts and ends.

    Starting the program takes about a second, with torch four. Engines are opened in this process too, unless a test says
    otherwise.
    """
    out, errors = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    with (
        contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors),
        mock.patch("sys.argv", ["skinaudit", *arguments]), mock.patch.dict(os.environ, environment),
    ):  # fmt: skip
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code
    return subprocess.CompletedProcess(arguments, int(code or 0), *map(_text, (out, errors)))


def _text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    return stream.buffer.getvalue().decode()  # type: ignore[attr-defined]
