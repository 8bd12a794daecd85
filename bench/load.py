"""What an audit of many images takes: time, memory of the audit and of its engine's process, an interruption, eight at once.

python bench/load.py RUN [--images 1000 10000 100000] [--at-once 8] [--output docs/results/load.md]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.adversarial_set import CLEAN, AdversarialSet, SetInfo, open_set, write_set
from skinaudit.artifacts.attack_record import LOSS_GRADIENT, POINTS, AttackRecord
from skinaudit.artifacts.files import write_bytes
from skinaudit.artifacts.manifest import read_run, resolve
from skinaudit.bench.report import machine, table
from skinaudit.engines.engine import Engine
from skinaudit.engines.open import open_engine

_PAUSE = 0.1
_ROWS = 256
_FIELD = 8
MANY = 10_000_000
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
INTO_THE_NEXT = 5.0
"""Seconds from the first finished replay to the signal."""
_SPEEDS = ("images_per_second", "seconds", "created", "versions", "arguments")


@dataclass(frozen=True)
class Taken:
    """What one audit took. cpu: seconds of all its processes. peak, child: MiB resident at most, of the audit's own process
    and of its largest other one."""

    cpu: float
    peak: float
    child: float


def main() -> None:
    """Measure and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="an exported run")
    parser.add_argument("--images", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--at-once", type=int, default=8, help="audits at the same time; 0: none")
    parser.add_argument("--stopped", type=float, default=0.0, help="share of the time in which engines stand still, to 1")
    parser.add_argument("--work", type=Path, help="folder for the sets, which are kept")
    parser.add_argument("--output", type=Path, help="Markdown file; otherwise standard output")
    options = parser.parse_args()
    engine = options.run / "engines" / "fp32.onnx"
    if options.work is not None:
        options.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.work) as temporary:
        work = options.work or Path(temporary)
        costs = {}
        for count in options.images:
            sets = work / f"sets-{count}"
            if not sets.exists():
                started = time.perf_counter()
                in_process(lambda sets=sets, count=count: write_sets(options.run, sets, count))
                print(f"{count} images written in {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
            costs[count] = audit(engine, sets, work / f"audit-{count}.json")
            print(count, costs[count], file=sys.stderr, flush=True)
        smallest = work / f"sets-{min(options.images)}"
        most = max(options.images)
        report = work / f"audit-{most}.json"
        parts = [size_table(costs), resumed(engine, work / f"sets-{most}", report, costs[most], stopped=options.stopped)]
        if options.at_once:
            parts.append(at_once(engine, smallest, work, options.at_once))
    command = shlex.join(["python", "bench/load.py", *sys.argv[1:]])
    size = open_set(resolve(options.run, read_run(options.run).sets[CLEAN])).info.contract.size
    text = f"# Load\n\n    {command}\n\non {machine(1)}; images of {size} x {size}, a clean and one adversarial set.\n\n"
    text += "\n".join(parts)
    if options.output is None:
        print(text)
    else:
        write_bytes(options.output, text.encode())


def in_process(call: Callable[[], None]) -> None:
    """Call a function in a process of its own, whose memory is no matter."""
    process = os.fork()
    if process == 0:
        try:
            call()
        except BaseException as error:
            print(error, file=sys.stderr)
            os._exit(1)
        os._exit(0)
    if os.waitpid(process, 0)[1]:
        raise SystemExit("the sets could not be written")


def write_sets(run: Path, folder: Path, count: int) -> None:
    """A clean set of `count` images, those of the run under random soft patterns, and one with random signs of size eps."""
    manifest = read_run(run)
    stored = [open_set(resolve(run, record)) for record in manifest.sets.values()]
    own = next(image_set for image_set in stored if image_set.info.threat_model is None)
    attacked = next(image_set for image_set in stored if image_set.info.threat_model is not None)
    engine, generator = open_engine(run / "engines" / "fp32.onnx", threads=1), np.random.default_rng(0)
    pixels = patterned(own, count, generator)
    rows = np.arange(count) % len(own)
    labels, ids = own.labels[rows], tuple(f"image{row:07d}" for row in range(count))
    groups = np.arange(count, dtype=np.int64) * 4 // 5
    write = {"labels": labels, "group": groups, "ids": ids}
    write_set(folder / "clean.safetensors", own.info, images=pixels, source_logits=answers(engine, pixels), **write)
    clean = open_set(folder / "clean.safetensors").images_digest
    assert attacked.info.threat_model is not None
    eps = int(attacked.info.threat_model.eps_255)
    for start in range(0, count, _ROWS):
        part = pixels[start : start + _ROWS].astype(np.int16)
        part += generator.choice(np.array([-eps, eps], np.int16), part.shape)
        pixels[start : start + _ROWS] = np.clip(part, 0, 255)
    info: SetInfo = replace(attacked.info, clean=clean, settings={})
    noted = AttackRecord(
        np.full(count, LOSS_GRADIENT, np.uint8), np.zeros((count, POINTS), np.float32), np.zeros(count, np.int32),
        np.ones(count, np.float32),
    )  # fmt: skip
    path = folder / "attacked.safetensors"
    write_set(path, info, images=pixels, source_logits=answers(engine, pixels), attack=noted, **write)


def patterned(own: AdversarialSet, count: int, generator: np.random.Generator) -> NDArray[np.uint8]:
    """The images of a set again and again, each under a soft pattern of its own: uint8 (count, 3, H, W)."""
    size = own.info.contract.size
    base = np.concatenate(list(own.batches(_ROWS)))
    pixels = np.empty((count, 3, size, size), np.uint8)
    stretch = -(-size // _FIELD)
    for start in range(0, count, _ROWS):
        rows = np.arange(start, min(count, start + _ROWS)) % len(base)
        field = generator.normal(0, 40, (len(rows), 1, _FIELD, _FIELD)).repeat(stretch, 2).repeat(stretch, 3)
        pixels[start : start + len(rows)] = np.clip(base[rows] + field[:, :, :size, :size], 0, 255)
    return pixels


def answers(engine: Engine, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Logits, float32 (N, classes)."""
    return np.concatenate([engine.logits(pixels[start : start + 64]) for start in range(0, len(pixels), 64)])


def command_of(engine: Path, sets: Path, output: Path) -> list[str]:
    """An audit of one thread and a fixed seed."""
    options = ["--sets", str(sets), "--seed", "1", "--threads", "1", "--output", str(output)]
    return [sys.executable, "-m", "skinaudit", "audit", str(engine), *options]


def audit(engine: Path, sets: Path, output: Path) -> Taken:
    """Run an audit and watch its processes."""
    return watched(command_of(engine, sets, output), os.environ)[0]


def watched(command: list[str], environment: Mapping[str, str]) -> tuple[Taken, str]:
    """Run an audit, watch its processes, and return what it took and what it printed to standard error."""
    before = used()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors, env=environment)
        peaks: dict[int, float] = {}
        while process.poll() is None:
            for number in (process.pid, *descendants(process.pid)):
                peaks[number] = max(peaks.get(number, 0.0), high_water(number))
            time.sleep(_PAUSE)
        errors.seek(0)
        told = errors.read().decode()
    _check(process, told)
    own = peaks.pop(process.pid)
    return Taken(used() - before, own, max(peaks.values(), default=0.0)), told


def _check(process: subprocess.Popen[bytes], told: str) -> None:
    if process.returncode not in (0, 1, 3):
        raise SystemExit(told)


def used() -> float:
    """Seconds of CPU of all processes that have ended."""
    times = resource.getrusage(resource.RUSAGE_CHILDREN)
    return times.ru_utime + times.ru_stime


def descendants(number: int) -> list[int]:
    """The processes that a process started, and those that they started."""
    try:
        texts = [(task / "children").read_text() for task in Path(f"/proc/{number}/task").iterdir()]
    except OSError:
        return []
    own = [int(child) for text in texts for child in text.split()]
    return [*own, *(further for child in own for further in descendants(child))]


def high_water(number: int) -> float:
    """MiB that a process had resident at most; 0 for one that has ended."""
    try:
        status = Path(f"/proc/{number}/status").read_text()
    except OSError:
        return 0.0
    match = re.search(r"^VmHWM:\s+(\d+) kB", status, re.M)
    return int(match.group(1)) / 1024 if match else 0.0


def size_table(costs: Mapping[int, Taken]) -> str:
    """A row for each number of images, and what ten million would take by the slope of the last two."""
    rows = [
        (f"{count:,}", f"{cost.cpu:,.0f}", f"{1000 * cost.cpu / count:.2f}", f"{cost.peak:,.0f}", f"{cost.child:,.0f}")
        for count, cost in sorted(costs.items())
    ]
    heads = ("images", "CPU, s", "CPU an image, ms", "peak of the audit, MiB", "of its largest process, MiB")
    (fewer, smaller), (images, larger) = sorted(costs.items())[-2:]
    seconds, memory = ((getattr(larger, name) - getattr(smaller, name)) / (images - fewer) for name in ("cpu", "peak"))
    hours, gigabytes = (larger.cpu + seconds * (MANY - images)) / 3600, (larger.peak + memory * (MANY - images)) / 1024
    outlook = (
        f"By the slope of the last two rows {MANY:,} images would take {hours:,.1f} hours of CPU and {gigabytes:,.1f} GiB"
    )
    return f"## Size\n\n{table(heads, rows)}\n{outlook} in the audit.\n"


def resumed(engine: Path, sets: Path, report: Path, undisturbed: Taken, *, stopped: float) -> str:
    """Audits that a signal ends after their first finished replay, each started again, beside one that nobody disturbed.

    report: of the audit that nobody disturbed. stopped: share of the time in which the processes of engines stand still
    until the signal: answers are kept only from a slow engine. Each pair has a cache of its own.
    """
    expected, rows = comparable(report), []
    for number in SIGNALS:
        with tempfile.TemporaryDirectory(dir=report.parent) as cache:
            rows.append(_stop_and_start(number, Path(cache), engine, sets, expected, undisturbed, stopped=stopped))
            print(*rows[-1], file=sys.stderr, flush=True)
    heads = (
        "signal", "exit code", "last line", "until then, CPU s", "finished replays kept", "started again, CPU s",
        "replays taken up", "undisturbed, CPU s", "saved, CPU s", "report equal", "left behind",
    )  # fmt: skip
    return f"## Interrupted\n\n{table(heads, rows)}\n"


def _stop_and_start(
    number: signal.Signals, cache: Path, engine: Path, sets: Path, expected: Any, undisturbed: Taken, *, stopped: float
) -> tuple[str, ...]:
    """A row of the table of interrupted audits."""
    again, environment = cache / "again.json", {**os.environ, "SKINAUDIT_CACHE": str(cache)}
    command, before = command_of(engine, sets, again), used()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)
    until = float("inf")
    while process.poll() is None and time.monotonic() < until:
        _rest(process.pid, share=stopped)
        if until == float("inf") and _kept(cache):
            until = time.monotonic() + INTO_THE_NEXT
    process.send_signal(number)
    _, errors = process.communicate()
    spent, finished = used() - before, _kept(cache)
    taken, told = watched(command, environment)
    line = errors.decode().rstrip().splitlines()[-1:] if number is not signal.SIGKILL else []
    return (
        number.name, str(process.returncode), *(line or ["none, as nothing can be said"]), f"{spent:,.0f}", str(finished),
        f"{taken.cpu:,.0f}", str(told.count("an interrupted audit has these outputs already")), f"{undisturbed.cpu:,.0f}",
        f"{undisturbed.cpu - taken.cpu:,.0f}", "yes" if comparable(again) == expected else "NO", str(_kept(cache)),
    )  # fmt: skip


def _rest(number: int, *, share: float) -> None:
    """Stop the processes of engines of an audit for a share of half a second, and let them work in the rest of it."""
    children = descendants(number)
    for wanted, seconds in ((signal.SIGSTOP, share), (signal.SIGCONT, 1 - share)):
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(child, wanted)
        time.sleep(seconds / 2)


def _kept(cache: Path) -> int:
    """How many replays an audit has kept in this cache."""
    return len(list(cache.glob("unfinished-audits/*/*.safetensors")))


def comparable(report: Path) -> Any:
    """A report without speeds, and without the note that an earlier audit was interrupted."""
    plain = without_speeds(json.loads(report.read_text()))
    plain["findings"] = [finding for finding in plain["findings"] if finding["rule"] != "interrupted"]
    return plain


def without_speeds(value: Any) -> Any:
    """A report without what no two audits have in common."""
    if isinstance(value, dict):
        return {key: without_speeds(item) for key, item in value.items() if key not in _SPEEDS}
    return [without_speeds(item) for item in value] if isinstance(value, list) else value


def at_once(engine: Path, sets: Path, work: Path, number: int) -> str:
    """As many audits at the same time; whether their reports are equal."""
    outputs = [work / f"at-once-{index}.json" for index in range(number)]
    processes = [
        subprocess.Popen(command_of(engine, sets, output), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for output in outputs
    ]
    for process in processes:
        _, errors = process.communicate()
        _check(process, errors.decode())
    texts = {json.dumps(comparable(output)) for output in outputs}
    verdicts = {json.loads(output.read_text())["verdict"] for output in outputs}
    heads = ("audits at once", "verdicts", "different reports")
    return f"## At once\n\n{table(heads, [(str(number), ', '.join(sorted(verdicts)), str(len(texts)))])}"


if __name__ == "__main__":
    main()
