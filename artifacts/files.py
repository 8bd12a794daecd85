"""Atomic writes, digests and the cache folder, shared by all stages."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from skinaudit.artifacts.outside import check_regular, open_regular
from skinaudit.errors import InvalidInputError

_CHUNK = 1 << 20
_LOG = logging.getLogger(__name__)


def _nothing(step: str, target: Path) -> None:
    """Does nothing. Tests replace it."""


at_step: Callable[[str, Path], None] = _nothing
"""Called at each step of every write. Tests and bench/machine_faults.py replace it to plant faults."""


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`; on a clean exit it is fsynced and renamed over `target`, else removed.

    A full disk or an unwritable folder raises InvalidInputError with the name of the target; the old file is left as it
    was. A device or a pipe as target also raises it, because a file would replace it: /dev/null would no longer be a
    device.
    """
    temporary: Path | None = None
    if kind := _special(target):
        raise InvalidInputError(f"{target}: is {kind}, and an output file would replace it; name another file")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
        os.close(handle)
        temporary = Path(name)
        at_step("made", target)
        yield temporary
        at_step("written", target)
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.chmod(0o666 & ~_umask())
        at_step("before it is renamed", target)
        temporary.replace(target)
        temporary = None
        at_step("renamed", target)
        _sync_folder(target.parent)
        _LOG.debug("wrote %s", target)
    except (OSError, SafetensorError) as error:  # safetensors reports a full disk with its own error
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise InvalidInputError(
            f"{target}: cannot be written ({reason}); free some space or choose another folder"
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def can_be_written(target: Path) -> bool:
    """Whether atomic_path could now put a file there. Call it before long work; it is no guarantee."""
    if _special(target):
        return False
    folder = target.absolute().parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK) and not target.is_dir()


def write_bytes(target: Path, content: bytes) -> None:
    """Write `content` to `target` atomically."""
    with atomic_path(target) as temporary:
        temporary.write_bytes(content)


def append_line(target: Path, line: str) -> None:
    """Append a line to a log, the only kind of file that is not replaced; raises InvalidInputError like atomic_path."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        # follows no link, because skinaudit creates none
        with os.fdopen(os.open(target, flags, 0o666), "a", encoding="utf-8") as log:
            at_step("appended to", target)
            log.write(line)
    except OSError as error:
        raise InvalidInputError(f"{target}: cannot be written ({error.strerror}); free some space") from error


def write_json(target: Path, value: Any) -> None:
    """Write `value` as indented JSON to `target` atomically; key order is kept, so equal values give equal bytes."""
    write_bytes(target, (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())


def digest_file(path: Path) -> str:
    """The file's content digest as `sha256:<hex>`, read in chunks of 1 MiB.

    Raises InvalidInputError if it is not a regular file, has a terabyte of holes, cannot be read, or grows while it is read.
    """
    value = hashlib.sha256()
    check_regular(path, kind="file")
    with open_regular(path, kind="file") as stream:
        try:
            left = os.fstat(stream.fileno()).st_size
            while chunk := stream.read(_CHUNK):
                value.update(chunk)
                left -= len(chunk)
                if left < 0:  # for example files of /proc, which have no size and may have no end
                    raise InvalidInputError(f"{path}: grew while it was read; wait until it is written, and run again")
        except OSError as error:
            raise InvalidInputError(f"{path}: cannot be read ({error.strerror})") from error
    return f"sha256:{value.hexdigest()}"


def digest_parts(*parts: bytes) -> str:
    """One digest of several byte strings. The length of each is included, so moving a boundary changes the digest."""
    value = hashlib.sha256()
    for part in parts:
        value.update(len(part).to_bytes(8, "little"))
        value.update(part)
    return f"sha256:{value.hexdigest()}"


def default_cache_dir() -> Path:
    """`$SKINAUDIT_CACHE`, else `skinaudit` below `$XDG_CACHE_HOME`, else `~/.cache/skinaudit`.

    Raises InvalidInputError if the user has no home folder and neither variable is set.
    """
    try:
        if chosen := os.environ.get("SKINAUDIT_CACHE"):
            return Path(chosen).expanduser()
        base = os.environ.get("XDG_CACHE_HOME")
        return (Path(base) if base else Path.home() / ".cache") / "skinaudit"
    except RuntimeError as error:  # Python's error for a user without a home
        raise InvalidInputError(
            "no cache folder: this user has no home folder; set SKINAUDIT_CACHE to the path of a folder to write to"
        ) from error


def short(digest: str) -> str:
    """The first twelve hexadecimal digits, for people."""
    return digest.removeprefix("sha256:")[:12]


def _special(target: Path) -> str:
    """What is at this path if a file must not replace it, such as /dev/null; empty for a file, a folder or nothing."""
    try:
        if target.is_symlink() and target.readlink().is_relative_to("/proc"):  # /dev/stdout
            return "an open file of this process"
        mode = target.stat().st_mode
    except OSError:
        return ""
    return "" if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else "a device or a pipe"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


Progress = Callable[[int, int], None]
"""Called with (done, total). The command line draws a bar from it; the library stays silent."""
