"""Export a run directory to engine files. Each is read back, compared with its source and described by a manifest."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from skinaudit.artifacts.manifest import read_run
from skinaudit.artifacts.outside import real
from skinaudit.artifacts.run_folder import RunFolder
from skinaudit.artifacts.run_sets import open_clean_set
from skinaudit.engines import onnx_graph
from skinaudit.engines.isolation.launching import engine_processes
from skinaudit.errors import SkinauditError
from skinaudit.export.asked import check_taken, possible, wanted
from skinaudit.export.build import BuildOptions
from skinaudit.export.formats import Format
from skinaudit.export.run_build import Exported, Report, RunBuild
from skinaudit.export.write_engine import write_engine
from skinaudit.export.write_graph import write_graph, write_reference

_LOG = logging.getLogger(__name__)


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
    """Write `run`/engines/<graph><suffix>, each with a manifest beside it. output: another file name, for a single engine.

    formats: None for the default formats of each precision. `run`/engines/fp32.onnx is the reference of every engine. It is
    kept if its digests lead to the run's weights; otherwise it is exported again. Other formats are built from the ONNX file
    of their precision, which is also written. A file is written only after its precision was read back and its parity was
    measured. Parity is measured on the engine or, if it cannot run here, on an emulation of its graph; the manifest says
    which. Options are checked before anything is traced or built. refused: called with the error of an engine that is not
    written, and the export continues; without it the first such error is raised. Raises InvalidInputError for a damaged run,
    for a precision that is unknown or was not reached, and for options that no format accepts; EngineError for parity.
    """
    options = options or BuildOptions()
    planned = wanted(formats, precisions, output)
    check_taken(options, [form for form, _ in planned])
    manifest = read_run(run)
    RunFolder(run).check_links()
    clean_set = open_clean_set(run, manifest)

    def path_of(form: Format, precision: str) -> Path:
        return output or RunFolder(run).engines / f"{precision}{form.suffix}"

    planned = possible(planned, options, path_of, refused)
    if not planned:
        return ()
    build = RunBuild(run, manifest, clean_set, options, threads, progress)
    graphs = {"fp32": write_reference(build)}
    exported = []
    with engine_processes():
        for form, precision in planned:
            try:
                written = _written(build, graphs, form, precision, path=path_of(form, precision), output=output)
                _LOG.info("%s: %s, %.1f s", written.path, written.manifest.engine.digest, written.seconds)
                exported.append(written)
            except SkinauditError as error:
                if refused is None:
                    raise
                refused(error)
    return tuple(exported)


def _written(
    build: RunBuild, graphs: dict[str, Exported], form: Format, precision: str, *, path: Path, output: Path | None
) -> Exported:
    """Write one engine at `path`. graphs: the graphs written so far, by name; the graph of this engine is added."""
    name = form.graphs[precision]
    if form.build is None:
        return _graph(build, graphs, name, output)
    return write_engine(build, path, form=form, precision=precision, graph=_graph(build, graphs, name))


def _graph(build: RunBuild, graphs: dict[str, Exported], name: str, path: Path | None = None) -> Exported:
    """The graph with this name, written if it was not yet. path: replaces its usual place in the run."""
    path = path or RunFolder(build.run).engines / f"{name}.onnx"
    if name not in graphs or real(path) != real(graphs[name].path):
        graphs[name] = write_graph(build, path, name=name, source=onnx_graph.load(graphs["fp32"].path))
    return graphs[name]
