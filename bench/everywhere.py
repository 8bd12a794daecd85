"""Put each kind of hostile thing in every place where a command meets a file, and look what the command does.

python bench/everywhere.py RUN [--only WORD] [--payloads] [--log FILE] [--output FILE]

RUN: a small exported run, with a report of an audit. --log: a file that keeps each case, so that an interrupted run goes on;
cases whose lines are deleted are tried again.

A command has to end in one line, in time, with an exit code of its own; the code of a payload must not run, and no file
outside of the folder that the command works in may change.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import re
import resource
import shlex
import shutil
import signal
import struct
import sys
import tempfile
import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Container, Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path

from skinaudit import cli
from skinaudit.bench.everywhere_parts.kinds import KINDS
from skinaudit.bench.everywhere_parts.places import ARGUMENTS, OF_RUN, Place, vouch

LIMIT = 100.0
"""Seconds of CPU that a command may take."""
PATIENCE = 400.0
"""Seconds of wall clock, on a machine that does other things as well."""
CODES = (0, 1, 2, 3)
ACTING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
WRONG = ("traceback", "no answer", "killed", "no line", "acts on the terminal", "CODE RAN", "WROTE OUTSIDE")


@dataclass(frozen=True)
class Ended:
    """How a command ended. wrong: one of WRONG, or empty."""

    code: int
    line: str
    wrong: str


@dataclass(frozen=True)
class Case:
    """A place, the kind of thing in it, and how the command ended; seconds of CPU."""

    name: str
    kind: str
    code: int
    line: str
    wrong: str
    seconds: float


def main() -> None:
    """Try everything and write the tables; exit code 1 where something went wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--only", help="places whose name holds this word")
    parser.add_argument("--places", choices=("arguments", "run"), help="only arguments and options, or only files of a run")
    parser.add_argument("--kind", action="append", help="only this kind; may be repeated")
    parser.add_argument("--payloads", action="store_true", help="only the kinds that hold code")
    parser.add_argument("--log", type=Path, help="one line of JSON a case; cases that it holds are not tried again")
    parser.add_argument("--output", type=Path, help="Markdown file; otherwise standard output")
    options = parser.parse_args()
    command = shlex.join(["python", "bench/everywhere.py", *sys.argv[1:]])
    kinds = [
        name for name, kind in KINDS.items() if (kind.payload or not options.payloads) and name in (options.kind or KINDS)
    ]
    log = options.log
    cases = [Case(**json.loads(line)) for line in log.read_text().splitlines()] if log and log.exists() else []
    with tempfile.TemporaryDirectory() as folder:
        lab = Path(folder)
        prepare(lab, options.run)
        warm_up(lab)
        done = {(case.name, case.kind) for case in cases}
        for case in tried(lab, kinds, options.only or "", places=options.places, done=done):
            cases.append(case)
            print(case.name, case.kind, case.code, case.wrong, case.line[:200], sep=" | ", file=sys.stderr, flush=True)
            if log:
                with log.open("a") as stream:
                    stream.write(json.dumps(dataclasses.asdict(case)) + "\n")
    text = f"    {command}\n\n" + table(cases)
    if options.output is None:
        print(text)
    else:
        options.output.write_text(text + "\n")
    sys.exit(any(case.wrong for case in cases))


def table(cases: list[Case]) -> str:
    """A row a command, in Markdown, and a line for each case that went wrong."""
    counts = defaultdict[str, Counter[str]](Counter)
    for case in cases:
        outcome = case.wrong or ("taken" if case.code in (0, 1, 3) else "refused in one line")
        for row in (case.name.split()[0] if ": " not in case.name else case.name.rpartition(": ")[2], "all"):
            counts[row][outcome] += 1
    heads = ("command", "tried", "taken", "refused in one line", *WRONG)
    rows = [
        (name, f"{outcomes.total()}", *(f"{outcomes[outcome]}" for outcome in heads[2:]))
        for name, outcomes in sorted(counts.items(), key=lambda entry: (entry[0] == "all", entry[0]))
    ]
    lines = [heads, ["---"] + ["---:"] * (len(heads) - 1), *rows]
    wrong = [f"\n- {case.name}: {case.kind}: {case.wrong}, code {case.code}: {case.line}" for case in cases if case.wrong]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines) + "".join(wrong)


def prepare(lab: Path, run: Path) -> None:
    """What the cases copy: the run, an engine without a manifest with its contract, pictures, a report."""
    shutil.copytree(run, lab / "source")
    folder = lab / "whole"
    folder.mkdir()
    shutil.copy(run / "engines" / "fp32.onnx", folder / "OTHER.onnx")
    report = next((run / "audits").glob("*.json"))
    shutil.copy(report, folder / "AUDIT.json")
    for name in ("mel", "nv"):
        (folder / "DATA" / name).mkdir(parents=True)
        for index in range(12):
            (folder / "DATA" / name / f"{name}{index}.png").write_bytes(picture(40 + index))


def picture(side: int) -> bytes:
    """A PNG of one colour."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    rows = zlib.compress((b"\0" + bytes([side]) * 3 * side) * side)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def warm_up(lab: Path) -> None:
    """Run the commands once, so that all processes, forks of this one, have their imports; also drafts the contract."""
    os.environ.update(HOME=str(lab / "home"), SKINAUDIT_CACHE=str(lab / "home" / "cache"), TMPDIR=str(lab / "tmp"))
    for name in ("home", "tmp"):
        (lab / name).mkdir()
    tempfile.tempdir = None
    place = lab / "warm"
    shutil.copytree(lab / "whole", place)
    shutil.copytree(lab / "source", place / "RUN")
    commands = (
        "contract OTHER.onnx --force -o CONTRACT",
        "card RUN", "bom RUN", "report AUDIT.json", "export RUN --force --threads 1",
        "train --images 280 --size 32 --width 0.25 --epochs 1 --threads 1 --out NEW",
        "audit RUN/engines/fp32.onnx --threads 1", "attack RUN --attack fgsm --eps 1/255 --threads 1",
    )  # fmt: skip
    before = Path.cwd()
    os.chdir(place)
    try:
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):  # noqa: PTH123
            for command in commands:
                sys.argv = ["skinaudit", *shlex.split(command)]
                with suppress(SystemExit):
                    cli.main()
    finally:
        os.chdir(before)
    if (place / "CONTRACT").exists():
        shutil.copy(place / "CONTRACT", lab / "whole" / "CONTRACT")
    shutil.rmtree(place)


def tried(lab: Path, kinds: list[str], word: str, *, places: str | None, done: Container[tuple[str, str]]) -> Iterator[Case]:
    """Each place with each kind that is not done."""
    chosen = {**(ARGUMENTS if places != "run" else {}), **(OF_RUN if places != "arguments" else {})}
    for name, place in chosen.items():
        for kind in kinds if word in name else ():
            for ending in place.endings:
                full_name = name + (f" {ending}" if len(place.endings) > 1 else "")
                if (full_name, kind) not in done:
                    before = spent()
                    ended = one(lab, place, kind, ending)
                    yield Case(full_name, kind, ended.code, ended.line, ended.wrong, round(spent() - before, 1))


def spent() -> float:
    """Seconds of CPU of all processes that ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def one(lab: Path, place: Place, kind: str, ending: str) -> Ended:
    """Put a thing in a place and run the command."""
    work, outside = lab / "work", lab / "outside"
    for folder in (work, outside):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(lab / "whole", work)
    shutil.copytree(lab / "source", work / "RUN")
    if "--resume" in place.words:  # of a training that was interrupted
        for name in ("run.json", "engines", "audits"):
            (work / "RUN" / name).unlink() if name == "run.json" else shutil.rmtree(work / "RUN" / name)
    outside.mkdir()
    (outside / "precious").write_text("unchanged")
    marker = outside / "the-code-ran"
    path = work / "RUN" / place.inside if place.inside else work / "HOLDER" / f"thing{ending}"
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    KINDS[kind].make(path, marker)
    if place.inside:
        vouch(work / "RUN", place.inside)
    words = re.sub(r"\bFILE\b", f"HOLDER/thing{ending}", place.words).replace("FOLDER", "HOLDER")
    words = re.sub(r"\bAUDIT\b", "AUDIT.json", words)
    before = snapshot(outside)
    ended = in_child(words, work)
    if marker.exists():
        ended = Ended(ended.code, ended.line, "CODE RAN")
    elif snapshot(outside) != before:
        ended = Ended(ended.code, ended.line, "WROTE OUTSIDE")
    return ended


def snapshot(folder: Path) -> str:
    """A digest of the files of a folder and their content."""
    value = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        value.update(str(path).encode() + (path.read_bytes() if path.is_file() else b""))
    return value.hexdigest()


def in_child(words: str, folder: Path) -> Ended:
    """Run a command in a fork of this process."""
    screen = folder / "screen.txt"
    process = os.fork()
    if process == 0:
        child(words, folder, screen)
    until = time.monotonic() + PATIENCE
    late = False
    while not (ended := os.waitpid(process, os.WNOHANG))[0]:
        if time.monotonic() > until:
            late = True
            os.killpg(process, signal.SIGKILL)
        time.sleep(0.02)
    code = os.waitstatus_to_exitcode(ended[1])
    printed = screen.read_text(errors="replace")
    lines = [line for line in printed.splitlines() if line.strip()]
    last = lines[-1].replace(str(folder), "") if lines else ""
    wrong = ""
    if code == -signal.SIGXCPU and words.startswith("demo") and any(line.startswith("training:") for line in lines):
        code = 0  # a demo takes minutes: one that trains has taken its folder
    elif late or code == -signal.SIGXCPU:
        wrong = "no answer"
    elif code < 0:
        wrong = "killed"
    elif "Traceback" in printed or "unexpected" in printed or code not in CODES:
        wrong = "traceback"
    elif ACTING.search(printed.replace("\n", "").replace("\t", "")):
        wrong = "acts on the terminal"
    elif code == 2 and not last.startswith(("skinaudit: ", "Error: ")):
        wrong = "no line"
    return Ended(code, last, wrong)


def child(words: str, folder: Path, screen: Path) -> None:
    """The life of the forked process."""
    os.setpgid(0, 0)
    resource.setrlimit(resource.RLIMIT_CPU, (int(LIMIT), int(LIMIT) + 5))
    os.chdir(folder)
    descriptor = os.open(screen, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 2)
    os.dup2(descriptor, 1)
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115 (until the end)
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.argv = ["skinaudit", *shlex.split(words)]
    code = 99
    try:
        cli.main()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
