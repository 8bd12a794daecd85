"""Opens files from outside safely: only regular files, of limited size, inside the expected folder.

Everything is checked before the first byte is read. So a pipe, a device or an endless file gives an error in one line.
"""

from __future__ import annotations

import errno
import os
import stat
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import IO

from skinaudit.artifacts.printable import printable, show, with_article
from skinaudit.errors import InvalidInputError

MAX_MODEL = 2**31
"""Largest size in bytes of a graph that is read whole, the limit of its format (protobuf)."""
MAX_TABLE = 2**28
"""Largest size in bytes of an image table; that of HAM10000 has half a megabyte."""
_PIECE = 2**20
_HOLE = 2**30
"""Size in bytes of a hole from which a file is refused: a terabyte of holes needs no disk space, but hours to read."""
_HOLES = 1000  # largest number that is checked

_KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}


def check_regular(path: Path, *, kind: str) -> None:
    """Raise InvalidInputError if there is no file, or a folder, a pipe, a socket, a device or a file of holes instead."""
    size = _status(path, kind=kind).st_size
    if size >= _HOLE:
        _refuse_holes(path, size, kind=kind)


@contextmanager
def open_regular(path: Path, *, kind: str) -> Iterator[IO[bytes]]:
    """Open a regular file for reading; never waits for the other end of a pipe.

    Raises InvalidInputError like check_regular, except for a file of holes, which matters only if all of the file is read.
    The opened file is checked, not its path, so an exchange in between changes nothing.
    """
    _status(path, kind=kind)  # first, because just opening a device may have an effect
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as error:
        raise _unreadable(path, error, kind=kind) from error
    with os.fdopen(descriptor, "rb") as stream:
        _refuse_special(path, os.fstat(stream.fileno()).st_mode, kind=kind)
        yield stream


def read_regular(path: Path, *, kind: str, limit: int, again: str = "") -> bytes:
    """The bytes of a regular file; raises InvalidInputError if it has more than `limit`, before they are read.

    again: what to do about such a file.
    """
    with open_regular(path, kind=kind) as stream:
        try:
            size = os.fstat(stream.fileno()).st_size
            if size > limit:
                raise _too_long(path, kind, limit, again)
            content = stream.read(size)  # not `limit`, because that much memory would be allocated
            while len(content) <= limit and (more := stream.read(_PIECE)):  # the file has grown
                content += more
        except OSError as error:
            raise _unreadable(path, error, kind=kind) from error
    if len(content) > limit:
        raise _too_long(path, kind, limit, again)
    return content


def read_member(archive: zipfile.ZipFile, name: str, *, limit: int) -> bytes:
    """A file of a ZIP archive; raises zipfile.BadZipFile if it decompresses to more than `limit` bytes."""
    with archive.open(name) as stream:
        content = stream.read(_PIECE)
        while len(content) <= limit and (more := stream.read(_PIECE)):
            content += more
    if len(content) > limit:
        raise zipfile.BadZipFile(f"{show(name)} unpacks to more than {limit:,} bytes")
    return content


def inside(folder: Path, name: str | PurePath, *, named_by: str, further: Sequence[Path] = (), remedy: str = "") -> Path:
    """The path of a file that another file names relative to `folder`; it need not exist.

    further: other folders in which it may be. named_by: the file that names it, for messages. remedy: what to do about it.
    Raises InvalidInputError for an absolute path, and for one that leads out of these folders by `..` or by a link.
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
    """Whether a path, with links followed, is the folder or below it; False for a circle of links."""
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):
        return False


def real(path: str | Path) -> Path:
    """An absolute path with links followed; `~` stands for the home folder. It need not exist.

    Unlike Path.resolve and Path.expanduser, it raises nothing. A circle of links and an unknown `~user` stay in the path,
    and the caller that opens the path reports the problem.
    """
    return Path(os.path.realpath(expanded(path)))


def expanded(path: str | Path) -> Path:
    """A path with `~` or `~user` replaced by that home folder; the name of an unknown user stays."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 (Path.expanduser raises RuntimeError)


def is_private(path: Path) -> bool:
    """Whether a file or folder (not a link) belongs to this user and only this user may write to it; True on Windows."""
    try:
        status = path.lstat()
    except OSError:
        return False
    if not hasattr(os, "geteuid"):  # Windows
        return True
    return not stat.S_ISLNK(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o022


def _status(path: Path, *, kind: str) -> os.stat_result:
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise _unreadable(path, error, kind=kind) from error
    _refuse_special(path, status.st_mode, kind=kind)
    return status


def _refuse_special(path: Path, mode: int, *, kind: str) -> None:
    if not stat.S_ISREG(mode):
        advice = "; name a file in it" if stat.S_ISDIR(mode) else ""
        shape = _KINDS.get(stat.S_IFMT(mode), "a device")
        raise InvalidInputError(f"{path}: is {shape}, not a regular file ({kind}){advice}")


def _refuse_holes(path: Path, size: int, *, kind: str) -> None:
    """Raise InvalidInputError for a file with a hole of _HOLE bytes, to which nothing was ever written."""
    if not hasattr(os, "SEEK_DATA"):
        return
    try:
        with path.open("rb") as stream:
            longest = _longest_hole(stream.fileno(), size)
    except OSError:  # it cannot be read, or its file system cannot tell; whoever reads it reports that
        return
    if longest >= _HOLE:
        raise InvalidInputError(
            f"{path}: holds {longest:,} bytes that were never written (a sparse file), so it is not a whole {kind}"
        )


def _longest_hole(descriptor: int, size: int) -> int:
    """Bytes of the longest of the first holes; complete files have no holes."""
    longest = data = 0
    for _ in range(_HOLES):
        hole = os.lseek(descriptor, data, os.SEEK_HOLE)
        if hole >= size:
            break
        try:
            data = os.lseek(descriptor, hole, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:  # the error code for: no data until the end
                raise
            data = size
        longest = max(longest, data - hole)
        if data >= size:
            break
    return longest


def _unreadable(path: Path, error: Exception, *, kind: str) -> InvalidInputError:
    if isinstance(error, FileNotFoundError):
        return InvalidInputError(f"{path}: no such {kind}")
    return InvalidInputError(f"{printable(str(path))}: cannot be read ({getattr(error, 'strerror', None) or error})")


def _too_long(path: Path, kind: str, limit: int, again: str) -> InvalidInputError:
    return InvalidInputError(f"{path}: not {with_article(kind)}: has more than {limit:,} bytes{again and f'; {again}'}")
