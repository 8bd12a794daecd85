"""Archives of images whose labels come in a table. Each archive is one file that maps the table's columns.

A file defines `ARCHIVE`, an Archive of skinaudit.trainer.data.archives._archive. A table is recognised by its columns; its
name does not matter. To add an archive, add a file; nothing else has to change. Columns that an archive does not name are
ignored, unless they occur twice.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from skinaudit.trainer.data.archives._archive import Archive


@cache
def known() -> dict[str, Archive]:
    """The available archives, by file."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))
    return {name: importlib.import_module(f"{__name__}.{name}").ARCHIVE for name in names}
