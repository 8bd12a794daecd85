"""Manifests describe by digest what a run and an engine are made of, so that an audit can follow the lineage.

skinaudit.artifacts.run_folder defines where the files of a run are. Each engine file has its manifest `<engine
file>.json` beside it; the engine file itself is not changed.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, lru_cache
from importlib import metadata
from pathlib import Path, PurePath
from shlex import quote
from typing import Annotated, Any, TypeVar

from skinaudit.artifacts import manifest_keys as keys
from skinaudit.artifacts.contract import InputContract, completed, upgraded
from skinaudit.artifacts.files import digest_file, short, write_bytes
from skinaudit.artifacts.operating_point import OperatingPoint
from skinaudit.artifacts.outside import check_regular, inside, lies_in, real
from skinaudit.artifacts.plain_values import parse_json, parse_object, read_json, read_text
from skinaudit.artifacts.printable import show
from skinaudit.artifacts.run_folder import MANIFEST_SUFFIX, RUN_FILE, RunFolder
from skinaudit.artifacts.typed_json import build
from skinaudit.errors import NO_ENGINE, InvalidInputError, no_such_file

STRIPPED = "--strip"
"""Flag in a plan's settings that says: the weights are not in the file."""
BUILT_TYPED = keys.BUILT_TYPED
"""Value of the setting `found_in` if `found` was counted in the network at build time, not in the built file."""

_RUN = "skinaudit-run"
_ENGINE = "skinaudit-engine"
_VERSION = 2  # 1: contracts did not name their malignant classes
_TRAIN = "restore it or train again"
_EXPORT = "export the engine again"
_NAME_RUN = "if it belongs to the engine's run, name that with --run DIR"
_SECOND_FILE = {".xml": ".bin"}
"""Engine files without weights -> the companion with the weights."""

_Manifest = TypeVar("_Manifest", bound="RunManifest | EngineManifest")


@dataclass(frozen=True)
class FileRecord:
    """A file: its path relative to the folder of the manifest that names it, and its content digest."""

    file: str
    digest: str

    def __post_init__(self) -> None:
        if not self.file or not self.digest:
            raise InvalidInputError("file and digest should not be empty")


@dataclass(frozen=True)
class RunManifest:
    """A trained model. `weights` is the source model: its digest is the `source` of adversarial sets.

    model: arch, width and everything else that `trainer.models.build` needs. data: title, digest, split, counts. training:
    recipe, hardening and seed with every setting. results: measured figures on the test split. structure: of the source
    model, recorded before any export. pictures: the record of the data's pictures. Both are None in runs of earlier
    versions. operating_points: thresholds of the malignant score, fixed on validation images; empty if no class is
    malignant, and in runs of earlier versions.
    """

    name: str
    contract: InputContract
    model: Annotated[Mapping[str, Any], keys.MODEL]
    data: Annotated[Mapping[str, Any], keys.DATA]
    synthetic: bool
    training: Annotated[Mapping[str, Any], keys.TRAINING]
    results: Mapping[str, Annotated[Mapping[str, bool | float], keys.RESULT]]
    weights: FileRecord
    calibration: FileRecord
    sets: Mapping[str, FileRecord]
    created_with: Mapping[str, str]
    structure: FileRecord | None = None
    pictures: FileRecord | None = None
    operating_points: tuple[OperatingPoint, ...] = ()

    def __post_init__(self) -> None:
        _check_points(self.operating_points, self.contract)
        if "/" in self.name:  # it becomes a part of file names, such as the name of another run's set
            raise InvalidInputError(f"name should be the name of a folder, found {show(self.name)}")


@dataclass(frozen=True)
class EngineManifest:
    """A built engine. Invariant: `engine.digest` is the digest of the file beside it; `lineage` leads back to the data.

    companions: further files that the engine needs, in the same folder. asked: the requested precision. found: number of
    layers by precision, read from the built engine. graph: the ONNX graph of the same precision behind the engine, to
    emulate the engine if it cannot run. reference: the fp32 ONNX graph of the same weights, for the control of an audit.
    lineage: digests of weights, onnx, data and, for int8, calibration. run: the run's folder, relative to this manifest.
    parity: comparison with the source model. operating_points: those of the run; empty in manifests of earlier versions.
    """

    engine: FileRecord
    runtime: str
    contract: InputContract
    asked: str
    found: Mapping[str, keys.COUNT]
    lineage: Annotated[Mapping[str, str], keys.LINEAGE]
    reference: FileRecord
    run: str
    run_name: str
    synthetic: bool
    parity: Annotated[Mapping[str, Any], keys.PARITY]
    settings: Annotated[Mapping[str, Any], keys.SETTINGS]
    created_with: Mapping[str, str]
    device: str
    graph: FileRecord
    companions: tuple[FileRecord, ...] = ()
    operating_points: tuple[OperatingPoint, ...] = ()

    def __post_init__(self) -> None:
        _check_points(self.operating_points, self.contract)


def _check_points(points: Sequence[OperatingPoint], contract: InputContract) -> None:
    """Raise InvalidInputError for thresholds of the malignant score if the classes allow none."""
    if points and not 0 < len(contract.malignant) < len(contract.classes):
        raise InvalidInputError("operating_points should be empty, as no class, or every class, of contract is malignant")


def write_run(folder: Path, manifest: RunManifest) -> None:
    """Write `run.json` into `folder` atomically; raises InvalidInputError for a manifest that could not be read back."""
    _write(RunFolder(folder).manifest, manifest, kind=_RUN)


def read_run(folder: Path) -> RunManifest:
    """Read a run's manifest; raises InvalidInputError if it is missing, damaged or of another kind."""
    path = RunFolder(folder).manifest
    if not (path.exists() or path.is_symlink()):
        advice = "make one with `skinaudit train`"
        if RunFolder(folder).checkpoint.exists():
            advice = f"continue its training with `skinaudit train --resume --out {quote(str(folder))}` and its options"
        if folder.is_file():
            raise InvalidInputError(f"{folder}: is a file, not the folder of a run; name the folder, such as runs/hardened")
        if not folder.exists():
            raise InvalidInputError(no_such_file(folder, "run", advice))
        raise InvalidInputError(f"{folder}: not a finished run (no {path.name}); {advice}")
    check_regular(path, kind="run manifest")
    return _run_from(read_text(path, kind="run manifest", again=_TRAIN), str(path))


@lru_cache(maxsize=4)  # an audit asks for its run three times; the same text is the same run
def _run_from(text: str, where: str) -> RunManifest:
    value = parse_object(text, where=where, kind="run manifest", again=_TRAIN)
    manifest = _build(RunManifest, value, kind=_RUN, where=where, again=_TRAIN)
    _check_data(manifest, where=where)
    return manifest


def write_engine_manifest(manifest: EngineManifest, *, engine: Path) -> None:
    """Write the manifest beside `engine` atomically; raises InvalidInputError for one that could not be read back."""
    _write(manifest_path(engine), manifest, kind=_ENGINE)


def read_engine_manifest(engine: Path, *, run: Path | None = None) -> EngineManifest:
    """Read the manifest beside `engine` and verify the engine's digest.

    run: the engine's run, if the user names it; the returned manifest then has its path. By default the manifest names
    the run: a folder around the engine or below the engine's folder. Raises InvalidInputError if a digest is wrong, or
    if a file is neither below the engine's folder nor in its run.
    """
    if not engine.exists():
        raise InvalidInputError(no_such_file(engine, "engine", NO_ENGINE))
    check_regular(engine, kind="engine")
    path = manifest_path(engine)
    if not path.is_file():
        if engine.suffix == ".json":
            where = "in the run's folder engines" if engine.name == RUN_FILE else f"such as {engine.stem}"
            raise InvalidInputError(f"{engine}: is a JSON file, not an engine; name the engine, {where}")
        raise InvalidInputError(
            f"{engine}: no manifest beside it ({path.name}). If the engine was moved, copy its manifest as well. "
            "If another tool made it, write a contract with `skinaudit contract ENGINE -o FILE.toml`, and audit "
            "with --contract FILE.toml"
        )
    value = read_json(path, kind="engine manifest", again=_EXPORT)
    manifest = _build(EngineManifest, value, kind=_ENGINE, where=str(path), again=_EXPORT)
    _check_files(manifest, where=str(path))
    manifest = _confined(manifest, engine, run, where=str(path))
    verify(engine, manifest.engine.digest)
    for companion in manifest.companions:
        engine_file(engine, manifest, companion)
    return manifest


def manifest_path(engine: Path) -> Path:
    """The path of an engine's manifest: `<engine file>.json`."""
    return engine.with_name(engine.name + MANIFEST_SUFFIX)


def record(path: Path, *, relative_to: Path) -> FileRecord:
    """The record of an existing file below the folder `relative_to`."""
    return FileRecord(path.relative_to(relative_to).as_posix(), digest_file(path))


def resolve(folder: Path, file: FileRecord, *, further: Sequence[Path] = ()) -> Path:
    """The path of a recorded file, with its digest verified.

    further: folders besides `folder` in which it may be. Raises InvalidInputError if it is missing, was changed or is
    elsewhere.
    """
    path = inside(folder, file.file, named_by=f"the manifest in {folder}", further=further)
    if not path.exists():
        raise InvalidInputError(f"{path}: is in the manifest in {folder} but does not exist; restore it or make it again")
    verify(path, file.digest)
    return path


def engine_file(engine: Path, manifest: EngineManifest, file: FileRecord) -> Path:
    """The path of a file that an engine's manifest names; raises the errors of `resolve`."""
    return resolve(engine.parent, file, further=[engine.parent / manifest.run])


def verify(path: Path, digest: str) -> None:
    """Raise InvalidInputError unless the file has this digest."""
    actual = digest_file(path)
    if actual != digest:
        shown = (short(actual), short(digest)) if short(actual) != short(digest) else (actual, digest)
        raise InvalidInputError(
            f"{path}: digest {shown[0]}, the manifest says {shown[1]}: changed after it was written; make it again"
        )


def versions(*distributions: str) -> dict[str, str]:
    """Versions of Python, of skinaudit and of the `distributions` that are installed."""
    interpreter = {"python": platform.python_version()}
    installed = {name: _version(name) for name in ("skinaudit", *distributions)}
    return interpreter | {name: version for name, version in installed.items() if version is not None}


@cache
def _version(distribution: str) -> str | None:
    """Version of one distribution, cached: it does not change while the program runs, and looking it up reads a file."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _confined(manifest: EngineManifest, engine: Path, run: Path | None, *, where: str) -> EngineManifest:
    """The manifest with the run that the user named; raises InvalidInputError if it leads to files elsewhere.

    Files that do not exist may be named, because an engine can be moved without its run.
    """
    folder = engine.parent
    if run is not None:
        manifest = replace(manifest, run=str(real(run)))
    elif PurePath(manifest.run).is_absolute():
        inside(folder, manifest.run, named_by=f"{where}: run", remedy=_NAME_RUN)
    run_folder = folder / manifest.run
    own = run is not None or lies_in(run_folder, folder) or lies_in(folder, run_folder)
    if not own and RunFolder(run_folder).manifest.exists():
        inside(folder, manifest.run, named_by=f"{where}: run", remedy=_NAME_RUN)
    for file in (manifest.engine, manifest.reference, manifest.graph, *manifest.companions):
        if PurePath(file.file).is_absolute() or (folder / file.file).exists():
            path = inside(folder, file.file, named_by=where, further=[run_folder] if own else [], remedy=_NAME_RUN)
            check_regular(path, kind=f"named by {Path(where).name}")
    return manifest


def _write(path: Path, manifest: RunManifest | EngineManifest, *, kind: str) -> None:
    value = {"kind": f"{kind}/{_VERSION}", **asdict(manifest)}
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    again = _TRAIN if kind == _RUN else _EXPORT
    _build(
        type(manifest), parse_json(text, where=str(path), kind=kind, again=again), kind=kind, where=str(path), again=again
    )
    write_bytes(path, text.encode())


def _build(hint: type[_Manifest], value: dict[str, Any], *, kind: str, where: str, again: str) -> _Manifest:
    """A manifest of the present or the earlier format, from checked plain values."""
    version = value.pop("kind", None)
    if version == f"{kind}/1" and "contract" in value:
        value["contract"] = upgraded(value["contract"], where=f"{where}: contract", again=again)
        data = value.get("data")
        # earlier versions called a constant answer `baseline`, which now means an earlier release
        if isinstance(data, dict) and "majority_baseline" in data:
            value["data"] = {("majority_share" if name == "majority_baseline" else name): data[name] for name in data}
    elif version not in (f"{kind}/1", f"{kind}/{_VERSION}"):
        raise InvalidInputError(f"{where}: kind should be {kind}/{_VERSION}, found {show(version)}; {again}")
    if "contract" in value:
        value["contract"] = completed(value["contract"])
    if kind == _RUN:
        for name in ("structure", "pictures"):  # earlier versions did not record them
            value.setdefault(name, None)
    value.setdefault("operating_points", [])  # nor these
    manifest: _Manifest = build(hint, value, where=where, again=again)
    return manifest


def _check_data(manifest: RunManifest, *, where: str) -> None:
    """Raise InvalidInputError if the description of the data contradicts itself or the rest of the manifest."""
    data, problem = manifest.data, ""
    images = data.get("part_images", {})
    counts = data.get("counts", {})
    for name, value in (
        ("synthetic", manifest.synthetic),
        ("size", manifest.contract.size),
        ("images", sum(images.values())),
    ):
        if images and data.get(name, value) != value:
            problem = f"data.{name} should be {show(value)}, as the rest of the manifest says, found {show(data[name])}"
    tables = {"part_lesions": data.get("part_lesions", {}), **{f"counts.{name}": table for name, table in counts.items()}}
    if data.get("part_patients"):
        tables["part_patients"] = data["part_patients"]
    for place, table in tables.items():
        if table.keys() != images.keys():
            problem = f"data.{place} should have the parts {', '.join(images)}, found {', '.join(table)}"
    for name in manifest.results.keys() - manifest.sets.keys():
        problem = f"results.{name} should be of a set of the run, which has {', '.join(manifest.sets)}"
    if not problem and counts:
        sums = {part: sum(table[part] for table in counts.values()) for part in images}
        problem = "" if sums == images else f"data.counts should sum to part_images, found {json.dumps(sums)}"
    if problem:
        raise InvalidInputError(f"{where}: {problem}; {_TRAIN}")


def _check_files(manifest: EngineManifest, *, where: str) -> None:
    """Raise InvalidInputError if a manifest contradicts itself about the files that it names."""
    for name, value in (("runtime", manifest.runtime), ("asked", manifest.asked)):
        if not value:
            raise InvalidInputError(f"{where}: {name} should not be empty; {_EXPORT}")
    digests: dict[str, str] = {}
    for file in (manifest.engine, manifest.reference, manifest.graph, *manifest.companions):
        if digests.setdefault(file.file, file.digest) != file.digest:
            raise InvalidInputError(f"{where}: names {file.file} twice, with two digests; {_EXPORT}")
    if manifest.lineage["onnx"] != manifest.reference.digest:
        raise InvalidInputError(
            f"{where}: lineage.onnx should be the digest of reference {manifest.reference.file}; {_EXPORT}"
        )
    lacking = _SECOND_FILE.get(Path(manifest.engine.file).suffix)
    if lacking and not any(Path(file.file).suffix == lacking for file in manifest.companions):
        raise InvalidInputError(f"{where}: companions should name the {lacking} file of the engine; {_EXPORT}")
