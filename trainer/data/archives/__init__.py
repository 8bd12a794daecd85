"""Archives of images whose labels come as a table, one archive a file that maps its columns.

A file defines `ARCHIVE`, an Archive of skinaudit.trainer.data.archives._archive. A table is recognised by its columns,
whatever its name; nothing else needs to change when a file is added. Columns that an archive does not name do no harm,
unless they stand there twice.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from skinaudit.trainer.data.archives._archive import Archive


@cache
def known() -> dict[str, Archive]:
    """The archives that are there, by file."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))
    return {name: importlib.import_module(f"{__name__}.{name}").ARCHIVE for name in names}
