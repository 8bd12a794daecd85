"""Give odd inputs, made by hand, to the commands. Each command must end quickly, with one line and exit code 2.

python bench/odd_inputs.py RUN [--only WORD] [--output docs/results/odd-inputs.md]

RUN: an exported run, with engines/fp32.pt2 for the payloads. Code inside an input must not run, and no input may take long.
Each command is a fork of this process, which has already imported the libraries, so that only the input's time is measured.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import torch  # noqa: F401 (for the forks)

from skinaudit import cli
from skinaudit.artifacts.files import write_bytes
from skinaudit.artifacts.printable import UNPRINTABLE
from skinaudit.bench.odd_parts import bombs, engines, graphs, pictures, plain_files, programs, tables, tensors
from skinaudit.bench.odd_parts.case import Case, Place
from skinaudit.bench.report import machine, table
from skinaudit.commands import endings

LIMIT = 600.0
"""Seconds of wall clock after which a command is stopped; the machine may be busy with other work."""
QUICK = 20.0
"""Largest allowed CPU time in seconds."""
MEMORY = 4 * 2**30
"""Largest allowed memory of a process in bytes, including the libraries."""
PARTS = (plain_files, tensors, graphs, programs, pictures, bombs, tables, engines)


@dataclass(frozen=True)
class Ended:
    """How a command ended. peak: bytes of its largest process in memory. wrong: what went wrong; empty if nothing did."""

    code: int | None
    seconds: float
    peak: int
    line: str
    wrong: str


def main() -> None:
    """Try every input and write the table; exit code 1 if something went wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--only", help="cases whose name holds this word")
    parser.add_argument("--output", type=Path, help="Markdown file; otherwise standard output")
    options = parser.parse_args()
    rows, wrong = [], []
    for case in cases(options.only):
        with tempfile.TemporaryDirectory() as folder:
            place = Place(Path(folder), options.run)
            words = case.build(place)
            ended = run(words, place, case)
        start = shlex.join(words[:1]) + (" ..." if len(words) > 1 else "")
        outcome = "as it should" if not ended.wrong else f"WRONG: {ended.wrong}"
        figures = str(ended.code), f"{ended.seconds:.1f}", f"{ended.peak / 2**20:,.0f}"
        rows.append((case.name, start, *figures, outcome, ended.line.replace("|", "\\|")))
        wrong += [case.name] if ended.wrong else []
        print(*rows[-1], sep="  ", file=sys.stderr, flush=True)
    command = shlex.join(["python", "bench/odd_inputs.py", *sys.argv[1:]])
    text = (
        f"# Odd inputs\n\n    {command}\n\non {machine(1)}. {len(rows)} inputs, {len(wrong)} of them not as they should.\n\n"
    )
    text += table(("input", "command", "exit code", "CPU, s", "peak, MiB", "ended", "what the user sees"), rows)
    if options.output is None:
        print(text)
    else:
        write_bytes(options.output, text.encode())
    sys.exit(bool(wrong))


def cases(word: str | None) -> Iterator[Case]:
    """The cases of all parts whose names contain the word."""
    for part in PARTS:
        yield from (case for case in part.CASES if word is None or word in case.name)


def run(words: list[str], place: Place, case: Case) -> Ended:
    """Run a command in the folder of its input."""
    started, output = time.monotonic(), place.folder.with_suffix(".output")
    process = os.fork()
    if not process:
        _command(words, place.folder, output)
    number = status = 0
    while not number:
        number, status, used = os.wait4(process, os.WNOHANG)
        if not number and time.monotonic() - started > LIMIT:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            return Ended(None, time.monotonic() - started, 0, "", f"no end within {LIMIT:.0f} s")
        time.sleep(0.02)
    code, seconds, peak = os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, used.ru_maxrss * 1024
    printed = output.read_text(errors="replace")
    output.unlink()
    lines = [line for line in printed.splitlines() if line.strip()]
    last = lines[-1] if lines else ""
    wrong = []
    if code not in case.codes:
        wrong.append(f"exit code {code}")
    if "Traceback" in printed or "unexpected" in printed:
        wrong.append("an exception that nobody expected")
    if code == 2 and not (last.startswith(("skinaudit: ", "Error: ")) or " ERROR " in printed):
        wrong.append("no line")
    if len(last) > 1500:
        wrong.append("a long line")
    if any(UNPRINTABLE.search(line) for line in lines):
        wrong.append("signs that act upon a terminal")
    if seconds > QUICK:
        wrong.append("slow")
    if peak > MEMORY:
        wrong.append("much memory")
    if place.marker.exists():
        wrong.append("ITS CODE RAN")
    line = last
    for path, shown in ((place.folder.resolve(), ""), (place.folder, ""), (place.source.resolve(), "RUN")):
        line = line.replace(str(path), shown)
    return Ended(code, seconds, peak, line[:300], ", ".join(wrong))


def _command(words: list[str], folder: Path, output: Path) -> NoReturn:
    """Run the program with these arguments in this folder; its stderr goes to the file."""
    code = 70
    try:
        os.chdir(folder)
        for stream, path in ((1, os.devnull), (2, output)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), stream)
        sys.argv = ["skinaudit", *words]
        endings.run(cli.invoke)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()
