"""Kill, interrupt and starve every command at each of its writes, and look what was lost: `python bench/machine_faults.py`.

A fault comes at a step of a write (skinaudit.artifacts.files.at_step), not at a time: before, in and behind each of them.
"""

from __future__ import annotations

import argparse
import errno
import hashlib
import json
import os
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path

from skinaudit import cli
from skinaudit.artifacts import files
from skinaudit.artifacts.adversarial_set import open_set
from skinaudit.artifacts.manifest import read_engine_manifest, read_run
from skinaudit.bench.report import machine, table
from skinaudit.errors import SkinauditError

TRAIN = "train --images 280 --size 32 --width 0.25 --epochs 2 --threads 1 --out run"
STAGES = {
    "train": (TRAIN, f"{TRAIN} --resume"),
    "attack": ("attack run --attack fgsm --eps 8/255 --threads 1",) * 2,
    "export": ("export run --format onnx --fp16 --threads 1",) * 2,
    "audit": ("audit run/engines/fp16.onnx --threads 1 --seed 1 --report html=run/audit.html --report junit=run/a.xml",) * 2,
}
KINDS = ("kill -9", "disk full", "SIGINT", "SIGTERM")
CODES = {"kill -9": {-signal.SIGKILL}, "disk full": {2}, "SIGINT": {130}, "SIGTERM": {143}}
SCREEN = "screen.txt"


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code, below 0 for a signal, its last line on stderr and its steps of writes."""

    code: int
    line: str
    steps: int


def main() -> None:
    """Run every fault and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="only each so many-th moment")
    parser.add_argument("--output", type=Path, help="Markdown file; otherwise standard output")
    options = parser.parse_args()
    command = shlex.join(["python", "bench/machine_faults.py", *sys.argv[1:]])
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        warm_up(Path(folder) / "warm")
        rows = list(all_rows(Path(folder), every=options.every))
    heads = (
        "command",
        "fault",
        "moments",
        "told in one line",
        "unsound files",
        "the same after a repetition",
        "last line, such as",
    )
    text = f"# Faults at every write\n\n    {command}\n\ntook {(time.perf_counter() - started) / 60:.1f} minutes"
    text += f" on {machine(1)}.\n\n{table(heads, rows)}\n"
    if options.output is None:
        print(text)
    else:
        files.write_bytes(options.output, text.encode())


def warm_up(folder: Path) -> None:
    """Run every command once here, so that what it imports and compiles is there in all processes, forks of this one."""
    folder.mkdir()
    before = Path.cwd()
    os.chdir(folder)
    try:
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):  # noqa: PTH123
            for command, _ in STAGES.values():
                sys.argv = ["skinaudit", *shlex.split(command)]
                with suppress(SystemExit):
                    cli.main()
    finally:
        os.chdir(before)
        shutil.rmtree(folder)


def all_rows(folder: Path, *, every: int) -> Iterator[tuple[str, ...]]:
    """A row for each command and fault."""
    state = folder / "0"
    state.mkdir()
    for name, (command, again) in STAGES.items():
        place_after = folder / name
        shutil.copytree(state, place_after)
        ended = in_child(command, place_after)
        assert ended.code in (0, 1, 3), ended
        expected = content(place_after)
        for kind in KINDS:
            counts: Counter[str] = Counter()
            line = ""
            for step in range(1, ended.steps + 1, every):
                place = folder / "place"
                shutil.copytree(state, place)
                hurt = in_child(command, place, kind=kind, at=step)
                counts["told"] += hurt.code in CODES[kind] and (kind == "kill -9" or hurt.line.startswith("skinaudit: "))
                line = hurt.line.replace(str(folder), "") or line
                counts["unsound"] += len(unsound(place))
                repeated = in_child(again, place)
                same_end = repeated.code == ended.code or "holds a finished run already" in repeated.line
                counts["same"] += same_end and content(place) == expected
                counts["moments"] += 1
                if not same_end or content(place) != expected:
                    print(f"{name} {kind} step {step}: {hurt} {repeated}", file=sys.stderr)
                shutil.rmtree(place)
            print(name, kind, dict(counts), file=sys.stderr, flush=True)
            reported = "not told: it is gone" if kind == "kill -9" else f"{counts['told']}"
            yield name, kind, f"{counts['moments']}", reported, f"{counts['unsound']}", f"{counts['same']}", line
        state = place_after


def in_child(command: str, folder: Path, *, kind: str = "", at: int = 0) -> Ended:
    """Run a command in a child process in `folder`, with the fault at this step of its writes."""
    process = os.fork()
    if process == 0:
        run(command, folder, kind=kind, at=at)
    _, status = os.waitpid(process, 0)
    lines = (folder / SCREEN).read_text(errors="replace").strip().splitlines()
    count = folder / "steps.txt"
    steps = int(count.read_text()) if count.exists() else 0
    for leftover in (folder / SCREEN, count):
        leftover.unlink(missing_ok=True)
    return Ended(os.waitstatus_to_exitcode(status), lines[-1] if lines else "", steps)


def run(command: str, folder: Path, *, kind: str, at: int) -> None:
    """The life of the child process."""
    os.chdir(folder)
    screen = os.open(SCREEN, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(screen, 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115 (until the end)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts jobs in the background without it
    sys.argv = ["skinaudit", *shlex.split(command)]
    hook = Hook(kind, at)
    files.at_step = hook
    try:
        cli.main()
    except SystemExit as error:
        Path("steps.txt").write_text(str(hook.count))
        os._exit(error.code if isinstance(error.code, int) else 1)
    os._exit(99)


class Hook:
    """Counts the steps of writes, and does its harm at one of them."""

    def __init__(self, kind: str, at: int) -> None:
        self.count, self._at = 0, at
        harms: dict[str, Callable[[], object]] = {
            "": lambda: None,
            "kill -9": lambda: os.kill(os.getpid(), signal.SIGKILL),
            "SIGINT": lambda: os.kill(os.getpid(), signal.SIGINT),
            "SIGTERM": lambda: os.kill(os.getpid(), signal.SIGTERM),
            "disk full": disk_full,
        }
        self._harm = harms[kind]

    def __call__(self, step: str, target: Path) -> None:
        """Of skinaudit.artifacts.files.at_step."""
        self.count += 1
        if self.count == self._at:
            self._harm()


def disk_full() -> None:
    """What the system says of a full disk."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def unsound(folder: Path) -> list[str]:
    """Files under their own names that are not whole. An engine beside the manifest of another build is refused instead."""
    names = []
    for path in sorted(folder.rglob("*")):
        if path.name.startswith(".") or not path.is_file():
            continue
        try:
            if path.parent.name == "sets":
                open_set(path)
            elif path.name == "run.json":
                read_run(path.parent)
            elif path.suffix == ".json":
                json.loads(path.read_text())
        except (SkinauditError, ValueError):
            names.append(path.name)
    return names


def content(folder: Path) -> dict[str, str]:
    """Digests of what a run is made of, without its times; engines count where their manifests hold."""
    digests = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".safetensors", ".onnx") and not path.name.startswith("."):
            digests[path.relative_to(folder).as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
            if path.suffix == ".onnx":
                read_engine_manifest(path)
    manifest = folder / "run" / "run.json"
    if manifest.exists():
        digests["sets"] = str(sorted((name, file.digest) for name, file in read_run(manifest.parent).sets.items()))
    for path in sorted(folder.rglob("audits/*.json")):
        digests[path.name] = json.loads(path.read_text())["verdict"]
    return digests


if __name__ == "__main__":
    main()
