"""Picture files of a folder, found by the name that a table gives them."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path

from skinaudit.errors import first_few
from skinaudit.trainer.data.tables import is_packed

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".webp", ".bmp", ".dcm", ".dicom")
"""Endings of files that are looked at as pictures, whatever their capitals."""

_HIDDEN = (".", "__MACOSX")
_DOWNSAMPLED = "_downsampled"
"""ISIC 2019 names some images so, and other archives the same images without it."""


def is_picture(path: Path) -> bool:
    """Whether a file's name is that of a picture; files that systems hide (macOS' `._name.jpg`) are not."""
    return path.suffix.casefold() in SUFFIXES and not _is_hidden(path)


def is_unread_picture(path: Path) -> bool:
    """Whether a file's name is that of a picture in a known format that is not supported, such as HEIC."""
    return path.suffix.casefold() in _NOT_READ and not _is_hidden(path)


def why_unread(name: str) -> str:
    """What is said of the picture file `name` in a format that is not supported."""
    return f"{name}: this format is not read; save it as PNG or JPEG"


def _is_hidden(path: Path) -> bool:
    return path.name.startswith(_HIDDEN) or path.parent.name.startswith(_HIDDEN)


_NOT_READ = (".avif", ".dng", ".gif", ".heic", ".heif", ".jp2", ".jxl", ".pdf", ".ppm", ".raw", ".svg", ".tga")


class Pictures:
    """The pictures among files, by name. Opened once for a folder, asked for each line of its table."""

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
        """Every file of this name (without its ending); else those whose name differs in spelling alone (see _simple)."""
        return tuple(self._exact.get(name) or self._alike.get(_simple(name)) or ())

    def not_read(self, name: str) -> str:
        """The file of this name in a known format that is not supported, such as HEIC; nothing if there is none."""
        return self._not_read.get(_simple(name), "")

    def in_words(self) -> str:
        """What there is, for a message: one of the pictures by name, or the packed files that may hold some."""
        example = next((path.name for paths in self._exact.values() for path in paths), "")
        if example:
            return f"pictures such as {example}"
        return f"no picture at all; unpack {first_few(self._packed)}" if self._packed else "no picture at all"


def _simple(name: str) -> str:
    """A name without capitals, a second ending (`.jpg.jpg`) and `_downsampled`; macOS decomposes its accented letters."""
    folded = unicodedata.normalize("NFC", name).casefold()
    ending = next((suffix for suffix in SUFFIXES if folded.endswith(suffix)), "")
    return folded.removesuffix(ending).removesuffix(_DOWNSAMPLED)
