"""What an earlier version of skinaudit says of engines, and what this one does: verdicts, time and memory of whole audits.

    git worktree add /tmp/earlier COMMIT
    python bench/versions.py RUN... --earlier /tmp/earlier --output docs/results/versions.md

Each audit is a process of its own. Times are CPU seconds of one process, and the median of --repeats.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_SHOWN = 170
_HERE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Audit:
    """verdict: or `error`. reason: in one line. seconds: of the CPU. peak: MiB."""

    verdict: str
    reason: str
    seconds: float
    peak: float


def main() -> None:
    """Audit every engine of the runs with both versions, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--earlier", type=Path, required=True, help="A checkout of the earlier version.")
    parser.add_argument(
        "--recorded", type=Path, help="Copies of the runs with their structure recorded, for this version alone."
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    engines = [
        path
        for run in options.runs
        for suffix in ("*.onnx", "*.xml", "*.pt2", "*.plan")
        for path in sorted((run / "engines").glob(suffix))
    ]
    pairs = []
    for engine in engines:
        today = engine if options.recorded is None else options.recorded / engine.parents[1].name / "engines" / engine.name
        of_versions = [
            [_audit(path, code) for _ in range(options.repeats)]
            for path, code in ((engine, options.earlier.resolve()), (today, _HERE))
        ]
        pairs.append((engine, *map(_median, of_versions)))
        print(
            engine,
            *(f"{audit.verdict} {audit.seconds:.1f} s {audit.peak:.0f} MiB" for audit in pairs[-1][1:]),
            sep="; ",
            flush=True,
        )
    options.output.write_text(_page(pairs, options, commit=_commit(options.earlier)), encoding="utf-8")


def _audit(engine: Path, code: Path) -> Audit:
    """One audit with the version at `code`, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "skinaudit").symlink_to(code)
        command = [sys.executable, "-m", "skinaudit", "audit", str(engine.resolve()), "--threads", "1", "--json"]
        command += ["--emulate"] * (engine.suffix == ".plan")
        with (Path(folder) / "out").open("w+") as out, (Path(folder) / "err").open("w+") as err:
            environment = {**os.environ, "PYTHONPATH": folder, "OMP_NUM_THREADS": "1"}
            process = subprocess.Popen(command, stdout=out, stderr=err, env=environment, cwd=folder)
            _, _, usage = os.wait4(process.pid, 0)
            out.seek(0)
            err.seek(0)
            try:
                report = json.loads(out.read())
                verdict, reason = report["verdict"].upper(), report["reason"]
            except json.JSONDecodeError:
                verdict, reason = "error", err.read().strip().rpartition("\n")[2]
    return Audit(verdict, reason, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def _median(audits: Sequence[Audit]) -> Audit:
    last = audits[-1]
    return Audit(
        last.verdict, last.reason, statistics.median(audit.seconds for audit in audits), max(audit.peak for audit in audits)
    )


def _commit(checkout: Path) -> str:
    return subprocess.run(
        ["git", "-C", str(checkout), "log", "-1", "--format=%h"], check=True, capture_output=True, text=True
    ).stdout.strip()


def _page(pairs: Sequence[tuple[Path, Audit, Audit]], options: argparse.Namespace, *, commit: str) -> str:
    from skinaudit.bench.report import machine, table  # large, and a child starts with the memory of its parent

    def name(engine: Path) -> str:
        return f"{engine.parents[1].name} {engine.name}"

    def line(text: str) -> str:
        return " ".join(text.replace("|", "/").split())[:_SHOWN]

    verdicts = [
        [name(engine), before.verdict, after.verdict, line(before.reason), line(after.reason)]
        for engine, before, after in pairs
    ]
    costs = [
        [
            name(engine), f"{before.seconds:.1f}", f"{after.seconds:.1f}", f"{after.seconds / before.seconds:.1f}",
            f"{before.peak:.0f}", f"{after.peak:.0f}",
        ]
        for engine, before, after in pairs
        if "error" not in (before.verdict, after.verdict)
    ]  # fmt: skip
    runs = " ".join(f"runs/{run.name}" for run in options.runs)
    return f"""# The same engines audited by two versions

    python bench/versions.py {runs} --earlier EARLIER --repeats {options.repeats} --output docs/results/versions.md

*Before* is commit {commit}. Machine: {machine(1)}, shared with other work. Plans are emulated. Each audit is a process
of its own with the default policy, and draws its own seed.

## Verdicts

{table(("engine", "before", "after", "reason before", "reason after"), verdicts)}
## Cost of a default audit

CPU seconds of the process, the median of {options.repeats}, and its largest memory in MiB.

{table(("engine", "before, s", "after, s", "ratio", "before, MiB", "after, MiB"), costs)}"""


if __name__ == "__main__":
    main()
