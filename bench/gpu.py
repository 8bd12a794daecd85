"""Everything that can be measured on a machine with an NVIDIA GPU, in one call.

`python bench/gpu.py RUN` runs each file of `bench/gpu_parts` in a process of its own, so that a failure loses nothing, and
writes RUN/gpu.md and RUN/gpu.json after each of them. With `--provider cpu` all of it runs anywhere. The part `attacks`
compares with torchattacks, which `python bench/libraries.py` installs before.

Exit code: 0 if every part was measured, 1 if any failed, ran out of time or was not started, 2 if nothing could be measured.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shlex
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from skinaudit.artifacts.files import can_be_written, write_bytes
from skinaudit.artifacts.manifest import read_run, versions
from skinaudit.bench import libraries
from skinaudit.bench.gpu_parts import attacks
from skinaudit.bench.gpu_parts.part import Answer, Settings
from skinaudit.bench.processes import code_within, run_for, running
from skinaudit.bench.report import machine
from skinaudit.engines.open import LIBRARIES
from skinaudit.errors import InvalidInputError, MissingDependencyError, NoDeviceError, SkinauditError

PARTS = (
    "rounding", "session", "gradients", "builds", "epochs", "attacks", "strong", "speed", "audits", "replays", "training",
    "compiled",
)  # fmt: skip
"""Files of `bench/gpu_parts` in the order in which they run: what others build on and what matters most comes first."""

BESIDE = "compiled"
"""On a GPU, this part begins with the first and runs beside all others, until the end: it is work of the CPU, of minutes."""


def main() -> None:
    """Measure, print and write; what keeps all of it from being measured is one line and exit code 2."""
    options = _options()
    if options.only_part is not None:
        _answer_one(options.only_part, Settings(**json.loads(options.settings)), options.answer)
        return
    try:
        text, failed = measure(options, say=lambda line: print(line, file=sys.stderr, flush=True))
    except SkinauditError as error:
        print(f"gpu: {error}", file=sys.stderr)
        sys.exit(2)
    print(text)
    for name, reason in failed.items():
        print(f"gpu: {name}: {reason}", file=sys.stderr)
    if failed:
        sys.exit(1)


def measure(options: argparse.Namespace, *, say: Callable[[str], None]) -> tuple[str, dict[str, str]]:
    """All parts in turn; the Markdown, which is written with the JSON after each part, and why parts are missing in it.

    Raises InvalidInputError for what is no run and for an output that cannot be written, NoDeviceError without the GPU that
    was asked for.
    """
    started = time.perf_counter()
    read_run(options.run)
    output = options.output or options.run / "gpu.md"
    if output.suffix != ".md" or not can_be_written(output) or not can_be_written(output.with_suffix(".json")):
        raise InvalidInputError(f"{output}: cannot be written; name another file, FILE.md, as --output")
    if options.provider == "cuda" and not torch.cuda.is_available():
        raise NoDeviceError(f"{options.run}: torch finds no CUDA device here; --provider cpu measures what needs none")
    settings = _settings(options)
    results: dict[str, dict[str, Any]] = {}
    text = ""
    hindrances = {name: reason for name in options.parts if (reason := _hindrance(name)) is not None}
    for name, reason in hindrances.items():
        say(f"{name} will be left out: {reason}")
    with ExitStack() as stack:
        beside = BESIDE in options.parts and options.provider == "cuda" and options.minutes > 0
        part_beside = stack.enter_context(_beside_the_others(BESIDE, settings)) if beside else None
        for name in options.parts:
            remaining = 60 * options.minutes - (time.perf_counter() - started)
            if name in hindrances:
                results[name] = {"error": f"not started: {hindrances[name]}"}
            elif name == BESIDE and part_beside is not None:
                say(f"{name}, still {max(0.0, remaining):.0f} s")
                results[name] = part_beside(remaining)
            elif remaining <= 0:
                results[name] = {"error": f"not started: the {options.minutes:g} minutes were over"}
            else:
                say(f"{name}, {remaining:.0f} s left")
                results[name] = _in_a_process(name, settings, seconds=min(remaining, 60 * options.part_minutes))
            minutes = (time.perf_counter() - started) / 60
            text = _document(results, settings, minutes=minutes)
            write_bytes(output, text.encode())
            content = {"settings": asdict(settings), "machine": _machine(settings), "minutes": minutes, "parts": results}
            write_bytes(output.with_suffix(".json"), (json.dumps(content, indent=1) + "\n").encode())
    return text, {name: result["error"] for name, result in results.items() if "error" in result}


def _hindrance(name: str) -> str | None:
    """Why a part cannot run here, where that is known beforehand."""
    try:
        if name == "attacks":
            libraries.require(attacks.PEER)
    except MissingDependencyError as error:
        return str(error)
    return None


def _in_a_process(name: str, settings: Settings, *, seconds: float) -> dict[str, Any]:
    """The part's answer and the seconds that it took.

    A part that fails or is not done in time has an `error` in one line with the `log` behind it, and with them whatever it
    had kept until then; nothing that it started lives on.
    """
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        answer, printed = Path(scratch) / "answer.json", Path(scratch) / "log"
        code = run_for(_command(name, settings, answer), seconds=seconds, output=printed)
        return _collected(answer, printed, code, started=started)


@contextmanager
def _beside_the_others(name: str, settings: Settings) -> Iterator[Callable[[float], dict[str, Any]]]:
    """A part that runs while the block does; the function waits so many seconds more and gives what `_in_a_process` does."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        answer, printed = Path(scratch) / "answer.json", Path(scratch) / "log"
        with running(_command(name, settings, answer), output=printed) as process:
            yield lambda seconds: _collected(answer, printed, code_within(process, seconds=seconds), started=started)


def _command(name: str, settings: Settings, answer: Path) -> list[str]:
    return [
        sys.executable, __file__, settings.run,
        "--only-part", name, "--settings", json.dumps(asdict(settings)), "--answer", str(answer),
    ]  # fmt: skip


def _collected(answer: Path, printed: Path, code: int | None, *, started: float) -> dict[str, Any]:
    log = printed.read_text(errors="replace")
    report = json.loads(answer.read_text()) if answer.is_file() else {}
    if not report.pop("complete", False):
        lines = [line for line in log.splitlines() if line.strip()]
        reason = "took too long" if code is None else f"ended with {code}: {lines[-1][:300] if lines else 'no message'}"
        report |= {"error": reason, "log": log[-6000:]}
    return {**report, "seconds": round(time.perf_counter() - started, 1)}


def _answer_one(name: str, settings: Settings, target: Path) -> None:
    """What the part's own process does: what it has so far goes to `target`; an exception ends it with a traceback."""
    torch.set_num_threads(settings.threads)

    def keep(so_far: Answer, *, complete: bool = False) -> None:
        write_bytes(target, json.dumps({**asdict(so_far), "complete": complete}).encode())

    try:
        keep(importlib.import_module(f"skinaudit.bench.gpu_parts.{name}").measure(settings, keep), complete=True)
    except Exception as error:
        traceback.print_exc(file=sys.stdout)
        print(f"{type(error).__name__}: {' '.join(str(error).split())}"[:300])
        sys.stdout.flush()
        os._exit(1)  # a library that is half torn down must not hide what was printed


def _document(results: Mapping[str, Mapping[str, Any]], settings: Settings, *, minutes: float) -> str:
    sections = []
    for name, result in results.items():
        title = importlib.import_module(f"skinaudit.bench.gpu_parts.{name}").TITLE
        duration = f" ({result['seconds']:.0f} s)" if "seconds" in result else ""
        sections.append(f"\n## {title}\n\nPart `{name}`{duration}.\n\n{_body(result)}")
    used = versions("torch", "onnx", *LIBRARIES)
    head = f"""# On a GPU

    {shlex.join(["python", "bench/gpu.py", *sys.argv[1:]])}

took {minutes:.1f} minutes. Each part ran in a process of its own; contestants of one table work in turns in one process.

- device: {_machine(settings)}
- versions: {", ".join(f"{library} {version}" for library, version in used.items())}
"""
    return head + "".join(sections)


def _body(result: Mapping[str, Any]) -> str:
    text = str(result.get("text", ""))
    if "error" not in result:
        return text
    reason = result["error"]
    return f"Incomplete: {reason}. This was measured before:\n\n{text}" if text else f"Failed: {reason}\n"


def _machine(settings: Settings) -> str:
    if settings.provider == "cuda" and torch.cuda.is_available():
        return f"{torch.cuda.get_device_name(0)}; {machine(settings.threads)}"
    return machine(settings.threads)


def _settings(options: argparse.Namespace) -> Settings:
    return Settings(
        run=str(options.run), provider=options.provider, threads=options.threads, batches=tuple(options.batches),
        rounds=options.rounds, formats=tuple(options.formats), data=options.data, size=options.size, width=options.width,
        epochs=options.epochs, images=options.images, steps=options.steps, attacked=options.attacked,
        compiled=not options.no_compile,
    )  # fmt: skip


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a finished run; engines are built into it")
    parser.add_argument("--provider", choices=("cpu", "cuda"), default="cuda", help="where to run (default cuda)")
    parser.add_argument(
        "--parts",
        nargs="+",
        choices=PARTS,
        default=list(PARTS),
        help="only these (default: all); attacks needs `python bench/libraries.py` first",
    )
    parser.add_argument("--minutes", type=float, default=8, help="for all parts together (default 8)")
    parser.add_argument("--part-minutes", type=float, default=2.5, help="for one part at most (default 2.5)")
    parser.add_argument("--formats", nargs="*", default=[], help="only these formats (default: all that are installed)")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32, 128], help="batch sizes (default 1 8 32 128)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of the timings (default 7)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads (default: all cores)")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--data", default="synthetic", help="what the training part trains on (default: synthetic images)")
    parser.add_argument("--size", type=int, default=224, help="image size of the training part (default 224)")
    parser.add_argument("--width", type=float, default=1.0, help="width of the training part (default 1.0)")
    parser.add_argument("--epochs", type=int, default=2, help="epochs of the training part (default 2)")
    parser.add_argument("--images", type=int, default=2000, help="synthetic images of the training part (default 2000)")
    parser.add_argument("--steps", type=int, default=40, help="PGD steps of the attack (default 40)")
    parser.add_argument("--attacked", type=int, default=200, help="clean images that are attacked (default 200)")
    parser.add_argument(
        "--output", type=Path, metavar="FILE.md", help="the page, with a .json beside it (default RUN/gpu.md)"
    )
    parser.add_argument("--only-part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--settings", help=argparse.SUPPRESS)
    parser.add_argument("--answer", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an exception, so that the part that runs is ended, too
    main()
