"""Creates a process for each engine. The server has already imported their modules, opens no file itself, has one thread.

Each audit starts its own server. A fork of it takes milliseconds and copies no lock held by a thread of a runtime. The
server ends when the audit ends, for any reason, and ends its engines and removes the scratch folder.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

_PATIENCE, _PAUSE = 2.0, 0.005
_PRELOADED = ("onnxruntime",)


def main(descriptor: int, scratch: str) -> NoReturn:
    """Serve the audit at the other end of the socket with this number until the audit is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the audit gets the signal, and ends this process
    channel = socket.socket(fileno=descriptor)
    folder, running = Path(scratch), set[int]()
    try:
        from skinaudit.engines.isolation import serving

        _preload()
        serving.greet(channel)
        while True:
            message, descriptors = serving.request(channel)
            if "wait" in message:
                serving.answer(channel, {"status": _ended(message["wait"])})
                running.discard(message["wait"])
            else:
                process, own = serving.start(channel, descriptors[0], folder)
                running.add(process)
                serving.answer(channel, {"process": process, "folder": own})
    except (EOFError, ConnectionError):
        pass
    finally:
        for process in running:
            _kill(process)
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)  # nothing is left to do, and the imported modules need no clean-up


def _preload() -> None:
    """Import what most engines need. If this fails, opening an engine reports the reason."""
    for name in _PRELOADED:
        with suppress(Exception):
            __import__(name)


def _ended(process: int) -> int:
    """Wait until a process that closed its socket ends; returns its exit code, negative for a signal."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        number, status = os.waitpid(process, os.WNOHANG)
        if number:
            return os.waitstatus_to_exitcode(status)
        time.sleep(_PAUSE)
    return _kill(process)


def _kill(process: int) -> int:
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)
    try:
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    except ChildProcessError:
        return 0


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
