"""The odd inputs of bench/odd_inputs.py as files for the readers, so that they stay in the tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from skinaudit.bench.odd_parts import engines, graphs, plain_files, tables, tensors
from skinaudit.bench.odd_parts.case import Place

FILES: Mapping[str, tuple[str, str]] = {
    "policy": ("TOML: ", "policy.toml"),
    "contract": ("engine: contract", "c.toml"),
    "report": ("JSON: ", "audit.json"),
    "set": ("set: ", "sets/clean.safetensors"),
    "table of images": ("bomb: table", "data/HAM10000_metadata.csv"),
    "archive .npz": ("bomb: .npz", "data.npz"),
    "weights .safetensors": ("bomb: .safetensors", "w.safetensors"),
    "graph .onnx": ("ONNX: ", "a.onnx"),
    "graph .xml": ("XML: ", "a.xml"),
}
"""By reader: how the names of its cases begin, and the file that they write."""
_LARGE = ("1,000,000", "million", "90 MB", " GB", "GiB", "1 TB", "200,000", "400 MB", "600 MB", "200 MiB", "pipe", "link")
"""Words of cases whose files are large or no files; the bench has them."""


def odd_files(reader: str, folder: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of each odd input for a reader; the inputs are written into folders below `folder`."""
    start, file = FILES[reader]
    cases = [case for part in (plain_files, tensors, graphs, tables, engines) for case in part.CASES]
    for index, case in enumerate(cases):
        if case.name.startswith(start) and not any(word in case.name for word in _LARGE):
            place = Place(folder / str(index), folder / "run")
            place.folder.mkdir()
            case.build(place)
            if (place.folder / file).is_file():
                yield case.name, (place.folder / file).read_bytes()
