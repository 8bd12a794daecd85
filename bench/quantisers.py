"""skinaudit's int8 and fp8 files beside those of NVIDIA ModelOpt and NNCF, of the same graph and calibration images.

`python bench/quantisers.py RUN...` quantises the fp32 graph of each run, shows the run's stored sets to every result and
writes a section for it into docs/results/int8.md; the rest of that file stays as it is. Peers that are not
installed are left out and named: `python bench/libraries.py quantisers` installs ModelOpt, the extra `openvino` brings NNCF.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from skinaudit.artifacts.files import write_bytes
from skinaudit.artifacts.manifest import read_run, versions
from skinaudit.bench.quantiser_parts import modelopt_, nncf_, ours
from skinaudit.bench.quantiser_parts.figures import Quantised, quantise, run_tables
from skinaudit.bench.quantiser_parts.quantiser import Quantiser
from skinaudit.bench.report import machine
from skinaudit.bench.throughput import sets_of
from skinaudit.errors import MissingDependencyError, SkinauditError
from skinaudit.publish.card.commands import train_command
from skinaudit.publish.run_record import read_run_record

ROOT = Path(__file__).resolve().parents[1]
TITLE = "Beside ModelOpt and NNCF"
QUANTISERS = (*ours.QUANTISERS, *modelopt_.QUANTISERS, *nncf_.QUANTISERS)


def main() -> None:
    """Measure run after run and write after each quantiser; what skinaudit expects to fail is one line and exit code 2."""
    options = _options()
    try:
        for run in options.runs:
            read_run(run)
        for run in options.runs:
            for section in measure(run, options, say=lambda line: print(line, file=sys.stderr, flush=True)):
                old = options.output.read_text(encoding="utf-8") if options.output.is_file() else "# int8\n"
                write_bytes(options.output, with_section(old, title=f"{TITLE}: {run.name}", section=section).encode())
            print(section)
    except SkinauditError as error:
        print(f"quantisers: {error}", file=sys.stderr)
        sys.exit(2)


def measure(run: Path, options: argparse.Namespace, *, say: Callable[[str], None]) -> Iterator[str]:
    """The section of a run below its heading, as Markdown, anew after each quantiser."""
    started = time.perf_counter()
    fitting, used, left_out = installed(options.only)
    sets, quantised = sets_of(run), list[Quantised]()
    training = shlex.join(train_command(read_run_record(run)))
    for quantiser in fitting:
        say(f"{run.name}: {quantiser.name}")
        try:
            quantised.append(quantise(quantiser, run, sets, threads=options.threads))
        except Exception as error:  # whatever a peer raises is a result, and loses nothing of the others
            left_out.append(f"{quantiser.name}: {' '.join(str(error).split())[:300]}")
        minutes = (time.perf_counter() - started) / 60
        introduction = _about(training, minutes=minutes, threads=options.threads, used=used, left_out=left_out)
        yield f"{introduction}\n{run_tables(sets, quantised)}"
    if not fitting:
        raise MissingDependencyError(f"nothing to compare: {'; '.join(left_out)}")


def _about(training: str, *, minutes: float, threads: int, used: Mapping[str, str], left_out: Sequence[str]) -> str:
    """The commands, what was done, on what, and what is missing."""
    return f"""    {training}
    python bench/libraries.py quantisers
    {shlex.join(["python", "bench/quantisers.py", *sys.argv[1:]])}

took {minutes:.1f} minutes. Every quantiser got the run's fp32 graph, the run's calibration images and its own default
settings. NNCF's accuracy control may change the answer to {100 * nncf_.MAX_DROP:g}% of the calibration images. Files for
ONNX Runtime and OpenVINO ran there. Files for TensorRT were emulated in ONNX Runtime on a CPU. *Lost images* are malignant
images that the source gets right and the file calls benign. Bold: the best of the column.

- machine: {machine(threads)}
- versions: {", ".join(f"{name} {version}" for name, version in {**versions("onnx"), **used}.items())}
{"".join(f"- left out: {line}{chr(10)}" for line in left_out)}"""


def installed(only: Sequence[str]) -> tuple[list[Quantiser], dict[str, str], list[str]]:
    """The quantisers, of those in `only` if any, that can run here; the versions of what they use; why others cannot."""
    fitting, used, left_out = [], dict[str, str](), []
    for quantiser in (quantiser for quantiser in QUANTISERS if not only or quantiser.name in only):
        try:
            used |= quantiser.require()
        except MissingDependencyError as error:
            left_out.append(f"{quantiser.name}: {error}")
            continue
        fitting.append(quantiser)
    return fitting, used, left_out


def with_section(text: str, *, title: str, section: str) -> str:
    """A Markdown document with the section of that title replaced, or added at the end where there is none."""
    parts = [part.rstrip("\n") for part in text.split("\n## ")]
    place = next((index for index, part in enumerate(parts) if index and part.splitlines()[0] == title), len(parts))
    fresh = f"{title}\n\n{section.rstrip()}"
    return "\n\n## ".join([*parts[:place], fresh, *parts[place + 1 :]]) + "\n"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="finished runs; the fp32 graph is exported into each")
    parser.add_argument(
        "--only", nargs="+", choices=[quantiser.name for quantiser in QUANTISERS], default=[], metavar="NAME"
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of the runtimes (default: all cores)")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "results" / "int8.md")
    return parser.parse_args()


if __name__ == "__main__":
    main()
