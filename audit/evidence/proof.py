"""Check whether the engine's file is the run's model: compare its layers and numbers with structure.json and the
weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from skinaudit.artifacts.known_structures import ARCHITECTURES, known_structure, unlike
from skinaudit.artifacts.manifest import EngineManifest, RunManifest, engine_file, read_run, resolve
from skinaudit.artifacts.outside import real
from skinaudit.artifacts.precisions import KINDS
from skinaudit.artifacts.printable import show
from skinaudit.artifacts.run_folder import RUN_FILE, RunFolder
from skinaudit.artifacts.structure import Structure, read_structure
from skinaudit.artifacts.tensors import read_tensors
from skinaudit.audit.evidence.matching import Allowed, DiffersError, Matcher
from skinaudit.engines.isolation.remote import call_remote
from skinaudit.engines.networks.layers import Layer, layers_of
from skinaudit.engines.networks.of_structure import Weights, network_of
from skinaudit.engines.open import RUNTIMES
from skinaudit.errors import EngineError, InvalidInputError, MissingDependencyError

if TYPE_CHECKING:  # for the process that reads the file, which imports this module but needs none of the inputs' modules
    from skinaudit.audit.evidence.inputs import Inputs

Lack = Literal["format", "maker", "record", "file"]
_LISTED = 3


@dataclass(frozen=True)
class Proof:
    """The result of comparing a file with its run.

    file: the file that was read. lack: why a part is not proved, None if everything is: the file's `format` cannot be
    read, skinaudit is not the `maker` of such files, a `file` is missing, or the run has no `record` of the structure of an
    architecture that is not known. unproved: the same as text. difference: text that names the layer of the file that does
    not come from the run; empty if there is none.
    """

    file: str
    lack: Lack | None = None
    unproved: str = ""
    difference: str = ""


def prove(path: Path, inputs: Inputs) -> Proof:
    """Compare the engine at `path` with its run or, if its format cannot be read, the graph from which it was built.

    Raises InvalidInputError if a file of the run is damaged or not the one that its manifest names, EngineError if the
    engine's file is damaged.
    """
    manifest = inputs.manifest
    if manifest is None:
        return Proof(path.name, "format", "another tool made it, and its weights are not available")
    if _readable(path, manifest.runtime):
        return _proved(path, manifest.runtime, path, manifest)
    runtime = RUNTIMES.get(manifest.runtime)
    if runtime is None or not runtime.runs_code or path.suffix.lower() not in runtime.suffixes:
        return Proof(
            path.name,
            "maker",
            f"skinaudit builds no {path.suffix} files for {show(manifest.runtime)}, so its manifest proves nothing",
        )
    unproved = f"the format of {path.name} cannot be read: nothing shows that it holds the weights of its run"
    graph = path.parent / manifest.graph.file
    if not _readable(graph, "onnxruntime") or not graph.is_file():
        return Proof(path.name, "format", unproved)
    of_graph = _proved(engine_file(path, manifest, manifest.graph), "onnxruntime", path, manifest)
    if of_graph.difference or of_graph.lack is not None:
        return of_graph
    return Proof(graph.name, "format", f"{unproved}; {graph.name}, which it was built from by its manifest, does")


def _readable(file: Path, runtime: str) -> bool:
    """Whether a file can be read as layers."""
    return runtime in RUNTIMES and file.suffix.lower() in RUNTIMES[runtime].networks


def _proved(file: Path, runtime: str, engine: Path, manifest: EngineManifest) -> Proof:
    folder = real(engine.parent / manifest.run)
    if not RunFolder(folder).has_manifest:
        return Proof(file.name, "file", f"its run is not available ({RUN_FILE} and its files)")
    run = read_run(folder)
    if "arch" not in run.model:
        raise InvalidInputError(f"{folder / RUN_FILE}: model.arch is missing; train the model again with `skinaudit train`")
    if run.structure is None and run.model["arch"] not in ARCHITECTURES:
        unproved = (
            f"its run has no record of the structure of {show(run.model['arch'])}, which is not one of skinaudit's own"
        )
        return Proof(file.name, "record", unproved)
    for part in (run.structure, run.weights):
        if part is not None and not (folder / part.file).is_file():
            return Proof(file.name, "file", f"{part.file} of its run is missing")
    try:
        difference = call_remote(
            f"{__name__}:difference", str(file), runtime, str(folder), manifest.asked,
            bool(manifest.settings.get("corrected_biases")), path=file, reads=[folder],
        )  # fmt: skip
    except MissingDependencyError as error:
        return Proof(file.name, "file", str(error))
    return Proof(file.name, difference=str(difference))


def difference(file: str, runtime: str, run_folder: str, precision: str, corrected: bool) -> str:
    """The first difference between a file and its run's model, in words; empty for none. In a separate process."""
    folder = Path(run_folder)
    network = RUNTIMES[runtime].networks[Path(file).suffix.lower()](Path(file))
    run = read_run(folder)
    weights = _weights(resolve(folder, run.weights))
    structure = _structure(folder, run, weights)
    if isinstance(structure, str):
        return structure
    expected = _of_run(folder, run, structure, weights)
    kind = KINDS[precision]
    allowed = Allowed(
        kind.layers, corrected=corrected, half=precision == "fp16", casts=kind.casts, rounding=kind.rounding,
        spread=kind.spread, factor=kind.factor,
    )  # fmt: skip
    try:
        with np.errstate(all="ignore"):  # comparisons with NaN and infinity are false
            channels = Matcher(allowed).match(expected, network)
    except DiffersError as error:
        return _description(error, network)
    return "" if channels.plain else f"{network.origin}: its outputs are scaled or in a different order"


def _structure(folder: Path, run: RunManifest, weights: Weights) -> Structure | str:
    """The structure of the run's model, as recorded or else from its architecture; or the reason to doubt it.

    skinaudit's own architectures are known without a record, so removing a record or adding to it hides nothing.
    """
    arch, size = run.model["arch"], run.contract.size
    try:
        known = known_structure(arch, size=size, shapes={name: value.shape for name, value in weights.items()})
    except (KeyError, IndexError):
        return f"the run's weights are not those of {show(arch)}; an architecture of your own needs its own name"
    recorded = known if run.structure is None else read_structure(resolve(folder, run.structure))
    assert recorded is not None  # one of the two exists, as `_proved` has checked
    if known is not None and (odd := unlike(recorded, known)):
        return (
            f"the run's record of its structure is not that of {arch}: {odd}; an architecture of your own needs its own name"
        )
    return recorded


def _weights(path: Path) -> Weights:
    return read_tensors(path, kind="file of weights", again="restore it or train again")[0]


def _of_run(folder: Path, run: RunManifest, structure: Structure, weights: Weights) -> Layer:
    path = folder / run.weights.file
    try:
        return network_of(structure, weights)
    except KeyError as error:
        raise EngineError(f"{path}: holds no {error.args[0]}, which the run's structure names; train again") from error
    except InvalidInputError as error:
        recorded = path if run.structure is None else folder / run.structure.file
        raise InvalidInputError(f"{recorded}: {error}; restore it or train again") from error


def _description(error: DiffersError, network: Layer) -> str:
    """The node at which file and run differ, and nodes that are not layers of any classifier."""
    odd = sorted({layer.origin for layer in layers_of(network) if layer.kind == "other"} - {error.actual.origin})
    more = f"; besides, no layer of the run: {', '.join(odd[:_LISTED])}{' and others' if len(odd) > _LISTED else ''}"
    return f"{error.actual.origin}: {error.text}{more if odd else ''}"
