"""Build and run every engine that this machine can, compare it with its source model, and time it beside torch.

`python bench/gpu.py RUN` is the one script for a machine with an NVIDIA GPU; with `--provider cpu` its CPU parts run
anywhere.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from skinaudit.artifacts.files import write_bytes
from skinaudit.artifacts.manifest import versions
from skinaudit.bench.report import machine, table
from skinaudit.bench.throughput import EAGER, Opened, agreement, contestants, images_per_second, open_all, sets_of
from skinaudit.engines.open import LIBRARIES
from skinaudit.errors import SkinauditError
from skinaudit.export.export import export_run
from skinaudit.export.formats import FORMATS
from skinaudit.trainer.checkpoint import load_run_model

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Build, measure, print and write; a failure that skinaudit expects is one line and exit code 2."""
    options = _options()
    try:
        text = measure(options, say=lambda line: print(line, file=sys.stderr, flush=True))
        write_bytes(options.output, text.encode())
    except SkinauditError as error:
        print(f"gpu: {error}", file=sys.stderr)
        sys.exit(2)
    print(text)


def measure(options: argparse.Namespace, *, say: Callable[[str], None]) -> str:
    """Everything in one go, as Markdown."""
    started = time.perf_counter()
    torch.set_num_threads(options.threads)
    built = _build(options, say=say)
    device = torch.device("cuda" if options.provider == "cuda" else "cpu")
    engines, left_out = open_all(options.run, provider=options.provider, threads=options.threads)
    sections = [
        _built_section(built),
        _agreement_section(options.run, engines),
        "".join(f"\n- not run: {reason}" for reason in left_out) + "\n",
        _speed_section(options, engines, device, say),
    ]
    found = versions("torch", "onnx", *LIBRARIES)
    name = torch.cuda.get_device_name(0) if device.type == "cuda" else machine(options.threads)
    minutes = (time.perf_counter() - started) / 60
    head = f"""# Engines beside torch

    {shlex.join(["python", "bench/gpu.py", *sys.argv[1:]])}

took {minutes:.1f} minutes. All contestants work in turns in one process with the same number of threads; images per
second are medians over {options.rounds} rounds, and include the conversion from 8-bit images.

- device: {name}
- versions: {", ".join(f"{library} {version}" for library, version in found.items())}
"""
    return head + "".join(sections)


def _build(options: argparse.Namespace, *, say: Callable[[str], None]) -> list[list[str]]:
    """Export every precision of every installed format; what a format cannot build is a row that says why."""
    rows = []
    for name, form in FORMATS.items():
        if not form.installed or (options.formats and name not in options.formats):
            continue
        for precision in form.graphs:
            try:
                (one,) = export_run(
                    options.run, precisions=[precision], formats=[name], threads=options.threads, progress=say
                )
            except SkinauditError as error:
                rows.append([f"{name} {precision}", "-", "-", "-", str(error).replace("|", "/")])
                continue
            found = ", ".join(f"{layer} {count}" for layer, count in one.manifest.found.items())
            how = one.manifest.parity.get("measured_on", "the engine")
            agree = f"{one.manifest.parity['agreement']:.2%} ({how})"
            rows.append([one.path.name, f"{one.size / 1e6:.2f}", f"{one.seconds:.1f}", found, agree])
    return rows


def _built_section(rows: list[list[str]]) -> str:
    columns = ("file", "MB", "seconds, comparison included", "layers found", "agreement on the clean set, measured on")
    return f"\n## Built\n\n{table(columns, rows)}"


def _agreement_section(run: Path, engines: tuple[Opened, ...]) -> str:
    rows = []
    for one in engines:
        for stored in sets_of(run):
            found = agreement(one.engine, stored)
            rows.append(
                [one.name, found.title, f"{found.source:.1%}", f"{found.engine:.1%}", f"{found.flips} of {found.images}"]
            )
    columns = ("engine", "set", "source", "engine", "flips")
    about = "Accuracy of the source model and of the engine on the same images."
    return f"\n## The stored sets\n\n{about}\n\n{table(columns, rows)}"


def _speed_section(
    options: argparse.Namespace, engines: tuple[Opened, ...], device: torch.device, say: Callable[[str], None]
) -> str:
    model = load_run_model(options.run)
    answers = contestants(model, engines, device=device, compiled=not options.no_compile)
    clean = sets_of(options.run)[0]
    precision = {one.name: one.precision for one in engines}
    speeds = {}
    for batch in options.batches:
        say(f"batch {batch}")
        images = next(clean.batches(batch))
        images = np.resize(images, (batch, *images.shape[1:]))  # a set of fewer images is repeated
        speeds[batch] = images_per_second(answers, images, rounds=options.rounds)
    rows = [
        [name, precision.get(name, "fp32")]
        + [f"{speeds[batch][name]:,.0f} ({speeds[batch][name] / speeds[batch][EAGER]:.2f})" for batch in options.batches]
        for name in answers
    ]
    columns = ("", "computes in", *(f"batch {batch}" for batch in options.batches))
    return f"\n## Images per second (times torch eager)\n\n{table(columns, rows)}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="a finished run; engines are built into it")
    parser.add_argument("--provider", choices=("cpu", "cuda"), default="cuda", help="where to run (default cuda)")
    parser.add_argument("--formats", nargs="*", default=[], help="only these formats (default: all that are installed)")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32, 128], help="batch sizes (default 1 8 32 128)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of the timings (default 7)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads (default: all cores)")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "results" / "gpu.md")
    return parser.parse_args()


if __name__ == "__main__":
    main()
