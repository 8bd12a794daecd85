"""The audit's side of an engine's process: start it, send requests within its limits, end it."""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import socket
import time
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from skinaudit import errors
from skinaudit.artifacts.printable import printable
from skinaudit.engines.isolation import wire
from skinaudit.engines.isolation.launching import Server
from skinaudit.engines.isolation.limits import Bounds
from skinaudit.errors import EngineError, EngineStoppedError, InvalidInputError, SkinauditError, about_memory

_POLL = 0.05
_DISK_WORDS = re.compile(r"no space left on device|disk quota exceeded", re.I)
_ROOM = 2**18
_AGAIN = "; export it again"


class Child:
    """The process of one engine. Not thread-safe."""

    def __init__(self, server: Server, *, where: str, bounds: Bounds) -> None:
        """Start it. where: the file's name for messages. Raises EngineError if no process can be started."""
        self._server, self._where, self._bounds = server, where, bounds
        ours, theirs = socket.socketpair()
        try:
            self._process = server.start(theirs.fileno(), where=where)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        ours.settimeout(bounds.seconds)  # for sending, if the process does not read
        self._channel, self._ended = ours, ""
        self.close = weakref.finalize(self, _end, ours, server, self._process)
        """Ends the process; also when nothing refers to it any more."""

    def ask(self, message: Mapping[str, Any], descriptors: Sequence[int] = ()) -> dict[str, Any]:
        """Send a message and wait for the answer.

        Raises the SkinauditError that the process reports, and EngineStoppedError if a limit or a crash ends the process.
        """
        if self._ended:
            raise EngineStoppedError(self._ended)
        try:
            wire.send(self._channel, dict(message), descriptors)
            deadline = time.monotonic() + self._bounds.seconds
            answer, _ = wire.receive(self._channel, where=self._where, wait=lambda: self._wait(deadline))
        except TimeoutError as error:
            raise self._late() from error
        except (EOFError, ConnectionError) as error:
            raise self._stopped(self._cause()) from error
        except InvalidInputError as error:
            self.close()
            raise self._stopped(str(error).removeprefix(f"{self._where}: ")) from error
        if "error" in answer:
            raise self._error_of(answer)
        return answer

    def _wait(self, deadline: float) -> None:
        """Wait until the process has written something; raises EngineStoppedError if a limit is reached first."""
        while not select.select([self._channel], [], [], _POLL)[0]:
            if time.monotonic() > deadline:
                raise self._late()
            if _memory_of(self._process) > self._bounds.memory:
                self._kill()
                raise self._stopped(self._too_large())

    def _late(self) -> EngineStoppedError:
        self._kill()
        return self._stopped(
            f"no output within {self._bounds.seconds:,g} s: it hangs or is too slow; raise --limit-seconds if you trust the"
            " file"
        )

    def _kill(self) -> None:
        os.kill(self._process, signal.SIGKILL)
        self._server.wait(self._process)

    def _too_large(self) -> str:
        return f"takes more than {_size(self._bounds.memory)} of memory; raise --limit-memory if you trust the file"

    def _stopped(self, reason: str) -> EngineStoppedError:
        self._ended = self._ended or f"{self._where}: {reason}"
        return EngineStoppedError(self._ended)

    def _cause(self) -> str:
        """Why the process closed its end, from its exit code and the last line that it printed."""
        status = self._server.wait(self._process)
        last = self._server.printed(self._process)
        if about_memory(last):
            return f"ran out of memory ({last}); free some, or raise --limit-memory if you trust the file"
        if status == -signal.SIGKILL:
            return "its process was killed by SIGKILL, which usually means that memory ran out; free some"
        ended = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with exit code {status}"
        return (
            f"its process {ended}{f' ({last})' if last else ''}: the file is damaged or malicious, or its runtime has a bug"
        )

    def _error_of(self, answer: Mapping[str, Any]) -> SkinauditError:
        """The error that the process reported, as an exception."""
        text = printable(str(answer.get("text", "")))
        kind = _kind(str(answer["error"]))
        reason = text.removeprefix(f"{self._where}: ").removesuffix(_AGAIN)
        if not issubclass(kind, EngineError):
            return kind(text)
        if answer.get("memory") or about_memory(text):
            return self._stopped(f"ran out of memory ({reason}); free some, or raise --limit-memory if you trust the file")
        if "file too large" in text.lower():
            written = f"{self._bounds.written / 2**20:,.0f} MiB"
            return self._stopped(f"writes more than {written} into a temporary file; do not trust this file")
        if answer.get("full") or _DISK_WORDS.search(text) or self._is_disk_full():
            where = self._server.scratch.parent
            return self._stopped(f"no space left for temporary files in {where} ({reason}); free some, or set TMPDIR to "
                                 "another folder")  # fmt: skip
        return kind(text) if answer["error"] else EngineError(f"{self._where}: cannot be read or run ({text}){_AGAIN}")

    def _is_disk_full(self) -> bool:
        """Whether the scratch folder lacks room for a copy of the file. Not every runtime reports a full disk."""
        return shutil.disk_usage(self._server.scratch).free < self._bounds.size + _ROOM


def _size(memory: int) -> str:
    return f"{memory / 2**30:.1f} GiB" if memory >= 2**30 else f"{memory / 2**20:.0f} MiB"


def _kind(name: str) -> type[SkinauditError]:
    """The error class with this name; EngineError for an unknown name."""
    kind = getattr(errors, name, None) if name else None
    return kind if isinstance(kind, type) and issubclass(kind, SkinauditError) else EngineError


def _end(channel: socket.socket, server: Server, process: int) -> None:
    channel.close()
    if server.close.alive:  # if the server is gone, so are its processes, and their numbers may belong to other programs
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def _memory_of(process: int) -> int:
    """Bytes of a process's own memory; 0 if the system does not report it."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    sizes = re.findall(r"^(?:RssAnon|RssShmem):\s+(\d+) kB", status, re.M)
    return 1024 * sum(map(int, sizes))
