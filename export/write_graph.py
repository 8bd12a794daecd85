"""Writes the ONNX graphs of a run: the traced reference, and its conversions to other precisions."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnx import ModelProto

from skinaudit.artifacts.files import write_bytes
from skinaudit.artifacts.manifest import (
    EngineManifest,
    RunManifest,
    manifest_path,
    read_engine_manifest,
    write_engine_manifest,
)
from skinaudit.engines.engine import Engine
from skinaudit.engines.onnxruntime_ import open_bytes
from skinaudit.engines.session import SessionEngine
from skinaudit.errors import InvalidInputError, not_imported
from skinaudit.export.describe import describe_engine, metadata_of
from skinaudit.export.parity import check_parity, measure_parity
from skinaudit.export.precision import PRECISIONS, check_found
from skinaudit.export.rebuilds import built_again
from skinaudit.export.run_build import Exported, RunBuild, placing
from skinaudit.export.to_onnx import OPSET, clean, serialise, to_onnx


def write_reference(build: RunBuild) -> Exported:
    """Keep the run's fp32 graph if its digests lead to the run's weights; otherwise trace and write it again."""
    started = time.perf_counter()
    path = build.reference
    reusable = _reusable(path, build.manifest)
    if reusable is not None:
        return Exported(path, reusable, path.stat().st_size, time.perf_counter() - started, reused=True)
    build.progress("fp32: tracing the model")
    try:
        from skinaudit.trainer.checkpoint import load_run_model  # imports torch, which is not needed for a kept reference
        from skinaudit.trainer.models import exported_part

        model = load_run_model(build.run)  # may import what its architecture needs
    except ImportError as error:
        raise not_imported(error, error.name or "torch", "train", f"{build.run}: export") from error

    source = to_onnx(exported_part(model), size=build.manifest.contract.size)
    return write_graph(build, path, name="fp32", source=source)


def _reusable(path: Path, run: RunManifest) -> EngineManifest | None:
    """The reference's manifest if file and lineage are those of the run; None for a damaged or foreign one."""
    if not (path.is_file() and manifest_path(path).is_file()):
        return None
    try:
        manifest = read_engine_manifest(path)
    except InvalidInputError:
        return None
    same = manifest.lineage.get("weights") == run.weights.digest and manifest.contract == run.contract
    return manifest if same and manifest.asked == "fp32" and manifest.settings.get("opset") == OPSET else None


def write_graph(build: RunBuild, path: Path, *, name: str, source: ModelProto) -> Exported:
    """Write a graph of PRECISIONS. It is an engine by itself, and other formats are built from it."""
    started = time.perf_counter()
    precision = PRECISIONS[name]
    calibration = build.calibration() if precision.needs_calibration else None

    def convert() -> tuple[bytes, Engine, Mapping[str, Any]]:
        converted = precision.convert(source, calibration, where=str(path))
        content = serialise(clean(converted.model), metadata=metadata_of(build.manifest, precision.name))
        as_graph = "onnx" not in precision.formats
        session = open_bytes(content, where=str(path), threads=build.threads, as_graph=as_graph)
        return content, SessionEngine(session, where=str(path), own=build.manifest.contract), converted.settings

    build.progress(f"{name}: converting")
    content, engine, settings = convert()
    check_found(engine.description.found, asked=precision.name, source=source, where=str(path))
    build.progress(f"{name}: comparing with the source model on {len(build.clean)} clean images")
    parity = measure_parity(engine, build.clean, precision=precision)
    check_parity(parity, precision=precision, where=str(path))
    again = built_again(build, name, (content, engine), lambda: convert()[:2])
    with placing(path):
        write_bytes(path, content)
        manifest = describe_engine(
            build, path, graph=path, asked=precision.name, description=engine.description, found=engine.description.found,
            parity={**parity.to_json(), **again}, calibration=calibration,
            settings={"graph": name, "opset": OPSET, **settings},
        )  # fmt: skip
        write_engine_manifest(manifest, engine=path)
    return Exported(path, manifest, len(content), time.perf_counter() - started, reused=False)
