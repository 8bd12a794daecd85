"""Manifests: what a run and an engine are made of, by digest, so that an audit can follow the lineage.

A run directory holds `run.json`, `weights.safetensors`, `calibration.safetensors`, `sets/*.safetensors` and, once
exported, `engines/*`. Beside each engine file lies `<engine file>.json`; the engine file itself stays pure.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from skinaudit.artifacts.contract import InputContract
from skinaudit.artifacts.files import digest_file, read_json, short, write_json
from skinaudit.errors import InvalidInputError

RUN_FILE = "run.json"
BUILT_TYPED = "strongly typed network"
"""Value of an engine's setting `found_in` where `found` was counted in the network at build time, not in the built file."""
_RUN = "skinaudit-run/1"
_ENGINE = "skinaudit-engine/1"


@dataclass(frozen=True)
class FileRecord:
    """A file by its path relative to the folder of the manifest that names it, and its content digest."""

    file: str
    digest: str

    def __post_init__(self) -> None:
        if not isinstance(self.file, str) or not isinstance(self.digest, str):
            raise TypeError(f"file {self.file!r}, digest {self.digest!r}: must be text")


@dataclass(frozen=True)
class RunManifest:
    """A trained model. `weights` names the source model: its digest is what adversarial sets carry as `source`.

    model: arch, width and whatever else `trainer.models.build` needs. data: title, digest, split, counts. training:
    recipe, hardening and seed with every setting. results: measured figures on the test split.
    """

    name: str
    contract: InputContract
    model: Mapping[str, Any]
    data: Mapping[str, Any]
    synthetic: bool
    training: Mapping[str, Any]
    results: Mapping[str, Any]
    weights: FileRecord
    calibration: FileRecord
    sets: Mapping[str, FileRecord]
    created_with: Mapping[str, str]


@dataclass(frozen=True)
class EngineManifest:
    """A built engine. Invariant: `engine.digest` is of the file beside it; `lineage` leads back to the data.

    companions: further files that the engine file needs, beside it. asked: the precision asked for. found: counts of layers
    by precision, read from what was built. graph: the ONNX of the same precision that it was built from, to emulate it
    where it cannot run. reference: the fp32 ONNX of the same weights, for the audit's control. lineage: digests of weights,
    onnx, data and, for int8, calibration. run: the run directory relative to this manifest. parity: measured against the
    source model.
    """

    engine: FileRecord
    runtime: str
    contract: InputContract
    asked: str
    found: Mapping[str, int]
    lineage: Mapping[str, str]
    reference: FileRecord
    run: str
    run_name: str
    synthetic: bool
    parity: Mapping[str, Any]
    settings: Mapping[str, Any]
    created_with: Mapping[str, str]
    device: str
    graph: FileRecord
    companions: tuple[FileRecord, ...] = ()


def write_run(folder: Path, manifest: RunManifest) -> None:
    """Write `run.json` into `folder` atomically."""
    write_json(folder / RUN_FILE, {"kind": _RUN, **_plain(manifest)})


def read_run(folder: Path) -> RunManifest:
    """Read a run's manifest; raises InvalidInputError where it is missing, damaged or of another kind."""
    path = folder / RUN_FILE
    if not path.is_file():
        raise InvalidInputError(f"{folder}: not a finished run (no {RUN_FILE}); make one with `skinaudit train`")
    value = _read(path, kind=_RUN, what="run manifest")
    try:
        return RunManifest(
            **{
                **value,
                "contract": InputContract.from_json(value["contract"], where=str(path)),
                "weights": FileRecord(**value["weights"]),
                "calibration": FileRecord(**value["calibration"]),
                "sets": {name: FileRecord(**record) for name, record in value["sets"].items()},
            }
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise InvalidInputError(f"{path}: the run manifest is incomplete ({error}); train again") from error


def write_engine_manifest(manifest: EngineManifest, *, engine: Path) -> None:
    """Write the manifest beside `engine` atomically."""
    write_json(manifest_path(engine), {"kind": _ENGINE, **_plain(manifest)})


def read_engine_manifest(engine: Path) -> EngineManifest:
    """Read the manifest beside `engine` and verify the engine's digest; raises InvalidInputError otherwise."""
    if not engine.is_file():
        raise InvalidInputError(f"{engine}: no such engine; `skinaudit export` prints the paths that it writes")
    path = manifest_path(engine)
    if not path.is_file():
        raise InvalidInputError(f"{engine}: no manifest beside it ({path.name}); export it again with `skinaudit export`")
    value = _read(path, kind=_ENGINE, what="engine manifest")
    try:
        manifest = EngineManifest(
            **{
                **value,
                "contract": InputContract.from_json(value["contract"], where=str(path)),
                "engine": FileRecord(**value["engine"]),
                "reference": FileRecord(**value["reference"]),
                "graph": FileRecord(**value["graph"]),
                "companions": tuple(FileRecord(**one) for one in value["companions"]),
            }
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise InvalidInputError(f"{path}: the engine manifest is incomplete ({error}); export it again") from error
    verify(engine, manifest.engine.digest)
    for companion in manifest.companions:
        resolve(engine.parent, companion)
    return manifest


def manifest_path(engine: Path) -> Path:
    """Where the manifest of an engine lies: `<engine file>.json`."""
    return engine.with_name(engine.name + ".json")


def record(path: Path, *, relative_to: Path) -> FileRecord:
    """The record of an existing file below the folder `relative_to`."""
    return FileRecord(path.relative_to(relative_to).as_posix(), digest_file(path))


def resolve(folder: Path, file: FileRecord) -> Path:
    """The path of a recorded file, its digest verified; raises InvalidInputError where it is missing or was changed."""
    path = folder / file.file
    if not path.is_file():
        raise InvalidInputError(f"{path}: named by the manifest in {folder} but missing; restore it or make it again")
    verify(path, file.digest)
    return path


def verify(path: Path, digest: str) -> None:
    """Raise InvalidInputError unless the file has this digest."""
    found = digest_file(path)
    if found != digest:
        raise InvalidInputError(
            f"{path}: digest {short(found)}, the manifest says {short(digest)}: changed after it was written; make it again"
        )


def versions(*distributions: str) -> dict[str, str]:
    """Versions of Python, skinaudit and those of `distributions` that are installed."""
    found = {"python": platform.python_version()}
    for name in ("skinaudit", *distributions):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _plain(manifest: RunManifest | EngineManifest) -> dict[str, Any]:
    return {**asdict(manifest), "contract": manifest.contract.to_json()}


def _read(path: Path, *, kind: str, what: str) -> dict[str, Any]:
    value = read_json(path, what=what)
    if value.pop("kind", None) != kind:
        raise InvalidInputError(f"{path}: not a {what} of this skinaudit (expected {kind}); make it again")
    return value
