"""Open files from outside safely: only regular files, of bounded size, inside of the expected folder.

Everything is checked before the first byte is read. So a pipe, a device or an endless file gives an error in one line.
"""

from __future__ import annotations

import os
import stat
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import IO

from skinaudit.artifacts.printable import show
from skinaudit.errors import InvalidInputError

MAX_MODEL = 2**31
"""Bytes of a graph that is read whole; its format (protobuf) ends there."""
MAX_TABLE = 2**28
"""Bytes of a table of images; HAM10000's has half a megabyte."""
_PIECE = 2**20

_KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}


def check_regular(path: Path, *, kind: str) -> None:
    """Raise InvalidInputError where there is no file, or a folder, a pipe, a socket or a device in its place."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise _unreadable(path, error, kind=kind) from error
    _refuse_special(path, mode, kind=kind)


@contextmanager
def open_regular(path: Path, *, kind: str) -> Iterator[IO[bytes]]:
    """Open a regular file for reading; never waits for the other end of a pipe. Raises InvalidInputError as check_regular.

    What was opened is asked, not its path, so that an exchange in between changes nothing.
    """
    check_regular(path, kind=kind)  # first, as the mere opening of a device may do something
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as error:
        raise _unreadable(path, error, kind=kind) from error
    with os.fdopen(descriptor, "rb") as stream:
        _refuse_special(path, os.fstat(stream.fileno()).st_mode, kind=kind)
        yield stream


def read_regular(path: Path, *, kind: str, limit: int, again: str = "") -> bytes:
    """The bytes of a regular file; raises InvalidInputError where it has more than `limit`, before they are read.

    again: what to do about such a file.
    """
    with open_regular(path, kind=kind) as stream:
        try:
            size = os.fstat(stream.fileno()).st_size
            if size > limit:
                raise _too_long(path, kind, limit, again)
            content = stream.read(size)  # not limit: that much memory would be asked for
            while len(content) <= limit and (more := stream.read(_PIECE)):  # it grew
                content += more
        except OSError as error:
            raise _unreadable(path, error, kind=kind) from error
    if len(content) > limit:
        raise _too_long(path, kind, limit, again)
    return content


def read_member(archive: zipfile.ZipFile, name: str, *, limit: int) -> bytes:
    """A file of a ZIP archive; raises zipfile.BadZipFile where it unpacks to more than `limit` bytes."""
    with archive.open(name) as stream:
        content = stream.read(_PIECE)
        while len(content) <= limit and (more := stream.read(_PIECE)):
            content += more
    if len(content) > limit:
        raise zipfile.BadZipFile(f"{show(name)} unpacks to more than {limit:,} bytes")
    return content


def inside(folder: Path, name: str | PurePath, *, named_by: str, further: Sequence[Path] = (), remedy: str = "") -> Path:
    """The path of a file that another file names relative to `folder`; it need not exist.

    further: other folders that it may lie in. named_by: what names it, for messages. remedy: what to do about it. Raises
    InvalidInputError for an absolute path, and for one that leads out of these folders by `..` or by a link.
    """
    plain = PurePath(name)
    if plain.is_absolute() or "\0" in str(name):
        raise InvalidInputError(
            f"{named_by}: names {show(str(name))}, but only relative paths to files below its own folder are allowed"
            f"{remedy and f'; {remedy}'}"
        )
    path = folder / plain
    if not any(lies_in(path, root) for root in (folder, *further)):
        raise InvalidInputError(
            f"{named_by}: names {show(str(name))}, which leads out of its folder, directly or through a link; "
            f"{remedy or 'keep the file in the folder itself'}"
        )
    return path


def lies_in(path: Path, folder: Path) -> bool:
    """Whether a path, its links followed, is below a folder or the folder itself; false for a circle of links."""
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):
        return False


def is_private(path: Path) -> bool:
    """Whether a file or folder, no link, is this user's, and no other may write to it; true where users have no numbers."""
    try:
        status = path.lstat()
    except OSError:
        return False
    if not hasattr(os, "geteuid"):  # Windows
        return True
    return not stat.S_ISLNK(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o022


def _refuse_special(path: Path, mode: int, *, kind: str) -> None:
    if not stat.S_ISREG(mode):
        advice = "; name a file in it" if stat.S_ISDIR(mode) else ""
        shape = _KINDS.get(stat.S_IFMT(mode), "a device")
        raise InvalidInputError(f"{path}: is {shape}, not a regular file ({kind}){advice}")


def _unreadable(path: Path, error: Exception, *, kind: str) -> InvalidInputError:
    if isinstance(error, FileNotFoundError):
        return InvalidInputError(f"{path}: no such {kind}")
    return InvalidInputError(f"{show(str(path))}: cannot be read ({getattr(error, 'strerror', None) or error})")


def _too_long(path: Path, kind: str, limit: int, again: str) -> InvalidInputError:
    return InvalidInputError(f"{path}: not a {kind}: has more than {limit:,} bytes{again and f'; {again}'}")
