"""Messages between the audit and its engine processes: checked JSON of limited size, and open files. No pickle."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Sequence
from typing import Any

from skinaudit.artifacts.plain_values import MAX_BYTES, parse_json
from skinaudit.errors import InvalidInputError

_HEADER = 8
_DESCRIPTORS = 4


def send(channel: socket.socket, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Send one message together with copies of open files."""
    content = json.dumps(message, default=str).encode()
    if len(content) > MAX_BYTES:
        raise ValueError(f"answers with {len(content):,} bytes, at most {MAX_BYTES:,} are read")
    data = len(content).to_bytes(_HEADER, "big") + content
    sent = socket.send_fds(channel, [data], list(descriptors)) if descriptors else channel.send(data)
    channel.sendall(data[sent:])


def receive(
    channel: socket.socket, *, where: str, wait: Callable[[], None] = lambda: None
) -> tuple[dict[str, Any], list[int]]:  # fmt: skip
    """Receive the next message and its open files.

    wait: returns when there is something to read. It is called before each part, because a message may stop in the middle.
    Raises EOFError if the other end is gone, InvalidInputError, which names `where`, if the bytes are not a message.
    """
    wait()
    header, descriptors, _, _ = socket.recv_fds(channel, _HEADER, _DESCRIPTORS)
    header += _read(channel, _HEADER - len(header), wait) if header else b""
    if not header:
        raise EOFError
    size = int.from_bytes(header, "big")
    if size > MAX_BYTES:
        raise InvalidInputError(f"{where}: its process answers with {size:,} bytes, at most {MAX_BYTES:,} are read")
    text = _read(channel, size, wait).decode(errors="replace")
    message = parse_json(text, where=where, kind="answer of its process", again="do not trust this file")
    if not isinstance(message, dict):
        raise InvalidInputError(f"{where}: its process returned no message; do not trust this file")
    return message, list(descriptors)


def _read(channel: socket.socket, size: int, wait: Callable[[], None]) -> bytes:
    parts = []
    while size:
        wait()
        part = channel.recv(min(size, 2**20))
        if not part:
            raise EOFError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
