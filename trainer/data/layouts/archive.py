"""Images of an archive: its table and its pictures, at any depth. skinaudit.trainer.data.archives has the known archives."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PureWindowsPath

from skinaudit.errors import InvalidInputError, first_few
from skinaudit.trainer.data import archives
from skinaudit.trainer.data.archives._archive import Archive, Line, NoLabel
from skinaudit.trainer.data.pictures import SUFFIXES, Pictures
from skinaudit.trainer.data.recognise import recognise
from skinaudit.trainer.data.records import Listing, Row, assemble
from skinaudit.trainer.data.subgroups import NAMES, spelled
from skinaudit.trainer.data.tables import OVERLONG, Table, known, read_table

_TITLES = ", ".join(sorted({archive.title for archive in archives.known().values()}))
LOOKS_FOR = f"the table of an archive, such as HAM10000_metadata.csv (known are {_TITLES})"

_PARTS = {"train(ing)?": 0, "val(id|idation)?": 1, "test(ing)?": 2}


def find(files: Collection[Path]) -> Path | None:
    """The first table with labels; raises InvalidInputError if several contradict, or one nearly fits an archive."""
    tables = recognise(files)
    return tables.labelled[0] if tables else None


def list_images(named_by: Path, files: Collection[Path], *, only: Path | None = None) -> Listing:
    """List the images of the archive's tables among `files`. only: the table whose labels count.

    The tables of an archive's parts (training, validation, test) are read together; their names tell the part. A table is
    left out if none of its pictures is here. Raises InvalidInputError for unusable tables; unusable rows are returned in
    `bad`.
    """
    tables = recognise(files, only=only)
    if tables is None:
        raise InvalidInputError(f"{named_by}: no archive has such a table; looked for {LOOKS_FOR}")
    archive, pictures = tables.archive, Pictures(files)
    labelled = _with_pictures([read_table(path) for path in tables.labelled], archive, pictures)
    _refuse_overlap(labelled, archive)
    more_lines = _by_image([read_table(path) for path in tables.more], archive)
    parts = _parts([table.path for table in labelled])
    rows = [row for table, part in zip(labelled, parts, strict=True) for row in _rows(table, more_lines, archive, part)]
    title = archive.title
    if archive.lesion and not any(row.lesion_id for row in rows):
        title += " (no lesion ids: each image is its own lesion)"
    present = {row.label for row in rows}
    classes = tuple(name for name in archive.classes if archive.complete or name in present)
    malignant = tuple(name for name in archive.malignant if name in classes)
    notes = [
        f"{path.name}: none of its pictures was found, so it was left out"
        for path in tables.labelled
        if path not in [table.path for table in labelled]
    ]
    absent = [name for name in archive.classes if name not in classes and name not in archive.rare]
    if absent:
        notes.append(f"no image of class {', '.join(absent)}: the data have none, so the model will not learn this class")
    return assemble(title, labelled[0].path, rows, pictures, classes=classes, malignant=malignant, notes=notes)


def _name(cell: str) -> str:
    """The image's name, without folders and suffix."""
    last = PureWindowsPath(cell).name
    path = PureWindowsPath(last)
    return path.stem if path.suffix.casefold() in SUFFIXES else last


def _with_pictures(tables: Sequence[Table], archive: Archive, pictures: Pictures) -> list[Table]:
    """The tables with pictures here; all tables if none has any, so that messages can name what is missing."""
    kept = [table for table in tables if any(pictures.of(_name(line[archive.image])) for line in table.rows)]
    return kept or list(tables)


def _refuse_overlap(tables: Sequence[Table], archive: Archive) -> None:
    table_of: dict[str, Path] = {}
    for table in tables:
        for name in {_name(line[archive.image]) for line in table.rows}:
            if name in table_of:
                raise InvalidInputError(f"{table_of[name]}, {table.path}: these tables differ; keep one of them")
            table_of[name] = table.path


def _parts(tables: Sequence[Path]) -> list[int | None]:
    """The part that each table's name tells, if there are several parts; raises if only some of the names tell one."""
    parts_named = [[part for word, part in _PARTS.items() if _has_word(path, word)] for path in tables]
    parts = [of[0] if len(of) == 1 else None for of in parts_named]
    if len(set(parts)) > 1 and None in parts:
        raise InvalidInputError(
            f"{first_few([str(path) for path in tables])}: tables of several parts, but not every file name says which part "
            "it is; give one of them as --data FILE"
        )
    return parts if {0, 2} <= set(parts) else [None] * len(parts)


def _has_word(path: Path, word: str) -> bool:
    return re.search(rf"(?<![a-z]){word}(?![a-z])", path.name, re.IGNORECASE) is not None


def _by_image(tables: Sequence[Table], archive: Archive) -> Mapping[str, list[Line]]:
    lines: dict[str, list[Line]] = defaultdict(list)
    for table in tables:
        for line in table.rows:
            lines[_name(line[archive.image])].append(line)
    return lines


def _rows(table: Table, more_lines: Mapping[str, Sequence[Line]], archive: Archive, part: int | None) -> list[Row]:
    rows = [_row(line, more_lines.get(_name(line[archive.image]), ()), archive, part) for line in table.rows]
    if not archive.each_has_lesion or not any(row.lesion_id for row in rows):
        return rows
    return [replace(row, label=None, problem="no lesion id") if not (row.lesion_id or row.problem) else row for row in rows]


def _row(line: Line, more_lines: Sequence[Line], archive: Archive, part: int | None) -> Row:
    label, problem = None, line.get(OVERLONG, "")
    try:
        label = archive.label(line)
    except NoLabel as error:
        problem = problem or str(error)
    lines = (line, *more_lines)
    lesions, patients = _values(lines, archive.lesion), _values(lines, archive.patient)
    for kind, values in (("lesion", lesions), ("patient", patients)):
        if len(values) > 1:
            problem = problem or f"the tables name {len(values)} {kind}s: {first_few(sorted(values))}"
    return Row(
        image_id=_name(line[archive.image]),
        lesion_id=min(lesions, default=""),
        label=None if problem else label,
        problem=problem,
        part=part,
        patient_id=min(patients, default=""),
        subgroups=tuple(_subgroup(name, lines, archive) for name in NAMES),
    )


def _values(lines: Sequence[Line], column: str) -> set[str]:
    """The names in a column. `12.0` becomes 12: pandas writes numbers in this way if a column has empty cells."""
    cells = (known(line.get(column, "")) for line in lines) if column else ()
    return {re.sub(r"^(\d+)\.0+$", r"\1", cell) for cell in cells if cell}


def _subgroup(name: str, lines: Sequence[Line], archive: Archive) -> str:
    """The first known value of this subgroup, over lines and columns."""
    if name == "source" and archive.source is not None:
        return next((value for line in lines if (value := archive.source(line))), "")
    columns = archive.subgroups.get(name, ())
    return next((value for line in lines for column in columns if (value := spelled(name, line.get(column, "")))), "")
