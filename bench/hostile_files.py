"""Changed files for every reader of outside files, and what came of them: `python bench/hostile_files.py`."""

from __future__ import annotations

import argparse
import resource
import shlex
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

from skinaudit.artifacts.files import write_bytes
from skinaudit.bench.report import machine, table
from skinaudit.tests import linear_run
from skinaudit.tests.fuzz.readers import OUTCOMES, READERS, fuzz, write_corpus

MEMORY = 4 * 2**30
"""Bytes that a reader may take; what wants more is no crash of this machine but an error here."""


def main() -> None:
    """Run the fuzzers, print what went wrong, write the table; exit code 1 where something did."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, help="files a reader")
    parser.add_argument("--opened", type=int, help="files a reader where a runtime opens them  [default: as --inputs]")
    parser.add_argument("--seconds", type=float, help="time a reader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reader", choices=list(READERS), action="append", help="only this one; may be repeated")
    parser.add_argument("--keep", type=Path, help="folder for files that went wrong")
    parser.add_argument("--output", type=Path, help="Markdown file; otherwise standard output")
    options = parser.parse_args()
    if options.inputs is None and options.seconds is None:
        options.inputs = 100
    started, rows, total, wrong = time.perf_counter(), [], Counter[str](), list[str]()
    lab = SimpleNamespace(plant=linear_run.plant)
    with tempfile.TemporaryDirectory() as folder:
        with patch("skinaudit.audit.evidence.reference.open_engine", lambda path, **_: linear_run.LinearEngine(path)):
            corpus = write_corpus(Path(folder) / "corpus", lab)
        scratch = options.keep or Path(folder)
        scratch.mkdir(parents=True, exist_ok=True)
        names = sorted(options.reader or READERS, key=lambda name: not READERS[name].opens)
        for name in names:
            if not READERS[name].opens:  # the processes of engines have limits of their own
                resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            inputs = options.inputs if options.opened is None or not READERS[name].opens else options.opened
            outcomes, messages = fuzz(name, corpus, scratch, inputs=inputs, seconds=options.seconds, seed=options.seed)
            rows.append((name, f"{outcomes.total():,}", *(f"{outcomes[outcome]:,}" for outcome in OUTCOMES)))
            total += outcomes
            wrong += [f"{name}: {line}" for line in messages]
            print(name, dict(outcomes), file=sys.stderr, flush=True)
    rows.append(("all", f"{total.total():,}", *(f"{total[outcome]:,}" for outcome in OUTCOMES)))
    command = shlex.join(["python", "bench/hostile_files.py", *sys.argv[1:]])
    text = f"""# Hostile files

    {command}

took {(time.perf_counter() - started) / 60:.1f} minutes on {machine(1)}. Each input is a valid file in which bytes, values,
keys, nodes, sizes or texts were changed at random (tests/fuzz/mutations.py). For readers called `opening`, the runtime reads
the file in a separate process and answers an image if it can. *Taken* means that the changed file is still valid, such as a
policy with another bound. *Wrongly taken* would be a set with different content, a FAIL that is read as a PASS, or a text
that controls a terminal.

{table(("reader", "tried", *OUTCOMES), rows)}
"""
    print("\n".join(wrong), file=sys.stderr)
    if options.output is None:
        print(text)
    else:
        write_bytes(options.output, text.encode())
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
