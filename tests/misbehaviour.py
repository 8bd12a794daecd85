"""What hostile code would try; called in the process of an engine, by name."""

from __future__ import annotations

import ctypes
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path


def connect(port: int) -> None:
    socket.create_connection(("127.0.0.1", port), timeout=5).close()


def connect_locally(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as channel:
        channel.connect(path)


def user() -> str:
    return getpass.getuser()


def write(path: str) -> None:
    Path(path).write_text("written by an engine")


def read(path: str) -> str:
    return Path(path).read_text()


def change_mode(path: str) -> None:
    Path(path).chmod(0o777)


def remove(path: str) -> None:
    shutil.rmtree(path)


def run_program() -> None:
    subprocess.run([sys.executable, "-c", "pass"], check=True)


def signal_audit() -> None:
    # 0 sends nothing: it tells whether a signal may be sent
    os.kill(int(os.environ["SKINAUDIT_TEST_AUDIT"]), 0)


def lower_limits_of_audit() -> None:
    import resource

    resource.prlimit(int(os.environ["SKINAUDIT_TEST_AUDIT"]), resource.RLIMIT_NOFILE)


def scratch() -> str:
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"fine")
        return str(Path(file.name).parent)


def abort() -> None:
    os.abort()


def segfault() -> None:
    ctypes.string_at(1)


def leave() -> None:
    print("terminate called after throwing an instance of something", file=sys.stderr, flush=True)
    os._exit(3)


def run_out_of_memory() -> None:
    print("terminate called after throwing an instance of 'std::bad_alloc'", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGABRT)


def hang() -> None:
    time.sleep(600)


def stop_in_the_middle() -> None:
    """Begin a message to the audit, and never end it."""
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError), socket.socket(fileno=os.dup(int(entry.name))) as channel:
            channel.send(bytes(7))
    hang()


def fill_memory() -> int:
    blocks = [bytearray(os.urandom(1)) * 2**24 for _ in range(4096)]
    return len(blocks)


def fill_disk() -> None:
    with tempfile.TemporaryFile() as file:
        while True:
            file.write(bytes(2**24))


def answer_much() -> str:
    return "c" * 2**25


def answer_escapes() -> str:
    return "\x1b[2K PASS"
