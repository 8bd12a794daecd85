"""How an archive's file describes its table, and the few ways in which tables store a diagnosis."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cache

from skinaudit.errors import first_few
from skinaudit.trainer.data.tables import fold

Line = Mapping[str, str]
"""One line of a table: its cells by folded column (see skinaudit.trainer.data.tables.fold)."""


class NoLabel(ValueError):  # noqa: N818 (it says what a line lacks)
    """A line names no class; the message says why, and becomes the reason for which the image is left out."""


@dataclass(frozen=True)
class Archive:
    """How the table of one archive is read. Columns that are named nowhere here do no harm.

    needs and unless are spelled as in the table, other columns folded (see skinaudit.trainer.data.tables.fold).

    needs: the columns by which the table is recognised, `image` among them, in the absence of those in `unless`. image: the
    image's name. label: the class of a line, one of `classes`; raises NoLabel. classes: in the order of the archive.
    malignant: those of them that the archive calls malignant, the most important one first. complete: every class has
    images, so a table without one was cut short; otherwise classes without an image are left out, and that is noted but for
    `rare` ones.

    lesion, patient: columns that name them, empty where the archive has none. each_has_lesion: an image without a lesion is
    an error of the table; otherwise such an image is a lesion of its own. subgroups: the column of each of
    skinaudit.trainer.data.subgroups.NAMES that the archive has, the first one that is there. source: the source of a line,
    where it takes more than a column.
    """

    title: str
    image: str
    needs: tuple[str, ...]
    label: Callable[[Line], str]
    classes: tuple[str, ...]
    malignant: tuple[str, ...]
    unless: tuple[str, ...] = ()
    complete: bool = False
    rare: frozenset[str] = frozenset()
    lesion: str = ""
    patient: str = ""
    each_has_lesion: bool = False
    subgroups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    source: Callable[[Line], str] | None = None

    def lacks(self, columns: Collection[str]) -> tuple[str, ...]:
        """Those of `needs` that are not among the folded `columns`, as they are spelled in the table."""
        return tuple(name for name in self.needs if _folded(name) not in columns)

    def fits(self, columns: Collection[str]) -> bool:
        """Whether a table of these folded columns is one of this archive."""
        return not self.lacks(columns) and not any(_folded(name) in columns for name in self.unless)


@cache
def _folded(name: str) -> str:
    """As fold, of the few names that archives have: folders may hold 100,000 files to compare them with."""
    return fold(name)


def named(column: str, classes: Mapping[str, str]) -> Callable[[Line], str]:
    """Read the class from one column; `classes` gives the class of each name, compared without capitals."""

    def label(line: Line) -> str:
        name = classes.get(line[column].casefold())
        if name is None:
            expected = first_few(list(classes), limit=12).replace(",", "")
            raise NoLabel(f"unknown {column} {line[column]!r}, expected one of {expected}")
        return name

    return label


_WORDS = {"false": "0", "true": "1"}
"""What pandas and spreadsheet programs make of 0 and 1."""


def one_hot(columns: Mapping[str, str]) -> Callable[[Line], str]:
    """Read the class from one column a class, of which one holds 1 and the others 0; a decimal comma is one, too.

    columns: the class of each column. A column that the table lacks counts as 0. True and False are 1 and 0.
    """

    def label(line: Line) -> str:
        texts = [line.get(column, "0") for column in columns]
        try:
            values = [float(_WORDS.get(text.casefold(), text).replace(",", ".")) for text in texts]
        except ValueError:
            values = []
        if sorted(values) != [0.0] * (len(columns) - 1) + [1.0]:
            raise NoLabel(f"not one-hot: {' '.join(text or '(empty)' for text in texts)}")
        return list(columns.values())[values.index(1.0)]

    return label


BINARY = ("benign", "malignant")
"""The two classes of tables that tell benign from malignant and nothing else."""


def zero_or_one(*columns: str) -> Callable[[Line], str]:
    """Read benign (0) or malignant (1) from the first of `columns` that the table has."""

    def label(line: Line) -> str:
        column = next(name for name in columns if name in line)
        try:
            text = line[column].casefold()
            value = float({**_WORDS, "benign": "0", "malignant": "1"}.get(text, text).replace(",", "."))
        except ValueError:
            value = -1.0
        if value not in (0.0, 1.0):
            raise NoLabel(f"{column} {line[column]!r}, expected 0 or 1")
        return BINARY[int(value)]

    return label
