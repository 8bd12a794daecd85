"""Recognises the archive behind a table by its columns. A table that almost fits is named, so that it can be repaired."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from skinaudit.artifacts.files import digest_file
from skinaudit.errors import InvalidInputError, first_few
from skinaudit.trainer.data import archives
from skinaudit.trainer.data.archives._archive import Archive
from skinaudit.trainer.data.pictures import is_picture
from skinaudit.trainer.data.tables import (
    is_packed,
    is_spreadsheet,
    may_be_table,
    mentions,
    read_beginning,
    read_header,
    read_table,
)

_LOOKED_AT = 50  # lines of an unknown table in which names of images are searched
_GUESSES = "submission"  # in the name of a table that has the columns of a ground truth but contains predictions
_TRUTHS = ("metadata", "groundtruth", "ground_truth")


@dataclass(frozen=True)
class Tables:
    """Tables of a folder: those with the labels, all of one archive, and those with more facts about the same images."""

    archive: Archive
    labelled: tuple[Path, ...]
    more: tuple[Path, ...]


def recognise(files: Collection[Path], *, only: Path | None = None) -> Tables | None:
    """The tables among `files`; None if no table is about images. only: the one whose labels count.

    Raises InvalidInputError, one line that names the table, if tables belong to several archives, if one fits two archives,
    or if one fits none but names images of the folder or nearly fits an archive.
    """
    headers = {path: read_header(path) for path in files if may_be_table(path)}
    truths = {path: columns for path, columns in headers.items() if only in (None, path)}
    labelled = {path: archive for path, columns in truths.items() if (archive := _archive_of(path, columns)) is not None}
    if not labelled:
        _refuse_near_miss(truths, files)
        return None
    first = dict(zip((archive.title for archive in reversed(labelled.values())), reversed(labelled), strict=True))
    if len(first) > 1:
        both = " and ".join(path.name for _, path in sorted(first.items()))
        titles = " and ".join(sorted(first))
        raise InvalidInputError(
            f"{min(labelled).parent}: holds both {both}, tables of {titles}; give the folder of one of them, or the table "
            "itself as --data FILE"
        )
    archive = next(iter(labelled.values()))
    return Tables(
        archive,
        _without_copies(labelled),
        _without_copies(path for path, columns in headers.items() if _adds(archive, columns)),
    )


def _adds(archive: Archive, columns: Sequence[str]) -> bool:
    """Whether a table with these columns may add facts about the archive's images, without being a label table itself."""
    return archive.image in columns and not any(known_archive.fits(columns) for known_archive in archives.known().values())


def _without_copies(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Each content once: copies of a table are dropped."""
    first: dict[str, Path] = {}
    for path in sorted(paths):
        first.setdefault(digest_file(path), path)
    return tuple(first.values())


def _archive_of(path: Path, columns: Sequence[str]) -> Archive | None:
    if _GUESSES in path.name.casefold():
        return None
    fitting = [archive for archive in archives.known().values() if archive.fits(columns)]
    narrowest = [archive for archive in fitting if not any(set(archive.needs) < set(other.needs) for other in fitting)]
    if len(narrowest) > 1:
        choices = " or ".join(f"{', '.join(archive.needs)} ({archive.title})" for archive in narrowest)
        raise InvalidInputError(f"{path}: has the columns of several archives; keep only {choices}")
    return narrowest[0] if narrowest else None


def _refuse_near_miss(headers: dict[Path, tuple[str, ...]], files: Collection[Path]) -> None:
    """Raise for a table that fits no archive but is about images, because its labels must not be ignored."""
    stems = {path.stem for path in files if is_picture(path)}
    for path, columns in headers.items():
        if _GUESSES in path.name.casefold() or not (columns or _is_truth(path)):
            continue
        archive = min(archives.known().values(), key=lambda candidate: len(candidate.lacks(columns)) / len(candidate.needs))
        lacking = archive.lacks(columns)
        near = archive.image in columns and 2 * len(lacking) <= len(archive.needs)
        if near or _is_truth(path) or _names_images(path, stems):
            raise InvalidInputError(
                f"{path}: no column {first_few(lacking)}; the columns are {first_few(read_table(path).shown, limit=12)}; "
                f"nearest is the table of {archive.title}: mend the columns, or take the table out of the folder"
            )
    for path in files:
        if is_spreadsheet(path) and (_is_truth(path) or mentions(path, sorted(stems))):
            raise InvalidInputError(f"{path}: spreadsheets are not supported; save it as CSV, or remove it from the folder")
        if is_packed(path) and _is_truth(path):
            raise InvalidInputError(f"{path}: packed tables are not supported; unpack it, or remove it from the folder")


def _is_truth(path: Path) -> bool:
    """Whether a file's name says that it contains the labels."""
    return any(word in path.name.casefold() for word in _TRUTHS)


def _names_images(path: Path, stems: set[str]) -> bool:
    """Whether at least half of the first lines name a picture in the same column."""
    rows = [cells for cells in read_beginning(path, lines=_LOOKED_AT + 1)[1:] if any(cells)]
    named: Counter[int] = Counter()
    for row in rows:
        cells = (cell.strip() for cell in row)
        named.update(column for column, cell in enumerate(cells) if {cell, PureWindowsPath(cell).stem} & stems)
    return bool(rows) and 2 * max(named.values(), default=0) >= len(rows)
