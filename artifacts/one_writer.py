"""A lock that lets only one process write at a time. It says who holds it, since when, and on which machine.

The kernel releases the lock when its process ends for any reason. The lock file also names the owner. The owner is needed
for messages, and for folders shared by several machines, because the kernel of one machine does not know the processes of
another.
"""

from __future__ import annotations

import json
import os
import socket
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from skinaudit.artifacts.plain_values import parse_json
from skinaudit.artifacts.typed_json import Count, build
from skinaudit.errors import InvalidInputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_PAUSE = 0.05
_LONGEST = 4096


@dataclass(frozen=True)
class Owner:
    """Who holds a lock. start: when it was taken, such as `2026-11-26 16:32:12 UTC`."""

    pid: Count
    host: str
    start: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.start}"


@contextmanager
def one_writer(
    lock: Path, *, place: str, wait: float = 0.0, say: Callable[[str], None] = lambda line: None
) -> Iterator[None]:  # fmt: skip
    """Hold the lock file `lock`, in an existing folder, until the end of the block.

    place: the file or folder that is written, for messages. wait: seconds to wait for another process on this machine. say:
    called with a message if a killed process left a lock, which is then taken over. Raises InvalidInputError if another
    process holds the lock, or if another machine left one: nobody here can know whether that process still runs.
    """
    until = time.monotonic() + wait
    while (descriptor := _try(lock, place, say, last=time.monotonic() >= until)) is None:
        time.sleep(_PAUSE)
    try:
        yield
    finally:
        with suppress(OSError):  # a folder that was removed or is now read-only must not hide the error before it
            lock.unlink(missing_ok=True)
        os.close(descriptor)


def _try(lock: Path, place: str, say: Callable[[str], None], *, last: bool) -> int | None:
    """The descriptor of the held lock; None if it must be tried again."""
    try:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        descriptor = os.open(lock, flags, 0o666)
    except OSError as error:
        raise InvalidInputError(f"{lock}: cannot be made ({error.strerror}); choose a folder that can be written") from error
    locked = False
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise InvalidInputError(f"{lock}: is no regular file; delete it")
        owner = _owner(descriptor)
        if not _locked(descriptor, owner):
            if last:
                raise InvalidInputError(
                    f"{place}: {owner or 'another process'} is writing it; wait until it ends, or choose another place"
                )
            return None
        owner = _owner(descriptor)
        if owner is not None and owner.host != socket.gethostname():
            raise InvalidInputError(
                f"{place}: {owner} started to write it, and this machine cannot see whether it still runs; if it has ended, "
                f"delete {lock}"
            )
        if not _same_file(lock, descriptor):  # its owner has removed it meanwhile
            return None
        if owner is not None:
            say(f"{place}: {owner} was stopped before it finished; this process continues")
        _write(descriptor)
        locked = True
        return descriptor
    finally:
        if not locked:
            os.close(descriptor)


def _locked(descriptor: int, owner: Owner | None) -> bool:
    """Lock an open file; False if another process on this machine holds it."""
    if fcntl is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            return False
        except OSError:  # a file system without locks: only the owner's number can be used
            pass
    return owner is None or owner.host != socket.gethostname() or not _alive(owner.pid)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # a process of another user
        return True
    return True


def _owner(descriptor: int) -> Owner | None:
    """The owner named in the file; None if it is empty or damaged, for example after a full disk."""
    text = os.pread(descriptor, _LONGEST, 0).decode(errors="replace")
    with suppress(InvalidInputError):
        owner: Owner = build(Owner, parse_json(text, where="lock", kind="lock", again=""), where="lock", again="")
        return owner
    return None


def _same_file(lock: Path, descriptor: int) -> bool:
    with suppress(OSError):
        return os.path.samestat(lock.stat(), os.fstat(descriptor))
    return False


def _write(descriptor: int) -> None:
    start = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    with suppress(OSError):  # on a full disk the lock still works, but its owner has no name
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(asdict(Owner(os.getpid(), socket.gethostname(), start))).encode(), 0)
