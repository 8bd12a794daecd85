"""A run directory becomes engine files, each read back, compared with its source and described by a manifest."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnx import ModelProto

import skinaudit
from skinaudit.artifacts.adversarial_set import AdversarialSet
from skinaudit.artifacts.files import digest_file, write_bytes
from skinaudit.artifacts.manifest import (
    EngineManifest,
    FileRecord,
    RunManifest,
    manifest_path,
    read_engine_manifest,
    read_run,
    record,
    resolve,
    versions,
    write_engine_manifest,
)
from skinaudit.artifacts.one_writer import one_writer
from skinaudit.artifacts.own_code import CODE, vouch
from skinaudit.artifacts.run_folder import RunFolder
from skinaudit.artifacts.run_sets import TEST_SET, open_clean_set
from skinaudit.engines import onnx_graph
from skinaudit.engines.engine import Engine, EngineDescription
from skinaudit.engines.isolation.launching import engine_processes
from skinaudit.engines.onnxruntime_ import open_bytes
from skinaudit.engines.open import LIBRARIES, open_emulated, open_engine
from skinaudit.engines.session import SessionEngine
from skinaudit.errors import (
    InvalidInputError,
    MissingDependencyError,
    NoDeviceError,
    SkinauditError,
    UnusableDeviceError,
    not_imported,
)
from skinaudit.export.build import BuildOptions, Built, Request
from skinaudit.export.calibration import Calibration, read_calibration
from skinaudit.export.formats import FORMATS, Format, default_formats
from skinaudit.export.parity import check_parity, measure_parity
from skinaudit.export.precision import PRECISIONS, Precision, check_found
from skinaudit.export.rebuilds import compare_builds
from skinaudit.export.to_onnx import OPSET, clean, serialise, to_onnx

_PATIENCE = 60.0
"""Seconds to wait for another export that puts an engine in the same place."""
EMULATED = "the emulation of its ONNX graph, not the engine"

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
    formats: Sequence[str] | None = ("onnx",),
    output: Path | None = None,
    options: BuildOptions | None = None,
    threads: int | None = None,
    progress: Report = lambda line: None,
    refused: Callable[[SkinauditError], None] | None = None,
) -> tuple[Exported, ...]:
    """Write `run`/engines/<graph><suffix> with a manifest beside each file; `output` sets another file name for a single
    engine.

    formats: None for the default formats of each precision. `run`/engines/fp32.onnx is the reference of every engine. It
    is kept if its digests lead to the run's weights; otherwise it is exported again. Other formats are built from the
    ONNX file of their precision, which is also written. A file is written only after its precision was read back and its
    parity was measured. Parity is measured on the engine or, if it cannot run here, on an emulation of its graph; the
    manifest says which. Options are checked before anything is traced or built. refused: called with the error of an
    engine that is not written, and the export continues; without it the first such error is raised. Raises
    InvalidInputError for a damaged run, for a precision that is unknown or was not reached, and for options that no
    format accepts; EngineError for parity.
    """
    options = options or BuildOptions()
    planned = _wanted(formats, precisions, output)
    _check_taken(options, [form for form, _ in planned])
    manifest = read_run(run)
    clean_set = open_clean_set(run, manifest)

    def path_of(form: Format, precision: str) -> Path:
        return output or RunFolder(run).engines / f"{precision}{form.suffix}"

    planned = _possible(planned, options, path_of, refused)
    if not planned:
        return ()
    build = _Build(run, manifest, clean_set, options, threads, progress)
    graphs = {"fp32": _reference(build)}

    def graph(name: str, path: Path | None = None) -> Exported:
        path = path or RunFolder(run).engines / f"{name}.onnx"
        if name not in graphs or path.resolve() != graphs[name].path.resolve():
            graphs[name] = _write_graph(build, path, name=name, source=onnx_graph.load(graphs["fp32"].path))
        return graphs[name]

    def engine(form: Format, precision: str) -> Exported:
        name = form.graphs[precision]
        if form.build is None:
            return graph(name, output)
        return _write_engine(build, path_of(form, precision), form=form, precision=precision, graph=graph(name))

    exported = []
    with engine_processes():
        for form, precision in planned:
            try:
                exported.append(engine(form, precision))
            except SkinauditError as error:
                if refused is None:
                    raise
                refused(error)
    return tuple(exported)


def _wanted(formats: Sequence[str] | None, precisions: Sequence[str], output: Path | None) -> list[tuple[Format, str]]:
    if formats is None:
        return [(FORMATS[name], precision) for precision in precisions for name in default_formats(precision)]
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise InvalidInputError(f"format {', '.join(unknown) or 'missing'}: choose among {', '.join(FORMATS)}")
    for name in formats:
        lacking = [precision for precision in precisions if precision not in FORMATS[name].graphs]
        if lacking or not precisions:
            offered = ", ".join(FORMATS[name].graphs)
            raise InvalidInputError(f"{name} in {', '.join(lacking) or 'no precision'}: choose among {offered}")
    planned = [(FORMATS[name], precision) for precision in precisions for name in formats]
    suffix = f".{planned[0][0].suffix.rpartition('.')[2]}"
    if output is not None and (len(planned) != 1 or output.suffix != suffix):
        raise InvalidInputError(
            f"{output}: an output file ends in {suffix} and takes one precision of one format, not {len(planned)}"
        )
    return planned


def _check_taken(options: BuildOptions, forms: Sequence[Format]) -> None:
    """Raise InvalidInputError for an option that none of the formats takes."""
    taken = {name for form in forms for name in form.options}
    for option in options.given():
        if option not in taken:
            takers = [name for name, form in FORMATS.items() if option in form.options]
            asked = list(dict.fromkeys(name for name, form in FORMATS.items() if form in forms))
            flag = "--target" if option == "targets" else f"--{option.replace('_', '-')}"
            raise InvalidInputError(
                f"{flag}: is for --format {' or '.join(takers)}, not for {', '.join(asked)}; name one, or leave it out"
            )


def _possible(
    planned: Sequence[tuple[Format, str]], options: BuildOptions, path_of: Callable[[Format, str], Path],
    refused: Callable[[SkinauditError], None] | None,
) -> list[tuple[Format, str]]:  # fmt: skip
    """What of the plan its formats can build with these options; the errors of the rest go to `refused`, or are raised."""
    possible = []
    for form, precision in planned:
        try:
            if form.check is not None:
                form.check(options, where=str(path_of(form, precision)))
            possible.append((form, precision))
        except SkinauditError as error:
            if refused is None:
                raise
            refused(error)
    return possible


@dataclass(frozen=True, eq=False)
class _Build:
    """What every engine of one run needs."""

    run: Path
    manifest: RunManifest
    clean: AdversarialSet
    options: BuildOptions
    threads: int | None
    progress: Report

    @property
    def reference(self) -> Path:
        return RunFolder(self.run).reference

    def calibration(self) -> Calibration:
        return read_calibration(resolve(self.run, self.manifest.calibration), size=self.manifest.contract.size)


def _reference(build: _Build) -> Exported:
    started = time.perf_counter()
    path = build.reference
    reusable = _reusable(path, build.manifest)
    if reusable is not None:
        return Exported(path, reusable, path.stat().st_size, time.perf_counter() - started, reused=True)
    build.progress("fp32: tracing the model")
    try:
        from skinaudit.trainer.checkpoint import load_run_model  # brings torch, which a kept reference does without
        from skinaudit.trainer.models import exported_part

        model = load_run_model(build.run)  # may bring what its architecture needs
    except ImportError as error:
        raise not_imported(error, error.name or "torch", "train", f"{build.run}: export") from error

    source = to_onnx(exported_part(model), size=build.manifest.contract.size)
    return _write_graph(build, path, name="fp32", source=source)


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


def _write_graph(build: _Build, path: Path, *, name: str, source: ModelProto) -> Exported:
    """An ONNX graph of PRECISIONS: an engine by itself, and what other formats are built from."""
    started = time.perf_counter()
    precision = PRECISIONS[name]
    calibration = build.calibration() if precision.needs_calibration else None

    def convert() -> tuple[bytes, Engine, Mapping[str, Any]]:
        converted = precision.convert(source, calibration, where=str(path))
        content = serialise(clean(converted.model), metadata=_metadata(build.manifest, precision.name))
        as_graph = "onnx" not in precision.formats
        session = open_bytes(content, where=str(path), threads=build.threads, as_graph=as_graph)
        return content, SessionEngine(session, where=str(path), own=build.manifest.contract), converted.settings

    build.progress(f"{name}: converting")
    content, engine, settings = convert()
    check_found(engine.description.found, asked=precision.name, source=source, where=str(path))
    build.progress(f"{name}: comparing with the source model on {len(build.clean)} clean images")
    parity = measure_parity(engine, build.clean, precision=precision)
    check_parity(parity, precision=precision, where=str(path))
    again = _rebuilt(build, name, (content, engine), lambda: convert()[:2])
    with _placing(path):
        write_bytes(path, content)
        manifest = _manifest(
            build, path, graph=path, asked=precision.name, description=engine.description, found=engine.description.found,
            parity={**parity.to_json(), **again}, calibration=calibration,
            settings={"graph": name, "opset": OPSET, **settings},
        )  # fmt: skip
        write_engine_manifest(manifest, engine=path)
    return Exported(path, manifest, len(content), time.perf_counter() - started, reused=False)


def _write_engine(build: _Build, path: Path, *, form: Format, precision: str, graph: Exported) -> Exported:
    """An engine of another format, built in a scratch folder, opened, compared, and only then put in its place."""
    assert form.build is not None
    form_build = form.build
    started = time.perf_counter()
    label = f"{precision} {form.runtime}"
    build.progress(f"{label}: building")
    calibration = build.calibration()
    source = onnx_graph.load(graph.path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as scratch:
        target = Path(scratch) / path.name
        built = form.build(Request(source, precision, calibration, build.run, target, str(path), build.options))
        check_found(built.found, asked=precision, source=source, where=str(path), kept=len(built.kept))
        engine, hindrance = _to_compare(target, form, graph, build, built)
        if hindrance:
            build.progress(f"{label}: not run here, its graph is emulated instead: {hindrance}")
        build.progress(f"{label}: comparing with the source model on {len(build.clean)} clean images")
        rules = _rules(precision) if hindrance is None else PRECISIONS[form.graphs[precision]]
        parity = measure_parity(engine, build.clean, precision=rules)
        check_parity(parity, precision=rules, where=str(path))

        def rebuild() -> tuple[bytes, Engine | None]:
            rebuilt_path = Path(scratch) / "again" / path.name
            rebuilt_path.parent.mkdir(exist_ok=True)
            fresh = onnx_graph.load(graph.path)
            more = form_build(Request(fresh, precision, calibration, build.run, rebuilt_path, str(path), build.options))
            content = _bytes_of([rebuilt_path, *more.companions])
            return content, _open_built(rebuilt_path, form, build) if hindrance is None else None

        first_build = (_bytes_of([target, *built.companions]), engine if hindrance is None else None)
        again = _rebuilt(build, label, first_build, rebuild)
        files = [target, *built.companions]
        with _placing(path):
            for file in reversed(files):  # the engine file last: while it is the old one, its manifest still holds
                write_bytes(path.with_name(file.name), file.read_bytes())
            companions = tuple(record(path.with_name(file.name), relative_to=path.parent) for file in files[1:])
            manifest = _manifest(
                build, path, graph=graph.path, asked=precision, description=engine.description, found=built.found,
                parity={**parity.to_json(), **again, "measured_on": _measured_on(hindrance)},
                calibration=calibration if built.calibrated else None,
                settings={"graph": form.graphs[precision], **built.settings}, runtime=form.runtime, companions=companions,
                inherited=graph.manifest.lineage,
            )  # fmt: skip
            write_engine_manifest(manifest, engine=path)
    if path.suffix == CODE:
        vouch(manifest.engine.digest)
    size = sum(path.with_name(file.name).stat().st_size for file in files)
    return Exported(path, manifest, size, time.perf_counter() - started, reused=False)


def _bytes_of(files: Sequence[Path]) -> bytes:
    return b"".join(file.read_bytes() for file in files)


def _rebuilt(
    build: _Build, label: str, first_build: tuple[bytes, Engine | None], rebuild: Callable[[], tuple[bytes, Engine | None]]
) -> dict[str, Any]:
    """What the manifest says of further builds of the same engine; empty where none was asked for."""
    if build.options.rebuilds < 2:
        return {}
    builds = [first_build]
    for number in range(2, build.options.rebuilds + 1):
        build.progress(f"{label}: build {number} of {build.options.rebuilds}")
        builds.append(rebuild())
    return {"rebuilds": compare_builds(builds, build.clean).to_json()}


def _to_compare(target: Path, form: Format, graph: Exported, build: _Build, built: Built) -> tuple[Engine, str | None]:
    """The built engine and None, or the emulation of its graph and why the engine does not run here.

    The reason is empty where there is no device: nothing is to be done about that.
    """
    hindrance = built.incomplete
    if hindrance is None:
        try:
            return _open_built(target, form, build), None
        except UnusableDeviceError as error:
            hindrance = str(error)
        except NoDeviceError:
            hindrance = ""
        except MissingDependencyError as error:
            hindrance = str(error)
    emulation = open_emulated(graph.path, threads=build.threads, own=build.manifest.contract)
    return emulation, hindrance.removeprefix(f"{target}: ")


def _measured_on(hindrance: str | None) -> str:
    if hindrance is None:
        return "the engine"
    return f"{EMULATED}: {hindrance}" if hindrance else EMULATED


def _open_built(path: Path, form: Format, build: _Build) -> Engine:
    """Open what was just built here, so that code in it is our own."""
    own = build.manifest.contract
    return open_engine(path, runtime=form.runtime, own=own, threads=build.threads, allow_code=True)


def _rules(precision: str) -> Precision:
    return next(rules for rules in PRECISIONS.values() if rules.name == precision)


def _manifest(
    build: _Build,
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


def _metadata(run: RunManifest, precision: str) -> dict[str, str]:
    return {
        "skinaudit.version": skinaudit.__version__,
        "skinaudit.run": run.name,
        onnx_graph.WEIGHTS: run.weights.digest,
        onnx_graph.CONTRACT: json.dumps(run.contract.to_json(), sort_keys=True),
        "skinaudit.precision": precision,
    }


def _placing(path: Path) -> AbstractContextManager[None]:
    """Hold the place of an engine while its file and its manifest are exchanged: those of two exports never mix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return one_writer(path.with_name(f".{path.name}.lock"), what=str(path), wait=_PATIENCE)


def _relative(path: Path, folder: Path) -> str:
    """With `..` where needed, so that a run and its engines can be moved together."""
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
