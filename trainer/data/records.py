"""The common part of datasets that come as a CSV beside a folder of images: rows, files, and what is wrong with them."""

from __future__ import annotations

import csv
import io
import os
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from skinaudit.artifacts.files import digest_file
from skinaudit.errors import InvalidInputError, first_few
from skinaudit.trainer.data.dataset import Skipped

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class Row:
    """One line of a distribution's table. `label` is a class name, or None where `problem` says why there is none."""

    image_id: str
    lesion_id: str
    label: str | None
    problem: str = ""


@dataclass(frozen=True)
class Record:
    """One usable image. `files` holds every file of that name below the folder; they must turn out to be copies of one.

    part: 0 train, 1 validation, 2 test where the folder says so.
    """

    image_id: str
    lesion_id: str
    label: str
    files: tuple[Path, ...]
    part: int | None = None


@dataclass(frozen=True)
class Listing:
    """What a folder offers, before any image is read. Invariant: `records` is sorted by image id, without repeats.

    table: what a message about the whole names, a file or a folder. classes: in the order of the labels. malignant: those
    that the distribution's documentation calls malignant, the most important one first.
    """

    title: str
    table: Path
    classes: tuple[str, ...]
    malignant: tuple[str, ...]
    records: tuple[Record, ...]
    bad: tuple[Skipped, ...]


def find_files(folder: Path) -> tuple[Path, ...]:
    """Every file below `folder`, sorted; linked folders are followed once each."""
    found: list[Path] = []
    seen: set[str] = set()

    def unreadable(error: OSError) -> None:
        raise InvalidInputError(f"{error.filename}: cannot be read ({error.strerror})") from error

    for parent, folders, names in os.walk(folder, followlinks=True, onerror=unreadable):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        found.extend(Path(parent, name) for name in names)
    return tuple(sorted(found))


def find_table(files: Collection[Path], names: Sequence[str]) -> Path | None:
    """The one file that bears one of `names`; copies are fine, two that differ are an InvalidInputError."""
    tables = [path for path in files if path.name in names]
    if len({digest_file(path) for path in tables}) > 1:
        raise InvalidInputError(f"{first_few([str(path) for path in tables])}: these tables differ; keep one of them")
    return tables[0] if tables else None


def read_table(path: Path, *, columns: Sequence[str]) -> list[dict[str, str]]:
    """Read the wanted columns of a comma- or tab-separated table, stripped; what a short line lacks is empty.

    Raises InvalidInputError where the file is not text, lacks a column or holds no line.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
        delimiter = "\t" if "\t" in text.partition("\n")[0] else ","
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, restval="", strict=True)
        header = [name.strip() for name in reader.fieldnames or ()]
        reader.fieldnames = header
        absent = [name for name in columns if name not in header]
        if absent:
            raise InvalidInputError(
                f"{path}: no column {first_few(absent)}; the columns are {first_few(header) or 'none at all'}"
            )
        rows = [{name: line[name].strip() for name in columns} for line in reader]
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidInputError(f"{path}: not a CSV text file ({error}); download it again") from error
    if not rows:
        raise InvalidInputError(f"{path}: has a header and no rows; download it again")
    return rows


def assemble(
    title: str,
    table: Path,
    rows: Sequence[Row],
    files: Collection[Path],
    *,
    classes: Sequence[str],
    malignant: Sequence[str],
) -> Listing:
    """Match rows with image files, found anywhere below the folder by their stem, and set aside what cannot be used."""
    images: dict[str, list[Path]] = defaultdict(list)
    for path in files:
        if path.suffix.lower() in IMAGE_SUFFIXES:
            images[path.stem].append(path)

    by_id: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_id[row.image_id].append(row)
    diagnoses = _diagnoses(rows)
    records: list[Record] = []
    bad: list[Skipped] = []
    for image_id, same in sorted(by_id.items()):
        row = same[0]
        problem = _problem(same, diagnoses, found=image_id in images)
        if problem or row.label is None:
            bad.append(Skipped(image_id, problem))
            continue
        if len(same) > 1:
            # Equal lines contradict nothing, so one of them stands; the others are still reported.
            bad.append(Skipped(image_id, f"listed {len(same)} times, kept once"))
        records.append(Record(image_id, row.lesion_id, row.label, tuple(images[image_id])))
    return Listing(title, table, tuple(classes), tuple(malignant), tuple(records), tuple(bad))


def refuse_bad(bad: Sequence[Skipped], *, where: Path, skip_bad: bool) -> tuple[Skipped, ...]:
    """Return `bad` to be recorded under `skip_bad`; else raise one InvalidInputError with its number and the first few."""
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


def _problem(same: Sequence[Row], diagnoses: Mapping[str, set[str]], *, found: bool) -> str:
    row = same[0]
    if not row.image_id:
        return "a line without an image id"
    if len(set(same)) > 1:
        return f"listed {len(same)} times with different lesions or diagnoses"
    if row.problem:
        return row.problem
    if not row.lesion_id:
        return "no lesion id"
    if len(diagnoses[row.lesion_id]) > 1:
        return f"lesion {row.lesion_id} has several diagnoses: {', '.join(sorted(diagnoses[row.lesion_id]))}"
    return "" if found else f"no image file {row.image_id}.jpg"
