"""The work of an engine's process: it confines itself, opens the file, and answers requests until the audit is gone."""

from __future__ import annotations

import errno
import mmap
import os
import resource
import signal
import socket
import tempfile
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from skinaudit.artifacts.printable import printable
from skinaudit.engines import open as opening
from skinaudit.engines.isolation import wire
from skinaudit.engines.isolation.confine import confine, end_with_parent
from skinaudit.engines.isolation.launching import called
from skinaudit.engines.plans.cuda_device import start_cuda
from skinaudit.engines.session import Session
from skinaudit.errors import SkinauditError, debugging, in_one_line

_WHERE = "the audit"


def greet(channel: socket.socket) -> None:
    """Tell the audit that this process is ready."""
    wire.send(channel, {"ready": os.getpid()})


def request(channel: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """The audit's next request."""
    return wire.receive(channel, where=_WHERE)


def answer(channel: socket.socket, message: Mapping[str, Any]) -> None:
    """Send the answer."""
    wire.send(channel, dict(message))


def start(channel: socket.socket, descriptor: int, folder: Path) -> tuple[int, str]:
    """Fork the process of one engine with the socket `descriptor`; returns its number and its scratch folder in `folder`."""
    scratch = Path(tempfile.mkdtemp(dir=folder))
    parent = os.getpid()
    process = os.fork()
    if not process:
        try:
            channel.close()
            _serve(socket.socket(fileno=descriptor), scratch, parent)
        finally:
            os._exit(1)  # whatever happens, an engine's process must never continue as the server
    os.close(descriptor)
    return process, scratch.name


def _serve(channel: socket.socket, scratch: Path, parent: int) -> NoReturn:
    end_with_parent(parent)
    first, _ = wire.receive(channel, where=_WHERE)
    os.chdir(first["cwd"])
    _limit(first, scratch)
    os.environ["TMPDIR"] = tempfile.tempdir = str(scratch)
    try:
        if first["confinement"] != "none":
            # Torch needs the user's name for a folder. Without such a variable it reads /etc/passwd, which is not allowed
            # here.
            os.environ.setdefault("LOGNAME", "engine")
            os.environ["CUDA_CACHE_PATH"] = os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(scratch)
            writes, on_gpu = [scratch, *map(Path, first["writes"])], first["confinement"] == "gpu"
            if on_gpu:
                start_cuda(int(first["opening"]["plan"]["device"]))
            confine(reads=map(Path, first["reads"]), writes=writes, for_gpu=on_gpu)
        if "function" in first:
            wire.send(channel, {"value": called(first["function"])(*first["arguments"])})
        else:
            session = opening.serve(first["opening"])
            wire.send(channel, {"session": _described(session)})
            _answer_all(channel, session)
    except (EOFError, ConnectionError):
        pass
    except BaseException as error:
        wire.send(channel, _as_message(error))
    os._exit(0)


def _limit(first: Mapping[str, Any], scratch: Path) -> None:
    """Set the limits that the system enforces, and redirect what the runtimes print."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (first["written"], first["written"]))
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # the system ends this process first if memory runs out
    if not debugging():
        output = os.open(scratch / "output", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)


def _answer_all(channel: socket.socket, session: Session) -> None:
    shared = mmap.mmap(-1, mmap.PAGESIZE)
    while True:
        call, descriptors = wire.receive(channel, where=_WHERE)
        if descriptors:
            shared = mmap.mmap(descriptors[0], 0)
            os.close(descriptors[0])
        tensor = np.frombuffer(shared, np.dtype(call["dtype"]), int(np.prod(call["shape"]))).reshape(call["shape"])
        try:
            result = np.ascontiguousarray(session.run(tensor, input=call["input"], output=call["output"]))
            if result.nbytes > len(shared):
                raise SkinauditError(f"returns {result.nbytes:,} bytes for {len(tensor)} images; it is not a classifier")
            np.frombuffer(shared, np.uint8, result.nbytes)[:] = result.reshape(-1).view(np.uint8)
            wire.send(channel, {"dtype": result.dtype.name, "shape": list(result.shape)})
        except (EOFError, ConnectionError):
            raise
        except Exception as error:
            wire.send(channel, _as_message(error))


def _described(session: Session) -> dict[str, Any]:
    return {
        "description": asdict(session.description),
        "inputs": [asdict(port) for port in session.inputs],
        "outputs": [asdict(port) for port in session.outputs],
        "labels": session.labels,
    }


def _as_message(error: BaseException) -> dict[str, Any]:
    """An error as a message: its class, if it is one of skinaudit's own, and its text on one line."""
    if debugging():
        traceback.print_exception(error)
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return {
        "error": type(error).__name__ if isinstance(error, SkinauditError) else "",
        "text": printable(str(error) if isinstance(error, SkinauditError) else in_one_line(error))[:2000],
        "memory": isinstance(error, MemoryError),
        "full": full,
    }
