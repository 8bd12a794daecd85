"""Writes engines in formats other than ONNX: built from a graph, opened, compared, and only then put in place."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skinaudit.artifacts.files import write_bytes
from skinaudit.artifacts.manifest import EngineManifest, record, write_engine_manifest
from skinaudit.artifacts.own_code import CODE, vouch
from skinaudit.engines import onnx_graph
from skinaudit.engines.engine import Engine
from skinaudit.engines.open import open_emulated, open_engine
from skinaudit.errors import MissingDependencyError, NoDeviceError, UnusableDeviceError
from skinaudit.export.build import Built, Request
from skinaudit.export.calibration import Calibration
from skinaudit.export.describe import describe_engine
from skinaudit.export.formats import Format
from skinaudit.export.parity import check_parity, measure_parity
from skinaudit.export.precision import PRECISIONS, Precision, check_found
from skinaudit.export.rebuilds import built_again
from skinaudit.export.run_build import Exported, RunBuild, placing

EMULATED = "the emulation of its ONNX graph, not the engine"


@dataclass(frozen=True)
class _Order:
    """An engine to write: its path, format and precision, and the graph from which it is built."""

    build: RunBuild
    path: Path
    form: Format
    precision: str
    graph: Exported

    @property
    def label(self) -> str:
        return f"{self.precision} {self.form.runtime}"

    def make(self, target: Path, calibration: Calibration) -> Built:
        """Build it as the file `target`."""
        assert self.form.build is not None
        source, where = onnx_graph.load(self.graph.path), str(self.path)
        return self.form.build(
            Request(source, self.precision, calibration, self.build.run, target, where, self.build.options)
        )


def write_engine(build: RunBuild, path: Path, *, form: Format, precision: str, graph: Exported) -> Exported:
    """Write an engine in another format. It is built in a scratch folder.

    Raises InvalidInputError if the built precision is not the requested one, EngineError if its answers differ.
    """
    started = time.perf_counter()
    order = _Order(build, path, form, precision, graph)
    build.progress(f"{order.label}: building")
    calibration = build.calibration()
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as scratch:
        target = Path(scratch) / path.name
        built = order.make(target, calibration)
        source = onnx_graph.load(graph.path)
        check_found(built.found, asked=precision, source=source, where=str(path), kept=len(built.kept))
        engine, hindrance = _to_compare(order, target, built)
        parity = _measured(order, engine, hindrance)

        def rebuild() -> tuple[bytes, Engine | None]:
            rebuilt_path = Path(scratch) / "again" / path.name
            rebuilt_path.parent.mkdir(exist_ok=True)
            more = order.make(rebuilt_path, calibration)
            content = _bytes_of([rebuilt_path, *more.companions])
            return content, _open_built(order, rebuilt_path) if hindrance is None else None

        files = [target, *built.companions]
        parity |= built_again(build, order.label, (_bytes_of(files), engine if hindrance is None else None), rebuild)
        parity["measured_on"] = _measured_on(hindrance)
        manifest = _placed(order, built, files, engine, parity, calibration if built.calibrated else None)
    if path.suffix == CODE:
        vouch(manifest.engine.digest)
    size = sum(path.with_name(file.name).stat().st_size for file in files)
    return Exported(path, manifest, size, time.perf_counter() - started, reused=False)


def _measured(order: _Order, engine: Engine, hindrance: str | None) -> dict[str, Any]:
    """Parity with the source model of the engine, or of the emulation that replaces it; checked."""
    build, path = order.build, str(order.path)
    if hindrance:
        build.progress(f"{order.label}: not run here, its graph is emulated instead: {hindrance}")
    build.progress(f"{order.label}: comparing with the source model on {len(build.clean)} clean images")
    rules = _rules(order.precision) if hindrance is None else PRECISIONS[order.form.graphs[order.precision]]
    parity = measure_parity(engine, build.clean, precision=rules)
    check_parity(parity, precision=rules, where=path)
    return parity.to_json()


def _placed(
    order: _Order, built: Built, files: Sequence[Path], engine: Engine, parity: dict[str, Any],
    calibration: Calibration | None,
) -> EngineManifest:  # fmt: skip
    """Put the files and the manifest in place; returns the manifest."""
    path, graph = order.path, order.graph
    with placing(path):
        for file in reversed(files):  # the engine file last: until it is replaced, the old manifest is still right
            write_bytes(path.with_name(file.name), file.read_bytes())
        companions = tuple(record(path.with_name(file.name), relative_to=path.parent) for file in files[1:])
        manifest = describe_engine(
            order.build, path, graph=graph.path, asked=order.precision, description=engine.description, found=built.found,
            parity=parity, calibration=calibration,
            settings={"graph": order.form.graphs[order.precision], **built.settings}, runtime=order.form.runtime,
            companions=companions, inherited=graph.manifest.lineage,
        )  # fmt: skip
        write_engine_manifest(manifest, engine=path)
    return manifest


def _bytes_of(files: Sequence[Path]) -> bytes:
    return b"".join(file.read_bytes() for file in files)


def _to_compare(order: _Order, target: Path, built: Built) -> tuple[Engine, str | None]:
    """The built engine and None; or the emulation of its graph, and why the engine does not run here.

    The reason is empty if there is no device, because the user can do nothing about it.
    """
    hindrance = built.incomplete
    if hindrance is None:
        try:
            return _open_built(order, target), None
        except UnusableDeviceError as error:
            hindrance = str(error)
        except NoDeviceError:
            hindrance = ""
        except MissingDependencyError as error:
            hindrance = str(error)
    build = order.build
    emulation = open_emulated(order.graph.path, threads=build.threads, own=build.manifest.contract)
    return emulation, hindrance.removeprefix(f"{target}: ")


def _measured_on(hindrance: str | None) -> str:
    if hindrance is None:
        return "the engine"
    return f"{EMULATED}: {hindrance}" if hindrance else EMULATED


def _open_built(order: _Order, path: Path) -> Engine:
    """Open a file that this process has just built, so any code in it is our own."""
    own, threads = order.build.manifest.contract, order.build.threads
    return open_engine(path, runtime=order.form.runtime, own=own, threads=threads, allow_code=True)


def _rules(precision: str) -> Precision:
    return next(rules for rules in PRECISIONS.values() if rules.name == precision)
