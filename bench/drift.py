"""How far honest engines' logits lie from their source's: docs/results/drift.md, the source of the bounds in artifacts.

python bench/drift.py runs/standard-wide runs/hardened-affine --output docs/results/drift.md
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from skinaudit.artifacts.adversarial_set import AdversarialSet, open_set
from skinaudit.artifacts.manifest import manifest_path, read_engine_manifest
from skinaudit.artifacts.precisions import KINDS
from skinaudit.artifacts.run_folder import RunFolder
from skinaudit.audit.evidence.replay import replay
from skinaudit.audit.figures.drift import measure_drift
from skinaudit.bench.report import table
from skinaudit.engines import onnx_graph
from skinaudit.engines import onnxruntime_ as ort
from skinaudit.engines.engine import Engine
from skinaudit.engines.half import HALVES
from skinaudit.engines.open import open_emulated, open_engine
from skinaudit.engines.session import SessionEngine
from skinaudit.errors import NoDeviceError
from skinaudit.export.calibration import read_calibration
from skinaudit.export.fp8 import to_e4m3

_HEADS = ("engine", "set", "median drift / median margin", "times emulated", "99% / median margin", "largest / range",
          "near ties", "flips")  # fmt: skip


def main() -> None:
    """Parse the command line, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--turned", type=int, default=6, help="kernels to turn, of each run")
    options = parser.parse_args()
    rows = [row for run in options.runs for row in _rows(run, options.threads, options.turned)]
    allowed = ", ".join(
        f"{name} {kind.explained_drift:g}{''.join(f' ({place} {share:g})' for place, share in kind.by_runtime.items())}"
        for name, kind in KINDS.items()
    )
    options.output.write_text(
        f"""# How far an honest engine's logits lie from its source's

    python bench/drift.py {" ".join(run.as_posix() for run in options.runs)} --output docs/results/drift.md

Engines that `skinaudit export` built and compared. Graphs in fp8 and in the half precisions were emulated by ONNX Runtime.

- *drift* of an image: the engine changes the lead that the source's predicted class has over each other class; the
  drift is the largest of these changes;
- *margin* of an image: the smallest such lead;
- *near ties*: images whose margin is at most their own drift;
- *times emulated*: the median drift, divided by that of the fp32 reference emulated in the same precision;
- *turned*: one 3x3 kernel of the fp16 graph, rotated by 90 degrees, in a random place.

An audit reports an engine whose median drift is more than a certain share of the median margin: {allowed}. In fp16 and
bf16 it compares with the drift of an emulation of the same model instead.

{table(_HEADS, rows)}""",
        encoding="utf-8",
    )


def _rows(run: Path, threads: int, turned: int) -> Iterator[list[str]]:
    sets = [open_set(file) for file in sorted(RunFolder(run).sets.glob("*.safetensors"))]
    reference = run / "engines" / "fp32.onnx"
    halves = {kind: open_emulated(reference, precision=kind, threads=threads) for kind in HALVES}
    explained = {kind: [_drift(engine, images)[0] for images in sets] for kind, engine in halves.items()}
    for path in sorted((run / "engines").iterdir()):
        if not manifest_path(path).is_file():
            continue
        manifest = read_engine_manifest(path)
        try:
            engine = open_engine(path, runtime=manifest.runtime, threads=threads)
        except NoDeviceError:
            continue
        yield from _figures(f"{run.name} {path.name}", engine, sets, explained.get(manifest.asked))
    for kind, engine in halves.items():
        yield from _figures(f"{run.name} emulated {kind}", engine, sets, explained[kind])
    yield from _figures(f"{run.name} emulated fp8", _fp8(run, reference, threads), sets, None)
    for name, engine in _turned(run / "engines" / "fp16.onnx", turned, threads):
        yield from _figures(f"{run.name} fp16 turned {name}", engine, sets, explained["fp16"])


def _figures(name: str, engine: Engine, sets: list[AdversarialSet], explained: list[float] | None) -> Iterator[list[str]]:
    for index, images in enumerate(sets):
        median, shares, near_ties, flips = _drift(engine, images)
        times = "" if explained is None else f"{median / explained[index]:.2f}"
        figures = [f"{share:.1e}" for share in shares]
        yield [name, images.info.title, figures[0], times, *figures[1:], str(near_ties), str(flips)]


def _drift(engine: Engine, images: AdversarialSet) -> tuple[float, tuple[float, float, float], int, int]:
    logits = replay(engine, images).logits
    drift = measure_drift(
        images.source_logits, logits, labels=images.labels, groups=images.group, contract=images.info.contract
    )
    flips = int((logits.argmax(axis=1) != images.source_logits.argmax(axis=1)).sum())
    shares = (drift.median / drift.median_margin, drift.p99 / drift.median_margin, drift.largest / drift.range)
    return drift.median, shares, drift.near_ties, flips


def _fp8(run: Path, reference: Path, threads: int) -> Engine:
    """The graph that a plan in fp8 is built from, on the CPU."""
    model = onnx_graph.load(reference)
    size = model.graph.input[0].type.tensor_type.shape.dim[-1].dim_value
    graph, _ = to_e4m3(model, read_calibration(run / "calibration.safetensors", size=size), where=str(run))
    place = f"{reference} in fp8"
    return SessionEngine(ort.open_bytes(graph.SerializeToString(), where=place, threads=threads, as_graph=True), where=place)


def _turned(path: Path, count: int, threads: int) -> Iterator[tuple[str, Engine]]:
    """The fp16 graph with one kernel turned by 90 degrees, `count` times another one."""
    generator = np.random.default_rng(0)
    model = onnx_graph.load(path)
    kernels = [tensor.name for tensor in model.graph.initializer if len(tensor.dims) == 4 and tensor.dims[-1] == 3]
    for _ in range(count):
        changed = onnx.ModelProto.FromString(model.SerializeToString())
        name = kernels[int(generator.integers(len(kernels)))]
        tensor = next(tensor for tensor in changed.graph.initializer if tensor.name == name)
        weights = numpy_helper.to_array(tensor).copy()
        place = (int(generator.integers(weights.shape[0])), int(generator.integers(weights.shape[1])))
        weights[place] = np.rot90(weights[place])
        tensor.CopyFrom(numpy_helper.from_array(weights, name))
        session = ort.open_bytes(changed.SerializeToString(), where=name, threads=threads)
        yield f"layer {kernels.index(name)} channel {place[0]}", SessionEngine(session, where=name)


if __name__ == "__main__":
    main()
