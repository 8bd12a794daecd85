"""Damage every field of every kind of file, and write down what the command line makes of it: `python bench/damage.py`."""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

from skinaudit.artifacts.files import write_bytes
from skinaudit.artifacts.manifest import versions
from skinaudit.bench.report import machine, table
from skinaudit.engines.isolation.launching import in_this_process
from skinaudit.tests.damage.damages import title
from skinaudit.tests.damage.kinds import KINDS, Kind, Trial, trials
from skinaudit.tests.damage.workplace import build_workplace

COLUMNS = ("refused, exit code 2", "FAIL", "INCONCLUSIVE", "valid and free", "PASS", "crash")


def main() -> None:
    """Try every damage, print and write the tables; exit code 1 where one passed or crashed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", action="append", choices=[kind.name for kind in KINDS], help="only these kinds of file")
    parser.add_argument("--output", type=Path, help="Markdown file; otherwise standard output")
    options = parser.parse_args()
    started = time.perf_counter()
    trials_by_kind: dict[Kind, list[Trial]] = {}
    with tempfile.TemporaryDirectory() as folder, in_this_process():  # a process for each engine takes most of an hour
        workplace = build_workplace(Path(folder))
        for kind in KINDS:
            if options.kind is None or kind.name in options.kind:
                print(kind.name, file=sys.stderr, flush=True)
                trials_by_kind[kind] = list(trials(kind, workplace))
    command = shlex.join(["python", "bench/damage.py", *sys.argv[1:]])
    text = report(trials_by_kind, command=command, seconds=time.perf_counter() - started)
    if options.output is None:
        print(text)
    else:
        write_bytes(options.output, text.encode())
    bad = [trial for trials_of in trials_by_kind.values() for trial in trials_of if column(trial) in ("PASS", "crash")]
    for trial in bad:
        print(f"{trial.kind.name}: {trial.what}: {trial.outcome.message[:200]}", file=sys.stderr)
    sys.exit(1 if bad else 0)


def column(trial: Trial) -> str:
    """What came of a damage, as one of COLUMNS."""
    code = trial.outcome.code
    if code is None or (code == 2 and not trial.refused):
        return "crash"
    if code == 0:
        return "valid and free" if trial.kind.is_free(trial.what) else "PASS"
    return {1: "FAIL", 2: "refused, exit code 2", 3: "INCONCLUSIVE"}.get(code, "crash")


def report(trials_by_kind: dict[Kind, list[Trial]], *, command: str, seconds: float) -> str:
    """The whole document."""
    used = versions("numpy", "onnx", "onnxruntime", "safetensors")
    return f"""# Damaged files

    {command}

took {seconds / 60:.1f} minutes. The bench damages every field of every kind of file that skinaudit reads, one field at a
time, in every way that fits the field's type. Then it runs the command that needs the file: an audit, which would pass with
undamaged files, or the model card of a run. `pytest tests/damage` checks a sample of these damages.

- machine: {machine(1)}
- versions: {", ".join(f"{name} {number}" for name, number in used.items())}

## Kinds of file

- *refused*: exit code 2 and one line that names the file.
- *FAIL*, *INCONCLUSIVE*: the file is still valid, and its changed content leads to this verdict.
- *valid and free*: the file is still valid, and the command ends as before. Nothing that the command decides depends on this
  field.
- *PASS*: any other exit code 0. This must never happen.
- *crash*: an unexpected exception, or more than one line. This must never happen.

{kinds(trials_by_kind)}
## Damages

{damages(trials_by_kind)}
## Fields that are free

These fields are for people or for other commands, or they are settings with a default. The number in brackets counts the
damages that left a valid file.

{free_fields(trials_by_kind)}
"""


def kinds(trials_by_kind: dict[Kind, list[Trial]]) -> str:
    """Kind of file x outcome."""
    rows = []
    for kind, of_kind in trials_by_kind.items():
        counts = Counter(map(column, of_kind))
        fields = len({trial.place for trial in of_kind})
        rows.append((kind.name, f"{fields:,}", f"{len(of_kind):,}", *(f"{counts[name]:,}" for name in COLUMNS)))
    total = Counter(column(trial) for of_kind in trials_by_kind.values() for trial in of_kind)
    count = sum(len(of_kind) for of_kind in trials_by_kind.values())
    fields = sum(len({trial.place for trial in of_kind}) for of_kind in trials_by_kind.values())
    rows.append(("all", f"{fields:,}", f"{count:,}", *(f"{total[name]:,}" for name in COLUMNS)))
    return table(("file", "fields", "damages", *COLUMNS), rows)


def damages(trials_by_kind: dict[Kind, list[Trial]]) -> str:
    """Damage x outcome, all kinds together."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for of_kind in trials_by_kind.values():
        for trial in of_kind:
            counts[trial.damage][column(trial)] += 1
    return table(
        ("damage", "times", *COLUMNS),
        [
            (name, f"{sum(own.values()):,}", *(f"{own[outcome]:,}" for outcome in COLUMNS))
            for name, own in sorted(counts.items())
        ],
    )


def free_fields(trials_by_kind: dict[Kind, list[Trial]]) -> str:
    """For each kind the fields of which some damage left a valid file, down to the second level."""
    lines = []
    for kind, of_kind in trials_by_kind.items():
        free = [trial for trial in of_kind if column(trial) == "valid and free"]
        names = Counter(".".join(title(trial.place).split(".")[:2]) for trial in free)
        listed = ", ".join(f"`{name}` ({count})" for name, count in sorted(names.items()))
        lines.append(f"- {kind.name}: {listed or 'none'}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
