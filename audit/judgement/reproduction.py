"""How to get an audit again: the command line that gives it, and where its sets lie."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from skinaudit.audit.evidence.probing import ProbePlan
from skinaudit.audit.judgement.policy import Policy

DEFAULT_BATCH = 64
"""Images a call, unless told otherwise."""


def arguments(
    engine: Path,
    *,
    policy: Policy,
    batch_size: int,
    threads: int,
    emulate: bool,
    baseline_own_sets: bool = False,
    probes: Sequence[ProbePlan] = (),
    **given: object,
) -> tuple[str, ...]:
    """What to type for this audit: given options, and always the margin and the threads, which may differ elsewhere.

    given: by option name, None where it was not given. Bounds of the policy without an option are not told.
    """
    options = {"margin": f"{policy.margin:g}", "threads": threads, **given}
    if batch_size != DEFAULT_BATCH:
        options["batch"] = batch_size
    told = [text for name, value in options.items() if value is not None for text in (f"--{name}", str(value))]
    told += ["--baseline-own-sets"] if baseline_own_sets else []
    for probe in probes:
        told += ["--probe", probe.name]
    if probes:
        first = probes[0]
        told += ["--probe-images", str(first.images), "--probe-queries", str(first.settings["queries"])]
        if first.threat_model is not None:
            told += ["--probe-eps", first.threat_model.eps_text, "--probe-norm", first.threat_model.norm]
        told += ["--seed", str(first.seed)]
    return ("skinaudit", "audit", str(engine), *told, *(["--emulate"] if emulate else []))


def beside(engine: Path, file: Path) -> Path:
    """The path of a file from the engine's folder, so that a report names no machine and finds the file of a moved run."""
    try:
        return Path(os.path.relpath(file.resolve(), engine.parent.resolve()))
    except ValueError:  # on another drive
        return file
