"""A session whose runtime works in a separate process. Images and outputs are exchanged over shared memory."""

from __future__ import annotations

import json
import math
import mmap
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.outside import real
from skinaudit.artifacts.printable import UNPRINTABLE, show
from skinaudit.artifacts.typed_json import build
from skinaudit.engines.isolation.child import Child
from skinaudit.engines.isolation.confine import Confinement
from skinaudit.engines.isolation.launching import Server, called, current_limits, current_server, isolated, shared
from skinaudit.engines.isolation.limits import bounds_of
from skinaudit.engines.session import Port, SessionDescription
from skinaudit.errors import EngineError, InvalidInputError

_LEAST = 2**20
"""Size in bytes of the shared memory, so the answers to one call always have at least this much room."""
_NUMBERS = "fiub"
_AGAIN = "do not trust this file"


@dataclass(frozen=True)
class _Opened:
    """What an opened session reports about itself."""

    description: SessionDescription
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    labels: tuple[str, ...] | None


class RemoteSession:
    """See Session. Everything that comes back from its process is checked."""

    def __init__(self, child: Child, opened: _Opened, *, where: str) -> None:
        self.description, self.inputs, self.outputs, self.labels = (
            opened.description, opened.inputs, opened.outputs, opened.labels,
        )  # fmt: skip
        self._child, self._where = child, where
        self._shared: mmap.mmap | None = None
        self._unsent: int | None = None

    def buffer(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Memory, float32 of this shape, for a tensor that `run` then need not copy. The answer overwrites it."""
        shared = self._with_room(4 * math.prod(shape))
        return np.frombuffer(shared, np.float32, math.prod(shape)).reshape(shape)

    def run(self, tensor: NDArray[Any], *, input: str, output: str) -> NDArray[Any]:
        """See Session; also raises EngineStoppedError if a limit or a crash ends the process."""
        place = np.frombuffer(self._with_room(tensor.nbytes), tensor.dtype, tensor.size).reshape(tensor.shape)
        if place.ctypes.data != tensor.ctypes.data:
            np.copyto(place, tensor)
        call = {"dtype": tensor.dtype.name, "shape": list(tensor.shape), "input": input, "output": output}
        descriptors, self._unsent = [] if self._unsent is None else [self._unsent], None
        try:
            answer = self._child.ask(call, descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        return self._copied(answer)

    def _with_room(self, size: int) -> mmap.mmap:
        """The shared memory, enlarged to at least `size` bytes."""
        if self._shared is None or size > len(self._shared):
            if self._unsent is not None:
                os.close(self._unsent)
            self._unsent = _shared_file(max(size, _LEAST))
            self._shared = mmap.mmap(self._unsent, 0)
        return self._shared

    def _copied(self, answer: Mapping[str, Any]) -> NDArray[Any]:
        assert self._shared is not None
        try:
            kind, shape = np.dtype(answer["dtype"]), tuple(map(int, answer["shape"]))
            size = int(np.prod(shape, dtype=object)) if shape else 1
            if kind.kind not in _NUMBERS or min(shape, default=1) < 0 or size * kind.itemsize > len(self._shared):
                raise ValueError
            # copied before it is checked, because the process could still change it
            return np.frombuffer(self._shared, kind, size).reshape(shape).copy()
        except (KeyError, TypeError, ValueError) as error:
            raise EngineError(f"{self._where}: its process returned no tensor; {_AGAIN}") from error


def open_remote(
    opening: Mapping[str, Any], *, path: Path, confinement: Confinement, writes: Sequence[Path] = ()
) -> RemoteSession:  # fmt: skip
    """Open a file in a separate process. opening: the argument of skinaudit.engines.open.open_here.

    confinement: see skinaudit.engines.isolation.confine. writes: further folders that the process may write to. Raises the
    errors of the runtime, and EngineStoppedError.
    """
    answer, child, server = _first({"opening": dict(opening)}, path=path, confinement=confinement, reads=(), writes=writes)
    try:
        opened = build(_Opened, answer.get("session"), where=str(path), again=_AGAIN)
    except InvalidInputError as error:
        _end(child, server)
        raise EngineError(str(error)) from error
    return RemoteSession(child, opened, where=str(path))


def call_remote(function: str, *arguments: Any, path: Path, reads: Iterable[Path] = ()) -> Any:
    """Call `module:function` with plain values in a confined process that may read the folder of `path`, and `reads`.

    Returns the result, a plain value. Raises the errors of the function, and EngineStoppedError.
    """
    if not isolated():
        return json.loads(json.dumps(called(function)(*arguments)))
    answer, child, server = _first(
        {"function": function, "arguments": list(arguments)}, path=path, confinement="whole", reads=reads, writes=()
    )
    _end(child, server)
    return answer.get("value")


def _first(
    message: Mapping[str, Any], *, path: Path, confinement: Confinement, reads: Iterable[Path], writes: Sequence[Path]
) -> tuple[dict[str, Any], Child, Server]:
    folders = {path.parent.absolute(), real(path).parent, *(folder.absolute() for folder in reads)}
    strange = [str(name) for name in (path, Path.cwd(), *folders, *writes) if UNPRINTABLE.search(str(name))]
    if strange:  # the process cannot read a message with such characters
        raise InvalidInputError(f"{show(strange[0])}: its name has control characters or is not in UTF-8; rename it")
    bounds = bounds_of(path, current_limits())
    server = current_server()
    child = Child(server, where=str(path), bounds=bounds)
    try:
        answer = child.ask({
            **message, "confinement": confinement, "reads": sorted(map(str, folders)), "writes": sorted(map(str, writes)),
            "cwd": str(Path.cwd()), "written": bounds.written,
        })  # fmt: skip
    except BaseException:
        _end(child, server)
        raise
    return answer, child, server


def _end(child: Child, server: Server) -> None:
    """End a process, and a server that was started for it alone."""
    child.close()
    if not shared():
        server.close()


def _shared_file(size: int) -> int:
    """An open file of a fixed size in memory: no process that has it open can cut or extend it."""
    if not hasattr(os, "memfd_create"):
        with tempfile.TemporaryFile() as file:
            file.truncate(size)
            return os.dup(file.fileno())
    import fcntl

    descriptor = os.memfd_create("skinaudit", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, size)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return descriptor
