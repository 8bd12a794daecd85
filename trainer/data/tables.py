"""Tables as people really have them: commas, semicolons or tabs, UTF-8 or UTF-16, capitals or not, with or without a mark.

What is read is decided by rules that are written here; whatever does not fit them is refused with the line and the cause.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from skinaudit.artifacts.outside import check_regular, open_regular, read_member, read_regular
from skinaudit.errors import InvalidInputError

SUFFIXES = (".csv", ".tsv", ".tab", ".txt", "")
"""Endings of files that may be tables; Dataverse hands out HAM10000's without any."""
_SPREADSHEETS = (".xlsx", ".xls", ".ods", ".numbers")
_OTHER_FORMATS = (
    ".json", ".jsonl", ".ndjson", ".parquet", ".feather", ".arrow", ".xml", ".pkl", ".rds", ".rdata", ".dta", ".sav",
    ".sas7bdat", ".db", ".sqlite", ".hdf5", ".h5",
)  # fmt: skip
"""Of files that may hold labels, but beside a tree of folders need not."""
_PACKED = (".gz", ".bz2", ".xz", ".zst", ".zip", ".7z")
_DELIMITERS = (",", ";", "\t", "|")
_HEAD = 1 << 16
_MAX_BYTES = 1 << 29
_MAX_LINE = 1 << 20
_MAX_CELLS = 1 << 26
"""Of one table, and once more as many as if no line left any out; the largest archive, ISIC 2024, has 22 million."""
_SHEET_BYTES = 1 << 28
_NOTHING = frozenset({"", "nan", "na", "n/a", "none", "null", "unknown", "-", "?"})


@dataclass(frozen=True)
class Table:
    """A table with a header. `columns` are folded names (see `fold`) in order, `shown` the names as they stand there."""

    path: Path
    columns: tuple[str, ...]
    shown: tuple[str, ...]
    rows: tuple[Mapping[str, str], ...]
    """Each line by folded column, stripped. Under `OVERLONG` stands what is wrong with a line of too many cells."""


OVERLONG = "\0overlong"
"""The key under which a row says that it has more cells than the header: its values may stand under wrong names."""


def fold(name: str) -> str:
    """A column's name without the differences that mean nothing: capitals, spaces, hyphens, a mark at the start."""
    return re.sub(r"[\s\-]+", "_", name.strip().strip("\ufeff").strip()).casefold()


def known(value: str) -> str:
    """The value, or nothing where it stands for an absent one, such as `NaN` or `unknown`."""
    return "" if value.casefold() in _NOTHING else value


def may_be_table(path: Path) -> bool:
    """Whether a file's name is that of a table; hidden files, such as macOS' `._name.csv`, never are."""
    return path.suffix.casefold() in SUFFIXES and not path.name.startswith(".")


def is_spreadsheet(path: Path) -> bool:
    """Whether a file is a table of a spreadsheet program, which has to be saved as CSV first."""
    return path.suffix.casefold() in _SPREADSHEETS and not path.name.startswith((".", "~$"))


def is_of_other_format(path: Path) -> bool:
    """Whether a file may hold a table in a format that is not read, such as JSON."""
    return path.suffix.casefold() in _OTHER_FORMATS and not path.name.startswith(".")


def is_packed(path: Path) -> bool:
    """Whether a file is compressed, so that a table in it cannot be read."""
    return path.suffix.casefold() in _PACKED and not path.name.startswith(".")


def mentions(path: Path, names: Sequence[str]) -> bool:
    """Whether a spreadsheet holds one of the first, middle and last of `names`; False for a file that cannot be read."""
    wanted = [names[place].encode() for place in (0, len(names) // 2, -1)] if names else []
    try:
        check_regular(path, kind="spreadsheet")
        if not zipfile.is_zipfile(path):
            content = read_regular(path, kind="spreadsheet", limit=_SHEET_BYTES)
            return any(name in content or b"\0".join(bytes([byte]) for byte in name) in content for name in wanted)
        with zipfile.ZipFile(path) as book:
            left = _SHEET_BYTES  # for all parts together, as each may be the same packed bytes
            for part in book.namelist():
                if part.endswith("xml"):
                    text = read_member(book, part, limit=left)
                    left -= len(text)
                    if any(name in text for name in wanted):
                        return True
        return False
    except (InvalidInputError, OSError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError):
        return False


def read_header(path: Path) -> tuple[str, ...]:
    """The folded names of a table's columns, from its first bytes; nothing where the file is not text.

    Raises InvalidInputError where the file cannot be opened.
    """
    lines = read_beginning(path, lines=1)
    return tuple(fold(name) for name in lines[0]) if lines else ()


def read_beginning(path: Path, *, lines: int) -> list[list[str]]:
    """The cells of a table's first lines, as far as its first bytes hold them; nothing where the file is not text.

    Raises InvalidInputError where the file cannot be opened.
    """
    with open_regular(path, kind="table") as stream:
        try:
            head = stream.read(_HEAD)
        except OSError as error:
            raise InvalidInputError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        text = _decode(path, head, whole=False)
    except InvalidInputError:
        return []
    cells: list[list[str]] = []
    if "\0" not in text:
        with suppress(csv.Error):  # of no table, or of the last line, of which a part is here
            cells.extend(islice(_lines(text), lines))
    return cells


def read_table(path: Path) -> Table:
    """Read a whole table.

    The delimiter is the one of comma, semicolon, tab and bar that stands in the header most often; a first line `sep=;` as
    Excel writes it is obeyed. Empty lines are left out, and so are row numbers that R writes under no header. Raises
    InvalidInputError where the file is no text, has a broken quote, no header, no line, or one column twice.
    """
    try:
        again = "give the folder of one data set"
        text = _decode(path, read_regular(path, kind="table of images", limit=_MAX_BYTES, again=again))
        _refuse_long_line(path, text)
        lines = _filled(path, _lines(text))
    except csv.Error as error:
        raise InvalidInputError(f"{path}: not a CSV text file ({error}); download it again") from error
    shown = tuple(name.strip().strip("\ufeff").strip() for name in lines[0]) if lines else ()
    columns = tuple(fold(name) for name in shown)
    _refuse_twice(path, columns, shown)
    body = lines[1:]
    first = 1 if _has_row_numbers(columns, body) else 0
    rows = tuple(_row(columns, cells[first:]) for cells in body)
    if not rows:
        state = "has a header and no rows" if any(columns) else "is empty"
        raise InvalidInputError(f"{path}: {state}; download it again")
    return Table(path, columns, shown, rows)


def _row(columns: Sequence[str], cells: Sequence[str]) -> Mapping[str, str]:
    padded = [cell.strip() for cell in cells] + [""] * (len(columns) - len(cells))
    row = dict(zip(columns, padded, strict=False))
    if any(padded[len(columns) :]):
        row[OVERLONG] = f"{len(cells)} cells, but the header has {len(columns)}; a delimiter in a cell is not quoted"
    return row


def _has_row_numbers(columns: Sequence[str], body: Sequence[Sequence[str]]) -> bool:
    """Whether every line has one cell more than the header, and these cells count the lines, as R's `write.table` does."""
    numbers = [str(number) for number in range(1, len(body) + 1)]
    return all(len(cells) == len(columns) + 1 for cells in body) and [cells[0].strip() for cells in body] == numbers


def _refuse_twice(path: Path, columns: Sequence[str], shown: Sequence[str]) -> None:
    first: dict[str, int] = {}
    for index, name in enumerate(columns):
        if name and first.setdefault(name, index) != index:
            both = " and ".join(dict.fromkeys((shown[first[name]], shown[index])))
            raise InvalidInputError(f"{path}: column {both} occurs twice; keep the correct one")


def _refuse_long_line(path: Path, text: str) -> None:
    """Raise before a line is taken apart that has more than _MAX_LINE characters."""
    start = 0
    while len(text) - start > _MAX_LINE:
        window = start, start + _MAX_LINE
        end = max(text.rfind("\n", *window), text.rfind("\r", *window))
        if end < 0:
            raise InvalidInputError(
                f"{path}: has a line of more than {_MAX_LINE:,} characters, so it is no table of images; take it out of the "
                "folder"
            )
        start = end + 1


def _filled(path: Path, lines: Iterator[list[str]]) -> list[list[str]]:
    """The header and the lines that are not empty; raises where they have, and leave out, more than _MAX_CELLS cells."""
    filled: list[list[str]] = []
    cells = 0
    for line in lines:
        if not filled or any(cell.strip() for cell in line):
            filled.append(line)
            cells += len(filled[0])
        cells += max(len(line), 1)
        if cells > _MAX_CELLS:
            raise InvalidInputError(
                f"{path}: has more than {_MAX_CELLS:,} cells or empty lines; keep the lines and columns that are needed"
            )
    return filled


def _lines(text: str) -> Iterator[list[str]]:
    """The lines of a table as cells, from the first one that is not empty."""
    text = text.lstrip("\r\n")
    first, _, body = text.partition("\n")
    separator = re.fullmatch(r'"?sep=([^\s"]|\t)"?\s*', first, re.IGNORECASE)
    if separator:
        text, delimiter = body, separator[1]
    else:
        unquoted = re.sub(r'"[^"]*"', "", first)
        delimiter = max(_DELIMITERS, key=unquoted.count)
    return csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)


def _decode(path: Path, data: bytes, *, whole: bool = True) -> str:
    """Text in UTF-8 or UTF-16, with or without a byte order mark; `whole`: the end of `data` is the end of the file."""
    encoding = "utf-8"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif data[:200].count(0) * 3 > len(data[:200]):  # half of the bytes of Latin letters in UTF-16 are zero
        encoding = "utf-16-le" if data[1:2] == b"\0" else "utf-16-be"
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(data, final=whole)
    except UnicodeDecodeError as error:
        raise InvalidInputError(
            f"{path}: not a CSV text file in UTF-8 or UTF-16 ({error.reason} at byte {error.start}); save it as UTF-8"
        ) from error
    if whole and "\0" in text:
        raise InvalidInputError(f"{path}: not a CSV text file in UTF-8 or UTF-16 (it holds zeros); save it as UTF-8")
    return text.removeprefix("\ufeff")
