"""Layouts in which folders of images are distributed, one a file; the help of the command line lists them by these names.

A layout file defines `LOOKS_FOR`, what it knows its folders by, in words; `find(files) -> Path | None`, that thing among the
files of a folder; and `list_images(named_by, files) -> Listing`, every image with its class and lesion. `LAST = True` has a
layout tried where no other fits. Nothing else needs to change when a file is added.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Collection
from pathlib import Path
from typing import Protocol

from skinaudit.errors import InvalidInputError, first_few
from skinaudit.trainer.data.pictures import is_picture
from skinaudit.trainer.data.records import Listing, find_files
from skinaudit.trainer.data.tables import is_of_other_format, is_packed


class Layout(Protocol):
    """What a layout file offers."""

    LOOKS_FOR: str

    def find(self, files: Collection[Path]) -> Path | None:
        """What names the layout among `files`, all those at any depth of a folder; None where it is another layout."""

    def list_images(self, named_by: Path, files: Collection[Path]) -> Listing:
        """The images among `files`; raises InvalidInputError for an unusable table."""


def names() -> tuple[str, ...]:
    """The layouts that are there, by file."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")))


def recognise(folder: Path) -> Listing:
    """The images of a folder in whichever layout it has; raises InvalidInputError where it has none or several."""
    files = find_files(folder)
    known: list[Layout] = [importlib.import_module(f"{__name__}.{name}") for name in names()]
    finds = [(layout, layout.find(files)) for layout in known]
    fitting = [(layout, named_by) for layout, named_by in finds if named_by is not None]
    if len(fitting) > 1:
        fitting = [(layout, named_by) for layout, named_by in fitting if not getattr(layout, "LAST", False)]
    if len(fitting) > 1:
        both = " and ".join(named_by.name for _, named_by in fitting)
        raise InvalidInputError(f"{folder}: holds both {both}; give the folder of one of them")
    if not fitting:
        looked = " and ".join(layout.LOOKS_FOR for layout in known)
        raise InvalidInputError(
            f"{folder}: no images that skinaudit knows how to read. It looked in this folder and in those below for "
            f"{looked}{_what_is_there(folder, files)}"
        )
    (layout, named_by), *_ = fitting
    return layout.list_images(named_by, files)


def _what_is_there(folder: Path, files: Collection[Path]) -> str:
    """What lies in a folder that no layout fits, and what to do with files that may hold tables or pictures."""
    pictures = [path.relative_to(folder) for path in files if is_picture(path)]
    parts = []
    if pictures:
        count = "1 picture" if len(pictures) == 1 else f"{len(pictures):,} pictures"
        homes = len({path.parent for path in pictures})
        parts.append(f"it holds {count} in {'1 folder' if homes == 1 else f'{homes:,} folders'}, such as {pictures[0]}")
    tables = [path.name for path in files if is_of_other_format(path)]
    if tables:
        parts.append(f"tables are read as CSV, not as {first_few(tables)}")
    packed = [path.name for path in files if is_packed(path)]
    if packed:
        parts.append(f"unpack {first_few(packed)}")
    return "".join(f"; {part}" for part in parts)
