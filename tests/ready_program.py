"""The program under test in forks of a process that has imported it: a start takes 20 ms of CPU and not a second.

What runs is `skinaudit.cli.main` in a process of its own, with the arguments, environment, folder and standard streams of
whoever starts it. Only for tests that are not about the start itself: imports, interrupts, or what a command may load.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_SERVER = """
import json, os, signal, socket, sys

import skinaudit.audit.audit, skinaudit.audit.reports.parts.targets, skinaudit.audit.reports.terminal
import skinaudit.engines.isolation.launching
from skinaudit import cli

imported = dict(os.environ)  # what importing has set, such as that nothing phones home


def run(listed, descriptors):
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    arguments, folder, environment = listed
    os.chdir(folder)
    os.environ.clear()
    os.environ.update({**{name: imported[name] for name in imported if name not in started_with}, **environment})
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["skinaudit", *arguments]
    cli.main()


def serve(channel):
    message, descriptors, _, _ = socket.recv_fds(channel, 1 << 20, 3)
    process = os.fork()
    if not process:
        channel.close()
        run(json.loads(message), descriptors)
    channel.send(str(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])).encode())
    os._exit(0)


signal.signal(signal.SIGCHLD, signal.SIG_DFL)
listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
listener.bind(sys.argv[1])
listener.listen()
print("ready", flush=True)
while True:
    channel, _ = listener.accept()
    helper = os.fork()
    if not helper:
        listener.close()
        serve(channel)
    channel.close()
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
"""
_CLIENT = """
import json, os, socket, sys

channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
channel.connect(sys.argv[1])
request = json.dumps([sys.argv[2:], os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(channel, [request], [0, 1, 2])
code = int(channel.recv(16) or b"70")
os._exit(code if code >= 0 else 128 - code)
"""


@pytest.fixture(scope="session")
def ready_program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An executable that behaves as `skinaudit` does."""
    folder = tmp_path_factory.mktemp("ready")
    address, client, program = folder / "socket", folder / "client.py", folder / "skinaudit"
    client.write_text(_CLIENT)
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "{client}" "{address}" "$@"\n')
    program.chmod(0o755)
    server = subprocess.Popen(
        [sys.executable, "-c", f"import os\nstarted_with = dict(os.environ)\n{_SERVER}", str(address)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    with server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        yield program
        server.kill()
