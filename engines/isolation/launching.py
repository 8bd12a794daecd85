"""Starts the server that creates engine processes, and shares it between the engines of one audit."""

from __future__ import annotations

import errno
import importlib
import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skinaudit.artifacts.printable import printable
from skinaudit.engines.isolation import wire
from skinaudit.engines.isolation.limits import NO_LIMITS, Limits
from skinaudit.errors import EngineStoppedError, about_memory, debugging, in_one_line

_LOG = logging.getLogger(__name__)
_GRACE = 10.0
_PRINTED = 2000
_ENDED = "the process that starts it ended; this user may have too few processes or too little memory: see ulimit -u and -v"
_START = """
import json, sys
sys.path[:], absent = json.loads(sys.argv[3])
sys.modules.update(dict.fromkeys(absent))
from skinaudit.engines.isolation.server import main
main(int(sys.argv[1]), sys.argv[2])
"""
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1"}  # the server then has one thread, and a fork of it copies no held lock


class Server:
    """The process that creates the engine processes. It removes its scratch folder when it ends."""

    def __init__(self) -> None:
        """Start it without waiting for it. Raises EngineStoppedError if the machine lacks memory or processes for it."""
        try:
            self.scratch = Path(tempfile.mkdtemp(prefix="skinaudit-"))
            ours, process = _started(self.scratch)
        except OSError as error:
            if hasattr(self, "scratch"):
                shutil.rmtree(self.scratch, ignore_errors=True)
            raise EngineStoppedError(
                f"no process can be started for engines ({in_one_line(error)}); {_remedy(error)}"
            ) from error
        self._channel, self._ready, self._lock = ours, False, threading.Lock()
        self._folders: dict[int, Path] = {}
        self.close = weakref.finalize(self, _stop, ours, process)
        """Ends the server, its processes and its folder; also when nothing refers to it any more."""

    def start(self, descriptor: int, *, where: str) -> int:
        """Start the process of an engine at the other end of this socket; returns its number. where: the engine's file."""
        started = self._request({"start": True}, descriptor, where=where)
        self._folders[started["process"]] = self.scratch / started["folder"]
        _LOG.debug("%s: opened by process %d", where, started["process"])
        return int(started["process"])

    def wait(self, process: int) -> int:
        """The exit code of a process that ended or closed its socket; negative for a signal."""
        return int(self._request({"wait": process}, where="an engine")["status"])

    def printed(self, process: int) -> str:
        """The last line that a process printed."""
        return _last_line(self._folders[process] / "output")

    def _request(self, message: dict[str, object], descriptor: int | None = None, *, where: str) -> dict[str, Any]:
        with self._lock:
            try:
                if not self._ready:
                    wire.receive(self._channel, where=where)
                    self._ready = True
                wire.send(self._channel, message, [] if descriptor is None else [descriptor])
                return wire.receive(self._channel, where=where)[0]
            except (EOFError, OSError) as error:
                ended = _ENDED if isinstance(error, EOFError) else in_one_line(error)
                reason = _last_line(self.scratch / "server") or ended
                hint = "; free some memory, or raise its limit (ulimit -v)" if about_memory(reason) else ""
                raise EngineStoppedError(f"{where}: no process can be started for it ({reason}){hint}") from error


def _remedy(error: OSError) -> str:
    """What the user can do if no process can be started."""
    if error.errno == errno.ENOMEM or about_memory(str(error)):
        return "free some memory"
    if error.errno == errno.EAGAIN:
        return "this user may not start more processes (ulimit -u): end some"
    if error.filename == sys.executable:
        return "this user may not run this Python; use another one"
    return "free some space, or set TMPDIR to another folder"


def _started(scratch: Path) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """The server's process and the socket to it. Its output goes to a file, or to stderr for debugging."""
    given = [entry for entry in sys.path if entry], [name for name, module in sys.modules.items() if module is None]
    ours, theirs = socket.socketpair()
    with theirs, (scratch / "server").open("wb") as file:
        output = sys.stderr.fileno() if debugging() else file.fileno()
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", _START, str(theirs.fileno()), str(scratch), json.dumps(given)],
            pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            env={**os.environ, **_ONE_THREAD},
        )  # fmt: skip
    return ours, process


def _stop(channel: socket.socket, process: subprocess.Popen[bytes]) -> None:
    channel.close()  # the server sees this, and ends with all its processes
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _last_line(file: Path) -> str:
    with suppress(OSError), file.open("rb") as stream:
        stream.seek(max(0, os.fstat(stream.fileno()).st_size - _PRINTED))
        lines = stream.read().decode(errors="replace").strip().splitlines()
        return printable(lines[-1].strip())[:300] if lines else ""
    return ""


@dataclass(eq=False)
class _Block:
    """What the engines opened in one block share. server: None until the first engine is opened."""

    limits: Limits
    server: Server | None = None


_blocks: ContextVar[tuple[_Block, ...]] = ContextVar("engine_processes", default=())


@contextmanager
def engine_processes(limits: Limits | None = None, *, at_once: bool = False) -> Iterator[None]:
    """Share one server and these limits between all engines opened inside; no engine process is left at the end.

    A nested block in the same thread uses the server of the outer block, and its limits if it has none of its own. at_once:
    start the server now instead of with the first engine, so that it is ready sooner.
    """
    outer = _blocks.get()
    block = _Block(limits or current_limits())
    token = _blocks.set((*outer, block))
    try:
        if at_once and _isolated:
            current_server()
        yield
    finally:
        _blocks.reset(token)
        if block.server is not None:
            block.server.close()


def current_limits() -> Limits:
    """The limits of the surrounding block."""
    blocks = _blocks.get()
    return blocks[-1].limits if blocks else NO_LIMITS


def shared() -> bool:
    """Whether a server belongs to a block, which will end it."""
    return bool(_blocks.get())


def current_server() -> Server:
    """The server of the outermost surrounding block, or a new one for a single engine."""
    blocks = _blocks.get()
    if not blocks:
        return Server()
    if blocks[0].server is None:
        blocks[0].server = Server()
    return blocks[0].server


_isolated = True


def isolated() -> bool:
    """Whether files are opened in separate processes."""
    return _isolated


@contextmanager
def in_this_process() -> Iterator[None]:
    """Open files in this process, with all its rights and without limits. For tests of other things."""
    global _isolated
    before, _isolated = _isolated, False
    try:
        yield
    finally:
        _isolated = before


def called(function: str) -> Callable[..., Any]:
    """The function that the text `module:function` names."""
    module, _, name = function.partition(":")
    return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]
