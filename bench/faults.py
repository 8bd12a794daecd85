"""Plant every fault of tests/faults in a real engine, and write down which check sees it: `python bench/faults.py`."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from skinaudit.artifacts.adversarial_set import open_set
from skinaudit.artifacts.files import write_bytes
from skinaudit.artifacts.manifest import read_run, resolve, versions
from skinaudit.bench.report import machine, table
from skinaudit.tests.faults.arithmetic_faults import ARITHMETIC_FAULTS
from skinaudit.tests.faults.format_faults import FORMAT_FAULTS, export_all
from skinaudit.tests.faults.lab import THREADS, Lab, Outcome, build_lab, in_reference, judge, lab_in
from skinaudit.tests.faults.reading_faults import READING_FAULTS
from skinaudit.tests.faults.reexports import CALLS, further, reexports
from skinaudit.tests.faults.runtime_faults import RUNTIME_FAULTS
from skinaudit.tests.faults.zoo import FAULTS, IN_REFERENCE

VERDICTS = ("PASS", "INCONCLUSIVE", "FAIL", "error")
HONEST = ("fp32", "fp16", "int8-u8s8")
MORE_CALLS = ((33, 1), (128, 2))
"""Batch size and threads of further audits of honest files, beside those that the tests repeat."""


def main() -> None:
    """Build the run, audit everything, print and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of the training")
    parser.add_argument("--part", choices=("all", "planted", "honest"), default="all", help="which sections to measure")
    parser.add_argument("--work", type=Path, help="keep the run and the audits here, and go on with what is there")
    parser.add_argument("--output", type=Path, help="Markdown file; otherwise standard output")
    options = parser.parse_args()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.work or Path(scratch)
        lab = _lab(folder, options.seed)
        parts: dict[str, list[Callable[[], str]]] = {
            "planted": [partial(source, lab), partial(honest, lab), partial(planted, lab, folder), partial(references, lab)],
            "honest": [partial(false_alarms, lab, folder)],
        }
        sections = [make() for name, steps in parts.items() if options.part in ("all", name) for make in steps]
    command = shlex.join(["python", "bench/faults.py", *sys.argv[1:]])
    text = "\n".join((heading(command, seconds=time.perf_counter() - started), *sections))
    if options.output is None:
        print(text)
    else:
        write_bytes(options.output, text.encode())


def heading(command: str, *, seconds: float) -> str:
    """What was done, with what, and how long it took."""
    listed = ", ".join(f"{name} {version}" for name, version in versions("torch", "onnx", "onnxruntime").items())
    return f"""# Planted faults

    {command}

took {seconds / 60:.1f} minutes. Each fault is in a real engine file beside an honest reference. The manifest is what a
careless build would write: the digests of the faulty file, and the precision that it has. `pytest tests/faults` tries
the same without the small probe, and with a quarter of the re-exports.
Drop: the largest loss of accuracy of any set compared with the source model, in points.

- machine: {machine(THREADS)}
- versions: {listed}
"""


def source(lab: Lab) -> str:
    """The hardened model that all faults are planted in: accuracies of its stored sets."""
    run = read_run(lab.run)
    rows = []
    for name, figures in run.results.items():
        count = len(open_set(resolve(lab.run, run.sets[name])))
        rows.append([name, str(count), f"{figures['accuracy']:.1%}", f"{figures['balanced_accuracy']:.1%}"])
    return f"## The source model, on synthetic images\n\n{table(('set', 'images', 'accuracy', 'balanced'), rows)}"


def honest(lab: Lab) -> str:
    """The verdicts of the exporter's own engines, without which the others mean nothing."""
    rows = [[name, *_cells(judge(lab.engine(name)))] for name in HONEST]
    return f"## Honest engines\n\n{table(('engine', 'verdict', 'checks', 'drop'), rows)}"


def _lab(folder: Path, seed: int) -> Lab:
    """The trained and exported run below `folder`, which is made once."""
    ready = folder / "ready"
    if not ready.exists():
        print("training the run", file=sys.stderr, flush=True)
        export_all(build_lab(folder, seed=seed))
        write_bytes(ready, b"")
    return lab_in(folder)


def _kept(journal: Path, key: str, audit: Callable[[], Outcome]) -> Outcome:
    """The outcome of one audit, which is read from `journal` (JSON lines) where an earlier call has made it."""
    lines = journal.read_text().splitlines() if journal.exists() else []
    for line in lines:
        stored_key, verdict, checks, texts, drop = json.loads(line)
        if stored_key == key:
            return Outcome(verdict, tuple(checks), tuple(texts), drop)
    outcome = audit()
    with journal.open("a") as file:
        file.write(json.dumps([key, outcome.verdict, outcome.checks, outcome.texts, outcome.drop]) + "\n")
    print(f"{outcome.verdict} {key}: {'; '.join(outcome.texts)[:300]}", file=sys.stderr, flush=True)
    return outcome


def planted(lab: Lab, folder: Path) -> str:
    """Every fault, what saw it, and what is needed for those that nothing saw."""
    rows, detected, lucky = [], 0, 0
    for fault in (*FAULTS, *FORMAT_FAULTS, *READING_FAULTS, *ARITHMETIC_FAULTS, *RUNTIME_FAULTS):
        with tempfile.TemporaryDirectory() as scratch:
            outcome = _kept(folder / "planted.jsonl", fault.name, lambda: judge(fault.plant(lab, Path(scratch))))  # noqa: B023
        detected += outcome.verdict != "PASS"
        cells = _cells(outcome)
        if outcome.verdict == "PASS":
            cells[1] = f"**not seen**: needs {fault.needs or 'a look at what changed'}"
        elif fault.needs:
            lucky += 1
            cells[1] += f" (by luck with these weights: needs {fault.needs})"
        rows.append([fault.name, fault.mimics, *cells])
    text = f"{detected} of {len(rows)} are found, {lucky} of them by luck: with other weights they would not be."
    return f"## Faults\n\n{text}\n\n" + table(("fault", "stands for", "verdict", "seen by", "drop"), rows)


def references(lab: Lab) -> str:
    """Faults of the export itself, which are in the reference too."""
    stopped_by = Counter(
        checks for fault in IN_REFERENCE for checks in judge(in_reference(lab, fault)).checks or ("nothing",)
    )
    rows = [[name, str(count)] for name, count in stopped_by.most_common()]
    text = f"## The same in the reference\n\n{len(IN_REFERENCE)} edits of the reference itself.\n\n"
    return text + table(("stopped by", "faults"), rows)


def false_alarms(lab: Lab, folder: Path) -> str:
    """How audits of honest re-exports end, by precision and by what was done to the file."""
    counts: Counter[tuple[str, str, str]] = Counter()
    undecided, alarmed = Counter[str](), []
    engines = [(reexport.rewrite, reexport.precision, reexport.write(lab)) for reexport in reexports()]
    engines += further(lab, folder)
    for batch_size, threads in (*CALLS, *MORE_CALLS):
        for rewrite, precision, engine in engines:
            key = f"{rewrite} {precision}, batch {batch_size}, threads {threads}"
            outcome = _kept(folder / "honest.jsonl", key, partial(judge, engine, batch_size=batch_size, threads=threads))
            counts[rewrite.replace("_", " "), precision, outcome.verdict] += 1
            if outcome.verdict == "INCONCLUSIVE":
                undecided.update(outcome.checks)
            if outcome.verdict in ("FAIL", "error"):
                alarmed.append(f"- {key}: {'; '.join(outcome.texts)[:300]}")
    calls = ", ".join(
        f"batch {batch} with {threads} thread{'s' * (threads > 1)}" for batch, threads in (*CALLS, *MORE_CALLS)
    )
    open_ended = sum(count for (*_, verdict), count in counts.items() if verdict == "INCONCLUSIVE")
    text = (
        f"## Honest re-exports\n\n{len(alarmed)} false alarms (FAIL or error) in {sum(counts.values())} audits, "
        f"{open_ended} of them INCONCLUSIVE. Each engine was audited with {calls}.\n\n"
    )
    reasons = ", ".join(f"{name} {count}" for name, count in undecided.most_common())
    tables = (_endings("precision", counts, 1), _endings("what was done", counts, 0))
    return "\n".join((text + "\n".join(tables), *([f"Reasons for INCONCLUSIVE: {reasons}."] if reasons else []), *alarmed))


def _endings(title: str, counts: Counter[tuple[str, str, str]], place: int) -> str:
    """Audits by one part of their key and by verdict."""
    rows = []
    for kind in dict.fromkeys(key[place] for key in counts):
        ends = [sum(n for key, n in counts.items() if key[place] == kind and key[2] == verdict) for verdict in VERDICTS]
        rows.append([kind, *(str(count) for count in (sum(ends), *ends))])
    return table((title, "audits", *VERDICTS), rows)


def _cells(outcome: Outcome) -> list[str]:
    drop = "" if outcome.drop is None else f"{100 * outcome.drop:.1f}"
    return [outcome.verdict, ", ".join(outcome.checks), drop]


if __name__ == "__main__":
    main()
