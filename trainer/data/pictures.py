"""Picture files of a folder, found by the name in a table."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path

from skinaudit.errors import first_few
from skinaudit.trainer.data.tables import is_packed

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".webp", ".bmp", ".dcm", ".dicom")
"""Suffixes of files that count as pictures, in upper or lower case."""

_HIDDEN = (".", "__MACOSX")
_DOWNSAMPLED = "_downsampled"
"""ISIC 2019 adds this to some names; other archives have the same images without it."""


def is_picture(path: Path) -> bool:
    """Whether a file has the name of a picture. Files hidden by the system (macOS' `._name.jpg`) do not count."""
    return path.suffix.casefold() in SUFFIXES and not _is_hidden(path)


def is_unread_picture(path: Path) -> bool:
    """Whether a file has the name of a picture in a known but unsupported format, such as HEIC."""
    return path.suffix.casefold() in _NOT_READ and not _is_hidden(path)


def why_unread(name: str) -> str:
    """The message about the picture file `name` in an unsupported format."""
    return f"{name}: this format is not read; save it as PNG or JPEG"


def _is_hidden(path: Path) -> bool:
    return path.name.startswith(_HIDDEN) or path.parent.name.startswith(_HIDDEN)


_NOT_READ = (".avif", ".dng", ".gif", ".heic", ".heif", ".jp2", ".jxl", ".pdf", ".ppm", ".raw", ".svg", ".tga")


class Pictures:
    """The pictures among files, by name. Made once per folder, used for each line of its table."""

    def __init__(self, files: Collection[Path]) -> None:
        self._exact: dict[str, list[Path]] = defaultdict(list)
        self._alike: dict[str, list[Path]] = defaultdict(list)
        self._not_read = {_simple(path.stem): path.name for path in files if is_unread_picture(path)}
        self._packed = tuple(path.name for path in files if is_packed(path))
        for path in files:
            if is_picture(path):
                self._exact[path.stem].append(path)
                self._alike[_simple(path.stem)].append(path)

    def of(self, name: str) -> tuple[Path, ...]:
        """All files with this name (without suffix); else those whose name differs only in spelling (see _simple)."""
        return tuple(self._exact.get(name) or self._alike.get(_simple(name)) or ())

    def not_read(self, name: str) -> str:
        """The file with this name in a known but unsupported format, such as HEIC; None if there is none."""
        return self._not_read.get(_simple(name), "")

    def in_words(self) -> str:
        """What there is, for a message: the name of one picture, or the archive files that may contain some."""
        example = next((path.name for paths in self._exact.values() for path in paths), "")
        if example:
            return f"pictures such as {example}"
        return f"no picture at all; unpack {first_few(self._packed)}" if self._packed else "no picture at all"


def _simple(name: str) -> str:
    """A name in lower case, without a second suffix (`.jpg.jpg`) and `_downsampled`; macOS decomposes accented letters."""
    folded = unicodedata.normalize("NFC", name).casefold()
    ending = next((suffix for suffix in SUFFIXES if folded.endswith(suffix)), "")
    return folded.removesuffix(ending).removesuffix(_DOWNSAMPLED)
