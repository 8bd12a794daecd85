"""Tables in the forms that occur: commas, semicolons or tabs, UTF-8 or UTF-16, upper or lower case, with or without a BOM.

The rules for reading are written here. A table that does not fit them is refused with the line and the cause.
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
"""Suffixes of files that may be tables. Dataverse distributes HAM10000's table without any."""
_SPREADSHEETS = (".xlsx", ".xls", ".ods", ".numbers")
_OTHER_FORMATS = (
    ".json", ".jsonl", ".ndjson", ".parquet", ".feather", ".arrow", ".xml", ".pkl", ".rds", ".rdata", ".dta", ".sav",
    ".sas7bdat", ".db", ".sqlite", ".hdf5", ".h5",
)  # fmt: skip
"""Suffixes of files that may contain labels. Beside a folder tree they need not."""
_PACKED = (".gz", ".bz2", ".xz", ".zst", ".zip", ".7z")
_DELIMITERS = (",", ";", "\t", "|")
_HEAD = 1 << 16
_MAX_BYTES = 1 << 29
_MAX_LINE = 1 << 20
_MAX_CELLS = 1 << 26
"""Largest number of cells in one table. A line counts its cells plus those of a complete line. ISIC 2024 has 22 million."""
_LEAST = 8  # cells that every line counts for at least, because a line takes time too
_SHEET_BYTES = 1 << 28
_INVISIBLE = "\u00ad\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\ufeff"
"""Soft hyphen, zero-width characters and marks of direction, which copied text has at its ends."""
_ENDS = _INVISIBLE + "".join(filter(str.isspace, map(chr, range(0x3001))))
_NOTHING = frozenset({"", "nan", "na", "n/a", "none", "null", "unknown", "-", "?"})


@dataclass(frozen=True)
class Table:
    """A table with a header. columns: folded names (see `fold`) in order. shown: names as written in the file."""

    path: Path
    columns: tuple[str, ...]
    shown: tuple[str, ...]
    rows: tuple[Mapping[str, str], ...]
    """Each line by folded column, stripped. A line with too many cells has the problem under `OVERLONG`."""


OVERLONG = "\0overlong"
"""Key of a row with more cells than the header; its values may be under wrong names."""


def fold(name: str) -> str:
    """A column's name without differences that mean nothing: upper case, spaces, hyphens, a BOM."""
    return re.sub(r"[\s\-]+", "_", _bare(name)).casefold()


def known(value: str) -> str:
    """The value; empty if it means that the value is absent, such as `NaN` or `unknown`."""
    return "" if value.casefold() in _NOTHING else value


def may_be_table(path: Path) -> bool:
    """Whether a file has the name of a table. Hidden files, such as macOS' `._name.csv`, do not count."""
    return path.suffix.casefold() in SUFFIXES and not path.name.startswith(".")


def is_spreadsheet(path: Path) -> bool:
    """Whether a file is a spreadsheet, which has to be saved as CSV first."""
    return path.suffix.casefold() in _SPREADSHEETS and not path.name.startswith((".", "~$"))


def is_of_other_format(path: Path) -> bool:
    """Whether a file may contain a table in an unsupported format, such as JSON."""
    return path.suffix.casefold() in _OTHER_FORMATS and not path.name.startswith(".")


def is_packed(path: Path) -> bool:
    """Whether a file is compressed, so that a table inside cannot be read."""
    return path.suffix.casefold() in _PACKED and not path.name.startswith(".")


def mentions(path: Path, names: Sequence[str]) -> bool:
    """Whether a spreadsheet contains the first, middle or last of `names`; False for a file that cannot be read."""
    wanted = [names[place].encode() for place in (0, len(names) // 2, -1)] if names else []
    try:
        check_regular(path, kind="spreadsheet")
        if not zipfile.is_zipfile(path):
            content = read_regular(path, kind="spreadsheet", limit=_SHEET_BYTES)
            return any(name in content or b"\0".join(bytes([byte]) for byte in name) in content for name in wanted)
        with zipfile.ZipFile(path) as book:
            left = _SHEET_BYTES  # for all parts together, because each may contain the same compressed bytes
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
    """Folded names of a table's columns, from its first bytes; empty if the file is not text.

    Raises InvalidInputError if the file cannot be opened.
    """
    lines = read_beginning(path, lines=1)
    return tuple(fold(name) for name in lines[0]) if lines else ()


def read_beginning(path: Path, *, lines: int) -> list[list[str]]:
    """Cells of a table's first lines, as far as its first bytes contain them; empty if the file is not text.

    Raises InvalidInputError if the file cannot be opened.
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
        with suppress(csv.Error):  # not a table, or the last line, which may be cut off
            cells.extend(islice(_lines(text), lines))
    return cells


def read_table(path: Path) -> Table:
    """Read a whole table.

    The delimiter is comma, semicolon, tab or bar, whichever is most frequent in the header. A first line `sep=;`, as written
    by Excel, is followed. Empty lines are left out, and so are row numbers that R writes without a header. Raises
    InvalidInputError if the file is not text, has a broken quote, no header, no line, or the same column twice.
    """
    try:
        again = "give the folder of one data set"
        text = _decode(path, read_regular(path, kind="table of images", limit=_MAX_BYTES, again=again))
        _refuse_long_line(path, text)
        lines = _filled(path, _lines(text))
    except csv.Error as error:
        raise InvalidInputError(f"{path}: not a CSV text file ({error}); download it again") from error
    shown = tuple(_bare(name) for name in lines[0]) if lines else ()
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
    padded = [_bare(cell) for cell in cells] + [""] * (len(columns) - len(cells))
    row = dict(zip(columns, padded, strict=False))
    if any(padded[len(columns) :]):
        row[OVERLONG] = f"{len(cells)} cells, but the header has {len(columns)}; a delimiter in a cell is not quoted"
    return row


def _bare(text: str) -> str:
    """The text without spaces and invisible characters at its ends."""
    return text.strip(_ENDS)


def _has_row_numbers(columns: Sequence[str], body: Sequence[Sequence[str]]) -> bool:
    """Whether every line has one cell more than the header, and these cells count the lines, as from R's `write.table`."""
    numbers = [str(number) for number in range(1, len(body) + 1)]
    return all(len(cells) == len(columns) + 1 for cells in body) and [cells[0].strip() for cells in body] == numbers


def _refuse_twice(path: Path, columns: Sequence[str], shown: Sequence[str]) -> None:
    first: dict[str, int] = {}
    for index, name in enumerate(columns):
        if name and first.setdefault(name, index) != index:
            both = " and ".join(dict.fromkeys((shown[first[name]], shown[index])))
            raise InvalidInputError(f"{path}: column {both} occurs twice; keep the correct one")


def _refuse_long_line(path: Path, text: str) -> None:
    """Raise if a line has more than _MAX_LINE characters, before it is parsed."""
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
    """The header and the lines that are not empty; raises for more than _MAX_CELLS cells."""
    filled: list[list[str]] = []
    cells = 0
    for line in lines:
        if not filled or any(cell.strip() for cell in line):
            filled.append(line)
            cells += len(filled[0])
        cells += max(len(line), _LEAST)
        if cells > _MAX_CELLS:
            raise InvalidInputError(
                f"{path}: has more than {_MAX_CELLS:,} cells or empty lines; keep the lines and columns that are needed"
            )
    return filled


def _lines(text: str) -> Iterator[list[str]]:
    """The lines of a table as cells, starting with the first one that is not empty."""
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
    """Text in UTF-8 or UTF-16, with or without a byte order mark. whole: `data` goes to the end of the file."""
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
