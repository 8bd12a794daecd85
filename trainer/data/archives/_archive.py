"""How the file of an archive describes its table, and the usual ways in which tables store a diagnosis."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cache

from skinaudit.errors import first_few
from skinaudit.trainer.data.tables import fold

Line = Mapping[str, str]
"""One line of a table: its cells by folded column (see skinaudit.trainer.data.tables.fold)."""


class NoLabel(ValueError):  # noqa: N818 (it says what a line lacks)
    """Raised for a line that names no class. Its message is recorded as the reason for leaving the image out."""


@dataclass(frozen=True)
class Archive:
    """How to read the table of one archive. Columns that are not named here are ignored.

    `needs` and `unless` are spelled as in the table, other columns folded (see skinaudit.trainer.data.tables.fold).

    needs: columns by which the table is recognised, including `image`, if the columns in `unless` are absent. image: column
    with the image's name. label: returns the class of a line, one of `classes`; raises NoLabel. classes: in the archive's
    order. malignant: the classes that the archive calls malignant, the most important one first. complete: every class has
    images, so a table without one of them was cut short. Otherwise classes without images are left out, with a note unless
    they are in `rare`.

    lesion, patient: columns with their names, empty if the archive has none. each_has_lesion: if True, an image without a
    lesion is an error in the table; otherwise it counts as a lesion of its own. subgroups: for names in
    skinaudit.trainer.data.subgroups.NAMES, the possible columns; the first one present counts. source: returns the source of
    a line, if it needs more than one column.
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
        """Columns of `needs` that are not among the folded `columns`, spelled as in the table."""
        return tuple(name for name in self.needs if _folded(name) not in columns)

    def fits(self, columns: Collection[str]) -> bool:
        """Whether a table with these folded columns belongs to this archive."""
        return not self.lacks(columns) and not any(_folded(name) in columns for name in self.unless)


@cache
def _folded(name: str) -> str:
    """Same as fold, cached for the few names that archives have: a folder may hold 100,000 files to compare with them."""
    return fold(name)


def named(column: str, classes: Mapping[str, str]) -> Callable[[Line], str]:
    """Read the class from one column. classes: class for each name; upper and lower case are the same."""

    def label(line: Line) -> str:
        name = classes.get(line[column].casefold())
        if name is None:
            expected = first_few(list(classes), limit=12).replace(",", "")
            raise NoLabel(f"unknown {column} {line[column]!r}, expected one of {expected}")
        return name

    return label


_WORDS = {"false": "0", "true": "1"}
"""Forms that pandas and spreadsheet programs give to 0 and 1."""


def one_hot(columns: Mapping[str, str]) -> Callable[[Line], str]:
    """Read the class from columns of which one holds 1 and the others 0. A decimal comma is accepted.

    columns: the class of each column. A column that the table lacks counts as 0. True and False count as 1 and 0.
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
"""The two classes of tables that only distinguish benign from malignant."""


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
