"""Layouts of image folders, one per file. The command line's help lists them by the names of the files.

A layout file defines `LOOKS_FOR`, the text that says how it recognises a folder; `find(files) -> Path | None`, the
recognised file or folder; and `list_images(named_by, files) -> Listing`, every image with its class and lesion. A layout
with `LAST = True` is tried only if no other fits. `near_miss(files) -> str`, if there is one, says what keeps almost fitting
files from the layout. To add a layout, add a file; nothing else has to change.
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
    """The contents of a layout file."""

    LOOKS_FOR: str

    def find(self, files: Collection[Path]) -> Path | None:
        """The file or folder that shows this layout; None for another layout. files: of a folder, at any depth."""

    def list_images(self, named_by: Path, files: Collection[Path]) -> Listing:
        """The images among `files`; raises InvalidInputError for an unusable table."""


def names() -> tuple[str, ...]:
    """Names of the available layouts."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")))


def recognise(folder: Path) -> Listing:
    """List the images of a folder in its layout; raises InvalidInputError if no layout fits, or several do."""
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
            f"{looked}{_what_is_there(folder, files, known)}"
        )
    (layout, named_by), *_ = fitting
    return layout.list_images(named_by, files)


def _what_is_there(folder: Path, files: Collection[Path], known: Collection[Layout]) -> str:
    """What a folder without a known layout contains, and what to do with files that may hold tables or pictures."""
    pictures = [path.relative_to(folder) for path in files if is_picture(path)]
    parts = []
    if pictures:
        count = "1 picture" if len(pictures) == 1 else f"{len(pictures):,} pictures"
        homes = len({path.parent for path in pictures})
        parts.append(f"it holds {count} in {'1 folder' if homes == 1 else f'{homes:,} folders'}, such as {pictures[0]}")
        parts += [missed for layout in known if (missed := getattr(layout, "near_miss", _nothing)(files))]
    tables = [path.name for path in files if is_of_other_format(path)]
    if tables:
        parts.append(f"tables are read as CSV, not as {first_few(tables)}")
    packed = [path.name for path in files if is_packed(path)]
    if packed:
        parts.append(f"unpack {first_few(packed)}")
    return "".join(f"; {part}" for part in parts)


def _nothing(files: Collection[Path]) -> str:
    """The near miss of a layout that knows none."""
    return ""
