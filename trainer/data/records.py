"""Common parts of data sets with a table and image folders: rows, files, and their errors."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from skinaudit.errors import InvalidInputError, first_few, shortened
from skinaudit.trainer.data.dataset import Skipped
from skinaudit.trainer.data.pictures import Pictures, why_unread
from skinaudit.trainer.data.subgroups import NAMES

UNKNOWN = ("",) * len(NAMES)
"""The subgroups of an image about which nothing is known."""


@dataclass(frozen=True)
class Row:
    """One line of a table. `label`: a class name, or None; then `problem` says why.

    lesion_id, patient_id: empty if the table names none. part: see Record. subgroups: one value per name in
    skinaudit.trainer.data.subgroups.NAMES, empty if unknown.
    """

    image_id: str
    lesion_id: str
    label: str | None
    problem: str = ""
    part: int | None = None
    patient_id: str = ""
    subgroups: tuple[str, ...] = UNKNOWN


@dataclass(frozen=True)
class Record:
    """One usable image. `files`: every file with this name below the folder; they must all have the same content.

    lesion_id is never empty: an image without a lesion counts as its own lesion. part: 0 train, 1 validation, 2 test, if the
    folder defines parts. patient_id: empty if unknown. subgroups: see Row.
    """

    image_id: str
    lesion_id: str
    label: str
    files: tuple[Path, ...]
    part: int | None = None
    patient_id: str = ""
    subgroups: tuple[str, ...] = UNKNOWN


@dataclass(frozen=True)
class Listing:
    """The usable images of a folder, before any is read. Invariant: `records` is sorted by image id, without repeats.

    table: file or folder that messages about the whole name. classes: in the order of the labels. malignant: classes that
    the documentation of the data calls malignant, the most important one first. notes: facts that people must know.
    """

    title: str
    table: Path
    classes: tuple[str, ...]
    malignant: tuple[str, ...]
    records: tuple[Record, ...]
    bad: tuple[Skipped, ...]
    notes: tuple[str, ...] = ()


def find_files(folder: Path) -> tuple[Path, ...]:
    """Every file below `folder`, sorted. Linked folders are followed once each."""
    paths: list[Path] = []
    visited: set[str] = set()

    def unreadable(error: OSError) -> None:
        raise InvalidInputError(f"{error.filename}: cannot be read ({error.strerror})") from error

    for parent, folders, names in os.walk(folder, followlinks=True, onerror=unreadable):
        real = os.path.realpath(parent)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        paths.extend(Path(parent, name) for name in names)
    return tuple(sorted(paths))


def assemble(
    title: str,
    table: Path,
    rows: Sequence[Row],
    pictures: Pictures,
    *,
    classes: Sequence[str],
    malignant: Sequence[str],
    notes: Sequence[str] = (),
) -> Listing:
    """Match rows with pictures and set aside unusable ones.

    Raises InvalidInputError if no row at all has a picture: then the folder or the names are wrong.
    """
    by_id: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_id[row.image_id].append(row)
    files = {image_id: pictures.of(image_id) for image_id in by_id if image_id}
    if not any(files.values()):
        absent = shortened(next(iter(files), "(no id)"))
        broken = next((f" ({row.problem})" for row in rows if row.problem), "")
        raise InvalidInputError(
            f"{table}: none of its {len(by_id):,} images, such as {absent}{broken}, is in the folder, which "
            f"has {pictures.in_words()}; put the table into the folder of its pictures"
        )
    diagnoses = _diagnoses(rows)
    records: list[Record] = []
    bad: list[Skipped] = []
    for image_id, same in sorted(by_id.items()):
        row = same[0]
        problem = _problem(same, diagnoses) or _missing(image_id, pictures) or _home(row, files.get(image_id, ()), classes)
        if problem or row.label is None:
            bad.append(Skipped(image_id, problem))
            continue
        if len(same) > 1:
            # Equal lines do not contradict, so one of them is used; the others are still reported.
            bad.append(Skipped(image_id, f"listed {len(same)} times, used once"))
        lesion = row.lesion_id or f"image {image_id}"
        records.append(Record(image_id, lesion, row.label, files[image_id], row.part, row.patient_id, row.subgroups))
    return Listing(title, table, tuple(classes), tuple(malignant), tuple(records), tuple(bad), tuple(notes))


def refuse_bad(bad: Sequence[Skipped], *, where: Path, skip_bad: bool) -> tuple[Skipped, ...]:
    """With `skip_bad`, return `bad` to be recorded; else raise one InvalidInputError with their number and the first few."""
    if bad and not skip_bad:
        listed = first_few([f"{item.image_id or '(no id)'} ({item.reason})" for item in bad])
        count = "1 unusable image" if len(bad) == 1 else f"{len(bad)} unusable images"
        raise InvalidInputError(f"{where}: {count}: {listed}; repair the data, or drop them with --skip-bad")
    return tuple(bad)


def _diagnoses(rows: Sequence[Row]) -> Mapping[str, set[str]]:
    diagnoses: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row.label is not None and row.lesion_id:
            diagnoses[row.lesion_id].add(row.label)
    return diagnoses


def _missing(image_id: str, pictures: Pictures) -> str:
    if pictures.of(image_id):
        return ""
    other = pictures.not_read(image_id)
    return why_unread(other) if other else f"no image file {image_id}"


def _home(row: Row, files: Sequence[Path], classes: Sequence[str]) -> str:
    """The problem if a file of the row lies in a folder named after another class; empty if there is none."""
    others = {name.casefold() for name in classes if name != row.label}
    home = next((path.parent.name for path in files if path.parent.name.casefold() in others), "")
    return f"the table says {row.label}, but it lies in the folder {home}" if home else ""


def _problem(same: Sequence[Row], diagnoses: Mapping[str, set[str]]) -> str:
    row = same[0]
    if not row.image_id:
        return "a line without an image id"
    if len({(line.lesion_id, line.label, line.problem, line.patient_id) for line in same}) > 1:
        return f"listed {len(same)} times with different lesions or diagnoses"
    if row.problem:
        return row.problem
    if row.lesion_id and len(diagnoses[row.lesion_id]) > 1:
        return f"lesion {row.lesion_id} has several diagnoses: {', '.join(sorted(diagnoses[row.lesion_id]))}"
    return ""
