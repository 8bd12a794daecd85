"""The files that an engine is made of, and one digest over all of them."""

from __future__ import annotations

from pathlib import Path

from skinaudit.artifacts.files import digest_file, digest_parts
from skinaudit.artifacts.outside import check_regular, inside
from skinaudit.engines import onnx_graph
from skinaudit.engines.external_data import external_files
from skinaudit.errors import InvalidInputError

_SECOND = {".xml": ".bin"}
"""Suffix of an engine file -> that of the file beside it that holds its weights."""


def digest_engine(path: Path) -> str:
    """The digest of an engine: of its file, or, where its weights lie in other files, one of all of them with their names.

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
    """The files beside an engine's that hold its weights, sorted by name; empty for an engine of a single file.

    Raises as digest_engine.
    """
    suffix = path.suffix.lower()
    files = [inside(path.parent, path.with_suffix(_SECOND[suffix]).name, named_by=str(path))] if suffix in _SECOND else []
    if suffix == ".onnx":
        files = list(external_files(onnx_graph.load(path), path))
    for file in files:
        if not file.exists():
            raise InvalidInputError(f"{file}: holds weights of {path.name} but is missing; keep all of its files together")
        check_regular(file, what=f"weights of {path.name}")
    return tuple(files)
