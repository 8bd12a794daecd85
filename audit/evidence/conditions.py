"""Operators in an engine's file, but not in its reference, that make an answer depend on a condition."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from skinaudit.artifacts.files import digest_file
from skinaudit.artifacts.manifest import EngineManifest, engine_file
from skinaudit.engines.isolation.remote import call_remote
from skinaudit.engines.open import RUNTIMES

if TYPE_CHECKING:  # for the process that reads the file, which imports this module but needs none of the inputs' modules
    from skinaudit.audit.evidence.inputs import Inputs


@dataclass(frozen=True)
class Conditions:
    """Comparison of the engine's file with its reference, for operators that can make outputs depend on a condition.

    file: the file that was read. built_from: True if it is the graph behind the engine, because the engine's own format
    cannot be read. added: operators that it has more often than the reference. shared: operators that both have. unseen:
    why no comparison was possible; empty if it was.
    """

    file: str
    built_from: bool = False
    added: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    unseen: str = ""


def compare_conditions(path: Path, inputs: Inputs, *, control: Path | None) -> Conditions | None:
    """Compare the engine's file, or the graph from which it was built, with the reference's.

    None for a foreign engine, which has no reference and never passes. control: file of the reference, if not the
    manifest's. A file without such operators needs no reference. Raises InvalidInputError if a file is not the one that the
    manifest names, EngineError if it is damaged.
    """
    manifest = inputs.manifest
    if manifest is None:
        return None
    built_from = not _readable(path)
    file = path.parent / manifest.graph.file if built_from else path
    if built_from and not (_readable(file) and file.is_file()):
        return Conditions(
            path.name, unseen=f"its format cannot be read, and {file.name}, from which it was built, is not an ONNX file"
        )
    if built_from:
        engine_file(path, manifest, manifest.graph)  # otherwise another graph could be examined instead
    operators = Counter(_condition_counts(file))
    if not operators:
        return Conditions(file.name, built_from)
    reference = _reference(path, manifest, control=control)
    if reference is None or digest_file(reference) == digest_file(file):
        why = "there is no graph of its reference to compare with" if reference is None else "it is its own reference"
        return Conditions(file.name, built_from, unseen=f"it has {', '.join(sorted(operators))}, and {why}")
    known = Counter(_condition_counts(reference))
    return Conditions(file.name, built_from, tuple(sorted(operators - known)), tuple(sorted(operators & known)))


def _reference(path: Path, manifest: EngineManifest, *, control: Path | None) -> Path | None:
    """File of the reference, its digest verified; None if it is missing or of a format that cannot be read."""
    file = path.parent / manifest.reference.file if control is None else control
    if not (_readable(file) and file.is_file()):
        return None
    return engine_file(path, manifest, manifest.reference) if control is None else control


def _readable(file: Path) -> bool:
    return any(file.suffix.lower() in runtime.conditions for runtime in RUNTIMES.values())


def _condition_counts(file: Path) -> Mapping[str, int]:
    counts: Mapping[str, int] = call_remote(f"{__name__}:count", str(file), path=file)
    return counts


def count(file: str) -> dict[str, int]:
    """Count the operators that make an answer depend on a condition. Called in a separate process."""
    path = Path(file)
    suffix = path.suffix.lower()
    read = next(runtime.conditions[suffix] for runtime in RUNTIMES.values() if suffix in runtime.conditions)
    return dict(read(path))
