"""The audit's replay beside a bare ONNX Runtime loop, and the audit's peak memory on few and on many images."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.adversarial_set import AdversarialSet, open_set, write_set
from skinaudit.artifacts.manifest import read_engine_manifest, read_run, resolve
from skinaudit.audit.evidence.replay import replay
from skinaudit.bench.timing import interleaved
from skinaudit.engines.open import open_engine
from skinaudit.engines.session import INPUT, OUTPUT
from skinaudit.errors import InvalidInputError

TARGET = 0.9
TIMES = 8
_BATCH = 64  # the audit's default


@dataclass(frozen=True)
class ReplayFigures:
    """Median images per second of one engine. share: ours as a share of the bare loop's."""

    engine: str
    images: int
    rounds: int
    ours: float
    bare: float
    share: float


@dataclass(frozen=True)
class MemoryFigures:
    """Peak resident MiB of `skinaudit audit` in a process of its own, and the MiB that the larger sets' images take."""

    images: int
    peak: float
    peak_of_many: float
    images_of_many: float


def engines_of(run: Path) -> tuple[Path, ...]:
    """The ONNX engines of a run, but those in bfloat16, which a bare session on a CPU cannot run.

    Raises InvalidInputError where there is none.
    """
    paths = tuple(path for path in sorted((run / "engines").glob("*.onnx")) if read_engine_manifest(path).asked != "bf16")
    if not paths:
        raise InvalidInputError(f"{run}: has no engines; write them with `skinaudit export {run} --fp32 --fp16 --int8`")
    return paths


def measure_replay(
    engine: Path, run: Path, *, rounds: int, threads: int, say: Callable[[str], None] = lambda _: None
) -> ReplayFigures:
    """Replay the run's clean set, verified beforehand, and run the same images from float arrays in memory, in turns.

    Ours reads 8-bit images from disk, scales them, and checks and keeps every answer; the bare loop does nothing but
    session.run over batches that are float32 already.
    """
    clean = open_set(resolve(run, read_run(run).sets["clean"]))
    opened = open_engine(engine, threads=threads)
    session = _bare_session(engine, threads=threads)
    batches = [batch.astype(np.float32) / 255 for batch in clean.batches(_BATCH)]

    def bare(_: int) -> list[NDArray[np.float32]]:
        return [session.run([OUTPUT], {INPUT: batch})[0] for batch in batches]

    def ours(_: int) -> list[NDArray[np.float32]]:
        return [replay(opened, clean, batch_size=_BATCH).logits]

    interleaved({"ours": ours, "bare": bare}, rounds=1)
    contest = interleaved({"ours": ours, "bare": bare}, rounds=rounds)
    figures = ReplayFigures(
        engine=engine.stem,
        images=len(clean),
        rounds=rounds,
        ours=len(clean) / contest.median("ours"),
        bare=len(clean) / contest.median("bare"),
        share=contest.ratio("bare", "ours"),
    )
    say(f"replay {engine.name}: {figures.ours:,.0f} images/s, bare loop {figures.bare:,.0f}")
    return figures


def _bare_session(engine: Path, *, threads: int) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return ort.InferenceSession(str(engine), options, providers=["CPUExecutionProvider"])


def measure_memory(
    engine: Path, run: Path, *, images: int, threads: int, say: Callable[[str], None] = lambda _: None
) -> MemoryFigures:
    """Audit the engine on `images` clean and adversarial images, then on TIMES as many, and compare peak memory."""
    manifest = read_run(run)
    sets = [open_set(resolve(run, record)) for record in manifest.sets.values()]
    own = [image_set for image_set in sets if image_set.info.source == manifest.weights.digest]
    clean = next(image_set for image_set in own if image_set.info.threat_model is None)
    crafted = next(image_set for image_set in own if image_set.info.threat_model is not None)
    peaks = []
    for count in (images, TIMES * images):
        with tempfile.TemporaryDirectory() as folder:
            grown = _grow(clean, Path(folder) / "sets" / "clean.safetensors", count=count, clean=None)
            _grow(crafted, Path(folder) / "sets" / "crafted.safetensors", count=count, clean=grown)
            peaks.append(_peak(engine, Path(folder), threads=threads))
        say(f"audit of 2 x {count} images: peak {peaks[-1]:.0f} MiB")
    size = clean.info.contract.size
    return MemoryFigures(images, peaks[0], peaks[1], 2 * TIMES * images * 3 * size * size / 2**20)


def _grow(image_set: AdversarialSet, path: Path, *, count: int, clean: AdversarialSet | None) -> AdversarialSet:
    """A set of `count` images that repeats those of `one` under new names; `clean` is the grown set that it perturbs."""
    rows = np.arange(count) % len(image_set)
    stored = next(image_set.batches(len(image_set)))
    write_set(
        path,
        image_set.info if clean is None else replace(image_set.info, clean=clean.images_digest),
        images=stored[rows],
        labels=image_set.labels[rows],
        group=image_set.group[rows],
        ids=tuple(f"image-{number}" for number in range(count)),
        source_logits=image_set.source_logits[rows],
    )
    return open_set(path)


def _peak(engine: Path, folder: Path, *, threads: int) -> float:
    """Peak resident MiB of one audit; raises InvalidInputError where it does not reach a verdict."""
    arguments = ["audit", str(engine), "--sets", str(folder / "sets"), "--output", str(folder / "audit.json")]
    code, peak, message = peak_memory([sys.executable, "-m", "skinaudit.cli", *arguments, "--threads", str(threads)])
    if code not in (0, 1, 3):  # pass, fail, inconclusive: all three replay everything
        raise InvalidInputError(f"{engine}: the audit failed: {message.strip()}")
    return peak


# A new program starts with the peak of the process that forked it on its account, and this one holds torch and the images:
# a small process in between starts the one to measure.
_LAUNCHER = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(os.waitstatus_to_exitcode(status), usage.ru_maxrss)
"""


def peak_memory(command: Sequence[str]) -> tuple[int, float, str]:
    """Run a command to its end: exit code, peak resident MiB of its process, and what it wrote to stderr."""
    launched = subprocess.run([sys.executable, "-c", _LAUNCHER, *command], capture_output=True, text=True, check=True)
    code, peak = map(int, launched.stdout.split())
    return code, peak / (2**20 if sys.platform == "darwin" else 2**10), launched.stderr
