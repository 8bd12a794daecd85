"""Limits by the size of a file, the words for a library that does not load, and messages that are none."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from skinaudit.artifacts.plain_values import MAX_BYTES
from skinaudit.engines.isolation import launching, wire
from skinaudit.engines.isolation.launching import current_limits, engine_processes
from skinaudit.engines.isolation.limits import NO_LIMITS, Limits, bounds_of
from skinaudit.errors import EngineStoppedError, InvalidInputError, MissingDependencyError, not_imported


def test_larger_files_may_take_more(tmp_path: Path) -> None:
    small, large = tmp_path / "small.onnx", tmp_path / "large.onnx"
    small.write_bytes(b"1")
    with large.open("wb") as file:
        file.truncate(100 * 2**20)
    first, second = bounds_of(small, NO_LIMITS), bounds_of(large, NO_LIMITS)
    assert (round(first.seconds), round(second.seconds)) == (300, 400)
    assert first.memory <= second.memory
    assert first.written < second.written
    bounds = bounds_of(large, Limits(seconds=2.5, memory=2**30))
    assert (bounds.seconds, bounds.memory) == (2.5, 2**30)
    assert bounds_of(tmp_path / "absent.onnx", NO_LIMITS).size == 0


def test_what_is_no_limit_is_refused() -> None:
    for options in ({"seconds": 0.0}, {"seconds": float("nan")}, {"memory": -1}):
        with pytest.raises(InvalidInputError, match=r"--limit-(seconds|memory): should be more than 0"):
            Limits(**options)
    assert Limits(1.5, 2**29).given() == ("--limit-seconds", "1.5", "--limit-memory", "0.5")


def test_an_inner_block_has_its_own_limits() -> None:
    with engine_processes(Limits(seconds=1)):
        with engine_processes(Limits(seconds=2)):
            assert current_limits() == Limits(seconds=2)
        with engine_processes():
            assert current_limits() == Limits(seconds=1)
    assert current_limits() == NO_LIMITS


def test_a_library_that_does_not_load_is_not_called_absent() -> None:
    absent = not_imported(ModuleNotFoundError("No module named 'onnxruntime'"), "onnxruntime", "cpu", "running it")
    assert str(absent) == "running it needs onnxruntime, which is not installed: pip install 'skinaudit[cpu]'"
    broken = not_imported(ImportError("libx.so: undefined symbol"), "onnxruntime", "cpu", "running it")
    assert isinstance(broken, MissingDependencyError)
    assert "which is installed but cannot be loaded (ImportError: libx.so: undefined symbol)" in str(broken)
    full = not_imported(ImportError("libx.so: failed to map segment from shared object"), "onnxruntime", "cpu", "running it")
    assert not isinstance(full, MissingDependencyError)  # an audit goes on without what is not installed
    assert "not enough memory; free some, or raise the limit (ulimit -v)" in str(full)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[]", "returned no message"),
        (b"\xff\xfe", "not a readable answer of its process"),
        (b'{"a": NaN}', "finite number"),
        (b'{"a": "\\u001b[2J"}', "without control characters"),
        (b"[" * 10**5, "nested too deeply"),
        (json.dumps({"a": "b" * 5000}).encode(), "at most 4,096 characters"),
    ],
)
def test_what_is_no_message_is_one_line(content: bytes, message: str) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(len(content).to_bytes(8, "big") + content)
        with pytest.raises(InvalidInputError, match=r"engine\.onnx: ") as error:
            wire.receive(ours, where="engine.onnx")
        assert message in str(error.value)
        theirs.sendall((MAX_BYTES + 1).to_bytes(8, "big"))
        with pytest.raises(InvalidInputError, match="at most 16,777,216 are read"):
            wire.receive(ours, where="engine.onnx")
        theirs.close()
        with pytest.raises(EOFError):
            wire.receive(ours, where="engine.onnx")


def test_a_server_that_ended_names_the_limits_that_may_have_ended_it() -> None:
    server = launching.Server()
    ours, theirs = socket.socketpair()
    process = server.close.peek()[2][1]  # type: ignore[index]
    process.kill()
    process.wait()
    try:
        with pytest.raises(EngineStoppedError, match=r"a.onnx: no process can be started for it \(.*ulimit -u"):
            server.start(theirs.fileno(), where="a.onnx")
    finally:
        server.close()
        ours.close()
        theirs.close()
