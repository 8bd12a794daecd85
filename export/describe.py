"""What an export records about an engine: the manifest, and the metadata inside an ONNX file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import skinaudit
from skinaudit.artifacts.files import digest_file
from skinaudit.artifacts.manifest import EngineManifest, FileRecord, RunManifest, versions
from skinaudit.artifacts.outside import real
from skinaudit.artifacts.run_sets import TEST_SET
from skinaudit.engines import onnx_graph
from skinaudit.engines.engine import EngineDescription
from skinaudit.engines.open import LIBRARIES
from skinaudit.export.calibration import Calibration
from skinaudit.export.run_build import RunBuild


def describe_engine(
    build: RunBuild,
    path: Path,
    *,
    graph: Path,
    asked: str,
    description: EngineDescription,
    found: Mapping[str, int],
    parity: Mapping[str, Any],
    calibration: Calibration | None,
    settings: Mapping[str, Any],
    runtime: str | None = None,
    companions: tuple[FileRecord, ...] = (),
    inherited: Mapping[str, str] | None = None,
) -> EngineManifest:
    """The manifest of the engine file at `path`. The manifest is written beside that file.

    graph: the ONNX file from which the engine was built, or the engine itself. asked, found: precisions. inherited: lineage
    of the graph.
    """
    run, reference = build.manifest, digest_file(build.reference)
    lineage = {
        **(inherited or {}),
        "weights": run.weights.digest,
        "onnx": reference,
        "data": run.data["digest"],
        TEST_SET: run.data.get(TEST_SET, build.clean.images_digest),
    }
    if calibration is not None:
        lineage["calibration"] = calibration.digest
    return EngineManifest(
        engine=FileRecord(path.name, digest_file(path)),
        runtime=runtime or description.runtime,
        contract=run.contract,
        asked=asked,
        found=found,
        lineage=lineage,
        reference=FileRecord(_relative(build.reference, path.parent), reference),
        run=_relative(build.run, path.parent),
        run_name=run.name,
        synthetic=run.synthetic,
        parity=parity,
        settings={
            "provider": description.provider,
            "threads": description.threads,
            "executed": description.executed,
            **description.settings,
            **settings,
        },
        created_with=versions("torch", "onnxscript", "onnx", *LIBRARIES),
        device=description.device,
        graph=FileRecord(_relative(graph, path.parent), digest_file(graph)),
        companions=companions,
        operating_points=run.operating_points,
    )


def metadata_of(run: RunManifest, precision: str) -> dict[str, str]:
    """The metadata that an ONNX file of the run contains."""
    return {
        "skinaudit.version": skinaudit.__version__,
        "skinaudit.run": run.name,
        onnx_graph.WEIGHTS: run.weights.digest,
        onnx_graph.CONTRACT: json.dumps(run.contract.to_json(), sort_keys=True),
        "skinaudit.precision": precision,
    }


def _relative(path: Path, folder: Path) -> str:
    """Relative path, with `..` if needed, so that a run and its engines can be moved together."""
    return Path(os.path.relpath(real(path), real(folder))).as_posix()
