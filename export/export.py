"""A run directory becomes engine files, each read back, compared with its source and described by a manifest."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from onnx import ModelProto

import skinaudit
from skinaudit.artifacts.adversarial_set import AdversarialSet, open_set
from skinaudit.artifacts.files import digest_file, write_bytes
from skinaudit.artifacts.manifest import (
    EngineManifest,
    FileRecord,
    RunManifest,
    manifest_path,
    read_engine_manifest,
    read_run,
    resolve,
    versions,
    write_engine_manifest,
)
from skinaudit.engines import onnx_graph
from skinaudit.engines.ort import OPTIMISATION, open_onnx_bytes
from skinaudit.errors import InvalidInputError, missing
from skinaudit.export.calibration import read_calibration
from skinaudit.export.parity import check_parity, measure_parity
from skinaudit.export.precision import PRECISIONS, check_found
from skinaudit.export.to_onnx import OPSET, clean, serialise, to_onnx

ENGINES = "engines"
REFERENCE = "fp32.onnx"

Report = Callable[[str], None]
"""Called with one line before each step."""


@dataclass(frozen=True)
class Exported:
    """An engine file and its manifest. size: bytes. seconds: what it took. reused: it was there already and is unchanged."""

    path: Path
    manifest: EngineManifest
    size: int
    seconds: float
    reused: bool


def export_run(
    run: Path,
    *,
    precisions: Sequence[str],
    output: Path | None = None,
    threads: int | None = None,
    progress: Report = lambda line: None,
) -> tuple[Exported, ...]:
    """Write `run`/engines/<precision>.onnx with a manifest beside each; `output` names another file for a single precision.

    `run`/engines/fp32.onnx is the reference of every engine: it is kept where its digests lead to the run's weights, and
    exported where not. A file is written only after its precision was read back and its parity was measured.
    Raises InvalidInputError for a damaged run, an unknown precision or one that was not reached, EngineError for parity.
    """
    unknown = [name for name in precisions if name not in PRECISIONS]
    if unknown or not precisions:
        raise InvalidInputError(f"precision {', '.join(unknown) or 'missing'}: choose among {', '.join(PRECISIONS)}")
    if output is not None and (len(precisions) != 1 or output.suffix != ".onnx"):
        raise InvalidInputError(
            f"{output}: an output file ends in .onnx and takes one precision, {len(precisions)} were asked for"
        )
    manifest = read_run(run)
    if "clean" not in manifest.sets:
        raise InvalidInputError(f"{run}: the run has no clean set, which parity needs; train it again")
    clean_set = open_set(resolve(run, manifest.sets["clean"]))
    build = _Build(run, manifest, clean_set, threads, progress)
    reference = _reference(build)
    exported = []
    for name in precisions:
        path = output or run / ENGINES / f"{name}.onnx"
        if path.resolve() == reference.path.resolve():
            exported.append(reference)
            continue
        started = time.perf_counter()
        exported.append(_write(build, path, name=name, source=onnx_graph.load(reference.path), started=started))
    return tuple(exported)


@dataclass(frozen=True, eq=False)
class _Build:
    """What every engine of one run needs."""

    run: Path
    manifest: RunManifest
    clean: AdversarialSet
    threads: int | None
    progress: Report


def _reference(build: _Build) -> Exported:
    started = time.perf_counter()
    path = build.run / ENGINES / REFERENCE
    found = _reusable(path, build.manifest)
    if found is not None:
        return Exported(path, found, path.stat().st_size, time.perf_counter() - started, reused=True)
    build.progress("fp32: tracing the model")
    try:
        from skinaudit.trainer.checkpoint import load_run_model  # brings torch, which a kept reference does without
    except ImportError as error:
        raise missing("torch", "train", f"{build.run}: export") from error

    source = to_onnx(load_run_model(build.run), size=build.manifest.contract.size)
    return _write(build, path, name="fp32", source=source, started=started)


def _reusable(path: Path, run: RunManifest) -> EngineManifest | None:
    """The reference's manifest where file and lineage are those of the run; a damaged or foreign one is built anew."""
    if not (path.is_file() and manifest_path(path).is_file()):
        return None
    try:
        manifest = read_engine_manifest(path)
    except InvalidInputError:
        return None
    same = manifest.lineage.get("weights") == run.weights.digest and manifest.contract == run.contract
    return manifest if same and manifest.asked == "fp32" and manifest.settings.get("opset") == OPSET else None


def _write(build: _Build, path: Path, *, name: str, source: ModelProto, started: float) -> Exported:
    precision, run = PRECISIONS[name], build.manifest
    calibration = None
    if precision.needs_calibration:
        calibration = read_calibration(resolve(build.run, run.calibration), size=run.contract.size)
    build.progress(f"{name}: converting")
    converted = precision.convert(source, calibration, where=str(path))
    content = serialise(clean(converted.model), metadata=_metadata(run, name))
    engine = open_onnx_bytes(content, where=str(path), threads=build.threads)
    check_found(engine.description.found, asked=name, source=source, where=str(path))
    build.progress(f"{name}: comparing with the source model on {len(build.clean)} clean images")
    parity = measure_parity(engine, build.clean, precision=precision)
    check_parity(parity, precision=precision, where=str(path))
    write_bytes(path, content)
    reference = build.run / ENGINES / REFERENCE
    engine_record = FileRecord(path.name, digest_file(path))
    reference_digest = digest_file(reference)
    lineage = {"weights": run.weights.digest, "onnx": reference_digest, "data": run.data["digest"]}
    if calibration is not None:
        lineage["calibration"] = calibration.digest
    manifest = EngineManifest(
        engine=engine_record,
        runtime=engine.description.runtime,
        contract=run.contract,
        asked=name,
        found=engine.description.found,
        lineage=lineage,
        reference=FileRecord(_relative(reference, path.parent), reference_digest),
        run=_relative(build.run, path.parent),
        run_name=run.name,
        synthetic=run.synthetic,
        parity=parity.to_json(),
        settings={
            "opset": OPSET,
            "optimisation": OPTIMISATION,
            "provider": engine.description.provider,
            "threads": engine.description.threads,
            "executed": engine.description.executed,
            **converted.settings,
        },
        created_with=versions("torch", "onnxscript", "onnx", "onnxruntime"),
        device=engine.description.device,
    )
    write_engine_manifest(manifest, engine=path)
    return Exported(path, manifest, len(content), time.perf_counter() - started, reused=False)


def _metadata(run: RunManifest, precision: str) -> dict[str, str]:
    return {
        "skinaudit.version": skinaudit.__version__,
        "skinaudit.run": run.name,
        "skinaudit.weights": run.weights.digest,
        "skinaudit.contract": json.dumps(run.contract.to_json(), sort_keys=True),
        "skinaudit.precision": precision,
    }


def _relative(path: Path, folder: Path) -> str:
    """With `..` where needed, so that a run and its engines can be moved together."""
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
