"""Inputs of kinds that no byte change makes, shown to the commands: each has to end in one line, quickly, with code 2.

python bench/odd_inputs.py RUN [--only WORD] [--output docs/results/odd-inputs.md]

RUN: an exported run, with engines/fp32.pt2 for the payloads. Nothing that an input holds may run, and none may take long.
"""

from __future__ import annotations

import argparse
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from skinaudit.artifacts.files import write_bytes
from skinaudit.artifacts.printable import UNPRINTABLE
from skinaudit.bench.odd_parts import graphs, pictures, plain_files, programs, tensors
from skinaudit.bench.odd_parts.case import Case, Place
from skinaudit.bench.report import machine, table

LIMIT = 240.0
"""Seconds of wall clock, of a machine that does other things as well."""
QUICK = 20.0
"""Seconds of CPU that are quick, torch's import included."""
PARTS = (plain_files, tensors, graphs, programs, pictures)


@dataclass(frozen=True)
class Ended:
    """How a command ended. wrong: what was not as it has to be; empty where all is well."""

    code: int | None
    seconds: float
    line: str
    wrong: str


def main() -> None:
    """Show every input and write the table; exit code 1 where something went wrong."""
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
        rows.append((case.name, start, str(ended.code), f"{ended.seconds:.1f}", outcome, ended.line.replace("|", "\\|")))
        wrong += [case.name] if ended.wrong else []
        print(*rows[-1], sep="  ", file=sys.stderr, flush=True)
    command = shlex.join(["python", "bench/odd_inputs.py", *sys.argv[1:]])
    text = (
        f"# Odd inputs\n\n    {command}\n\non {machine(1)}. {len(rows)} inputs, {len(wrong)} of them not as they should.\n\n"
    )
    text += table(("input", "command", "exit code", "CPU, s", "ended", "what the user sees"), rows)
    if options.output is None:
        print(text)
    else:
        write_bytes(options.output, text.encode())
    sys.exit(bool(wrong))


def cases(word: str | None) -> Iterator[Case]:
    """Those of all parts whose name holds the word."""
    for part in PARTS:
        yield from (case for case in part.CASES if word is None or word in case.name)


def run(words: list[str], place: Place, case: Case) -> Ended:
    """Run a command in the folder of its input."""
    before, started = _cpu_seconds(), time.monotonic()
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "skinaudit", *words], cwd=place.folder, capture_output=True, timeout=LIMIT, check=False
        )
    except subprocess.TimeoutExpired:
        return Ended(None, time.monotonic() - started, "", f"no end within {LIMIT:.0f} s")
    seconds, printed = _cpu_seconds() - before, ended.stderr.decode(errors="replace")
    lines = [line for line in printed.splitlines() if line.strip()]
    last = lines[-1] if lines else ""
    wrong = []
    if ended.returncode not in case.codes:
        wrong.append(f"exit code {ended.returncode}")
    if "Traceback" in printed or "unexpected" in printed:
        wrong.append("an exception that nobody expected")
    if ended.returncode == 2 and not (last.startswith(("skinaudit: ", "Error: ")) or " ERROR " in printed):
        wrong.append("no line")
    if len(last) > 1500:
        wrong.append("a long line")
    if any(UNPRINTABLE.search(line) for line in lines):
        wrong.append("signs that act upon a terminal")
    if seconds > QUICK:
        wrong.append("slow")
    if place.marker.exists():
        wrong.append("ITS CODE RAN")
    line = last.replace(str(place.folder.resolve()), "").replace(str(place.folder), "")
    return Ended(ended.returncode, seconds, line[:300], ", ".join(wrong))


def _cpu_seconds() -> float:
    times = resource.getrusage(resource.RUSAGE_CHILDREN)
    return times.ru_utime + times.ru_stime


if __name__ == "__main__":
    shutil.which("python")
    main()
