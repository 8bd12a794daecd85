"""Disks that are really full, a clock that is set back, files that shrink, two users of one cache: what a command does.

python bench/broken_machine.py RUN [--other-python PYTHON] [--output docs/results/broken-machine.md]

RUN: a small exported run. As root alone, on Linux: it mounts small file systems, and becomes another user. A C compiler
makes the clock. --other-python: one that the other user may start, where he may not start this one.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from skinaudit.artifacts.files import write_bytes
from skinaudit.bench.machine_faults import content, unsound
from skinaudit.bench.report import machine, table

COMMANDS = {
    "train": "train --images 280 --size 32 --width 0.25 --epochs 1 --threads 1 --out new",
    "attack": "attack run --attack fgsm --eps 7/255 --threads 1",
    "export": "export run --format onnx --fp16 --threads 1",
    "audit": "audit run/engines/fp32.onnx --seed 1 --threads 1 --report html=a.html",
}
FREE = (0, 64, 512)
"""KiB that are left on the file system."""
OTHER = 12_345
"""The number of a user that no machine has."""
CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>
#include <sys/time.h>
static long back(void) {
    static long calls;
    return calls++ < 40 ? 0 : 400L * 24 * 3600;
}
int clock_gettime(clockid_t clock, struct timespec *time) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, time);
    if (clock == CLOCK_REALTIME) time->tv_sec -= back();
    return result;
}
"""
SHRINK = """
import os, sys
from pathlib import Path
from skinaudit import cli
from skinaudit.audit.evidence import answers
from skinaudit.audit.evidence.replay import replay
target, after = Path(sys.argv[1]), int(sys.argv[2])
calls = 0
def shrink(*args, **named):
    global calls
    calls += 1
    if calls == after:
        os.truncate(target, target.stat().st_size // 3)
    return kept(*args, **named)
kept = answers.replay_unless_kept
answers.replay_unless_kept = shrink
sys.argv = ["skinaudit", *sys.argv[3:]]
cli.main()
"""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    line: str


def main() -> None:
    """Run everything and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--other-python", default=sys.executable)
    parser.add_argument("--output", type=Path, help="Markdown file; otherwise standard output")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        lab = Path(folder)
        lab.chmod(0o755)
        for part in (full_disks, clock_set_back, shrinking_files, two_users):
            for row in part(lab, options.run, options.other_python):
                print(*row, sep="  ", file=sys.stderr, flush=True)
                rows.append(row)
    command = shlex.join(["python", "bench/broken_machine.py", *sys.argv[1:]])
    heads = ("fault", "command", "exit code", "what the user sees", "lost")
    text = f"    {command}\n\non {machine(1)}.\n\n{table(heads, rows)}"
    if options.output is None:
        print(text)
    else:
        write_bytes(options.output, text.encode())


def ran(words: str, folder: Path, *, environment: Mapping[str, str] | None = None, before: tuple[str, ...] = ()) -> Ended:
    """Run a command in a folder. before: what starts it, in place of this Python."""
    start = before or (sys.executable, "-m", "skinaudit")
    process = subprocess.run(
        [*start, *shlex.split(words)], cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, **(environment or {})},
    )  # fmt: skip
    lines = process.stderr.strip().splitlines() or [""]
    assert "Traceback" not in process.stderr, process.stderr
    return Ended(process.returncode, lines[-1].replace(f"{folder}/", "")[:200])


def compared(folder: Path, digests: Mapping[str, str]) -> str:
    """What was lost of what a folder held."""
    harmed = unsound(folder)
    missing = [name for name, digest in digests.items() if name != "sets" and content(folder).get(name, "") != digest]
    return ", ".join([*(f"{name} is damaged" for name in harmed), *(f"{name} differs" for name in missing)]) or "nothing"


def full_disks(lab: Path, run: Path, _: str) -> Iterator[tuple[str, ...]]:
    """A file system on which so little is left."""
    for name, words in COMMANDS.items():
        for free in FREE:
            with mounted(lab / "disk") as disk:
                shutil.copytree(run, disk / "run")
                before = content(disk)
                fill(disk, free)
                cache = {"SKINAUDIT_CACHE": str(lab / "cache")}
                ended = ran(words, disk, environment=cache)
                (disk / "ballast").unlink()
                lost = compared(disk, before)
                again = ran(words, disk, environment=cache)
            lost += f"; a repetition ends with {again.code}"
            yield f"{free} KiB left on the disk", name, f"{ended.code}", ended.line, lost


@contextmanager
def mounted(place: Path) -> Iterator[Path]:
    """A file system of 64 MiB in memory."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)
        place.rmdir()


def fill(disk: Path, free: int) -> None:
    """Leave so many KiB."""
    with (disk / "ballast").open("wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, shutil.disk_usage(disk).free - 1024 * free)


def clock_set_back(lab: Path, run: Path, _: str) -> Iterator[tuple[str, ...]]:
    """A clock that is set back by 400 days while a command works; the same command with a clock that is right beside it."""
    library = lab / "clock.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(library), "-ldl"], input=CLOCK.encode(), check=True)
    for name, words in COMMANDS.items():
        results = []
        for number, environment in enumerate(({}, {"LD_PRELOAD": str(library)})):
            place = lab / f"clock{number}"
            shutil.copytree(run, place / "run")
            ended = ran(words, place, environment=environment)
            results.append((ended, content(place)))
            shutil.rmtree(place)
        (right, expected), (wrong, written) = results
        lost = "nothing: the same files" if (right.code, expected) == (wrong.code, written) else "OTHER FILES"
        yield "clock set back by 400 days", name, f"{wrong.code}", wrong.line, lost


def shrinking_files(lab: Path, run: Path, _: str) -> Iterator[tuple[str, ...]]:
    """A file of which two thirds are cut off while an audit works."""
    script = lab / "shrink.py"
    script.write_text(SHRINK)
    for name, at in (
        ("sets/pgd", 1),
        ("sets/clean", 1),
        ("engines/fp32.onnx", 1),
        ("weights.safetensors", 1),
        ("run.json", 1),
    ):
        place = lab / "shrinking"
        shutil.copytree(run, place / "run")
        target = next(
            path for path in sorted((place / "run").rglob("*")) if str(path.relative_to(place / "run")).startswith(name)
        )
        ended = ran(COMMANDS["audit"], place, before=(sys.executable, str(script), str(target), str(at)))
        shutil.rmtree(place)
        yield f"{target.name} shrinks while it is audited", "audit", f"{ended.code}", ended.line, "the file that was cut"


def two_users(lab: Path, run: Path, other_python: str) -> Iterator[tuple[str, ...]]:
    """Two users with one cache: that of the first, which the second may read, and one that both may write to."""
    own = os.pathsep.join(entry for entry in sys.path if entry and "lib/python" in entry)
    for mode, cache in ((0o755, "the first user's"), (0o1777, "of both")):
        folder = lab / f"cache{mode:o}"
        folder.mkdir()
        folder.chmod(mode)
        environment = {
            "SKINAUDIT_CACHE": str(folder),
            "PYTHONPATH": os.pathsep.join((os.environ.get("PYTHONPATH", ""), own)),
        }
        for user in ("first", "second", "first"):
            place = lab / f"of-{user}"
            place.mkdir(exist_ok=True)
            before: tuple[str, ...] = ()
            if user == "second":
                os.chown(place, OTHER, OTHER)
                before = ("setpriv", f"--reuid={OTHER}", f"--regid={OTHER}", "--clear-groups", "env", f"HOME={place}",
                          other_python, "-m", "skinaudit")  # fmt: skip
            ended = ran(COMMANDS["train"], place, environment=environment, before=before)
            files = content(place)
            shutil.rmtree(place)
            yield f"a cache {cache}, {user} user", "train", f"{ended.code}", ended.line, f"nothing: {len(files)} files"


if __name__ == "__main__":
    main()
