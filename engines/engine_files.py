"""The files that make up an engine, and one digest over all of them."""

from __future__ import annotations

from pathlib import Path

from skinaudit.artifacts.files import digest_file, digest_parts
from skinaudit.artifacts.outside import check_regular, inside
from skinaudit.engines import onnx_graph
from skinaudit.engines.external_data import external_names
from skinaudit.engines.isolation.remote import call_remote
from skinaudit.errors import InvalidInputError

_SECOND = {".xml": ".bin"}
"""Suffix of an engine file -> suffix of the file beside it that holds its weights."""


def digest_engine(path: Path) -> str:
    """Digest of an engine: of its one file or, if its weights are in other files, of all files with their names.

    Raises InvalidInputError for a file that is missing, EngineError for an ONNX file that cannot be read.
    """
    beside = weight_files(path)
    if not beside:
        return digest_file(path)
    parts = [digest_file(path).encode()]
    for file in beside:
        parts += [file.relative_to(path.parent).as_posix().encode(), digest_file(file).encode()]
    return digest_parts(*parts)


def weight_files(path: Path) -> tuple[Path, ...]:
    """The files beside an engine that hold its weights, sorted by name; empty if the engine is a single file.

    Raises the errors of digest_engine.
    """
    suffix = path.suffix.lower()
    files = [inside(path.parent, path.with_suffix(_SECOND[suffix]).name, named_by=str(path))] if suffix in _SECOND else []
    if suffix == ".onnx":
        files = [
            inside(path.parent, location, named_by=str(path))
            for location in call_remote(f"{__name__}:locations", str(path), path=path)
        ]
    for file in files:
        if not file.exists():
            raise InvalidInputError(
                f"{file}: contains weights of {path.name} but is missing; keep all files of the engine together"
            )
        check_regular(file, kind=f"weights of {path.name}")
    return tuple(files)


def locations(file: str) -> list[str]:
    """Names of the files in which an ONNX file keeps weights, sorted. Called in a separate process."""
    return external_names(onnx_graph.load(Path(file)), where=file)


def read_own_words(path: Path) -> tuple[str | None, tuple[str, ...] | None]:
    """Read the metadata of an ONNX file: the digest of its weights and its class names; None for what is absent.

    Raises EngineError for a file that cannot be read.
    """
    weights, classes = call_remote(f"{__name__}:own_words", str(path), path=path)
    return weights, None if classes is None else tuple(map(str, classes))


def own_words(file: str) -> tuple[str | None, tuple[str, ...] | None]:
    """The same, called in a separate process."""
    model = onnx_graph.load(Path(file))
    return onnx_graph.metadata(model).get(onnx_graph.WEIGHTS), onnx_graph.labels(model)
